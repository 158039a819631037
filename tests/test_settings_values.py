"""Durations, sizes, budgets, and where in a file they stand."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_help import HASH, KNOWN, folder, problems, read  # noqa: F401

from llmhub_core.hub.settings_positions import Positions
from llmhub_core.hub.settings_values import Budget, seconds, show_seconds, show_size, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 s", 5.0),
        ("250 ms", 0.25),
        ("0.1s", 0.1),
        ("2 min", 120.0),
        ("1 h", 3600.0),
        ("1 d", 86400.0),
        ("30", 30.0),
        (7, 7.0),
    ],
)
def test_durations(text: Any, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5 m", "5 S", "-1 s", "1e3 s", "5 s s", "five s", "٥ s", True, None, [], "9" * 400]
)
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8 MiB", 2**23),
        ("64 KiB", 2**16),
        ("1 kB", 1000),
        ("1 MB", 10**6),
        ("1.5 KiB", 1536),
        ("5", 5),
        ("7 b", 7),
        (9, 9),
    ],
)
def test_sizes(text: Any, expected: int) -> None:
    assert size(text) == expected


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000), st.integers(0, 10**15))
def test_what_is_shown_can_be_read_again(duration: float, amount: int) -> None:
    assert seconds(show_seconds(duration)) == duration
    assert size(show_size(amount)) == amount


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20 USD/month", Budget(20_000_000_000, 2_592_000)),
        ("0.000000001 USD/day", Budget(1, 86400)),
        (" 1.50USD / week ", Budget(1_500_000_000, 604_800)),
        ("1 USD/hour", Budget(10**9, 3600)),
        ("0.1 USD/minute", Budget(100_000_000, 60)),
    ],
)
def test_budgets(text: str, expected: Budget) -> None:
    loaded = read(f'[[tokens]]\nname = "t"\nhash = "{HASH}"\nlimits = {{ budget = "{text}" }}')
    assert loaded.settings.tokens[0].limits.budget == expected


# Positions.


def test_positions_of_every_way_to_write_a_key() -> None:
    text = """\
a.b = 1 # one
[c . "d.e"]
'f' = { g.h = [ 1,
  { i = 2 }, # here
  "ü", 3 ] }
[[j]]
[[j.k]]
l = 1
[[j]]
[j.m]
[[j.k]]
[[j.k]]
l = "ü"; n = 2
""".replace("; n", "\nn")
    at = Positions(text.encode()).find
    assert tomllib.loads(text)["j"][1]["k"][1] == {"l": "ü", "n": 2}
    assert at(("a", "b"), "key") == (1, 3)
    assert at(("a", "b"), "value") == (1, 7)
    assert at(("c", "d.e", "f"), "key") == (3, 1)
    assert at(("c", "d.e", "f", "g", "h"), "value") == (3, 15)
    assert at(("c", "d.e", "f", "g", "h", 0), "value") == (3, 17)
    assert at(("c", "d.e", "f", "g", "h", 1, "i"), "value") == (4, 9)
    assert at(("c", "d.e", "f", "g", "h", 3), "value") == (5, 8)
    assert at(("j", 0, "k", 0, "l"), "key") == (8, 1)
    assert at(("j", 1), "key") == (9, 3)
    assert at(("j", 1, "m"), "key") == (10, 4)
    assert at(("j", 1, "k", 1, "l"), "value") == (13, 5)
    assert at(("j", 1, "k", 1, "n"), "value") == (14, 5)
    assert at(("j", 1, "k", 0, "missing"), "key") == (11, 5)
    assert at(("nowhere",), "value") == (1, 1)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"2026-12-31"', "2026-12-31T00:00:00+00:00"),
        ("2026-12-31", "2026-12-31T00:00:00+00:00"),
        ('"2026-12-31T18:00:00+01:00"', "2026-12-31T17:00:00+00:00"),
        ("2026-12-31T18:00:00Z", "2026-12-31T18:00:00+00:00"),
        ("2026-12-31 18:00:00", "2026-12-31T18:00:00+00:00"),
    ],
)
def test_moments(written: str, expected: str) -> None:
    loaded = read(f'[[tokens]]\nname = "t"\nhash = "{HASH}"\nexpires = {written}')
    assert str(loaded.settings.tokens[0].expires) == expected


@pytest.mark.parametrize("written", ['"soon"', "5", "[]", '"2026-13-01"', "18:00:00", "true"])
def test_what_is_no_moment(written: str) -> None:
    (problem,) = problems(f'[[tokens]]\nname = "t"\nhash = "{HASH}"\nexpires = {written}')
    assert "tokens[0].expires: must be a date or a time such as" in problem


def test_what_a_token_may_not_say() -> None:
    known = replace(KNOWN, operations=frozenset({"chat", "embeddings"}))
    other = "sha256:" + "1" * 64
    found = problems(
        f"""
[[tokens]]
name = "a"
hash = "{HASH}"
scopes = ["chta", "*"]
previous = {{ hash = "{HASH}", until = 2999-01-01 }}
[[tokens]]
name = "b"
hash = "{other}"
scopes = []
""",
        known=known,
    )
    assert [line.partition(": ")[2] for line in found] == [
        'tokens[0].scopes[0]: is not an operation; did you mean "chat"?',
        "tokens[0].previous.hash: is a hash that counts already; make a new token",
        "tokens[1].scopes: allows nothing; leave it out for all",
    ]

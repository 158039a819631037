"""Secrets are found where they are said to be, and do not slip out."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from llmhub_core.hub.vault import LARGEST_FILE, Secret, resolve, split

CANARY = "sk-canary-0123456789abcdef"


def test_only_reveal_gives_a_secret_out() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert str(secret) == f"{secret}" == "%s" % secret == "***"  # noqa: UP031
    assert repr(secret) == "Secret(***)"
    assert f"{secret:>5}" == "  ***"
    assert repr({"key": [secret]}) == "{'key': [Secret(***)]}"


def test_no_usual_way_of_dumping_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)

    @dataclasses.dataclass
    class Holder:
        secret: Secret

    logging.getLogger().warning("%s %r", secret, Holder(secret))
    dumps = [
        pickle.dumps(secret).decode("latin-1"),
        str(dataclasses.asdict(Holder(secret))),
        str(secret.__reduce_ex__(2)),
        json.dumps({"secret": secret}, default=str),
        caplog.text,
        "".join(traceback.TracebackException.from_exception(ValueError(secret)).format()),
    ]
    assert not any("canary" in dump for dump in dumps)
    assert not hasattr(secret, "__dict__")


def test_a_pickled_secret_is_stars_and_a_copied_one_is_itself() -> None:
    secret = Secret(CANARY)
    assert pickle.loads(pickle.dumps(secret)).reveal() == "***"  # noqa: S301
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


def test_equal_secrets_are_equal_and_hash_alike() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert hash(Secret(CANARY)) == hash(Secret(CANARY))
    assert len({Secret(CANARY), Secret(CANARY), Secret("other")}) == 2
    assert Secret(CANARY) != Secret(CANARY + "x")
    assert Secret(CANARY) != CANARY
    assert Secret("\ud800") != Secret("\ud801")


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret(" ")


@pytest.mark.parametrize(("value", "hint"), [("", ""), ("x" * 15 + "abcd", ""), ("x" * 16 + "abcd", "abcd")])
def test_the_hint_of_a_long_secret_is_its_end(value: str, hint: str) -> None:
    assert Secret(value).hint == hint


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("env:NAME", ("env", "NAME")),
        (" env: NAME ", ("env", "NAME")),
        ("file:/a b", ("file", "/a b")),
        ("sk-1", ("literal", "sk-1")),
        ("ENV:NAME", ("literal", "ENV:NAME")),
        ("", ("none", "")),
        (" ", ("none", "")),
    ],
)
def test_where_a_secret_is(reference: str, place: tuple[str, str]) -> None:
    assert split(reference) == place


def test_secrets_are_found(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"in-a-file\r\n")
    environ = {"NAME": "in-a-variable\n"}
    assert resolve("env:NAME", environ, tmp_path).reveal() == "in-a-variable"
    assert resolve("file:key", environ, tmp_path).reveal() == "in-a-file"
    assert resolve(f"file:{tmp_path}/key", environ, Path("/nowhere")).reveal() == "in-a-file"
    assert resolve(f"file://{tmp_path}/key", environ, Path("/nowhere")).reveal() == "in-a-file"
    assert resolve(" itself ", environ, tmp_path).reveal() == "itself"
    assert resolve("", environ, tmp_path) == Secret("")


def test_a_secret_of_many_lines_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text('{\n "key": 1\n}\n')
    assert resolve("file:account.json", {}, tmp_path).reveal() == '{\n "key": 1\n}'


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("env:GONE", "leads to the variable GONE that is not set"),
        ("env:BLANK", "leads to the variable BLANK that is empty"),
        ("env:canary_0123456789", "leads to a variable that is not set"),
        ("env:sk-canary", "must have the name of an environment variable after env:"),
        ("env:", "must have the name of an environment variable after env:"),
        ("file:", "must have a path after file:"),
        ("file:/no/canary", "leads to a file that cannot be read: No such file or directory"),
        ("file:\0canary", "leads to a file that cannot be read: not a path (relative paths begin in {base})"),
        ("file:.", "leads to a file that cannot be read: Is a directory (relative paths begin in {base})"),
        ("file:blank", "leads to a file that is empty"),
        ("file:binary", "leads to a file that is not text in UTF-8"),
        ("file:large", "leads to a file larger than 64 KiB, which is no secret"),
        ("file:/dev/zero", "leads to a file larger than 64 KiB, which is no secret"),
        ("$CANARY", "looks like a variable, but nothing is replaced in this file; write env:NAME"),
        ("${CANARY}", "looks like a variable, but nothing is replaced in this file; write env:NAME"),
        ("{{ canary }}", "looks like a variable, but nothing is replaced in this file; write env:NAME"),
        (" \n", "is nothing but white space"),
    ],
)
def test_secrets_that_are_not_there(tmp_path: Path, reference: str, sentence: str) -> None:
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"canary\xff")
    (tmp_path / "large").write_bytes(b"canary" * LARGEST_FILE)
    with pytest.raises(LookupError) as caught:
        resolve(reference, {"BLANK": ""}, tmp_path)
    assert caught.value.args == (sentence.format(base=tmp_path),)
    assert "canary" not in str(caught.value).lower()
    assert caught.value.__cause__ is None


def test_a_secret_is_hidden_in_what_others_say() -> None:
    pair = Secret("AKIAEXAMPLE000000001:wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY")
    said = b"The key AKIAEXAMPLE000000001 of wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY is refused"
    assert pair.hidden_in(said) == b"The key *** of *** is refused"
    assert Secret(CANARY).hidden_in(f'{{"sent": "Bearer {CANARY}"}}'.encode()) == b'{"sent": "Bearer ***"}'
    assert Secret('{"type": "x", "private_key": "MIIEvQIBADANBgkqhkiG"}').hidden_in(b"MIIEvQIBADANBgkqhkiG") == b"***"
    for short in ("", "a", "key"):
        assert Secret(short).hidden_in(b"a key") == b"a key"

"""Credentials go out of texts: those that the hub knows, and what looks like one."""

from __future__ import annotations

import json
import secrets
import time

import pytest

from llmhub_core.hub.minted import mint
from llmhub_core.hub.redaction import REDACTED, Redaction, names_a_secret
from llmhub_core.hub.vault import Secret

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n" + "q1w2e3r4t5" * 30 + "\n-----END RSA PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("my key is sk-proj-abc123def456ghi789jkl.", "abc123def456"),
        pytest.param(f"token {mint()}", "", id="a client token"),
        ("Authorization: Bearer 9aF0kd83jd72hs61kd9", "9aF0kd83jd72hs61kd9"),
        ("authorization: basic dXNlcjpwYXNzd29yZDE=", "dXNlcjpwYXNzd29yZDE"),
        (f"here: {PEM} and on", "q1w2e3r4t5"),
        (json.dumps({"key": PEM}), "q1w2e3r4t5"),
        (PEM[:200], "q1w2e3r4t5"),
        (f"cookie={TOKEN}", "dozjgNryP4J3"),
        ("postgresql://hub:hunter2@db.example.com/hub", "hunter2"),
        ('{"api_key": "correcthorse"}', "correcthorse"),
        (json.dumps('{"client_secret": "correcthorse"}'), "correcthorse"),
        ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("password: hunter2!", "hunter2"),
    ],
)
def test_what_looks_like_a_credential_goes(text: str, secret: str) -> None:
    said = Redaction(()).text(text)
    assert REDACTED in said
    assert not secret or secret not in said


@pytest.mark.parametrize(
    "text",
    [
        "The bearer of good news has sk-learn-pipelines and a password.",
        "max_tokens=1024, token 17 of 20, api keys are kept in a vault",
        "https://example.com:8080/a@b?x=1",
        '{"type": "text", "text": "Say hello."}',
        "gh-pages, key-value, hf_hub and AIzawa",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert Redaction((Secret("0123456789abcdef"),)).text(text) == text


def test_what_the_hub_knows_goes_wherever_it_stands() -> None:
    bare, pair = secrets.token_hex(16), f"AKID{secrets.token_hex(8)}:{secrets.token_hex(16)}"
    account = json.dumps({"type": "service_account", "private_key": secrets.token_hex(30), "n": "two words"})
    redaction = Redaction([Secret(bare), Secret(pair), Secret(account), Secret("short"), Secret("")])
    for text in (bare, f"x{bare}y", f"{bare}{bare}", f"a {pair}.", pair.split(":")[1], account, json.dumps([account])):
        said = redaction.text(text)
        assert REDACTED in said
        for secret in (bare, *pair.split(":"), json.loads(account)["private_key"]):
            assert secret not in said
    assert redaction.text("short words") == "short words"
    assert redaction.text(f"it ends {bare[:11]}") == f"it ends {REDACTED}", "half of one at the end"
    assert redaction.text(f"{bare[:11]} goes on") == f"{bare[:11]} goes on"
    with_spaces = Redaction([Secret("two words and more")])
    assert with_spaces.text("say two words and more!") == f"say {REDACTED}!"


def test_a_few_more_go_as_well() -> None:
    known = Redaction([Secret("0123456789abcdef")])
    assert known.also([Secret("no-shape-at-all")]).text("no-shape-at-all 0123456789abcdef") == f"{REDACTED} {REDACTED}"
    assert known.text("no-shape-at-all") == "no-shape-at-all"


def test_thousands_of_keys_cost_little_more_than_one() -> None:
    text = "It was a bright cold day in April, and the clocks were striking thirteen. " * 900

    def took(keys: int) -> float:
        redaction = Redaction([Secret(secrets.token_hex(16)) for _ in range(keys)])
        times = []
        for _ in range(5):
            began = time.perf_counter()
            redaction.text(text)
            times.append(time.perf_counter() - began)
        return min(times)

    assert took(10_000) < 20 * took(1)


@pytest.mark.parametrize(
    "text",
    [
        part * (1_000_000 // len(part))
        for part in ("a", "sk-", "eyJ", "://:", "-----BEGIN PRIVATE KEY-----", "password=", "bearer ", "-----BEGIN A ")
    ],
    ids=lambda text: text[:12],
)
def test_nothing_makes_it_slow(text: str) -> None:
    began = time.perf_counter()
    Redaction(()).text(text)
    assert time.perf_counter() - began < 5


def test_names_of_fields() -> None:
    assert all(names_a_secret(name) for name in ("api_key", "apiKey", "X-API-Key", "password", "client_secret"))
    assert not any(names_a_secret(name) for name in ("token", "max_tokens", "key", "content", "secretary", "x" * 99))

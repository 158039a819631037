"""Client tokens: minted, recognised, never confused."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import Caller
from llmhub_core.hub.tokens import PREFIX, Tokens, digest, is_well_formed, mint


def test_a_minted_token_is_well_formed_and_unlike_any_other() -> None:
    tokens = {mint() for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        assert re.fullmatch(r"lh-[0-9A-Za-z]{49}", token)
        assert is_well_formed(token)
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest(token))


def test_one_wrong_character_is_noticed() -> None:
    token = mint()
    for place in range(len(PREFIX), len(token)):
        wrong = "a" if token[place] != "a" else "b"
        assert not is_well_formed(token[:place] + wrong + token[place + 1 :])


def test_what_is_no_token() -> None:
    token = mint()
    for wrong in ("", "lh-", "sk-" + "a" * 49, token[:-1], token + "a", token.swapcase(), "sk-" + token[3:]):
        assert not is_well_formed(wrong)


def test_tokens_are_found_by_the_whole_text() -> None:
    token = mint()
    caller = Caller("app")
    tokens = Tokens([(digest(token), caller)])
    assert len(tokens) == 1
    assert tokens.find(token) is caller
    for wrong in ("", token[:-1], token + "a", token + " ", token.swapcase(), digest(token)):
        assert tokens.find(wrong) is None


@given(st.text())
def test_any_text_may_be_presented(text: str) -> None:
    assert Tokens([(digest(mint()), Caller("app"))]).find(text) is None


def test_bytes_that_are_not_text_may_be_presented() -> None:
    assert Tokens([]).find(b"\xff\xfe".decode("ascii", "surrogateescape")) is None

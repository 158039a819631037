"""What travels with the caller comes back as it went, and nothing else is taken for it."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import SEALED, seal, seal_id, unseal, unseal_id

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(origin=st.sampled_from(["anthropic", "gemini", "openai_chat"]), value=JSON)
def test_a_seal_gives_back_what_it_was_given(origin: str, value: object) -> None:
    sealed = seal(origin, value)
    assert unseal(sealed) == (origin, value)
    assert SEALED in sealed.encode()
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sealed)


@given(value=JSON)
def test_a_seal_survives_a_client_that_decodes_base64_and_encodes_it_again(value: object) -> None:
    raw = base64.urlsafe_b64decode(seal("gemini", value))
    assert unseal(base64.b64encode(raw).decode()) == ("gemini", value)
    assert unseal(base64.urlsafe_b64encode(raw).decode()) == ("gemini", value)


def test_an_id_carries_a_seal_and_stays_an_id() -> None:
    sealed = seal_id("call_a_1", "gemini", {"signature": "x" * 500})
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sealed)
    assert unseal_id(sealed) == ("call_a_1", ("gemini", {"signature": "x" * 500}))
    assert unseal_id("call_a_1") == ("call_a_1", None)


@pytest.mark.parametrize("damage", [lambda s: s[:-9], lambda s: s[:20] + "A" + s[21:], lambda s: s[1:], lambda s: "x"])
def test_a_damaged_seal_is_none(damage: object) -> None:
    assert unseal(damage(seal("anthropic", {"signature": "abcdefghijklmnopqrstuvwxyz"}))) is None  # type: ignore[operator]


def test_a_seal_that_would_open_into_gigabytes_is_none() -> None:
    assert unseal(seal("anthropic", "0" * (2 * 1024 * 1024))) is None

"""Client tokens: minted, recognised, never confused."""

from __future__ import annotations

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import Caller
from llmhub_core.hub.build import build_tokens
from llmhub_core.hub.settings_of_entries import PreviousToken, TokenSettings
from llmhub_core.hub.settings_values import Moment
from llmhub_core.hub.tokens import (
    ADMIN_PREFIX,
    TOKEN_PREFIX,
    KnownToken,
    Tokens,
    digest,
    is_well_formed,
    keyed_digest,
    mint,
    same_digest,
)


def test_a_minted_token_is_well_formed_and_unlike_any_other() -> None:
    tokens = {mint() for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        assert re.fullmatch(r"lh-[0-9A-Za-z]{49}", token)
        assert is_well_formed(token)
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest(token))


def test_one_wrong_character_is_noticed() -> None:
    token = mint()
    for place in range(len(TOKEN_PREFIX), len(token)):
        wrong = "a" if token[place] != "a" else "b"
        assert not is_well_formed(token[:place] + wrong + token[place + 1 :])


def test_what_is_no_token() -> None:
    token = mint()
    for wrong in ("", "lh-", "sk-" + "a" * 49, token[:-1], token + "a", token.swapcase(), "sk-" + token[3:]):
        assert not is_well_formed(wrong)


def test_tokens_are_found_by_the_whole_text() -> None:
    token = mint()
    caller = Caller("app")
    tokens = Tokens([KnownToken(digest(token), caller)])
    assert len(tokens) == 1
    assert tokens.find(token) is caller
    for wrong in ("", token[:-1], token + "a", token + " ", token.swapcase(), digest(token)):
        assert tokens.find(wrong) is None


@given(st.text())
def test_any_text_may_be_presented(text: str) -> None:
    assert Tokens([KnownToken(digest(mint()), Caller("app"))]).find(text) is None


def test_bytes_that_are_not_text_may_be_presented() -> None:
    assert Tokens([]).find(b"\xff\xfe".decode("ascii", "surrogateescape")) is None


KEY = b"k" * 32


def test_keyed_digests_tell_nothing_without_the_key() -> None:
    token = mint()
    rests = keyed_digest(token, KEY)
    assert re.fullmatch(r"hmac-sha256:[0-9a-f]{64}", rests)
    assert rests != keyed_digest(token, b"l" * 32)
    assert digest(token)[7:] not in rests
    assert same_digest(rests, keyed_digest(token, KEY))
    assert not same_digest(rests, keyed_digest(mint(), KEY))


def test_tokens_of_file_and_database_are_found_beside_each_other() -> None:
    filed, stored = mint(), mint()
    known = [KnownToken(digest(filed), Caller("filed")), KnownToken(keyed_digest(stored, KEY), Caller("stored"))]
    tokens = Tokens(known, KEY)
    assert len(tokens) == 2
    assert {caller.name for caller in tokens.callers} == {"filed", "stored"}
    assert tokens.find(filed) == Caller("filed")
    assert tokens.find(stored) == Caller("stored")
    for wrong in (digest(filed), digest(filed)[7:], known[1].digest, mint(), stored[:-1]):
        assert tokens.find(wrong) is None
    for other in (Tokens(known, b"l" * 32), Tokens(known)):
        assert other.find(stored) is None, "by no other hub's key, and by none at all"
        assert other.find(filed) == Caller("filed")


def test_a_digest_of_one_kind_is_none_of_the_other() -> None:
    token = mint()
    hexadecimal = keyed_digest(token, KEY).partition(":")[2]
    assert Tokens([KnownToken(f"sha256:{hexadecimal}", Caller("a"))], KEY).find(token) is None
    assert Tokens([KnownToken("hmac-" + digest(token), Caller("a"))], KEY).find(token) is None


def test_tokens_that_share_a_beginning_are_told_apart() -> None:
    token = mint()
    others = [token[:shared] + "~" * (len(token) - shared) for shared in range(1, len(token))]
    for key in (b"", KEY):
        rests = [keyed_digest(each, key) if key else digest(each) for each in (token, *others)]
        tokens = Tokens([KnownToken(rest, Caller(f"c{n}")) for n, rest in enumerate(rests)], key)
        for number, each in enumerate((token, *others)):
            found = tokens.find(each)
            assert found is not None
            assert found.name == f"c{number}"


def test_a_token_counts_until_its_time_is_over() -> None:
    now, token, other = time.time(), mint(), mint()
    for rests in (digest, lambda token: keyed_digest(token, KEY)):
        ended = Tokens([KnownToken(rests(token), Caller("a"), now - 1), KnownToken(rests(other), Caller("b"))], KEY)
        assert ended.find(token) is None
        assert ended.expired_at(token) == now - 1
        assert ended.find(other) == Caller("b")
        assert ended.expired_at(other) is ended.expired_at(mint()) is None
        running = Tokens([KnownToken(rests(token), Caller("a"), now + 60)], KEY)
        assert running.find(token) == Caller("a")
        assert running.expired_at(token) is None


def test_while_a_token_is_rolled_both_count_for_one_caller() -> None:
    old, new, now = mint(), mint(), time.time()

    def tokens(until: float, expires: float | None = None) -> Tokens:
        previous = PreviousToken(keyed_digest(old, KEY), Moment(until))
        end = None if expires is None else Moment(expires)
        return build_tokens([TokenSettings("app", keyed_digest(new, KEY), previous=previous, expires=end)], KEY)

    rolling = tokens(now + 60)
    assert rolling.find(old) is rolling.find(new) is not None
    assert [caller.name for caller in rolling.callers] == ["app"]
    rolled = tokens(now - 1)
    assert rolled.find(old) is None
    assert rolled.find(new) is not None
    over = tokens(now + 60, now - 1)
    assert over.find(old) is over.find(new) is None, "the old one never outlives the new"


def test_admin_tokens_and_client_tokens_are_told_apart() -> None:
    admin = mint(ADMIN_PREFIX)
    assert re.fullmatch(r"lha-[0-9A-Za-z]{49}", admin)
    assert is_well_formed(admin, ADMIN_PREFIX)
    assert not is_well_formed(admin)
    assert not is_well_formed(mint(), ADMIN_PREFIX)
    assert not is_well_formed("lh-" + admin[4:], ADMIN_PREFIX)

"""Which keys rest, for how long, and who rests with them."""

from __future__ import annotations

import time

import pytest

from llmhub_core.contracts import (
    Candidate,
    CandidateStats,
    Deployment,
    HealthChange,
    LimitScope,
    ProviderKey,
    UpstreamDenied,
    UpstreamError,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmhub_core.hub.pool import Pool


def stats(key: str = "k1", model: str = "m1", provider: str = "p", group: str = "") -> CandidateStats:
    return CandidateStats(Candidate(Deployment(provider, model), ProviderKey(provider, key, group=group)))


def limited(
    seconds: float | None = None, scope: LimitScope = "key", exhausted: bool = False, oversized: bool = False
) -> UpstreamLimited:
    error = UpstreamLimited("limited", retry_after=seconds)
    error.scope, error.exhausted, error.oversized = scope, exhausted, oversized
    return error


class Watched:
    """A pool and what it announced."""

    def __init__(self, cooldown: float = 10.0, longest: float = 600.0) -> None:
        self.changes: list[HealthChange] = []
        self.pool = Pool(cooldown, longest, self.changes.append)

    def rest(self, one: CandidateStats, after: float = 0.0) -> float | None:
        """Seconds for which the candidate is left alone, seen `after` seconds from now; None if it is not."""
        now = time.monotonic() + after
        mark = self.pool.blocked(one.candidate, now)
        return None if mark is None or mark.until is None else mark.until - now


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.parametrize(
    ("error", "state", "seconds"),
    [
        (limited(30), "cooling", 30),
        (limited(), "cooling", 10),  # not said for how long: the setting
        (limited(7200), "cooling", 600),  # not believed beyond the setting
        (limited(7200, exhausted=True), "exhausted", 7200),  # a spent day is believed
        (limited(exhausted=True), "exhausted", 600),  # no credit, and nobody knows until when
    ],
)
def test_a_limited_key_rests(watched: Watched, error: UpstreamLimited, state: str, seconds: float) -> None:
    one = stats()
    watched.pool.note(one, error)
    assert watched.rest(one) == pytest.approx(seconds, abs=0.5)
    assert watched.pool.state(one.candidate.key).state == state
    assert watched.rest(one, seconds + 1) is None
    assert watched.pool.state(one.candidate.key).state == "active"
    assert [(change.was, change.now) for change in watched.changes] == [("active", state), (state, "active")]
    until = watched.changes[0].until
    assert until is not None
    assert until - time.time() == pytest.approx(seconds, abs=0.5)


def test_a_refused_key_is_out_until_it_is_reset(watched: Watched) -> None:
    one = stats()
    watched.pool.note(one, UpstreamDenied("denied").said(code="account_deactivated"))
    mark = watched.pool.blocked(one.candidate, time.monotonic() + 1e9)
    assert mark is not None
    assert (mark.state, mark.reason, mark.until) == ("invalid", "account_deactivated", None)
    watched.pool.note(one, limited(3600, exhausted=True))
    assert watched.pool.state(one.candidate.key).state == "invalid"
    watched.pool.reset(one.candidate.key)
    assert watched.pool.blocked(one.candidate, time.monotonic()) is None
    assert [change.now for change in watched.changes] == ["invalid", "active"]


@pytest.mark.parametrize(
    "error",
    [
        UpstreamOverloaded("x"),
        UpstreamTimeout("x"),
        UpstreamUnreachable("x"),
        UpstreamGarbled("x"),
        UpstreamModelMissing("x"),
        UpstreamRefused("x"),
        UpstreamError("x"),
        ValueError("x"),
    ],
)
def test_other_errors_say_nothing_of_the_key(watched: Watched, error: Exception) -> None:
    one = stats()
    watched.pool.note(one, error)
    assert watched.pool.blocked(one.candidate, time.monotonic()) is None
    assert watched.changes == []


def test_a_request_too_large_for_the_limit_leaves_the_key_alone(watched: Watched) -> None:
    one = stats()
    watched.pool.note(one, limited(60, oversized=True))
    assert watched.pool.blocked(one.candidate, time.monotonic()) is None


def test_deadlines_only_grow(watched: Watched) -> None:
    one = stats()
    watched.pool.note(one, limited(60))
    watched.pool.note(one, limited(5))
    assert watched.rest(one) == pytest.approx(60, abs=0.5)
    watched.pool.note(one, limited(90))
    assert watched.rest(one) == pytest.approx(90, abs=0.5)
    assert len(watched.changes) == 2  # what changed nothing is not announced


def test_a_longer_rest_of_another_kind_takes_over(watched: Watched) -> None:
    one = stats()
    watched.pool.note(one, limited(60))
    watched.pool.note(one, limited(3600, exhausted=True))
    assert watched.pool.state(one.candidate.key).state == "exhausted"
    watched.pool.note(one, UpstreamDenied("denied"))
    assert watched.pool.state(one.candidate.key).state == "invalid"


HIT = stats("k1", "m1", "p", "g")


@pytest.mark.parametrize(
    ("scope", "resting"),
    [
        ("key", {"same", "other model", "same group"}),  # keys of a group share the account's limits
        ("group", {"same", "other model", "same group"}),
        ("model", {"same", "same group"}),
        ("provider", {"same", "other model", "same group", "other group", "no group"}),
    ],
)
def test_who_rests_with_a_limited_key(watched: Watched, scope: LimitScope, resting: set[str]) -> None:
    others = {
        "same": HIT,
        "other model": stats("k1", "m2", "p", "g"),
        "same group": stats("k2", "m1", "p", "g"),
        "other group": stats("k3", "m1", "p", "h"),
        "no group": stats("k4", "m1", "p"),
        "other provider": stats("k1", "m1", "q", "g"),
    }
    watched.pool.note(HIT, limited(60, scope))
    now = time.monotonic()
    assert {name for name, each in others.items() if watched.pool.blocked(each.candidate, now)} == resting


@pytest.mark.parametrize("scope", ["key", "group"])
def test_a_key_without_a_group_rests_alone(watched: Watched, scope: LimitScope) -> None:
    one, other = stats("k1"), stats("k2")
    watched.pool.note(one, limited(60, scope))
    assert watched.rest(one) is not None
    assert watched.rest(other) is None


def test_a_refused_key_says_nothing_of_its_group(watched: Watched) -> None:
    watched.pool.note(HIT, UpstreamDenied("denied"))
    now = time.monotonic()
    assert watched.pool.blocked(HIT.candidate, now) is not None
    assert watched.pool.blocked(stats("k2", "m1", "p", "g").candidate, now) is None


def test_a_group_named_like_a_key_is_another_account(watched: Watched) -> None:
    alone, grouped = stats("main", "m1"), stats("k2", "m1", group="main")
    watched.pool.note(alone, limited(60, "model"))
    assert watched.rest(alone) is not None
    assert watched.rest(grouped) is None
    watched.pool.reset(grouped.candidate.key)
    assert watched.rest(alone) is not None


def test_the_longest_rest_counts_where_several_apply(watched: Watched) -> None:
    watched.pool.note(HIT, limited(30, "provider"))
    watched.pool.note(HIT, limited(90, "model"))
    watched.pool.note(HIT, limited(60, "key"))
    assert watched.rest(HIT) == pytest.approx(90, abs=0.5)
    assert watched.rest(HIT, 75) == pytest.approx(15, abs=0.5)


def test_a_limit_of_a_model_is_not_shown_as_the_key_s_own(watched: Watched) -> None:
    watched.pool.note(HIT, limited(60, "model"))
    assert watched.pool.state(HIT.candidate.key).state == "active"


@pytest.mark.parametrize("scope", ["key", "group", "model"])
def test_reset_forgets_what_is_held_against_a_key_and_its_group(watched: Watched, scope: LimitScope) -> None:
    other = stats("k9", "m1")
    watched.pool.note(HIT, limited(60, scope))
    watched.pool.note(other, limited(60))
    watched.pool.reset(HIT.candidate.key)
    assert watched.rest(HIT) is None
    assert watched.rest(other) is not None

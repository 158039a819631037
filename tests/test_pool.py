"""Which keys rest, for how long, and who rests with them."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import (
    Candidate,
    CandidateStats,
    Deployment,
    HealthChange,
    Hold,
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


def go(pool: Pool, one: CandidateStats, after: float = 0.0, error: Exception | None = None) -> None:
    """An attempt, as the relay makes one."""
    one.last_pick = time.monotonic() + after
    pool.begin(one)
    if error is None:
        pool.answered(one)
    else:
        pool.note(one, error)
    pool.end(one)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.parametrize(
    ("error", "state", "seconds"),
    [
        (limited(30), "cooling", 30),
        (limited(), "cooling", 10),  # not said for how long: the setting
        (limited(7200), "exhausted", 7200),  # a stated time holds; so long that waiting minutes does not help
        (limited(1e9), "exhausted", 32 * 86_400),  # but not for ever
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
    go(watched.pool, one, after=seconds + 1)
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


# one goes first


def test_one_request_goes_first_and_the_others_follow_its_good_answer(watched: Watched) -> None:
    first, second = stats("k1"), stats("k1", "m2")
    watched.pool.note(first, limited(30))
    first.last_pick = time.monotonic() + 31
    assert watched.rest(second, 31) is None
    watched.pool.begin(first)
    assert watched.rest(second, 31) == pytest.approx(2.0, abs=0.1), "somebody is trying"
    watched.pool.answered(first)
    assert watched.rest(second, 31) is None
    assert watched.pool.calm


def test_a_first_one_that_is_refused_again_makes_it_rest_longer(watched: Watched) -> None:
    one, lasted = stats(), 0.0
    for expected in (10, 10, 20, 40, 80, 160, 320, 600, 600):
        go(watched.pool, one, after=lasted, error=limited())
        rest = watched.rest(one)
        assert rest == pytest.approx(expected, abs=0.5)
        watched.pool.marks["key:p/k1"].until = time.monotonic()  # so long has passed
    go(watched.pool, one)
    watched.pool.note(one, limited())
    assert watched.rest(one) == pytest.approx(10, abs=0.5), "a good answer forgets how long it was"


def test_a_first_one_that_tells_nothing_leaves_the_way_to_the_next(watched: Watched) -> None:
    one = stats()
    watched.pool.note(one, limited(1))
    watched.pool.marks["key:p/k1"].until = time.monotonic()
    go(watched.pool, one, error=UpstreamTimeout("x"))
    assert not watched.pool.calm
    assert watched.rest(one) is None
    go(watched.pool, one)
    assert watched.pool.calm


def test_nobody_waits_for_the_end_of_a_long_first_answer(watched: Watched) -> None:
    first, second = stats("k1"), stats("k1", "m2")
    watched.pool.note(first, limited(1))
    first.last_pick = time.monotonic() + 2
    watched.pool.begin(first)
    assert watched.rest(second, 2 + 1.9) is not None
    assert watched.rest(second, 2 + 2.1) is None
    second.last_pick = time.monotonic() + 2 + 2.1
    watched.pool.begin(second)
    assert watched.pool.calm, "whoever was not refused by now has passed"


def test_refused_together_is_refused_once(watched: Watched) -> None:
    one = stats()
    told: list[Hold] = []
    watched.pool.share = told.append
    for _ in range(50):
        watched.pool.note(one, limited())
    for _ in range(50):
        watched.pool.note(one, limited(10))
    assert watched.rest(one) == pytest.approx(10, abs=0.5)
    assert len(told) == len(watched.changes) == 1


def test_an_invalid_key_that_may_work_again_is_tried_by_one(watched: Watched) -> None:
    one = stats()
    told: list[Hold] = []
    watched.pool.share = told.append
    watched.pool.note(one, UpstreamDenied("no"))
    (mark,) = watched.pool.invalid()
    watched.pool.may_be_tried(mark)
    assert watched.rest(one) is None
    assert "tries" in watched.pool.state(one.candidate.key).reason
    go(watched.pool, one, error=UpstreamDenied("still no"))
    assert watched.pool.state(one.candidate.key).state == "invalid"
    assert [hold.state for hold in told] == ["invalid", "invalid"]
    (mark,) = watched.pool.invalid()
    watched.pool.may_be_tried(mark)
    go(watched.pool, one)
    assert told[-1] == Hold("key:p/k1", "active")


@pytest.mark.parametrize("scope", ["group", "provider"])
def test_a_denial_of_more_than_a_key_is_held_against_all_it_is_meant_for(watched: Watched, scope: LimitScope) -> None:
    error = UpstreamDenied("no")
    error.scope = scope
    watched.pool.note(HIT, error)
    now = time.monotonic()
    assert watched.pool.blocked(stats("k2", "m1", "p", "g").candidate, now) is not None
    assert (watched.pool.blocked(stats("k3", "m1", "p", "h").candidate, now) is not None) == (scope == "provider")


# of other processes


def test_what_another_process_holds_and_lifts_holds_here(watched: Watched) -> None:
    one = stats()
    told: list[Hold] = []
    watched.pool.share = told.append
    watched.pool.adopt(Hold("key:p/k1", "cooling", "why", 30.0, 5.0))
    assert watched.rest(one) == pytest.approx(30, abs=0.5)
    watched.pool.adopt(Hold("key:p/k1", "cooling", "why", 3.0))
    assert watched.rest(one) == pytest.approx(30, abs=0.5)
    watched.pool.adopt(Hold("key:p/k1", "active"))
    assert watched.pool.calm
    assert told == []  # nobody is told his own news
    assert [change.now for change in watched.changes] == ["cooling", "active"]


def test_others_hear_what_became_of_it_and_not_that_somebody_tries(watched: Watched) -> None:
    other, one = Watched(), stats()
    told: list[Hold] = []
    watched.pool.share = told.append
    watched.pool.note(one, limited(30))
    other.pool.adopt(told[-1])
    assert other.rest(one) == pytest.approx(30, abs=0.1)
    for pool in (watched.pool, other.pool):
        pool.marks["key:p/k1"].until = time.monotonic()  # so long has passed
    one.last_pick = time.monotonic()
    watched.pool.begin(one)
    watched.pool.answered(one)
    other.pool.adopt(told[-1])
    assert other.pool.calm
    assert [hold.state for hold in told] == ["cooling", "active"]
    assert [change.now for change in other.changes] == ["cooling", "active"]


def test_what_is_over_for_long_is_forgotten(watched: Watched) -> None:
    one = stats()
    watched.pool.note(one, limited(1))
    watched.pool.sweep()
    assert not watched.pool.calm
    watched.pool.marks["key:p/k1"].until = time.monotonic() - 601
    watched.pool.sweep()
    assert watched.pool.calm


# every order

SCOPES = st.sampled_from(("key", "group", "model", "provider"))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("limited"), SCOPES, st.one_of(st.none(), st.floats(0.0, 1e7)), st.booleans()),
        st.tuples(st.just("adopted"), SCOPES, st.floats(0.1, 1e7), st.booleans()),
        st.tuples(st.just("passes"), SCOPES, st.floats(0.0, 1e5), st.booleans()),
    ),
    max_size=30,
)


@given(EVENTS)
def test_no_order_of_news_shortens_a_deadline(events: list[tuple[str, LimitScope, float | None, bool]]) -> None:
    """Beside the simplest book: of each subject the latest deadline that was stated."""
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(now=1e6, time=lambda: 0.0)
        clock.monotonic = lambda: clock.now
        patch.setattr("llmhub_core.hub.pool.time", clock)
        pool = Pool(10.0, 600.0, lambda change: None)
        book: dict[str, float] = {}
        subjects = {"key": "group:p/g", "group": "group:p/g", "model": "model:group:p/g/m1", "provider": "provider:p"}
        for what, scope, seconds, exhausted in events:
            subject = subjects[scope]
            if what == "passes":
                clock.now += seconds or 0.0
            elif what == "adopted":
                pool.adopt(Hold(subject, "cooling", "", seconds))
                book[subject] = max(book.get(subject, 0.0), clock.now + (seconds or 0.0))
            else:
                pool.note(HIT, limited(seconds, scope, exhausted))
                if seconds is not None:
                    stated = clock.now + min(seconds, 32 * 86_400.0)
                    book[subject] = max(book.get(subject, 0.0), stated)
            latest = max(book.values(), default=0.0)
            mark = pool.blocked(HIT.candidate, clock.now)
            if latest > clock.now:
                assert mark is not None
                assert mark.until is not None
                assert mark.until >= latest - 1e-6

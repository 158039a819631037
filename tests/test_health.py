"""Deployments that keep failing are left alone, and one request at a time looks whether they are well again."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from llmhub_core.contracts import (
    Candidate,
    CandidateStats,
    Deployment,
    NoSettings,
    ProviderKey,
    Timeouts,
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
from llmhub_core.gateway.route import plan_route
from llmhub_core.hub.catalog import NO_SECRET, Catalog, Place, Route, Standing
from llmhub_core.hub.health import LONGEST_PAUSE, MOST_BREAKERS, Health
from llmhub_core.hub.pool import Pool
from llmhub_core.hub.registry import Registry

FAILURE = UpstreamOverloaded("failing")


class Clock:
    """Stands in for the time module inside the room that is tested."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("llmhub_core.hub.health.time", clock)
    return clock


ECHO = Registry().discover().providers.get("echo")
PLACE = Place("p", "echo", ECHO(ECHO.Settings()), (), Timeouts())


def stats(model: str = "m", key: str = "k1") -> CandidateStats:
    return Standing(Candidate(Deployment("p", model), ProviderKey("p", key)), place=PLACE, secret=NO_SECRET)


def attempt(
    health: Health,
    one: CandidateStats,
    error: BaseException | None,
    first_byte: float | None = None,
    request: bytes = b"",
) -> None:
    health.begin(one)
    health.end(one, error, first_byte, request)


def pause_of(health: Health, one: CandidateStats, clock: Clock) -> float | None:
    until = health.blocked(one.candidate, clock.now)
    return None if until is None else until - clock.now


@pytest.mark.parametrize(
    "kind", [UpstreamOverloaded, UpstreamUnreachable, UpstreamTimeout, UpstreamGarbled, UpstreamModelMissing]
)
def test_failures_in_a_row_take_a_deployment_out(clock: Clock, kind: type[UpstreamError]) -> None:
    health, one = Health(3, 10.0), stats()
    for failures in (1, 2):
        attempt(health, one, kind("x"))
        assert pause_of(health, one, clock) is None
        assert one.failures == failures
    attempt(health, one, kind("x"))
    assert pause_of(health, one, clock) == 10.0
    assert pause_of(health, stats(key="k2"), clock) == 10.0  # the deployment, whatever the key
    assert pause_of(health, stats("other"), clock) is None


@pytest.mark.parametrize(
    "error",
    [UpstreamDenied("x"), UpstreamLimited("x"), UpstreamRefused("x"), asyncio.CancelledError(), RuntimeError("x")],
)
def test_what_says_nothing_of_a_deployment_is_not_counted(clock: Clock, error: BaseException) -> None:
    health, one = Health(1, 10.0), stats()
    for _ in range(3):
        attempt(health, one, error)
    assert pause_of(health, one, clock) is None
    assert one.in_flight == 0


def test_a_success_between_failures_begins_the_count_anew(clock: Clock) -> None:
    health, one = Health(2, 10.0), stats()
    for error in (FAILURE, None, FAILURE, None, FAILURE):
        attempt(health, one, error)
    assert pause_of(health, one, clock) is None
    assert one.failures == 1


def test_reading_takes_no_probe_and_only_one_goes_at_a_time(clock: Clock) -> None:
    health, one = Health(1, 10.0), stats()
    attempt(health, one, FAILURE)
    clock.now += 10.0
    for _ in range(3):
        assert pause_of(health, one, clock) is None
    health.begin(one)
    assert pause_of(health, one, clock) is not None
    health.end(one, None, 0.2)
    assert pause_of(health, one, clock) is None


@pytest.mark.parametrize("error", [UpstreamLimited("x"), asyncio.CancelledError()])
def test_a_probe_that_tells_nothing_leaves_the_way_to_the_next(clock: Clock, error: BaseException) -> None:
    health, one = Health(1, 10.0), stats()
    attempt(health, one, FAILURE)
    clock.now += 10.0
    attempt(health, one, error)
    assert pause_of(health, one, clock) is None


def test_each_failed_probe_doubles_the_pause_up_to_the_longest(clock: Clock) -> None:
    health, one = Health(1, 10.0), stats()
    for expected in (10.0, 20.0, 40.0, 80.0, 160.0, LONGEST_PAUSE, LONGEST_PAUSE):
        attempt(health, one, FAILURE)
        assert pause_of(health, one, clock) == expected
        clock.now += expected
    attempt(health, one, None)
    attempt(health, one, FAILURE)
    assert pause_of(health, one, clock) == 10.0  # a success forgets the pauses as well


def test_requests_that_fail_together_open_the_breaker_once(clock: Clock) -> None:
    health, one = Health(3, 10.0), stats()
    for _ in range(20):
        health.begin(one)
    for _ in range(20):
        health.end(one, FAILURE, None)
    assert pause_of(health, one, clock) == 10.0
    assert one.in_flight == 0


def test_numbers_of_a_candidate(clock: Clock) -> None:
    health, one = Health(5, 10.0), stats()
    health.begin(one)
    health.begin(one)
    assert (one.in_flight, one.picks, one.last_pick) == (2, 2, clock.now)
    health.end(one, None, 1.0)
    assert (one.in_flight, one.first_token) == (1, 1.0)
    health.end(one, None, 2.0)
    assert one.first_token == pytest.approx(1.2)
    attempt(health, one, None, None)
    assert one.first_token == pytest.approx(1.2)


def test_made_up_models_are_not_remembered_without_end(clock: Clock) -> None:
    health = Health(1, 10.0)
    for number in range(MOST_BREAKERS + 10):
        attempt(health, stats(f"m{number}"), UpstreamModelMissing("x"))
    assert pause_of(health, stats("m0"), clock) is None
    assert pause_of(health, stats(f"m{MOST_BREAKERS + 9}"), clock) == 10.0


def test_the_real_clock_is_monotonic() -> None:
    health, one = Health(1, 10.0), stats()
    attempt(health, one, FAILURE)
    until = health.blocked(one.candidate, time.monotonic())
    assert until is not None
    assert until - time.monotonic() == pytest.approx(10.0, abs=0.5)


# whose fault it is


def test_one_request_that_nobody_answers_opens_nothing(clock: Clock) -> None:
    health, standing = Health(3, 10.0), [stats("m"), stats("m", "k2"), stats("other")]
    for _ in range(5):
        for one in standing:
            attempt(health, one, FAILURE, request=b"poison")
    assert [pause_of(health, one, clock) for one in standing] == [None] * 3


def test_a_connection_that_fails_is_no_request_s_fault(clock: Clock) -> None:
    health, one = Health(3, 10.0), stats()
    for _ in range(3):
        attempt(health, one, UpstreamUnreachable("x"), request=b"the same")
    assert pause_of(health, one, clock) == 10.0


def test_different_requests_do(clock: Clock) -> None:
    health, one = Health(3, 10.0), stats()
    for request in (b"1", b"2", b"2", b"2"):
        attempt(health, one, FAILURE, request=request)
    assert pause_of(health, one, clock) is None
    attempt(health, one, FAILURE, request=b"3")
    assert pause_of(health, one, clock) == 10.0


def test_the_same_request_counts_again_when_clients_have_given_up(clock: Clock) -> None:
    health, one = Health(3, 10.0), stats()
    for expected in (None, None, 10.0):
        attempt(health, one, FAILURE, request=b"ping")
        attempt(health, one, FAILURE, request=b"ping")
        assert pause_of(health, one, clock) == expected
        clock.now += 31.0


def test_a_request_that_another_answers_tells_of_whoever_did_not(clock: Clock) -> None:
    health, ill, well = Health(3, 10.0), stats("ill"), stats("well")
    for expected in (None, None, 10.0):
        attempt(health, ill, FAILURE, request=b"the same")
        attempt(health, well, None, request=b"the same")
        assert pause_of(health, ill, clock) == expected


def test_a_provider_is_left_alone_when_several_of_its_deployments_fail(clock: Clock) -> None:
    health, one, two, idle = Health(4, 10.0), stats("one"), stats("two"), stats("idle")
    for number in range(6):
        attempt(health, one, UpstreamUnreachable("x"), request=b"%d" % number)
    assert pause_of(health, idle, clock) is None, "one deployment is not the provider"
    attempt(health, two, UpstreamUnreachable("x"), request=b"a")
    assert pause_of(health, idle, clock) is None
    attempt(health, two, UpstreamUnreachable("x"), request=b"b")
    assert pause_of(health, idle, clock) == 10.0
    assert pause_of(health, CandidateStats(Candidate(Deployment("q", "m"), ProviderKey("q", "k"))), clock) is None
    clock.now += 10.0
    health.begin(idle)
    assert pause_of(health, stats("third"), clock) is not None, "one at a time tries a provider as well"
    health.end(idle, None, 0.1)
    assert pause_of(health, stats("third"), clock) is None


def test_a_success_anywhere_at_the_provider_begins_its_count_anew(clock: Clock) -> None:
    health, one, two = Health(4, 10.0), stats("one"), stats("two")
    for number in range(12):
        attempt(health, one if number % 2 else two, FAILURE, request=b"%d" % number)
        if number % 3 == 2:
            attempt(health, stats("well"), None)
    assert pause_of(health, stats("well"), clock) is None


def test_overloaded_altogether_is_told_of_the_provider(clock: Clock) -> None:
    health, error = Health(3, 10.0), UpstreamOverloaded("x")
    error.scope = "provider"
    for request in (b"1", b"2", b"3"):
        attempt(health, stats(), error, request=request)
    assert pause_of(health, stats("other"), clock) == 10.0
    assert health.breaker("p") is not None
    health.forget_provider("p")
    assert pause_of(health, stats("other"), clock) is None
    assert pause_of(health, stats(), clock) is None


def test_a_failed_probe_of_a_known_request_leaves_the_way_to_the_next(clock: Clock) -> None:
    health, one = Health(1, 10.0), stats()
    attempt(health, one, FAILURE, request=b"1")
    clock.now += 10.0
    attempt(health, one, FAILURE, request=b"1")
    assert pause_of(health, one, clock) == 20.0
    clock.now += 20.0
    assert pause_of(health, one, clock) is None
    attempt(health, one, None, request=b"2")
    assert health.calm


# in plans


ANY_DIALECT: Any = SimpleNamespace(name="any")


def a_hub(health: Health, *routes: tuple[str, list[CandidateStats], tuple[str, ...]]) -> Any:
    """As much of a hub as a plan asks for."""
    priority = Registry().discover().strategies.get("priority")(NoSettings())
    catalog = Catalog([], priority)
    for model, standing, fallbacks in routes:
        catalog.add(Route(model, priority, standing, fallbacks=fallbacks))
    return SimpleNamespace(
        health=health,
        pool=Pool(10, 600, lambda change: None),
        catalog=catalog,
        target=lambda dialect, place: dialect,
    )


def planned(hub: Any, model: str) -> tuple[list[str], list[str]]:
    made = plan_route(hub.catalog.find(model), hub, ANY_DIALECT, turn=0)
    return [each.candidate.label for each in made.candidates], [label for label, _ in made.left_out]


def test_fallbacks_go_before_a_deployment_that_fails_and_that_before_nothing() -> None:
    health, ill, well = Health(1, 10.0), stats("ill"), stats("well")
    attempt(health, ill, FAILURE)
    hub = a_hub(health, ("fast", [ill], ("safe",)), ("safe", [well], ()), ("alone", [ill], ()))
    assert planned(hub, "fast") == (["p/well#k1"], ["p/ill#k1"])
    assert planned(hub, "alone") == (["p/ill#k1"], [])
    attempt(health, well, FAILURE)
    assert planned(hub, "fast") == (["p/ill#k1", "p/well#k1"], [])


def test_a_candidate_of_two_routes_is_planned_once() -> None:
    one, other = stats("one"), stats("other")
    hub = a_hub(Health(1, 10.0), ("fast", [one], ("safe", "fast")), ("safe", [one, other], ("fast",)))
    assert planned(hub, "fast") == (["p/one#k1", "p/other#k1"], [])

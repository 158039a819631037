"""Limits that nobody declared are known within a tenth, and hardly anything is refused meanwhile, whether headers tell
them or nothing does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from accounts import TRUTH, Account
from oracle import Oracle
from playing import Result, Run
from scenario import Request, Scenario
from virtual_time import virtual_time

HALF_AN_HOUR = 1800.0

LEARNING = 300.0
"""Seconds after which limits are known, and tried now and then."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def half_an_hour(seed: int, limits: list[int], truth: TRUTH, load: float, tells: bool = False) -> Scenario:
    """Accounts with limits of requests a minute that the hub does not know, and `load` times as many requests as all of
    them take."""
    chance = Random(seed)
    accounts = [
        [Account(f"a{number}", rpm=rpm, truth=truth, seconds=(0.3, 2.0), tells=tells)]
        for number, rpm in enumerate(limits)
    ]
    at, requests = 0.0, list[Request]()
    rate = load * sum(limits) / 60
    while (at := at + chance.expovariate(rate)) < HALF_AN_HOUR:
        output = chance.choice((64, 256))
        used = 40 + int(output * chance.uniform(0.3, 1.0))
        requests.append(Request(len(requests), at, 0, 40, output, used, chance.random(), 1.0))
    keys = {f"a{number}": 1 for number in range(len(limits))}
    return Scenario(
        seed, accounts, keys, False, "round_robin", [1] * len(limits), [0], 20.0, HALF_AN_HOUR, requests, kind="hidden"
    )


def learned(scenario: Scenario, hubs: int = 1) -> tuple[dict[str, int], list[float], Result]:
    """What the hub knows at the end, by account; when requests were refused, in seconds; and all that came of them."""
    with virtual_time() as clock:
        run = Run(scenario, clock, hubs)
        began = clock.now
        result = clock.run(run.play())
        known = {each.account: each.limit.amount for each in run.hub.learning.known()}
    refusals = [at - began for account in run.accounts.values() for at in account.refused_at]
    late = sum(at > LEARNING for at in refusals)
    print(f"learned {[*known.values()]}, {len(refusals)} of {result.upstream.total()} refused, {late} later")
    return known, refusals, result


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("limits", "truth"), [([30], "exact"), ([20, 45], "whole"), ([15, 40], "none"), ([30], "short")]
)
def test_hidden_limits_are_learned_by_the_whole_hub(limits: list[int], truth: TRUTH) -> None:
    known, refusals, result = learned(half_an_hour(1, limits, truth, 1.3))
    assert len(refusals) < 0.02 * result.upstream.total()
    late = sum(at > LEARNING for at in refusals)
    assert late < 0.01 * sum(limits) * (HALF_AN_HOUR - LEARNING) / 60
    for number, limit in enumerate(limits):
        assert known[f"group:p{number}/a{number}"] == pytest.approx(limit, rel=0.1)
    assert len(result.served) >= 0.96 * sum(limits) * 31


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("limits", "truth", "hubs"), [([15, 40], "none", 4), ([30], "whole", 2), ([60], "short", 3)])
def test_what_one_process_is_refused_all_hold_to(limits: list[int], truth: TRUTH, hubs: int) -> None:
    known, refusals, result = learned(half_an_hour(2, limits, truth, 1.3), hubs)
    assert len(refusals) < 0.02 * result.upstream.total()
    for number, limit in enumerate(limits):
        assert known[f"group:p{number}/a{number}"] == pytest.approx(limit, rel=0.1)
    assert len(result.served) >= 0.96 * sum(limits) * 31


def at_once(seed: int, limits: list[int], truth: TRUTH, load: float) -> Scenario:
    """Ten minutes with accounts that run so many requests at once."""
    scenario = half_an_hour(seed, [int(52 * limit * load) for limit in limits], truth, 1.0)
    for (account,), limit in zip(scenario.accounts, limits, strict=True):
        account.rpm, account.concurrency = 0, limit
    chance = Random(seed)
    scenario.requests = [replace(each, pace=chance.random()) for each in scenario.requests if each.at < 600.0]
    return scenario


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("limits", "truth"),
    [
        ([5], "exact"),
        pytest.param([3, 8], "none", marks=pytest.mark.soak),
        pytest.param([20], "whole", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("hubs", [1, 4])
def test_how_many_run_at_once_is_found_and_kept_to(limits: list[int], truth: TRUTH, hubs: int) -> None:
    scenario = at_once(2, limits, truth, 1.3)
    best = Oracle(at_once(2, limits, truth, 1.3), 10.0).run()
    _, refusals, result = learned(scenario, hubs)
    print(f"{len(result.served)} served of {best} that could have been")
    assert len(refusals) < 0.02 * result.upstream.total()
    assert len(result.served) >= 0.92 * best


@pytest.mark.timeout(300)
@pytest.mark.parametrize("limits", [[30], [20, 45]])
def test_limits_that_headers_tell_are_kept_to_from_the_beginning(limits: list[int]) -> None:
    known, refusals, result = learned(half_an_hour(1, limits, "exact", 1.3, tells=True))
    assert len(refusals) < 0.02 * result.upstream.total()
    assert [known[f"group:p{number}/a{number}"] for number, _ in enumerate(limits)] == limits
    assert len(result.served) >= 0.98 * sum(limits) * 30

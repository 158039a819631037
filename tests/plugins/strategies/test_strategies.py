"""The orders of candidates: what each strategy promises beyond the suite."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from llmhub_plugins.strategies.cheapest import Cheapest
from llmhub_plugins.strategies.least_busy import LeastBusy
from llmhub_plugins.strategies.least_used import LeastUsed
from llmhub_plugins.strategies.lowest_latency import LowestLatency
from llmhub_plugins.strategies.most_quota_left import MostQuotaLeft
from llmhub_plugins.strategies.priority import Priority
from llmhub_plugins.strategies.round_robin import RoundRobin
from llmhub_plugins.strategies.weighted import Weighted

from llmhub_core.contracts import CandidateStats, Choice, NoSettings, Strategy
from llmhub_core.testing.strategy import CHOICES, StrategySuite, a_candidate

DRAWS = 10_000


class TestPriority(StrategySuite):
    strategy = Priority(NoSettings())


class TestRoundRobin(StrategySuite):
    strategy = RoundRobin(NoSettings())


class TestWeighted(StrategySuite):
    strategy = Weighted(NoSettings())


class TestLeastBusy(StrategySuite):
    strategy = LeastBusy(NoSettings())


class TestLeastUsed(StrategySuite):
    strategy = LeastUsed(NoSettings())


class TestLowestLatency(StrategySuite):
    strategy = LowestLatency(NoSettings())


class TestCheapest(StrategySuite):
    strategy = Cheapest(NoSettings())


class TestMostQuotaLeft(StrategySuite):
    strategy = MostQuotaLeft(NoSettings())


ALL = [cls(NoSettings()) for cls in (Priority, Weighted, LeastBusy, LeastUsed, LowestLatency, Cheapest, MostQuotaLeft)]
"""Those that look at priorities first."""

NEVER = 0.0


def models(strategy: Strategy, standing: list[CandidateStats], turn: int = 0, draw: float = 0.0) -> list[str]:
    return [stats.candidate.deployment.model for stats in strategy.order(Choice("fast", turn, draw), standing)]


def levels() -> list[CandidateStats]:
    """Shuffled; the names sort as the levels do."""
    return [
        a_candidate("2b", priority=2, key_priority=3),
        a_candidate("1b", priority=1, key_priority=2),
        a_candidate("3", priority=9),
        a_candidate("1a", priority=1, key_priority=1),
        a_candidate("2a", priority=2, key_priority=1),
        a_candidate("1a", priority=1, key_priority=1),
    ]


@pytest.mark.parametrize("strategy", ALL, ids=lambda each: each.name)
def test_the_deployments_priority_comes_first_then_the_keys(strategy: Strategy) -> None:
    standing = levels()
    for place, stats in enumerate(standing):
        # The better it looks otherwise, the worse its priority.
        worse = stats.candidate.deployment.priority * 10 + stats.candidate.key.priority
        stats.in_flight, stats.first_token, stats.price = 100 - worse, 100.0 - worse, 100.0 - worse
        stats.quota_left, stats.last_pick = worse / 100, float(place)
    for choice in CHOICES:
        ordered = models(strategy, standing, choice.turn, choice.draw)
        assert ordered == sorted(ordered)


def test_equals_take_turns() -> None:
    standing = [a_candidate("a"), a_candidate("b"), a_candidate("c"), a_candidate("z", priority=2)]
    orders = ["".join(models(TestPriority.strategy, standing, turn)) for turn in range(4)]
    assert orders == ["abcz", "bcaz", "cabz", "abcz"]


def test_round_robin_knows_no_priority() -> None:
    standing = [a_candidate("a", priority=9), a_candidate("b", weight=0), a_candidate("c")]
    orders = ["".join(models(TestRoundRobin.strategy, standing, turn)) for turn in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


@pytest.mark.parametrize("strategy", [TestPriority.strategy, TestRoundRobin.strategy], ids=lambda each: each.name)
def test_turns_are_shared_out_evenly(strategy: Strategy) -> None:
    standing = [a_candidate(name) for name in "abcde"]
    firsts = Counter(models(strategy, standing, turn)[0] for turn in range(DRAWS))
    assert set(firsts.values()) == {DRAWS // 5}


def test_weights_are_respected() -> None:
    standing = [a_candidate("a", weight=1), a_candidate("b", weight=2, key_weight=3), a_candidate("c", weight=3)]
    draws = random.Random(7)
    firsts = Counter(models(TestWeighted.strategy, standing, draw=draws.random())[0] for _ in range(DRAWS))
    for name, share in {"a": 0.1, "b": 0.6, "c": 0.3}.items():
        # Five standard deviations of a binomial distribution.
        assert abs(firsts[name] - DRAWS * share) < 5 * (DRAWS * share * (1 - share)) ** 0.5


def test_the_rest_stands_by_weight() -> None:
    standing = [a_candidate("a", weight=1), a_candidate("b", weight=5), a_candidate("c", weight=3)]
    assert models(TestWeighted.strategy, standing, draw=0.0) == ["a", "b", "c"]
    assert models(TestWeighted.strategy, standing, draw=0.999) == ["c", "b", "a"]


def test_weight_nought_comes_last() -> None:
    standing = [a_candidate("off", weight=0), a_candidate("a"), a_candidate("off", key_weight=0), a_candidate("b")]
    for choice in CHOICES:
        if choice.draw < 1:
            assert models(TestWeighted.strategy, standing, draw=choice.draw)[2:] == ["off", "off"]


def test_a_level_of_nothing_but_noughts_is_still_used() -> None:
    standing = [a_candidate("b", priority=2), a_candidate("a", weight=0)]
    assert models(TestWeighted.strategy, standing, draw=0.5) == ["a", "b"]


# least_busy


def busy(model: str, in_flight: int, weight: int = 1, key_weight: int = 1) -> CandidateStats:
    stats = a_candidate(model, weight=weight, key_weight=key_weight)
    stats.in_flight = in_flight
    return stats


def test_load_is_measured_by_weight() -> None:
    standing = [busy("a", 2), busy("b", 5, weight=2, key_weight=3), busy("c", 0, weight=0), busy("d", 3, weight=2)]
    for choice in CHOICES:
        assert "".join(models(TestLeastBusy.strategy, standing, choice.turn)) == "bdac"


def test_the_equally_busy_take_turns_by_weight() -> None:
    standing = [busy("a", 1), busy("b", 3, weight=3), busy("c", 6, weight=6), busy("z", 2)]
    firsts = Counter(models(TestLeastBusy.strategy, standing, turn)[0] for turn in range(DRAWS))
    for name, share in {"a": 0.1, "b": 0.3, "c": 0.6}.items():
        assert firsts[name] == pytest.approx(DRAWS * share, abs=5)
    # Not ten of the one and then ten of the other: any ten turns in a row are shared out nearly as all are.
    for start in range(0, 1000, 7):
        some = Counter(models(TestLeastBusy.strategy, standing, turn)[0] for turn in range(start, start + 10))
        assert some["c"] in range(5, 8)


def test_nothing_but_weight_nought_takes_turns_as_well() -> None:
    standing = [busy("a", 0, weight=0), busy("b", 9, weight=0)]
    assert {models(TestLeastBusy.strategy, standing, turn)[0] for turn in (0, 1)} == {"a", "b"}


# least_used


def used(model: str, picks: int, weight: int = 1, key_weight: int = 1) -> CandidateStats:
    stats = a_candidate(model, weight=weight, key_weight=key_weight)
    stats.picks = picks
    return stats


def test_use_is_measured_by_weight() -> None:
    standing = [used("a", 20), used("b", 50, weight=2, key_weight=3), used("c", 0, weight=0), used("d", 30, weight=2)]
    for choice in CHOICES:
        assert "".join(models(TestLeastUsed.strategy, standing, choice.turn)) == "bdac"


def test_who_was_used_as_often_takes_turns() -> None:
    standing = [used("a", 7), used("b", 7), used("z", 8)]
    assert ["".join(models(TestLeastUsed.strategy, standing, turn)) for turn in range(4)] == [
        "abz",
        "baz",
        "abz",
        "baz",
    ]


def test_use_evens_out_by_weight_whatever_it_was_before() -> None:
    standing = [used("a", 400), used("b", 0, weight=2), used("c", 90, key_weight=3)]
    for turn in range(DRAWS):
        TestLeastUsed.strategy.order(Choice("fast", turn, 0.0), standing)[0].picks += 1
    total = sum(stats.picks for stats in standing)
    for stats, weight in zip(standing, (1, 2, 3), strict=True):
        assert stats.picks == pytest.approx(total * weight / 6, abs=2)


# lowest_latency


def known(model: str, first_token: float | None, last_pick: float = 100.0, failures: int = 0) -> CandidateStats:
    stats = a_candidate(model)
    stats.first_token, stats.last_pick, stats.failures = first_token, last_pick, failures
    return stats


def firsts_by_latency(*standing: CandidateStats) -> Counter[str]:
    """Who comes first, over draws that lie evenly between 0 and 1."""
    draws = [(n + 0.5) / DRAWS for n in range(DRAWS)]
    return Counter(models(TestLowestLatency.strategy, [*standing], draw=draw)[0] for draw in draws)


def test_of_two_the_faster_one_is_taken() -> None:
    assert firsts_by_latency(known("slow", 2.0), known("fast", 0.5)) == {"fast": DRAWS}


def test_of_many_the_fastest_is_taken_whenever_it_is_drawn() -> None:
    found = firsts_by_latency(known("a", 0.1), known("b", 0.2), known("c", 0.3), known("d", 0.4))
    # Of the six pairs three have a, two more have b, one more has c; d is never the better one.
    assert {name: round(share / DRAWS * 6, 2) for name, share in found.items()} == {"a": 3, "b": 2, "c": 1}


def test_behind_the_two_the_rest_stands_by_latency() -> None:
    standing = [known("d", 0.4), known("b", 0.2), known("a", 0.1), known("c", 0.3)]
    assert models(TestLowestLatency.strategy, standing, draw=0.0) == ["b", "d", "a", "c"]


def test_the_unknown_is_explored_by_one_request_at_a_time() -> None:
    new = known("new", None, last_pick=NEVER)
    assert firsts_by_latency(known("fast", 0.1), new) == {"new": DRAWS}
    new.in_flight, new.last_pick = 1, 100.0
    assert firsts_by_latency(known("fast", 0.1), new) == {"fast": DRAWS}


def test_failing_fast_is_not_fast() -> None:
    fine, failing = known("fine", 3.0), known("failing", 0.01, failures=1)
    assert firsts_by_latency(fine, failing) == {"fine": DRAWS}
    assert firsts_by_latency(fine, known("failing", None, failures=1)) == {"fine": DRAWS}, "nor is it unknown"


def test_the_slow_and_the_failing_are_tried_again_by_and_by() -> None:
    for last_pick, expected in ((90.0, "fast"), (50.0, "again")):
        assert firsts_by_latency(known("fast", 0.5), known("again", 5.0, last_pick)) == {expected: DRAWS}
    for last_pick, expected in ((70.0, "fast"), (40.0, "again")):
        assert firsts_by_latency(known("fast", 0.5), known("again", 0.1, last_pick, failures=2)) == {expected: DRAWS}


def test_long_unasked_is_no_number_too_large() -> None:
    assert firsts_by_latency(known("now", 0.5, last_pick=1e9), known("once", 5.0, last_pick=1.0)) == {"once": DRAWS}


def test_who_lets_requests_pile_up_stops_being_fast() -> None:
    silent = known("silent", 0.2)
    silent.in_flight = 50
    assert firsts_by_latency(known("fine", 0.5), silent) == {"fine": DRAWS}


# cheapest


def priced(model: str, price: float | None) -> CandidateStats:
    stats = a_candidate(model)
    stats.price = price
    return stats


def test_the_cheapest_comes_first_and_unknown_prices_last() -> None:
    standing = [priced("c", None), priced("b", 2.0), priced("free", 0.0), priced("a", 0.5), priced("d", None)]
    for choice in CHOICES:
        assert models(TestCheapest.strategy, standing, choice.turn) == ["free", "a", "b", "c", "d"]


@pytest.mark.parametrize("price", [1.0, None])
def test_equal_prices_take_turns(price: float | None) -> None:
    standing = [priced("a", price), priced("b", price), priced("c", price)]
    if price is not None:
        standing.append(priced("z", 5.0))
    firsts = [models(TestCheapest.strategy, standing, turn)[0] for turn in range(6)]
    assert firsts == [*"abcabc"]


# most_quota_left


def test_the_most_quota_comes_first() -> None:
    standing = [a_candidate(name) for name in "abcd"]
    for stats, left in zip(standing, (0.0, 0.5, 0.9, 0.5), strict=True):
        stats.quota_left = left
    for choice in CHOICES:
        assert "".join(models(TestMostQuotaLeft.strategy, standing, choice.turn)) == "cbda"


def test_who_has_as_much_left_takes_turns() -> None:
    standing = [a_candidate(name) for name in "abc"]
    standing[0].quota_left = 0.5
    assert [models(TestMostQuotaLeft.strategy, standing, turn)[0] for turn in range(4)] == [*"bcbc"]

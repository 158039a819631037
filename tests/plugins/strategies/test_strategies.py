"""The orders of candidates: what each strategy promises beyond the suite."""

from __future__ import annotations

import random
from collections import Counter

import pytest
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


@pytest.mark.parametrize("strategy", [TestPriority.strategy, TestWeighted.strategy], ids=lambda each: each.name)
def test_the_deployments_priority_comes_first_then_the_keys(strategy: Strategy) -> None:
    for choice in CHOICES:
        ordered = models(strategy, levels(), choice.turn, choice.draw)
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

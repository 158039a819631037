"""The suite that every strategy must pass.

    class TestMine(StrategySuite):
        strategy = Mine(Mine.Settings())

`a_candidate` helps with tests of what is special about yours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from llmhub_core.contracts import Candidate, CandidateStats, Choice, Deployment, Equals, ProviderKey, Strategy
from llmhub_core.testing.plugin import PluginSuite

CHOICES = [
    Choice("fast", turn, draw)
    for turn in (0, 1, 2, 7, 1_000_003)
    for draw in (0.0, 0.1, 0.25, 0.5, 0.999, 1 - 2**-53, 1.0)
]
"""What requests may bring; `draw` is below 1 in life, and a strategy that holds at 1 too needs no proof."""


def a_candidate(
    model: str = "m", *, priority: int = 1, weight: int = 1, key: str = "k", key_priority: int = 1, key_weight: int = 1
) -> CandidateStats:
    """A candidate that was never used; set its live numbers as a test needs them."""
    deployment = Deployment("place", model, priority, weight)
    return CandidateStats(Candidate(deployment, ProviderKey("place", key, key_priority, key_weight)))


def standings() -> Iterator[list[CandidateStats]]:
    """Sets of candidates, from none to many, as different as they come."""
    yield []
    yield [a_candidate()]
    yield [a_candidate(key="k1"), a_candidate(key="k2"), a_candidate(key="k3")]
    yield [a_candidate("a", weight=0), a_candidate("b", weight=0, key_weight=0)]
    yield [a_candidate("a", priority=3), a_candidate("b"), a_candidate("c", priority=2, key_priority=9)]
    many = [
        a_candidate(f"m{n}", priority=n % 3, weight=n % 4, key=f"k{n % 2}", key_priority=n % 2, key_weight=1 + n % 5)
        for n in range(20)
    ]
    for place, stats in enumerate(many):
        stats.in_flight, stats.picks, stats.failures = place % 4, 3 * place, place % 3
        stats.last_pick = float(place)
        stats.first_token = None if place % 5 == 0 else place / 10
        stats.quota_left = (place % 11) / 10
    yield many


class StrategySuite(PluginSuite):
    """Subclass it, name the strategy, and pytest runs every test below against it."""

    strategy: ClassVar[Strategy]

    @classmethod
    def plugin_class(cls) -> type[Strategy]:
        return type(cls.strategy)

    @pytest.mark.parametrize("standing", [*standings()], ids=len)
    def test_the_order_has_all_candidates_once(self, standing: list[CandidateStats]) -> None:
        for choice in CHOICES:
            ordered = self.strategy.order(choice, standing)
            assert len(ordered) == len(standing), "a candidate was lost or doubled"
            assert {id(stats) for stats in ordered} == {id(stats) for stats in standing}, "not the objects given"

    @pytest.mark.parametrize("standing", [*standings()], ids=len)
    def test_the_same_choice_has_the_same_order(self, standing: list[CandidateStats]) -> None:
        first = [self._labels(choice, standing) for choice in CHOICES]
        assert [self._labels(choice, standing) for choice in CHOICES] == first
        backwards = [self._labels(choice, standing) for choice in reversed(CHOICES)]
        assert backwards[::-1] == first, "an earlier call changed a later one"

    @pytest.mark.parametrize("standing", [*standings()], ids=len)
    def test_nothing_shown_is_changed(self, standing: list[CandidateStats]) -> None:
        places, numbers = [*standing], [_numbers(stats) for stats in standing]
        for choice in CHOICES:
            self.strategy.order(choice, standing)
        assert standing == places, "the sequence itself was reordered"
        assert [_numbers(stats) for stats in standing] == numbers

    @pytest.mark.parametrize("standing", [*standings()], ids=len)
    def test_any_sequence_will_do(self, standing: list[CandidateStats]) -> None:
        for choice in CHOICES:
            assert [*self.strategy.order(choice, tuple(standing))] == [*self.strategy.order(choice, standing)]

    @pytest.mark.parametrize("standing", [*standings()], ids=len)
    def test_a_shortlist_comes_to_all_candidates_once(self, standing: list[CandidateStats]) -> None:
        if type(self.strategy).shortlist is Strategy.shortlist or not standing:
            return
        before = [_numbers(stats) for stats in standing]
        for choice in CHOICES:
            equals = Equals(standing)
            drawn = self._drawn(choice, equals)
            assert len(drawn) == len(standing), "a candidate was lost or doubled"
            assert {id(stats) for stats in drawn} == {id(stats) for stats in standing}, "not the objects given"
            assert self._drawn(choice, equals) == drawn == self._drawn(choice, Equals(standing)), "not always the same"
        assert [_numbers(stats) for stats in standing] == before

    def _drawn(self, choice: Choice, equals: Equals) -> list[CandidateStats]:
        return [*(self.strategy.shortlist(choice, equals) or ())]

    def _labels(self, choice: Choice, standing: Sequence[CandidateStats]) -> list[int]:
        return [id(stats) for stats in self.strategy.order(choice, standing)]


def _numbers(stats: CandidateStats) -> tuple[object, ...]:
    return tuple(copy.deepcopy(getattr(stats, name)) for name in CandidateStats.__slots__)

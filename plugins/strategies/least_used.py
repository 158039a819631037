"""Fewest attempts so far for its weight; those with as many take turns.

Attempts count since the hub began, reloads included: whoever is added later comes first until it has caught up.
Weight is deployment weight × key weight: with 2 a candidate is asked as often as two others. Priorities come first. A
candidate of weight 0 is used only when all others of its level are out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from llmhub_core.contracts import (
    GOLDEN,
    CandidateStats,
    Choice,
    Equals,
    Strategy,
    by_weight,
    hookimpl,
    priority_levels,
)


class LeastUsed(Strategy):
    name = "least_used"
    reads = ("picks",)

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            ordered += _least_used_first(equals, choice.turn) if len(equals) > 1 else equals
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return by_weight(equals, choice.turn * GOLDEN % 1.0)


def _least_used_first(equals: list[CandidateStats], turn: int) -> list[CandidateStats]:
    by_use = sorted(equals, key=_use)
    least = _use(by_use[0])
    alike = 1
    while alike < len(by_use) and _use(by_use[alike]) == least:
        alike += 1
    by_use.insert(0, by_use.pop(turn % alike))
    return by_use


def _use(stats: CandidateStats) -> float:
    weight = stats.candidate.deployment.weight * stats.candidate.key.weight
    return stats.picks / weight if weight else inf


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [LeastUsed]

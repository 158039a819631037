"""Fewest requests in flight for its weight; equals take turns in proportion to their weights.

Weight is deployment weight × key weight: with 2 a candidate may be as busy as two others. Priorities come first. A
candidate of weight 0 is used only when all others of its level are out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from llmhub_core.contracts import GOLDEN, CandidateStats, Choice, Equals, Strategy, by_weight, hookimpl, priority_levels


class LeastBusy(Strategy):
    name = "least_busy"
    reads = ("in_flight",)

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            ordered += _least_busy_first(equals, choice.turn) if len(equals) > 1 else equals
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return by_weight(equals, choice.turn * GOLDEN % 1.0)


def _least_busy_first(equals: list[CandidateStats], turn: int) -> list[CandidateStats]:
    weights = [stats.candidate.deployment.weight * stats.candidate.key.weight for stats in equals]
    loads = [stats.in_flight / weight if weight else inf for stats, weight in zip(equals, weights, strict=True)]
    order = sorted(range(len(equals)), key=loads.__getitem__)
    least = loads[order[0]]
    idlest = 1
    while idlest < len(order) and loads[order[idlest]] == least:
        idlest += 1
    first = _whose_turn([weights[place] for place in order[:idlest]], turn)
    order.insert(0, order.pop(first))
    return [equals[place] for place in order]


def _whose_turn(weights: list[int], turn: int) -> int:
    """The index whose share of the weights this turn falls on."""
    if not any(weights):
        return turn % len(weights)
    left = turn * GOLDEN % 1.0 * sum(weights)
    for index, weight in enumerate(weights):
        if left < weight:
            return index
        left -= weight
    return 0


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [LeastBusy]

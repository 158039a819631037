"""By chance, in proportion to deployment weight × key weight; priorities first, weights among equals.

A candidate of weight 0 is used only when all others of its level are out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Equals, Strategy, by_weight, hookimpl, priority_levels


class Weighted(Strategy):
    name = "weighted"
    reads = ()

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            ordered += _draw(equals, choice.draw)
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return by_weight(equals, choice.draw)


def _draw(standing: list[CandidateStats], draw: float) -> list[CandidateStats]:
    """The one that `draw` falls on, then the rest by weight: one number between 0 and 1 decides the whole order."""
    weights = [stats.candidate.deployment.weight * stats.candidate.key.weight for stats in standing]
    left = draw * sum(weights)
    chosen = 0
    for index, weight in enumerate(weights):
        if left < weight:
            chosen = index
            break
        left -= weight
    rest = sorted((i for i in range(len(standing)) if i != chosen), key=lambda i: -weights[i])
    return [standing[chosen], *(standing[i] for i in rest)]


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [Weighted]

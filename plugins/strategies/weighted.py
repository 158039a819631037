"""By chance, in proportion to deployment weight × key weight; priorities first, weights among equals.

A candidate of weight 0 is used only when all others of its level are out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Strategy, hookimpl


class Weighted(Strategy):
    name = "weighted"

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        levels: dict[tuple[int, int], list[CandidateStats]] = {}
        for stats in standing:
            candidate = stats.candidate
            levels.setdefault((candidate.deployment.priority, candidate.key.priority), []).append(stats)
        ordered: list[CandidateStats] = []
        for level in sorted(levels):
            ordered += _draw(levels[level], choice.draw)
        return ordered


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

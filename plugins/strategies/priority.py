"""Lowest priority number first; among equals each in turn, so that no key is worn out alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Strategy, hookimpl


class Priority(Strategy):
    name = "priority"

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        levels: dict[tuple[int, int], list[CandidateStats]] = {}
        for stats in standing:
            candidate = stats.candidate
            levels.setdefault((candidate.deployment.priority, candidate.key.priority), []).append(stats)
        ordered: list[CandidateStats] = []
        for level in sorted(levels):
            equals = levels[level]
            first = choice.turn % len(equals)
            ordered += equals[first:] + equals[:first]
        return ordered


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [Priority]

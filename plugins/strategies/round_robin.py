"""Each candidate in turn, priorities and weights left aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Strategy, hookimpl


class RoundRobin(Strategy):
    name = "round_robin"
    reads = ()

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        first = choice.turn % len(standing) if standing else 0
        return [*standing[first:], *standing[:first]]


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [RoundRobin]

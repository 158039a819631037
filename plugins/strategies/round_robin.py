"""Each candidate in turn, priorities and weights left aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Equals, Strategy, hookimpl, in_turn


class RoundRobin(Strategy):
    name = "round_robin"
    reads = ()
    by_priority = False

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        first = choice.turn % len(standing) if standing else 0
        return [*standing[first:], *standing[:first]]

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return in_turn(equals.members, choice.turn % len(equals.members))


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [RoundRobin]

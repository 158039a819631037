"""Lowest priority number first; among equals each in turn, so that no key is worn out alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Equals, Strategy, hookimpl, in_turn, priority_levels


class Priority(Strategy):
    name = "priority"
    reads = ()

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            first = choice.turn % len(equals)
            ordered += equals[first:] + equals[:first]
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return in_turn(equals.members, choice.turn % len(equals.members))


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [Priority]

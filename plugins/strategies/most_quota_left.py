"""Largest share of its tightest limit left first, so that all run out together; equals take turns.

Candidates without limits have everything left. Priorities come first; weights are left aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from llmhub_core.contracts import CandidateStats, Choice, Equals, Strategy, hookimpl, in_turn, priority_levels

_quota_left = attrgetter("quota_left")


class MostQuotaLeft(Strategy):
    name = "most_quota_left"
    reads = ("quota_left",)

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            ordered += _most_first(equals, choice.turn) if len(equals) > 1 else equals
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return in_turn(equals.members, int(choice.draw * len(equals.members)) % len(equals.members))


def _most_first(equals: list[CandidateStats], turn: int) -> list[CandidateStats]:
    by_quota = sorted(equals, key=_quota_left, reverse=True)
    most = by_quota[0].quota_left
    alike = 1
    while alike < len(by_quota) and by_quota[alike].quota_left == most:
        alike += 1
    first = turn % alike
    return by_quota[first:alike] + by_quota[:first] + by_quota[alike:]


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [MostQuotaLeft]

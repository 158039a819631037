"""Of two drawn at random, whoever lately took less time to the first token; then the rest, fastest first.

Two and not all, so that not everybody runs to the same place at once. Who was never asked is tried first, one request
at a time. Failures count as time: answering errors fast is not fast. What is known of a candidate counts for less the
longer ago it was asked, so that a slow or failing one is tried again by and by. Priorities come first; weights are left
aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import exp2, sqrt

from llmhub_core.contracts import CandidateStats, Choice, Equals, Strategy, hookimpl, priority_levels, scattered

PENALTY = 10.0
"""Seconds that each failure in a row counts for, and so does being tried for the first time at this moment."""

HALVING = 10.0
"""Seconds unasked after which what is known of a candidate counts for half."""


class LowestLatency(Strategy):
    name = "lowest_latency"
    reads = ("first_token", "failures", "in_flight", "last_pick")

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            ordered += _fastest_first(equals, choice.draw) if len(equals) > 1 else equals
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        return scattered(equals.members, choice.draw)


def _fastest_first(equals: list[CandidateStats], draw: float) -> list[CandidateStats]:
    one, other = _two_of(len(equals), draw)
    if _sooner(equals[other], equals[one]):
        one, other = other, one
    rest = [stats for place, stats in enumerate(equals) if place != one and place != other]
    rest.sort(key=_expected)
    return [equals[one], equals[other], *rest]


def _two_of(count: int, draw: float) -> tuple[int, int]:
    """Two different indices below `count`, all pairs equally likely."""
    pairs = count * (count - 1)
    one, other = divmod(min(int(draw * pairs), pairs - 1), count - 1)
    return one, other + (other >= one)


def _sooner(one: CandidateStats, other: CandidateStats) -> bool:
    """Whether `one` promises its first token before `other` does."""
    older = other.last_pick - one.last_pick  # how much longer ago `one` was asked
    if older < 0:
        return _expected(one) < _expected(other) * exp2(older / HALVING)
    return _expected(one) * exp2(-older / HALVING) < _expected(other)


def _expected(stats: CandidateStats) -> float:
    """Seconds to the first token, and more the busier it is: who suddenly stops answering would otherwise look fast
    until the first request runs out of time. The root keeps long answers from counting like a slow start."""
    known = stats.first_token
    seconds = (PENALTY if stats.in_flight else 0.0) if known is None else known
    return (seconds + PENALTY * stats.failures) * sqrt(1 + stats.in_flight)


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [LowestLatency]

"""Lowest price first, unknown prices last; equal prices take turns.

The price is that of three input tokens to one output token: the operator's own where both are set on the deployment,
else the price table's. Priorities come first; weights are left aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from llmhub_core.contracts import CandidateStats, Choice, Equals, Strategy, hookimpl, in_turn, priority_levels


class Cheapest(Strategy):
    name = "cheapest"
    reads = ("price",)

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        if len(standing) < 2:
            return standing
        ordered: list[CandidateStats] = []
        for equals in priority_levels(standing):
            ordered += _cheapest_first(equals, choice.turn) if len(equals) > 1 else equals
        return ordered

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats]:
        for alike in equals.once("prices", _by_price):
            yield from in_turn(alike, choice.turn % len(alike))


def _cheapest_first(equals: list[CandidateStats], turn: int) -> list[CandidateStats]:
    by_price = sorted(equals, key=_price)
    least = _price(by_price[0])
    alike = 1
    while alike < len(by_price) and _price(by_price[alike]) == least:
        alike += 1
    first = turn % alike
    return by_price[first:alike] + by_price[:first] + by_price[alike:]


def _by_price(members: Sequence[CandidateStats]) -> list[list[CandidateStats]]:
    alike: dict[float, list[CandidateStats]] = {}
    for stats in members:
        alike.setdefault(_price(stats), []).append(stats)
    return [alike[price] for price in sorted(alike)]


def _price(stats: CandidateStats) -> float:
    return inf if stats.price is None else stats.price


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [Cheapest]

"""What a strategy decided, in a form that can be read and made again."""

from __future__ import annotations

from collections.abc import Sequence

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.exchange import Decision
from llmhub_core.contracts.strategy import Choice, Strategy, warm_first

MOST_NOTED = 64
"""Candidates of one order that a record has: the first of them, and how many there were."""


def order_by(strategy: Strategy, choice: Choice, standing: Sequence[CandidateStats]) -> list[CandidateStats]:
    """All of `standing`, best first, and the warm one before its equals."""
    order = strategy.order(choice, standing)
    return list(warm_first(order, choice.warm) if choice.warm else order)


def decided(strategy: Strategy, choice: Choice, order: Sequence[CandidateStats], last_resort: bool = False) -> Decision:
    noted = order if len(order) <= MOST_NOTED else order[:MOST_NOTED]
    # By position: with names it costs several times as much.
    decision = Decision(
        choice.route, strategy.name, choice.turn, choice.draw, [stats.candidate.label for stats in noted]
    )
    if strategy.reads:
        decision.numbers = {name: [getattr(stats, name) for stats in noted] for name in strategy.reads}
    if choice.affinity:
        decision.affinity, decision.warm = choice.affinity, choice.warm
        if choice.warm and "quota_left" not in decision.numbers:
            decision.numbers["quota_left"] = [stats.quota_left for stats in noted]
    if len(noted) < len(order):
        decision.of = len(order)
    if last_resort:
        decision.last_resort = True
    return decision

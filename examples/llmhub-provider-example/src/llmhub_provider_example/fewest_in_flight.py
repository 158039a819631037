"""Whoever works on the fewest requests comes first; equals take turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmhub_core.contracts import CandidateStats, Choice, Strategy, hookimpl


class FewestInFlight(Strategy):
    """Looks at nothing but the attempts that run now: priorities and weights are left aside."""

    name = "fewest_in_flight"  # the word for `strategy` in config.toml

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        first = choice.turn % len(standing) if standing else 0
        in_turn = [*standing[first:], *standing[:first]]
        return sorted(in_turn, key=lambda stats: stats.in_flight)  # stable: equals stay in turn


@hookimpl
def register_strategies() -> Iterable[type[Strategy]]:
    return [FewestInFlight]

"""Puts a route's candidates in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.plugin import Plugin


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy may know of the request: the route's name, how often the route was asked before (`turn`,
    rising by one a request) and a `draw` between 0 and 1. With these given, the same order comes out again,
    which is what makes a decision explainable."""

    route: str
    turn: int
    draw: float


class Strategy(Plugin):
    """Pure: no I/O, no clock, no randomness of its own, and it changes nothing that it is shown."""

    @abstractmethod
    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        """All of `standing`, best first. Candidates that cannot be used were taken out before."""


def priority_levels(standing: Sequence[CandidateStats]) -> list[list[CandidateStats]]:
    """`standing` by priority, the deployment's before the key's, lowest number first: most strategies decide only
    among the equals of a level. Equals stay in the order given, and every level has at least one."""
    levels: dict[tuple[int, int], list[CandidateStats]] = {}
    for stats in standing:
        candidate = stats.candidate
        priority = (candidate.deployment.priority, candidate.key.priority)
        equals = levels.get(priority)
        if equals is None:
            levels[priority] = [stats]
        else:
            equals.append(stats)
    return [levels[priority] for priority in sorted(levels)]

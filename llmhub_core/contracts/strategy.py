"""Puts a route's candidates in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.plugin import Plugin

LIVE_NUMBERS = ("in_flight", "picks", "last_pick", "first_token", "failures", "quota_left", "quota_step", "price")
"""Those of `CandidateStats` that a strategy may decide by."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy may know of the request: the route's name, how often the route was asked before (`turn`,
    rising by one a request) and a `draw` between 0 and 1. With these given, the same order comes out again,
    which is what makes a decision explainable.

    On a route with affinity, `affinity` is the same for all requests of a conversation ("" if it is not known), and
    `warm` the label of the candidate that served it last and probably has its prompt in a cache ("" if none does).
    After the strategy has ordered, `warm_first` puts that one before its equals: a strategy need not.
    """

    route: str
    turn: int
    draw: float
    affinity: str = ""
    warm: str = ""


class Strategy(Plugin):
    """Pure: no I/O, no clock, no randomness of its own, and it changes nothing that it is shown.

    `reads` names the numbers of `CandidateStats` that the order depends on: they are noted with each decision, so that
    it can be made again (`llm-hub replay`). Without a word of it all are noted.
    """

    reads: ClassVar[tuple[str, ...]] = LIVE_NUMBERS

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


def warm_first(order: Sequence[CandidateStats], warm: str) -> Sequence[CandidateStats]:
    """`order` with the candidate labelled `warm` in front, if it is of the first one's priority and has quota left:
    priorities are the operator's word, and a cache is no reason to ask whoever has to refuse."""
    for stats in order:
        candidate = stats.candidate
        if candidate.label == warm:
            first = order[0].candidate
            level = (candidate.deployment.priority, candidate.key.priority)
            if level != (first.deployment.priority, first.key.priority) or stats.quota_left <= 0.0:
                break
            return [stats, *(each for each in order if each is not stats)]
    return order

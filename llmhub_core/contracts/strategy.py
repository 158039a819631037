"""Puts a route's candidates in order."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from math import gcd
from typing import Any, ClassVar, TypeVar

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.plugin import Plugin

T = TypeVar("T")

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
    by_priority: ClassVar[bool] = True
    """Whether priorities come first: what `shortlist` is asked about are then candidates of one priority."""

    @abstractmethod
    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        """All of `standing`, best first. Candidates that cannot be used were taken out before."""

    def shortlist(self, choice: Choice, equals: Equals) -> Iterator[CandidateStats] | None:
        """All of `equals` by and by, so that the first few are good ones to choose among: in turn, by chance, by
        weight, by what does not change while the hub runs. Of very many candidates `order` is then given the first few
        that can be used, with turn and draw 0, for these have had their say here. It must not look at all of them.

        None: `order` is given all, however many, which then takes its time.
        """
        return None


GOLDEN = 0.6180339887498949
"""Multiples of it, each less its whole part, lie evenly between 0 and 1 however few are taken."""


class Equals:
    """Candidates among which a strategy decides, in the route's order, and what it once worked out about them."""

    __slots__ = ("_found", "members")

    def __init__(self, members: Iterable[CandidateStats]) -> None:
        self.members = tuple(members)
        self._found: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[Sequence[CandidateStats]], T]) -> T:
        """What `make` says of the members; asked when it is first wanted."""
        if name not in self._found:
            self._found[name] = make(self.members)
        found: T = self._found[name]
        return found


def in_turn(members: Sequence[CandidateStats], first: int) -> Iterator[CandidateStats]:
    """All, beginning with the one at `first`."""
    return map(members.__getitem__, chain(range(first, len(members)), range(first)))


def scattered(members: Sequence[CandidateStats], draw: float) -> Iterator[CandidateStats]:
    """All, as if drawn by chance: `draw`, between 0 and 1, says whom to begin with and how far to go each time."""
    count = len(members)
    place, step = int(draw * count) % count, 1 + int(draw * 2**20 % 1.0 * (count - 1))
    while gcd(step, count) > 1:
        step += 1
    for _ in range(count):
        yield members[place]
        place = (place + step) % count


def by_weight(equals: Equals, at: float) -> Iterator[CandidateStats]:
    """All, beginning with the one on whose share of the weights `at`, between 0 and 1, falls, and then those behind it;
    weight 0 comes last."""
    members, sums = equals.members, equals.once("weights", _sums)
    count = len(members)
    first = min(bisect_right(sums, at * sums[-1]), count - 1)
    weightless: list[CandidateStats] = []
    for place in chain(range(first, count), range(first)):
        if sums[place] > (sums[place - 1] if place else 0):
            yield members[place]
        else:
            weightless.append(members[place])
    yield from weightless


def _weight(stats: CandidateStats) -> int:
    return stats.candidate.deployment.weight * stats.candidate.key.weight


def _sums(members: Sequence[CandidateStats]) -> list[int]:
    return [*accumulate(map(_weight, members))]


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

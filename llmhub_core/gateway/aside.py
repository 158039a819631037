"""Of very many candidates those that cannot be used now, set aside together: a decision need not pass over each.

When a decision looked at many in vain, the next one sorts all of its equals once: those that can be used, those whose
quota is spent, those that rest or fail, by when they are back. For a second decisions then draw from the first, and
what is back comes after them. Whoever is drawn is looked at as always, and before anybody is refused all are sorted
again, so that nobody is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.strategy import Equals
from llmhub_core.hub.hub import Hub

IN_VAIN = 16
"""Candidates that a decision may look at in vain before the next one sorts."""

KEPT = 1.0
"""Seconds for which decisions draw from what was sorted."""

SHARE_OF_TIME = 0.05
"""Sorting takes no more of the time than this, however many candidates there are."""

FAILING = 8
"""Of those whose breaker is open no more are offered when nobody else is left."""


class Sorted:
    """Candidates as they stood at a moment: `awake` can be used, `spent` too though their quota says no, `failing` are
    some of those whose breaker is open."""

    __slots__ = ("_resting", "awake", "failing", "made", "others_rest", "spent")

    def __init__(self, members: Sequence[CandidateStats], hub: Hub, now: float) -> None:
        self.made = now
        self.spent: list[CandidateStats] = []
        self.failing: list[CandidateStats] = []
        awake: list[CandidateStats] = []
        resting: list[tuple[float, int]] = []
        held = {subject: mark.until or inf for subject, mark in hub.pool.now_held().items()}
        health = hub.health
        all_work = health.calm
        for place, stats in enumerate(members):
            until = 0.0
            for subject in stats.candidate.subjects:
                if subject in held and held[subject] > until:
                    until = held[subject]
            if not (until or all_work):
                until = health.blocked(stats.candidate, now) or 0.0
                if until and len(self.failing) < FAILING:
                    self.failing.append(stats)
            if until:
                resting.append((until, place))
            else:
                (awake if stats.quota_left > 0.0 else self.spent).append(stats)
        resting.sort(reverse=True)
        self._resting = [(until, members[place]) for until, place in resting]
        self.awake = Equals(awake)
        self.others_rest = f"others: {len(resting)} more could not be used"
        """What a record says of them. Each decision has it."""

    @property
    def resting(self) -> int:
        """How many cannot be used."""
        return len(self._resting)

    @property
    def soonest(self) -> float:
        """When the first of them is back (monotonic); inf if none comes by itself."""
        return self._resting[-1][0] if self._resting else inf

    def others(self, now: float) -> list[CandidateStats]:
        """Whoever is to be tried after those awake: those that are back, then those whose quota was spent."""
        while self._resting and self._resting[-1][0] <= now:
            self.spent.insert(0, self._resting.pop()[1])
        return self.spent


class Aside:
    """Of one set of equals, for as long as the route has them."""

    __slots__ = ("_again", "_sorted", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        """Whether somebody looked at many in vain."""
        self._sorted: Sorted | None = None
        self._again = 0.0

    def sorted(self, equals: Equals, hub: Hub, newer_than: float = -inf) -> Sorted | None:
        """What to draw from; None where all are drawn from as usual, or where there is nothing newer and it is too soon
        to sort again."""
        known, now = self._sorted, time.monotonic()
        if known is None and not self.wanted:
            return None
        if known is not None and newer_than < known.made and now < known.made + KEPT:
            return known
        if now < self._again:
            return known if known is not None and known.made > newer_than else None
        found, self.wanted = Sorted(equals.members, hub, now), False
        self._again = now + (time.monotonic() - now) / SHARE_OF_TIME
        most_work = 2 * (found.resting + len(found.spent)) < len(equals.members)
        self._sorted = None if most_work else found
        return found


def aside_of(equals: Equals) -> Aside:
    return equals.once("aside", _nobody_yet)


def _nobody_yet(members: Sequence[CandidateStats]) -> Aside:
    return Aside()

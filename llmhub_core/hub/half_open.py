"""Whatever rested comes back through one request that goes first; of several processes the quota store says whose.

Only a candidate whose rest has just ended costs the question. Whoever does not get the claim goes on as if the rest
lasted, for as long as the claim does, and hears before that what became of the one that tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.quota_store import QuotaStore
from llmhub_core.hub.health import PROBE, Breaker, Health
from llmhub_core.hub.pool import PATIENCE, Mark, Pool


class HalfOpen:
    """For a store that several processes share; a process that is alone needs none."""

    def __init__(self, pool: Pool, health: Health, quota: QuotaStore) -> None:
        self._pool, self._health, self._quota = pool, health, quota
        self._machine = os.uname().nodename

    @property
    def calm(self) -> bool:
        """Whether nothing is held against anybody: then there is nothing to ask."""
        return not self._pool.marks and self._health.calm

    def is_needed(self, stats: CandidateStats) -> bool:
        """Whether a request to this candidate would go first."""
        return self._pool.is_over(stats) or self._health.is_open(stats)

    async def may_go(self, stats: CandidateStats, is_last: Callable[[], bool]) -> bool:
        """Whether a request may go to this candidate now, as the first where something is over; meanwhile others wait.
        A breaker keeps nobody from the last candidate that there is."""
        now = time.monotonic()
        if self._pool.blocked(stats.candidate, now) is not None:
            return False  # since somebody looked, another one here goes first
        if self._health.blocked(stats.candidate, now) is not None:
            return is_last()
        marks, breakers = self._pool.try_again(stats, now), self._health.try_again(stats)
        goes = False
        try:
            goes = await self._claim_marks(marks) and (await self._claim_breakers(breakers) or is_last())
        finally:
            if not goes:
                self._pool.end(stats)
                for _, breaker in breakers:
                    breaker.probing = False
        return goes

    async def _claim_marks(self, marks: list[Mark]) -> bool:
        for mark in marks:
            if left := await self._quota.claim(mark.subject, PATIENCE):
                mark.trier, mark.until = None, time.monotonic() + left
                return False
        return True

    async def _claim_breakers(self, breakers: list[tuple[str, Breaker]]) -> bool:
        for subject, breaker in breakers:
            # Another machine may have another way to a place that cannot be reached from here.
            whose = f"{subject}@{self._machine}" if breaker.nearby else subject
            if left := await self._quota.claim(whose, PROBE):
                breaker.probing, breaker.open_until = False, time.monotonic() + left
                return False
        return True

"""How each deployment is doing: a breaker that opens after failures in a row and lets one probe through later."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from llmhub_core.contracts.candidate import Candidate, CandidateStats
from llmhub_core.contracts.errors import (
    UpstreamError,
    UpstreamGarbled,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnreachable,
)

log = logging.getLogger("llmhub.health")

COUNTS = (UpstreamOverloaded, UpstreamUnreachable, UpstreamTimeout, UpstreamGarbled, UpstreamModelMissing)
"""What counts against a deployment; a refused key or a spent quota does not."""

LONGEST_PAUSE = 300.0
MOST_BREAKERS = 10_000
"""Callers may ask a provider for any name: no more deployments than these are remembered."""

SMOOTHING = 0.2


@dataclass(slots=True)
class Breaker:
    """`open_until` is monotonic, 0 while closed; `probing` while one attempt is under way to see if it is over."""

    failures: int = 0
    open_until: float = 0.0
    pause: float = 0.0
    probing: bool = False


class Health:
    """`failures` in a row open a deployment's breaker for `pause` seconds, doubling up to five minutes."""

    def __init__(self, failures: int, pause: float) -> None:
        self._failures = failures
        self._pause = pause
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def tune(self, failures: int, pause: float) -> None:
        self._failures, self._pause = failures, pause

    def forget_provider(self, provider: str) -> None:
        """Another place bears that name now, or none."""
        for key in [key for key in self._breakers if key[0] == provider]:
            del self._breakers[key]

    @property
    def calm(self) -> bool:
        """Whether nobody fails."""
        return not self._breakers

    def blocked(self, candidate: Candidate, now: float) -> float | None:
        """Until when (monotonic) the deployment is left alone; None if it may be used. Reading admits nobody:
        the probe is taken by `begin`."""
        if not self._breakers:
            return None
        breaker = self._breakers.get(_key(candidate))
        if breaker is None or not breaker.open_until:
            return None
        if now < breaker.open_until:
            return breaker.open_until
        return now + 1.0 if breaker.probing else None

    def out(self) -> dict[tuple[str, str], int]:
        """Deployments (provider, model) whose breaker is open, with their failures in a row: until one succeeds."""
        return {key: breaker.failures for key, breaker in self._breakers.items() if breaker.open_until}

    def forget(self, provider: str, model: str) -> None:
        """As if it had never failed."""
        self._breakers.pop((provider, model), None)

    def begin(self, stats: CandidateStats) -> None:
        stats.in_flight += 1
        stats.picks += 1
        stats.last_pick = time.monotonic()
        if stats.quota_step:
            stats.quota_left = max(0.0, stats.quota_left - stats.quota_step)
        if self._breakers:
            breaker = self._breakers.get(_key(stats.candidate))
            if breaker is not None and breaker.open_until:
                breaker.probing = True

    def end(self, stats: CandidateStats, error: BaseException | None, first_byte: float | None) -> None:
        """After an attempt; `first_byte` in seconds. An error that says nothing of the deployment (the caller
        left, the request was at fault, the key was out) leaves its count alone."""
        stats.in_flight -= 1
        if error is None:
            stats.failures = 0
            if first_byte is not None:
                was = stats.first_token
                stats.first_token = first_byte if was is None else was + SMOOTHING * (first_byte - was)
            if self._breakers and self._breakers.pop(_key(stats.candidate), None) is not None:
                log.info("%s/%s works", *_key(stats.candidate))
        elif isinstance(error, COUNTS):
            stats.failures += 1
            self._count(stats.candidate, error)
        elif self._breakers:
            breaker = self._breakers.get(_key(stats.candidate))
            if breaker is not None:
                breaker.probing = False

    def _count(self, candidate: Candidate, error: UpstreamError) -> None:
        breaker = self._breakers.get(_key(candidate))
        if breaker is None:
            if len(self._breakers) >= MOST_BREAKERS:
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[_key(candidate)] = Breaker()
        breaker.failures += 1
        breaker.probing = False
        now = time.monotonic()
        # Requests that began before it opened and fail together are one failure, not reasons to double.
        if breaker.failures >= self._failures and now >= breaker.open_until:
            breaker.pause = min(breaker.pause * 2 or self._pause, LONGEST_PAUSE)
            breaker.open_until = now + breaker.pause
            log.warning(
                "%s/%s failed %d times in a row (%s); left alone for %.0f s",
                *_key(candidate), breaker.failures, error.code, breaker.pause,
            )  # fmt: skip


def _key(candidate: Candidate) -> tuple[str, str]:
    return candidate.deployment.provider, candidate.deployment.model

"""How each deployment and each provider is doing: breakers that open after failures in a row, and let one probe
through later.

Not every failure tells of a deployment: a request may be such that nobody answers it. The same request (the same
body) counts once in half a minute, which is as long as clients try by themselves, and again only if somebody else
answered it after all. A connection that fails is no request's fault.

Other processes are told what opens and closes, and one probe goes for all of them (`half_open`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llmhub_core.contracts.candidate import Candidate, CandidateStats
from llmhub_core.contracts.errors import (
    UpstreamError,
    UpstreamGarbled,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmhub_core.contracts.quota_store import Hold

log = logging.getLogger("llmhub.health")

COUNTS = (UpstreamOverloaded, UpstreamUnreachable, UpstreamTimeout, UpstreamGarbled, UpstreamModelMissing)
"""What counts against a deployment; a refused key or a spent quota does not."""

SUSPECTS = 100
"""So many requests are known again: of each breaker, and of those that failed twice until somebody answers them."""

REPEATED = 30.0
"""Seconds after which the same request counts again."""

LONGEST_PAUSE = 300.0
MOST_BREAKERS = 10_000
"""Callers may ask a provider for any name: no more deployments than these are remembered."""

SMOOTHING = 0.2

PROBE = 10.0
"""Seconds for which other processes wait for what becomes of a probe: its answer may take long to begin."""

BREAKER = "breaker:"
"""What is held against a deployment has this before ``provider/model``, and ``provider/`` against a provider."""

Place = tuple[str, str]
"""Provider and model; the model is "" for the provider as a whole."""


@dataclass(slots=True)
class Breaker:
    """`open_until` is monotonic, 0 while closed; `probing` while one attempt is under way to see if it is over.

    failures   in a row; those of the same request are one
    requests   which failed in this row, and when they counted (monotonic)
    shares     of a provider: how many of its failures are whose
    """

    failures: int = 0
    open_until: float = 0.0
    pause: float = 0.0
    probing: bool = False
    since: float = 0.0
    reason: str = ""
    requests: dict[int, float] = field(default_factory=dict)
    shares: dict[str, int] = field(default_factory=dict)

    @property
    def nearby(self) -> bool:
        """Whether it tells of the way from here, which other machines may not share."""
        return self.reason == UpstreamUnreachable.code


class Health:
    """`failures` in a row open a deployment's breaker for `pause` seconds, doubling up to five minutes. A provider's
    opens if that many come from several deployments, of which none makes up more than half, or if the provider says
    itself that all of it is out."""

    def __init__(self, failures: int, pause: float) -> None:
        self._failures = failures
        self._pause = pause
        self.breakers: dict[Place, Breaker] = {}
        """Of whoever failed since it last worked. Empty in the ordinary case, which costs one look."""
        self._suspects: dict[int, list[tuple[Candidate, UpstreamError]]] = {}
        self.share: Callable[[Hold, bool], None] = _keep_to_oneself
        """Is told what other processes have to know, and whether only those of this machine: one may not reach what
        others do."""

    def tune(self, failures: int, pause: float) -> None:
        self._failures, self._pause = failures, pause

    def forget_provider(self, provider: str) -> None:
        """Of it and all its deployments: somebody says that it works, or another place bears that name now."""
        for place in [place for place in self.breakers if place[0] == provider]:
            self._close(place)

    @property
    def calm(self) -> bool:
        """Whether nobody fails."""
        return not self.breakers

    def blocked(self, candidate: Candidate, now: float) -> float | None:
        """Until when (monotonic) the deployment is left alone; None if it may be used. Reading admits nobody:
        the probe is taken by `begin`."""
        if not self.breakers:
            return None
        latest: float | None = None
        for place in _places(candidate):
            breaker = self.breakers.get(place)
            until = None if breaker is None else self._until(breaker, now)
            if until is not None and (latest is None or until > latest):
                latest = until
        return latest

    def breaker(self, provider: str, model: str = "") -> Breaker | None:
        """The open breaker of a deployment, or of a provider."""
        breaker = self.breakers.get((provider, model))
        return breaker if breaker is not None and breaker.open_until else None

    def open(self) -> list[tuple[Place, float, Breaker]]:
        """Breakers that are open, and until when (monotonic) the place is left alone: in the past where the next
        request tries it."""
        now = time.monotonic()
        found = [(place, breaker) for place, breaker in self.breakers.items() if breaker.open_until]
        return [(place, self._until(breaker, now) or breaker.open_until, breaker) for place, breaker in found]

    @staticmethod
    def _until(breaker: Breaker, now: float) -> float | None:
        if not breaker.open_until:
            return None
        return breaker.open_until if now < breaker.open_until else now + 1.0 if breaker.probing else None

    def out(self) -> dict[tuple[str, str], int]:
        """Deployments (provider, model) whose breaker is open, with their failures in a row: until one succeeds. The
        model is "" where a provider is out as a whole."""
        return {key: breaker.failures for key, breaker in self.breakers.items() if breaker.open_until}

    def forget(self, provider: str, model: str) -> None:
        """As if it had never failed."""
        for place in ((provider, model), (provider, "")):
            self._close(place)

    def adopt(self, hold: Hold) -> None:
        """What another process opened, tries or closed."""
        provider, _, model = hold.subject.removeprefix(BREAKER).partition("/")
        if hold.state == "active":
            self._close((provider, model), tell=False)
            return
        breaker, lasts = self._breaker((provider, model)), hold.lasts or 0.0
        until = time.monotonic() + lasts
        if until <= breaker.open_until or breaker.probing:
            return
        if not breaker.open_until:
            log.warning("%s is left alone for %.0f s, as another process found", _named(provider, model), lasts)
            breaker.since = time.monotonic() - hold.age
        breaker.open_until, breaker.reason = until, hold.reason
        breaker.failures = max(breaker.failures, self._failures)
        breaker.pause = max(breaker.pause, min(lasts, LONGEST_PAUSE))

    def begin(self, stats: CandidateStats) -> None:
        stats.in_flight += 1
        stats.picks += 1
        stats.last_pick = time.monotonic()
        if stats.quota_step:
            stats.quota_left = max(0.0, stats.quota_left - stats.quota_step)
        if self.breakers:
            for place in _places(stats.candidate):
                breaker = self.breakers.get(place)
                if breaker is not None and breaker.open_until:
                    breaker.probing = True

    def is_open(self, stats: CandidateStats) -> bool:
        """Whether a breaker of it is, which may be one that would let a request through to try."""
        return any(self.breaker(*place) is not None for place in _places(stats.candidate))

    def try_again(self, stats: CandidateStats) -> list[tuple[str, Breaker]]:
        """What this one tries, with the subjects of what is held against it: others wait for it."""
        known = [(BREAKER + "/".join(place), self.breakers.get(place)) for place in _places(stats.candidate)]
        tried = [(subject, each) for subject, each in known if each is not None and each.open_until]
        for _, breaker in tried:
            breaker.probing = True
        return tried

    def end(
        self, stats: CandidateStats, error: BaseException | None, first_byte: float | None, request: bytes = b""
    ) -> None:
        """After an attempt; `first_byte` in seconds, `request` the caller's body. An error that says nothing of the
        deployment (the caller left, the request was at fault, the key was out) leaves its count alone."""
        stats.in_flight -= 1
        if error is None:
            stats.failures = 0
            if first_byte is not None:
                was = stats.first_token
                stats.first_token = first_byte if was is None else was + SMOOTHING * (first_byte - was)
            if self.breakers:
                self._works(stats.candidate, request)
        elif isinstance(error, COUNTS):
            stats.failures += 1
            self._fails(stats.candidate, error, request)
        elif self.breakers:
            for place in _places(stats.candidate):
                breaker = self.breakers.get(place)
                if breaker is not None:
                    breaker.probing = False

    def _works(self, candidate: Candidate, request: bytes) -> None:
        for place in _places(candidate):
            self._close(place)
        if self._suspects and request:
            # It can be answered: then those who failed it are at fault, each time.
            for other, error in self._suspects.pop(hash(request), ()):
                if other.deployment.provider != candidate.deployment.provider:
                    self._count(other, error, 0)
                elif other.deployment.model != candidate.deployment.model:
                    self._count_at((other.deployment.provider, other.deployment.model), error, 0)

    def _fails(self, candidate: Candidate, error: UpstreamError, request: bytes) -> None:
        number = hash(request) if request and not isinstance(error, UpstreamUnreachable) else 0
        breaker = self.breakers.get((candidate.deployment.provider, candidate.deployment.model))
        if breaker is not None and _counted(breaker, number):
            for place in _places(candidate):
                known = self.breakers.get(place)
                if known is not None:
                    known.probing = False
                    if known.open_until:  # the probe failed; whatever it was, this is no time to come back
                        self._open(known, *place)
            if len(self._suspects) >= SUSPECTS:
                del self._suspects[next(iter(self._suspects))]
            self._suspects.setdefault(number, []).append((candidate, error))
            return
        self._count(candidate, error, number)

    def _count(self, candidate: Candidate, error: UpstreamError, number: int) -> None:
        deployment = candidate.deployment
        self._count_at((deployment.provider, deployment.model), error, number)
        if isinstance(error, UpstreamModelMissing):
            return
        provider = self._breaker((deployment.provider, ""))
        provider.probing = False
        if number:
            if _counted(provider, number):
                return
            _remember(provider, number)
        everything = isinstance(error, UpstreamOverloaded) and error.scope == "provider"
        provider.reason = error.code
        name = "" if everything else deployment.model
        provider.shares[name] = provider.shares.get(name, 0) + 1
        provider.failures = self._spread(provider.shares)
        if provider.failures >= self._failures and (everything or len(provider.shares) > 1 or provider.open_until):
            self._open(provider, deployment.provider, "")

    def _spread(self, shares: dict[str, int]) -> int:
        """Failures of a provider, of which one deployment makes up no more than half of what is needed."""
        most = (self._failures + 1) // 2
        return sum(count if not model else min(count, most) for model, count in shares.items())

    def _count_at(self, place: Place, error: UpstreamError, number: int) -> None:
        breaker = self._breaker(place)
        breaker.failures += 1
        breaker.probing = False
        breaker.reason = error.code
        if number:
            _remember(breaker, number)
        if breaker.failures >= self._failures:
            self._open(breaker, *place)

    def _breaker(self, place: Place) -> Breaker:
        breaker = self.breakers.get(place)
        if breaker is None:
            if len(self.breakers) >= MOST_BREAKERS:
                del self.breakers[next(iter(self.breakers))]
            breaker = self.breakers[place] = Breaker(since=time.monotonic())
        return breaker

    def _open(self, breaker: Breaker, provider: str, model: str) -> None:
        now = time.monotonic()
        # Requests that began before it opened and fail together are one failure, not reasons to double.
        if now < breaker.open_until:
            return
        breaker.pause = min(breaker.pause * 2 or self._pause, LONGEST_PAUSE)
        breaker.open_until = now + breaker.pause
        log.warning(
            "%s failed %d times in a row (%s); left alone for %.0f s",
            _named(provider, model), breaker.failures, breaker.reason, breaker.pause,
        )  # fmt: skip
        self._tell((provider, model), breaker, breaker.pause)

    def _close(self, place: Place, tell: bool = True) -> None:
        breaker = self.breakers.pop(place, None)
        if breaker is not None and breaker.open_until:
            log.info("%s works", _named(*place))
            if tell:
                self.share(Hold(BREAKER + "/".join(place), "active"), False)

    def _tell(self, place: Place, breaker: Breaker, lasts: float) -> None:
        age = time.monotonic() - breaker.since
        self.share(Hold(BREAKER + "/".join(place), "cooling", breaker.reason, lasts, age), breaker.nearby)


def _named(provider: str, model: str) -> str:
    return f"{provider}/{model}" if model else provider


def _keep_to_oneself(hold: Hold, nearby: bool) -> None:
    """Of a hub that is alone."""


def _remember(breaker: Breaker, request: int) -> None:
    if len(breaker.requests) < SUSPECTS:
        breaker.requests[request] = time.monotonic()


def _counted(breaker: Breaker, request: int) -> bool:
    at = breaker.requests.get(request) if request else None
    return at is not None and time.monotonic() < at + REPEATED


def _places(candidate: Candidate) -> tuple[Place, Place]:
    deployment = candidate.deployment
    return (deployment.provider, deployment.model), (deployment.provider, "")

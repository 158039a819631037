"""Provider keys and the accounts, models and places behind them: who may be used now, who cools until when.

A cooldown belongs to what the provider's limit belongs to: a key, a quota group (all keys of one account), a
model within a group, or the whole provider. Deadlines only ever grow. Times inside are monotonic seconds, so
that a stepped clock shortens nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from llmhub_core.contracts.candidate import Candidate, CandidateStats, KeyState, ProviderKey
from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.contracts.observer import HealthChange

log = logging.getLogger("llmhub.pool")


@dataclass(slots=True)
class Mark:
    """Why something may not be used. `until` is monotonic; None: until somebody resets it."""

    state: KeyState
    reason: str
    until: float | None


class Pool:
    """`announce` is told of every change of state; `cooldown` and `longest` are seconds: what a 429 without a
    time means, and the most that a provider's own figure is believed (a spent daily quota is believed)."""

    def __init__(self, cooldown: float, longest: float, announce: Callable[[HealthChange], None]) -> None:
        self._cooldown = cooldown
        self._longest = longest
        self._announce = announce
        self._marks: dict[str, Mark] = {}

    def tune(self, cooldown: float, longest: float) -> None:
        """From now on; what rests already rests as long as it was told."""
        self._cooldown, self._longest = cooldown, longest

    @property
    def calm(self) -> bool:
        """Whether nothing is held against anybody."""
        return not self._marks

    def blocked(self, candidate: Candidate, now: float) -> Mark | None:
        """What keeps the candidate from being used; the one that lasts longest, None if nothing does."""
        if not self._marks:  # the ordinary case costs one look
            return None
        worst: Mark | None = None
        for subject in subjects(candidate):
            mark = self._marks.get(subject)
            if mark is None:
                continue
            if mark.until is not None and mark.until <= now:
                self._lift(subject, mark, candidate.key)
                continue
            if worst is None or mark.until is None or (worst.until is not None and mark.until > worst.until):
                worst = mark
            if worst.until is None:
                break
        return worst

    def note(self, stats: CandidateStats, error: Exception) -> None:
        """What a failed attempt says about its key or account; other errors say nothing about it."""
        candidate = stats.candidate
        if isinstance(error, UpstreamDenied):
            self._mark(f"key:{candidate.key.id}", Mark("invalid", error.provider_code or "denied", None), candidate.key)
        elif isinstance(error, UpstreamLimited) and not error.oversized:
            seconds = self._cooldown if error.retry_after is None else error.retry_after
            if not error.exhausted:
                seconds = min(seconds, self._longest)
            elif error.retry_after is None:
                seconds = self._longest  # no credit: nobody knows when, so somebody looks again by and by
            state: KeyState = "exhausted" if error.exhausted else "cooling"
            subject = _subject(candidate, error.scope)
            self._mark(
                subject, Mark(state, error.provider_code or error.code, time.monotonic() + seconds), candidate.key
            )

    def state(self, key: ProviderKey) -> Mark:
        """The key's own state as people see it (limits of single models left aside)."""
        now = time.monotonic()
        for subject in (f"key:{key.id}", f"group:{key.provider}/{key.group}", f"provider:{key.provider}"):
            mark = self._marks.get(subject)
            if mark is not None and (mark.until is None or mark.until > now):
                return mark
        return Mark("active", "", None)

    def marks(self) -> dict[str, Mark]:
        """What is held against whom now, by subject (``key:…``, ``group:…``, ``model:…``, ``provider:…``)."""
        now = time.monotonic()
        return {subject: mark for subject, mark in self._marks.items() if mark.until is None or mark.until > now}

    def forgive(self, candidate: Candidate, reason: str) -> None:
        """Lift what is held against a candidate for that reason alone."""
        for subject in subjects(candidate):
            mark = self._marks.get(subject)
            if mark is not None and mark.reason == reason:
                self._lift(subject, mark, candidate.key)

    def reset(self, key: ProviderKey) -> None:
        """Forget what is held against a key and its group."""
        for subject in [*self._marks]:
            if subject in (f"key:{key.id}", _account(key)) or subject.startswith(f"model:{_account(key)}/"):
                self._lift(subject, self._marks[subject], key)

    def _mark(self, subject: str, mark: Mark, key: ProviderKey) -> None:
        was = self._marks.get(subject)
        if was is not None and (was.until is None or (mark.until is not None and mark.until <= was.until)):
            return  # deadlines only grow
        self._marks[subject] = mark
        seconds = None if mark.until is None else mark.until - time.monotonic()
        log.warning(
            "%s is %s%s (%s)", subject, mark.state, "" if seconds is None else f" for {seconds:.0f} s", mark.reason
        )
        until = None if seconds is None else time.time() + seconds
        self._announce(
            HealthChange(key.provider, subject, "active" if was is None else was.state, mark.state, mark.reason, until)
        )

    def _lift(self, subject: str, mark: Mark, key: ProviderKey) -> None:
        del self._marks[subject]
        log.info("%s may be used again", subject)
        self._announce(HealthChange(key.provider, subject, mark.state, "active", "over"))


def _subject(candidate: Candidate, scope: str) -> str:
    key = candidate.key
    if scope == "provider":
        return f"provider:{key.provider}"
    if scope == "model":
        return f"model:{_account(key)}/{candidate.deployment.model}"
    return _account(key)


def _account(key: ProviderKey) -> str:
    """What the key's limits belong to; a group may be named like a key that is in none."""
    return f"group:{key.provider}/{key.group}" if key.group else f"key:{key.id}"


def subjects(candidate: Candidate) -> tuple[str, ...]:
    """Everything that may be held against a candidate."""
    key = candidate.key
    own = f"key:{key.id}"
    account = _account(key)
    model = f"model:{account}/{candidate.deployment.model}"
    if key.group:
        return own, account, model, f"provider:{key.provider}"
    return own, model, f"provider:{key.provider}"

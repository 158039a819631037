"""Provider keys and the accounts, models and places behind them: who may be used now, who rests until when.

A rest belongs to what the provider's limit belongs to: a key, a quota group (all keys of one account), a model
within an account, or the whole provider. Deadlines only ever grow. Times inside are monotonic seconds, so that a
stepped clock shortens nothing; what is shared with other processes, and kept over restarts, are seconds from now.

Whatever rests comes back through one request that goes first. Refusals come at once: whoever was not refused within
`PATIENCE` has passed, and nobody waits for the end of a long answer. Of several processes one goes first (`half_open`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llmhub_core.contracts.candidate import Candidate, CandidateStats, KeyState, ProviderKey
from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.contracts.observer import HealthChange
from llmhub_core.contracts.quota_store import Hold

log = logging.getLogger("llmhub.pool")

PATIENCE = 2.0
"""Seconds for which others wait for what becomes of the request that goes first."""

FORGOTTEN = 600.0
"""Seconds after which a rest that is over is forgotten though nobody tried: it costs every request a look."""

LONGEST_STATED = 32 * 86_400.0
"""The longest wait that a provider is believed: a month's quota."""

LONGEST_UNSTATED = 6 * 3600.0
"""The longest rest of an account without credit, which only trying tells of."""

WORTH_TELLING = 1.0
"""Seconds by which a deadline must grow to be announced and shared: callers who are refused together say the same."""


@dataclass(slots=True, eq=False)
class Mark:
    """Why something may not be used. `since` and `until` are monotonic; `until` None: until it is lifted.

    rested   seconds of rest in all since then, those to come included
    trier    the candidate of the request that goes first, while that is under way
    next_try when something asks whether it works again; None: not planned
    """

    state: KeyState
    reason: str
    until: float | None
    since: float = 0.0
    subject: str = ""
    rested: float = 0.0
    trier: CandidateStats | None = None
    next_try: float | None = None

    def over(self, now: float) -> bool:
        return self.until is not None and self.until <= now


class Pool:
    """`announce` is told of every change of state. `cooldown` and `longest` are seconds: what a 429 without a time
    means at first, and the most that it may come to. Where the provider says when, that holds."""

    def __init__(self, cooldown: float, longest: float, announce: Callable[[HealthChange], None]) -> None:
        self._cooldown = cooldown
        self._longest = longest
        self._announce = announce
        self.marks: dict[str, Mark] = {}
        """By subject. Empty in the ordinary case, which costs one look."""
        self.share: Callable[[Hold], None] = _keep_to_oneself
        """Is told what other processes and later runs have to know."""

    def tune(self, cooldown: float, longest: float) -> None:
        """From now on; what rests already rests as long as it was told."""
        self._cooldown, self._longest = cooldown, longest

    @property
    def calm(self) -> bool:
        """Whether nothing is held against anybody."""
        return not self.marks

    def blocked(self, candidate: Candidate, now: float) -> Mark | None:
        """What keeps the candidate from being used; the one that lasts longest, None if nothing does."""
        if not self.marks:
            return None
        worst: Mark | None = None
        for subject in candidate.subjects:
            mark = self.marks.get(subject)
            if mark is None or (mark.until is not None and mark.until <= now):
                continue
            if mark.until is None:
                return mark
            if worst is None or worst.until is None or mark.until > worst.until:
                worst = mark
        return worst

    def rests(self, candidate: Candidate) -> bool:
        """Whether it is kept from being used now."""
        return self.blocked(candidate, time.monotonic()) is not None

    # an attempt: whoever keeps no marks calls none of these

    def begin(self, stats: CandidateStats) -> None:
        """An attempt begins. If a rest is over, this is the request that goes first."""
        self.try_again(stats, stats.last_pick)

    def is_over(self, stats: CandidateStats) -> bool:
        """Whether something that was held against it is over and nobody tries it yet."""
        now, marks = time.monotonic(), (self.marks.get(subject) for subject in stats.candidate.subjects)
        return any(mark is not None and mark.trier is None and mark.over(now) for mark in marks)

    def try_again(self, stats: CandidateStats, now: float) -> list[Mark]:
        """What this one tries first: others wait for it."""
        tried = []
        for subject in stats.candidate.subjects:
            mark = self.marks.get(subject)
            if mark is None or not mark.over(now):
                continue
            if mark.trier is not None:  # still under way, and not refused
                self._lift(mark)
                continue
            mark.trier, mark.until = stats, now + PATIENCE
            tried.append(mark)
        return tried

    def answered(self, stats: CandidateStats) -> None:
        """A good answer has begun: what this attempt had to try is over."""
        for mark in self._tried_by(stats):
            self._lift(mark)

    def end(self, stats: CandidateStats) -> None:
        """The attempt is over; if it told nothing of what it tried, the next one goes first."""
        for mark in self._tried_by(stats):
            mark.trier, mark.until = None, time.monotonic()

    def _tried_by(self, stats: CandidateStats) -> list[Mark]:
        marks = (self.marks.get(subject) for subject in stats.candidate.subjects)
        return [mark for mark in marks if mark is not None and mark.trier is stats]

    def note(self, stats: CandidateStats, error: Exception, will_do: float | None = None) -> None:
        """What a failed attempt says about its key or account; other errors say nothing about it. Where it is not
        stated how long to rest, so many seconds `will_do`, if that is known."""
        candidate = stats.candidate
        if isinstance(error, UpstreamDenied):
            subject = _subject(candidate, error.scope) if error.scope != "key" else f"key:{candidate.key.id}"
            self._hold(subject, "invalid", error.provider_code or "denied", None)
        elif isinstance(error, UpstreamLimited) and not error.oversized:
            subject = _subject(candidate, error.scope)
            reason = error.provider_code or error.code
            exhausted = error.exhausted
            if error.retry_after is not None:
                seconds = min(error.retry_after, LONGEST_STATED)
                exhausted = exhausted or seconds > self._longest
            else:
                known, now = self.marks.get(subject), time.monotonic()
                if known is not None and not known.over(now) and known.trier is None and known.until is not None:
                    longer = exhausted and known.state != "exhausted"
                    if not longer:
                        return  # refused together: that is one refusal
                seconds = self._unstated(known, exhausted) if will_do is None or exhausted else will_do
            self._hold(subject, "exhausted" if exhausted else "cooling", reason, seconds)

    def _unstated(self, known: Mark | None, exhausted: bool) -> float:
        """As long again as it has rested already: that doubles, in every process and over restarts."""
        rested = 0.0 if known is None else known.rested
        if exhausted:
            return max(self._longest, min(rested, LONGEST_UNSTATED))
        return max(self._cooldown, min(rested, self._longest))

    def _hold(self, subject: str, state: KeyState, reason: str, seconds: float | None) -> None:
        now = time.monotonic()
        known = self.marks.get(subject)
        since, rested = (now, 0.0) if known is None else (known.since, known.rested)
        until = None if seconds is None else now + seconds
        mark = Mark(state, reason, until, since, subject, rested + (seconds or 0.0))
        if self._put(mark):
            self.share(Hold(subject, state, reason, seconds, now - since))

    # what people ask and do

    def state(self, key: ProviderKey) -> Mark:
        """The key's own state as people see it (limits of single models left aside)."""
        now = time.monotonic()
        found = Mark("active", "", None, 0.0)
        for subject in dict.fromkeys((f"key:{key.id}", key.account, f"provider:{key.provider}")):
            mark = self.marks.get(subject)
            if mark is not None and not mark.over(now):
                return mark
            if mark is not None:
                found = Mark("active", f"the next request tries whether it is over ({mark.reason})", None, mark.since)
        return found

    def held(self, key: ProviderKey) -> list[Mark]:
        """Everything that is held against the key, its account, models of it, or its provider."""
        return [self.marks[subject] for subject in self._subjects_of(key)]

    def _subjects_of(self, key: ProviderKey) -> list[str]:
        named, models = {f"key:{key.id}", key.account, f"provider:{key.provider}"}, f"model:{key.account}/"
        return [subject for subject in self.marks if subject in named or subject.startswith(models)]

    def now_held(self) -> dict[str, Mark]:
        """What is held against whom now, by subject (``key:…``, ``group:…``, ``model:…``, ``provider:…``)."""
        now = time.monotonic()
        return {subject: mark for subject, mark in self.marks.items() if not mark.over(now)}

    def forgive(self, candidate: Candidate, reason: str) -> None:
        """Lift what is held against a candidate for that reason alone."""
        for subject in candidate.subjects:
            mark = self.marks.get(subject)
            if mark is not None and mark.reason == reason:
                self._lift(mark)

    def reset(self, key: ProviderKey) -> None:
        """Forget what is held against a key, its account and its provider, here and in all other processes."""
        for subject in self._subjects_of(key):
            self._lift(self.marks[subject])

    def reset_provider(self, provider: str) -> None:
        """Forget what is held against a provider as a whole."""
        mark = self.marks.get(f"provider:{provider}")
        if mark is not None:
            self._lift(mark)

    # what becomes of it without a request

    def invalid(self) -> Iterable[Mark]:
        """What is out until somebody finds that it works."""
        return [mark for mark in self.marks.values() if mark.until is None]

    def may_be_tried(self, mark: Mark) -> None:
        """Something tells that it works again: the next request goes first."""
        if self.marks.get(mark.subject) is mark and mark.until is None:
            log.info("%s may be tried again", mark.subject)
            mark.until = time.monotonic()

    def sweep(self) -> None:
        """Forget what has been over for long."""
        long_ago = time.monotonic() - FORGOTTEN
        for mark in [mark for mark in self.marks.values() if mark.over(long_ago)]:
            self._lift(mark, tell=False)

    def adopt(self, hold: Hold) -> None:
        """What another process or an earlier run held or lifted."""
        if hold.state == "active":
            mark = self.marks.get(hold.subject)
            if mark is not None:
                self._lift(mark, tell=False)
            return
        now = time.monotonic()
        until = None if hold.lasts is None else now + hold.lasts
        rested = hold.age + (hold.lasts or 0.0)
        self._put(Mark(hold.state, hold.reason, until, now - hold.age, hold.subject, rested))

    # marks

    def _put(self, mark: Mark) -> bool:
        """False if that is nothing new: deadlines only grow."""
        was, now = self.marks.get(mark.subject), time.monotonic()
        before: KeyState = "active" if was is None else was.state
        if was is not None and was.trier is None and not was.over(now):
            if was.until is None or (mark.until is not None and mark.until <= was.until):
                return False
            if mark.until is not None and mark.state == was.state and mark.until < was.until + WORTH_TELLING:
                was.until = mark.until
                return False
        self.marks[mark.subject] = mark
        seconds = None if mark.until is None else mark.until - now
        lasting = "" if seconds is None else f" for {seconds:.0f} s"
        log.warning("%s is %s%s (%s)", mark.subject, mark.state, lasting, mark.reason)
        until = None if seconds is None else time.time() + seconds
        self._announce(HealthChange(provider_of(mark.subject), mark.subject, before, mark.state, mark.reason, until))
        return True

    def _lift(self, mark: Mark, tell: bool = True) -> None:
        del self.marks[mark.subject]
        log.info("%s may be used again", mark.subject)
        self._announce(HealthChange(provider_of(mark.subject), mark.subject, mark.state, "active", "over"))
        if tell:
            self.share(Hold(mark.subject, "active"))


def provider_of(subject: str) -> str:
    return subject.removeprefix("model:").partition(":")[2].partition("/")[0]


def _subject(candidate: Candidate, scope: str) -> str:
    key = candidate.key
    if scope == "provider":
        return f"provider:{key.provider}"
    if scope == "model":
        return f"model:{key.account}/{candidate.deployment.model}"
    return key.account


def _keep_to_oneself(hold: Hold) -> None:
    """Of a pool that is alone."""

"""Limits that nobody declared, learned while requests go by: shown, and held to where the configuration says so.

What is told in headers is looked at now and then, not at each answer; what an error says, each time. Where learned
limits bind and nothing is told, the quota store, which all processes share, counts what goes through: only there, for
counting costs each request what any other limit does. After a refusal what would probably be refused as well is held
back for a while (`guesses`); what refusals have in common is learned.

What is learned rests in the metadata store as one text. Each process writes down what it saw and, every few seconds,
adds that to what is there, so that all know the same and a restart forgets at most those seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from llmhub_core.contracts.candidate import Candidate, Limit
from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import UpstreamLimited
from llmhub_core.contracts.quota_store import Hold, QuotaStore
from llmhub_core.contracts.rates import seen_limits
from llmhub_core.hub.catalog import Catalog, Standing
from llmhub_core.hub.guesses import Count, Guesses
from llmhub_core.hub.kept_limits import KeptLimits, in_slices
from llmhub_core.hub.learned import (
    MINUTE,
    MOST,
    Book,
    Bounds,
    Known,
    Learned,
    Seen,
    account_and_model,
    bounds_of,
    copied,
    counting,
    limit_of,
    subject_of,
)
from llmhub_core.hub.limit_estimates import BOUNDLESS
from llmhub_core.hub.pool import Pool

log = logging.getLogger("llmhub.learning")

SOON, LATER = 1.0, 30.0
"""Seconds between two looks at a candidate's headers: while they tell something new, and when they do not."""

TICK = 1.0
COUNT_EVERY = 5.0
SHARE_EVERY = 10.0
LOOK_EVERY = 60.0
SEEN_EVERY = 300.0
"""Seconds between: changes of bounds; looks at counts; readings of what others learned; looks for what no longer holds;
notes that nothing changed."""

FACT = "learned_limits"
TRIES = 5

MANY = 1000
"""Things seen that are written down though none of them is news."""


class Learning:
    """Told of answers and refusals of candidates that are learned of (`Standing.learns`), which costs all others one
    comparison. `changed` is called when other limits bind than before."""

    def __init__(
        self,
        catalog: Catalog,
        quota: QuotaStore,
        facts: Callable[[], ConfigurationStore | None],
        changed: Callable[[], None],
        pool: Pool,
        is_chief: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._quota = quota
        self._facts = facts
        self._changed = changed
        self._pool = pool
        self._is_chief = is_chief
        self.clock = clock
        self.book: Book = {}
        self._unshared: list[Seen] = []
        self._kept = KeptLimits()
        self._news = False
        self._stale: set[str] = set()
        """Of what candidates are not held to yet what is known."""
        self._shared_at = self._noted_at = 0.0
        self._standing: dict[str, list[Standing]] = {}
        self._known: set[str] = set()
        self._bounds: dict[str, tuple[Bounds, Bounds]] = {}
        """By subject, where learned limits bind: what is learned, and what is held to at the moment."""
        self._joined: dict[tuple[tuple[Limit, ...], str], tuple[Bounds, tuple[Limit, ...]]] = {}
        self.tell: Callable[[Hold], None] = _keep_to_oneself
        """Is told what other processes have to know at once."""
        self.guesses = Guesses(self, lambda hold: self.tell(hold))
        self._since = 0.0
        self._ticking: asyncio.Task[None] | None = None
        self._away = False

    async def start(self) -> None:
        self._since = self.clock()
        await self.share()
        self.bind()
        self._ticking = asyncio.create_task(self._tick(), name="learning")

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        await self.guesses.stop()
        if self._unshared:
            await self.share()

    def turn_to(self, catalog: Catalog) -> None:
        """Another catalog counts from now on; what was learned stays, for it belongs to accounts."""
        self._catalog = catalog
        self._joined.clear()
        self._standing.clear()
        self.bind()

    # what is seen

    def look(self, stats: Standing, headers: Mapping[str, str], now: float) -> None:
        """At the headers of an answer, due by `stats.look_at` (seconds of the performance counter, as `now`)."""
        seen = seen_limits(headers)
        news = False
        for each in seen:
            news = self._note(Seen(subject_of(stats.candidate), self.clock(), each)) or news
        stats.look_at = now + (SOON if news or (seen and self._unsure(stats.candidate)) else LATER)

    def refused(self, stats: Standing, error: UpstreamLimited) -> float | None:
        """An attempt was refused. Without a number, what went through tells, where limits bind: then the seconds of
        rest that will do may be known."""
        if stats.learns == "off":
            return None
        subject = subject_of(stats.candidate)
        for each in error.limits:
            self._note(Seen(subject, self.clock(), each, "body"))
        known = self.book.get(subject)
        if (
            stats.learns == "bind"
            and not (error.limits or error.exhausted or error.oversized)
            and error.scope != "provider"
            and (known is None or not known.told)
        ):
            return self.guesses.refused(subject)
        return None

    # what guesses are made of

    async def counts(self, subjects: Sequence[str]) -> list[Count]:
        """What went through within the last minute; none if the store is out."""
        limits = [limit for subject in subjects for limit in self._counted(subject)]
        try:
            levels = await self._quota.levels(limits)
        except Exception as error:
            log.warning("what went through is not known at the moment: %s", type(error).__name__)
            return []
        taken = {level.limit.id: level.used + level.reserved for level in levels}
        return [Count(subject, *(taken[limit.id] for limit in self._counted(subject))) for subject in subjects]

    def counted(self, count: Count) -> None:
        if self.clock() - self._since >= MINUTE + SHARE_EVERY:  # what went through before is not known
            self._note(Seen(count.subject, self.clock(), refused=True, requests=count.requests, tokens=count.tokens))
            if self._bind_one(count.subject):
                self._changed()

    def guessed(self, subject: str) -> None:
        self._bind_one(subject)

    def binds(self, subject: str) -> bool:
        return subject in self._standing

    def rests(self, subject: str) -> tuple[bool, bool]:
        standing = self._standing.get(subject, ())
        if all(self._pool.rests(stats.candidate) for stats in standing):
            return True, False
        return False, all(self._pool.is_over(stats) for stats in standing)

    def _counted(self, subject: str) -> tuple[Limit, ...]:
        _, holds = self._bounds.get(subject, (None, None))
        return (holds.counted if holds is not None else ()) or counting(subject)

    def _note(self, seen: Seen) -> bool:
        learned = self.book.get(seen.subject)
        if learned is None:
            if len(self.book) >= MOST:
                self.book.pop(min(self.book, key=lambda subject: self.book[subject].last_seen))
            learned = self.book[seen.subject] = Learned()
        news = seen.added_to(learned)
        self._unshared.append(seen)
        if news:
            self._news = True
            self._stale.add(seen.subject)
        return news

    def _unsure(self, candidate: Candidate) -> bool:
        learned = self.book.get(subject_of(candidate))
        return learned is None or any(each.confidence < 1.0 for each in learned.told)

    # what follows from it

    def bind(self) -> None:
        """Let candidates whose learned limits bind be held to them, as they are known now."""
        standing: dict[str, list[Standing]] = {}
        for stats in self._catalog.standing():
            if stats.learns == "bind":
                standing.setdefault(subject_of(stats.candidate), []).append(stats)
        if not (standing or self._standing):
            return
        was, self._standing = self._standing, standing
        known, self._known = self._known, self.book.keys() | self.guesses.subjects()
        self._bounds = {subject: bounds for subject, bounds in self._bounds.items() if subject in standing}
        changed = False
        for subject, some in standing.items():
            # Most are only counted: nothing is known of them, and nothing changes.
            if subject in known or subject in self._known or was.get(subject) != some:
                changed = self._bind_one(subject) or changed
        if changed:
            self._changed()

    async def bind_again(self, everything: bool = False) -> None:
        """Let candidates be held to what changed since, or to all that is known: what was not told for long no longer
        holds."""
        stale, self._stale = self._stale, set()
        if everything:
            stale |= self._known | self.book.keys() | self.guesses.subjects()
            self._known = {subject for subject in stale if subject in self.book or self.guesses.get(subject)}
        changed = False
        async for subject in in_slices(stale):
            if subject in self._standing:
                changed = self._bind_one(subject) or changed
        if changed:
            self._changed()

    def _bind_one(self, subject: str) -> bool:
        """Whether what is learned is something else now."""
        now, known, guess = self.clock(), self.book.get(subject), self.guesses.get(subject)
        learned, holds = before = self._bounds.get(subject, (None, None))
        if known is not None or learned is None or holds is not learned:
            # Quota stores know limits again by their identity.
            learned = _as_before(before[0], bounds_of(subject, known, None, now))
        holds = learned if guess is None else _as_before(holds, bounds_of(subject, known, guess, now))
        self._bounds[subject] = learned, holds
        for stats in self._standing.get(subject, ()):
            own = stats.candidate.key.limits
            bound, joined = self._joined.get((own, subject), (None, ()))
            if bound is not holds:
                joined = own + holds.told + holds.counted
                self._joined[own, subject] = holds, joined
            stats.limits, stats.counted = joined, holds.counted
            stats.quotas = own + learned.told + learned.counted
        return before[0] is not learned

    def known(self) -> list[Known]:
        """What is learned of accounts of configured keys, those aside that nothing is to be learned of."""
        modes = {key.account: place.learns[key.name] for place in self._catalog.places.values() for key in place.keys}
        found = []
        for subject, learned in self.book.items():
            account, model = account_and_model(subject)
            if modes.get(account, "off") == "off":
                continue
            binding = self._bounds[subject][0] if subject in self._bounds and modes[account] == "bind" else ((), ())
            bounds = [limit for some in binding for limit in some]
            for each in learned.estimates():
                limit = limit_of(subject, each)
                binds = any(bound.id == limit.id and bound.amount < BOUNDLESS for bound in bounds)
                counted = any(bound.id == limit.id for bound in bounds)
                found.append(Known(account, model, subject, each, limit, binds, counted))
        return found

    async def _tick(self) -> None:
        counted_at = bound_at = self.clock()
        while True:
            await asyncio.sleep(TICK)
            now = self.clock()
            try:
                if self.guesses:
                    await self.guesses.look()
                if self._is_chief and abs(now - counted_at) >= COUNT_EVERY:
                    counted_at = now
                    await self.look_at_counts()
                if abs(now - self._shared_at) >= SHARE_EVERY and (self._unshared or self._learns()):
                    self._shared_at = now
                    await self.share()
                if self._stale:
                    await self.bind_again()
                if abs(now - bound_at) >= LOOK_EVERY:
                    bound_at = now
                    await self.bind_again(everything=True)
            except Exception as error:
                log.warning("learned limits could not be looked at: %s", type(error).__name__)

    async def look_at_counts(self) -> None:
        """See what goes through where there were refusals: whether it is held back, and whether more would do."""
        subjects = [subject for subject, known in self.book.items() if known.hidden is not None]
        for count in await self.counts(subjects) if subjects else ():
            seen = Seen(count.subject, self.clock(), requests=count.requests, tokens=count.tokens)
            if seen.added_to(copied(self.book[count.subject])):
                self._note(seen)

    def _learns(self) -> bool:
        return any(mode != "off" for place in self._catalog.places.values() for mode in place.learns.values())

    # what all processes know

    async def share(self) -> None:
        """Add what was seen here to what is kept, and take over what others have seen."""
        store = self._facts()
        if store is None:
            self._unshared.clear()
            return
        try:
            for _ in range(TRIES):
                if await self._share(store):
                    break
            self._away = False
        except Exception as error:
            if not self._away:
                log.warning("what is learned of limits is not shared at the moment: %s", type(error).__name__)
            self._away = True

    async def _share(self, store: ConfigurationStore) -> bool:
        """False if somebody else was faster."""
        now, was, sent = self.clock(), await store.fact(FACT), len(self._unshared)
        kept = self._kept
        if was != kept.text:
            self._stale |= await kept.take_over(was, self.book, self._unshared)
        if not sent or not (self._news or sent >= MANY or abs(now - self._noted_at) >= SEEN_EVERY):
            return True
        self._news = False
        text, lines = await kept.written(self.book, {seen.subject for seen in self._unshared[:sent]})
        if not await store.keep_fact(FACT, text, was):
            self._news = True
            return False
        kept.kept(text, lines)
        self._noted_at = now
        del self._unshared[:sent]
        return True


def _as_before(was: Bounds | None, now: Bounds) -> Bounds:
    return was if was is not None and was == now else now


def _keep_to_oneself(hold: Hold) -> None:
    """Of a hub that is alone."""

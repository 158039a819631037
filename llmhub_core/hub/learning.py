"""Limits that nobody declared, learned while requests go by: shown, and held to where the configuration says so.

What is told in headers is looked at now and then, not at each answer; what an error says, each time. A provider that
refuses and tells nothing is counted from its first refusal on, by the quota store, which all processes share; only
where learned limits bind, for counting costs each request what any other limit does.

What is learned rests in the metadata store as one text. Each process writes down what it saw and, every few seconds,
adds that to what is there, so that all know the same and a restart forgets at most those seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from llmhub_core.contracts.candidate import Candidate, Limit
from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import UpstreamLimited
from llmhub_core.contracts.quota_store import QuotaStore
from llmhub_core.contracts.rates import seen_limits
from llmhub_core.hub.catalog import Catalog, Standing
from llmhub_core.hub.learned import (
    MINUTE,
    MOST,
    Book,
    Known,
    Learned,
    Seen,
    account_and_model,
    add,
    bounds_of,
    copied,
    counting,
    latest,
    limit_of,
    read_book,
    subject_of,
)
from llmhub_core.hub.limit_estimates import BOUNDLESS

log = logging.getLogger("llmhub.learning")

SOON, LATER = 1.0, 30.0
"""Seconds between two looks at a candidate's headers: while they tell something new, and when they do not."""

TICK = 1.0
COUNT_EVERY = 5.0
SHARE_EVERY = 10.0
SEEN_EVERY = 300.0
"""Seconds between: changes of bounds; looks at counts; readings of what others learned; notes that nothing changed."""

QUIET = 1.0
"""Seconds after a refusal at which is counted what went through: by then those refused with it have given back."""

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
        is_chief: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._quota = quota
        self._facts = facts
        self._changed = changed
        self._is_chief = is_chief
        self.clock = clock
        self.book: Book = {}
        self._unshared: list[Seen] = []
        self._kept = ""
        self._news = self._dirty = False
        self._shared_at = self._noted_at = 0.0
        self._bounds: dict[str, tuple[Limit, ...]] = {}
        self._joined: dict[tuple[tuple[Limit, ...], str], tuple[Limit, ...]] = {}
        self._counting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._away = False

    async def start(self) -> None:
        await self.share()
        self.bind()
        self._ticking = asyncio.create_task(self._tick(), name="learning")

    async def stop(self) -> None:
        for task in (self._ticking, *self._tasks):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._unshared:
            await self.share()

    def turn_to(self, catalog: Catalog) -> None:
        """Another catalog counts from now on; what was learned stays, for it belongs to accounts."""
        self._catalog = catalog
        self._joined.clear()
        self.bind()

    # what is seen

    def look(self, stats: Standing, headers: Mapping[str, str], now: float) -> None:
        """At the headers of an answer, due by `stats.look_at` (seconds of the performance counter, as `now`)."""
        seen = seen_limits(headers)
        news = False
        for each in seen:
            news = self._note(Seen(subject_of(stats.candidate), self.clock(), each)) or news
        stats.look_at = now + (SOON if news or (seen and self._unsure(stats.candidate)) else LATER)

    def refused(self, stats: Standing, error: UpstreamLimited) -> None:
        """An attempt was refused. Without a number, what went through tells, where limits bind."""
        if stats.learns == "off":
            return
        subject = subject_of(stats.candidate)
        for each in error.limits:
            self._note(Seen(subject, self.clock(), each, "body"))
        known = self.book.get(subject)
        if (
            stats.learns == "bind"
            and not (error.limits or error.exhausted or error.oversized)
            and error.scope != "provider"
            and (known is None or not known.told)
            and subject not in self._counting
        ):
            self._counting.add(subject)
            task = asyncio.create_task(self._count_refusal(subject))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _count_refusal(self, subject: str) -> None:
        try:
            known, at = self.book.get(subject), self.clock()
            if known is None or known.hidden is None:
                self._note(Seen(subject, at, refused=True))
                self.bind()
            elif at - known.counted_since >= MINUTE + SHARE_EVERY:  # what went through before is not known
                await asyncio.sleep(QUIET)
                for seen in await self._counts([subject]):
                    self._note(msgspec.structs.replace(seen, refused=True, at=at))
                self.bind()
        finally:
            self._counting.discard(subject)

    async def _counts(self, subjects: Sequence[str]) -> list[Seen]:
        """What went through within the last minute; none if the store is out."""
        limits = [limit for subject in subjects for limit in counting(subject)]
        try:
            levels = await self._quota.levels(limits)
        except Exception as error:
            log.warning("what went through is not known at the moment: %s", type(error).__name__)
            return []
        taken = {level.limit.id: level.used + level.reserved for level in levels}
        now = self.clock()
        return [
            Seen(subject, now, requests=taken[requests.id], tokens=taken[tokens.id])
            for subject in subjects
            for requests, tokens in (counting(subject),)
        ]

    def _note(self, seen: Seen) -> bool:
        learned = self.book.get(seen.subject)
        if learned is None:
            if len(self.book) >= MOST:
                self.book.pop(min(self.book, key=lambda subject: self.book[subject].last_seen))
            learned = self.book[seen.subject] = Learned()
        news = seen.added_to(learned)
        self._unshared.append(seen)
        if news:
            self._news = self._dirty = True
        return news

    def _unsure(self, candidate: Candidate) -> bool:
        learned = self.book.get(subject_of(candidate))
        return learned is None or any(each.confidence < 1.0 for each in learned.told)

    # what follows from it

    def bind(self) -> None:
        """Let candidates whose learned limits bind be held to them, as they are known now."""
        now = self.clock()
        bounds = {subject: bound for subject, known in self.book.items() if (bound := bounds_of(subject, known, now))}
        if not bounds and not self._bounds:
            return
        changed = bounds != self._bounds
        if changed:
            # Quota stores know limits again by their identity.
            self._bounds = {s: self._bounds[s] if self._bounds.get(s) == b else b for s, b in bounds.items()}
            self._joined.clear()
        for stats in self._catalog.standing():
            self._bind(stats)
        if changed:
            self._changed()

    def _bind(self, stats: Standing) -> None:
        own, subject = stats.candidate.key.limits, subject_of(stats.candidate)
        bound = self._bounds.get(subject, ()) if stats.learns == "bind" else ()
        if not bound:
            stats.limits, stats.counted = own, ()
            return
        joined = self._joined.get((own, subject))
        if joined is None:
            joined = self._joined[own, subject] = own + bound
        known = self.book[subject]
        stats.limits, stats.counted = joined, bound[-2:] if known.hidden is not None else ()

    def known(self) -> list[Known]:
        """What is learned of accounts of configured keys, those aside that nothing is to be learned of."""
        modes = {key.account: place.learns[key.name] for place in self._catalog.places.values() for key in place.keys}
        found = []
        for subject, learned in self.book.items():
            account, model = account_and_model(subject)
            if modes.get(account, "off") == "off":
                continue
            bounds = self._bounds.get(subject, ()) if modes[account] == "bind" else ()
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
                if self._is_chief and abs(now - counted_at) >= COUNT_EVERY:
                    counted_at = now
                    await self.look_at_counts()
                if abs(now - self._shared_at) >= SHARE_EVERY and (self._unshared or self._learns()):
                    self._shared_at = now
                    await self.share()
                if self._dirty or abs(now - bound_at) >= COUNT_EVERY:
                    bound_at, self._dirty = now, False
                    self.bind()
            except Exception as error:
                log.warning("learned limits could not be looked at: %s", type(error).__name__)

    async def look_at_counts(self) -> None:
        """See what goes through where that is counted: whether it is held back, and whether more would do."""
        subjects = [subject for subject, known in self.book.items() if known.hidden is not None]
        for seen in await self._counts(subjects) if subjects else ():
            if seen.added_to(copied(self.book[seen.subject])):
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
        due = self._news or sent >= MANY or abs(now - self._noted_at) >= SEEN_EVERY
        if was == self._kept and not (sent and due):
            return True
        book = read_book(was)
        add(self._unshared[:sent], book)
        self._kept = was
        if sent and due:
            text, self._news = msgspec.json.encode(latest(book)).decode(), False
            if not await store.keep_fact(FACT, text, was):
                self._news = True
                return False
            self._kept, self._noted_at = text, now
            del self._unshared[:sent]
            sent = 0
        add(self._unshared[sent:], book)
        self.book, self._dirty = book, True
        return True

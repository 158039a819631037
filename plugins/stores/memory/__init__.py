"""Quotas counted in memory: exact for one process, with a journal on disk so that a restart forgets nothing.

What a reservation takes from a window counts from the moment of the reservation, which is when providers count
it; what turns out to be used beyond the reservation counts from the settlement on. Whatever is admitted within
any `window` seconds is therefore never more than the limit, and no use escapes because its stream was long.

A sliding window is a short queue of buckets: uses that come within 1/60 of the window share one, and a bucket
leaves when its latest use has left the window. That errs only towards counting too long, by 1/60 at the most,
and costs the same whether a limit is ten a minute or a million.

Rooms: `counters` (how one limit is counted), `holds` (who must rest), `journal` (what is written down: holds at once,
the rest once a second).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from llmhub_plugins.stores.memory.counters import (
    BUCKETS,
    GATE,
    KINDS,
    NO_BUCKET,
    Clock,
    Counter,
    Expiry,
    Lease,
    counter_for,
    needs_of,
)
from llmhub_plugins.stores.memory.holds import Holds
from llmhub_plugins.stores.memory.journal import Journal, LeaseNote, Note, note_of, restored

from llmhub_core.contracts import (
    Amount,
    Hold,
    Level,
    Limit,
    LimitReached,
    QuotaStore,
    Reservation,
    StartError,
    hookimpl,
)

log = logging.getLogger("llmhub.quota")

IDLE_COUNTERS = 1024
"""Above so many counters those with nothing in them are thrown away, so that limits of the past cost nothing."""
ROUNDING = 1e-6
"""Seconds added to a wait, so that a difference of floats never says a hair too little."""
PERIOD = 1.0
"""Seconds between two notes in the journal: what a killed process forgets at the most."""
COUNTERS_A_LINE = 200
"""So many are written between two looks at everything else that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """`folder` is where the journal lies; without one nothing is written."""

    folder: str = field(
        default="", metadata={"help": "Folder of the file quota.journal, which a restart reads; the data folder."}
    )


class MemoryQuotaStore(QuotaStore):
    """Everything happens between two awaits, so that no lock is needed; use it from one event loop only.

    `clock` measures windows and leases and must never go back (the machine's steady one); `wall` (seconds since 1970)
    says when days begin.
    A limit with a zone and a window other than a day slides.
    """

    name = "memory"
    waits = False
    Settings = MemorySettings

    def __init__(self, settings: Any, *, clock: Clock | None = None, wall: Clock | None = None) -> None:
        super().__init__(settings)
        self._clock = clock = clock or time.monotonic
        self._wall = wall or time.time
        self._numbers = count(1)
        self._counters: dict[str, Counter] = {}
        # The counters of limits that come in the same tuple each time, by its identity: looking four of them up
        # by name costs as much as counting them.
        self._resolved: dict[int, tuple[Sequence[Limit], tuple[Counter, ...]]] = {}
        self._forget_idle_at = IDLE_COUNTERS
        self._leases: list[Expiry] = []  # a heap: what expires first is first
        self._open = 0
        self._holds = Holds(clock)
        folder = getattr(settings, "folder", "")
        self._path = Path(folder, "quota.journal") if folder else None
        self._journal: Journal | None = None
        self._noted: dict[int, tuple[Lease, int, float]] = {}
        """By number: leases that the journal knows, how much of them, and until when."""
        self._writing: asyncio.Task[None] | None = None
        self._journal_fails = False

    async def start(self) -> None:
        """StartError if the journal can be neither read nor written."""
        if self._path is None:
            return
        try:
            journal = Journal(self._path, self._clock, self._wall)
            self._restore(journal)
            self._journal = journal
            await self._rewrite(journal)
        except OSError as error:
            raise StartError(
                f"The quota journal {self._path} cannot be used: {error.strerror or error}. "
                "Check that its folder exists and may be written to."
            ) from error
        self._writing = asyncio.create_task(self._write_now_and_then(journal))

    async def stop(self) -> None:
        if self._journal is None or self._writing is None:
            return
        self._writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writing
        await self._write(self._journal)
        self._journal.close()

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        now = self._clock()
        if self._leases and self._leases[0][0] <= now:
            self._expire(now)
        if len(self._counters) >= self._forget_idle_at:
            self._forget_idle(now)
        known = self._resolved.get(id(limits))
        counters = known[1] if known is not None and known[0] is limits else self._resolve(limits)
        needs = needs_of(amount)
        for counter in counters:
            if counter.rolls_at <= now:
                counter.roll(now)
            if counter.taken + needs[counter.kind] > counter.amount:
                raise self._limit_reached(limits, amount, now)
        number = next(self._numbers)
        taken = Lease(f"memory-{number}", tuple(limits), amount, now + lease)
        held = taken.held = []
        for counter in counters:
            needed = needs[counter.kind]
            if now < counter.fills_until:  # what `take` does, in the ordinary case
                bucket = counter.newest
                bucket.leaves = now + counter.window
                bucket.taken += needed
                counter.taken += needed
            else:
                bucket = counter.take(needed, now, taken)
            held.append((counter, needed, bucket))
        if held:
            heapq.heappush(self._leases, (taken.expires, number, taken))
            self._open += 1
        return taken

    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        if reservation.settled:
            return
        if not isinstance(reservation, Lease):
            raise TypeError("This reservation was made by another quota store.")
        now = self._clock()
        if self._leases and self._leases[0][0] <= now:
            self._expire(now)
        if limits is not None:
            self._settle_some(reservation, actual, {limit.id for limit in limits}, now)
            return
        reservation.settled = True
        used = needs_of(actual)
        if reservation.held:
            for counter, needed, bucket in reservation.held:
                actually = used[counter.kind]
                if actually != needed or bucket is NO_BUCKET:
                    counter.settle(needed, bucket, actually, now, reservation)
            reservation.held = []
            self._open -= 1
        else:  # given back when the lease expired; what was used all the same is counted now
            for counter in {self._counter(limit) for limit in reservation.limits}:
                counter.charge(used[counter.kind], now)
        if len(self._leases) > 2 * self._open + BUCKETS:
            self._leases = [entry for entry in self._leases if entry[2].held]
            heapq.heapify(self._leases)

    def _settle_some(self, lease: Lease, actual: Amount, ids: set[str], now: float) -> None:
        used = needs_of(actual)
        if lease.held:
            for counter, needed, bucket in lease.held:
                if counter.limit.id in ids:
                    counter.settle(needed, bucket, used[counter.kind], now, lease)
            lease.held = [entry for entry in lease.held if entry[0].limit.id not in ids]
            if not lease.held:
                self._open -= 1
        else:
            for counter in {self._counter(limit) for limit in lease.limits if limit.id in ids}:
                counter.charge(used[counter.kind], now)
        lease.limits = tuple(limit for limit in lease.limits if limit.id not in ids)
        lease.settled = not lease.limits

    async def renew(self, lease: float) -> None:
        now = self._clock()
        self._expire(now)
        for _, _, mine in self._leases:
            if mine.limits and mine.expires < now + lease:  # one of an earlier run has none
                mine.expires = now + lease

    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]:
        now = self._clock()
        self._expire(now)
        levels = []
        for limit in limits:
            counter = self._counter(limit)
            counter.roll(now)
            reserved = self._reserved(counter)
            levels.append(Level(limit, counter.taken - reserved, reserved, counter.resets_in(now)))
        return levels

    async def hold(self, hold: Hold) -> None:
        note = self._holds.put(hold)
        if note is not None and self._journal is not None:
            try:
                self._journal.write(Note(holds=[note]))
            except OSError:
                self._journal.wants_rewriting = True

    async def holds(self) -> Sequence[Hold]:
        return self._holds.listed()

    def _reserved(self, counter: Counter) -> int:
        """What open leases hold of it; those whose bucket has left the window hold nothing that counts."""
        return sum(
            amount
            for _, _, lease in self._leases
            for held, amount, bucket in lease.held
            if held is counter and bucket.live
        )

    def _expire(self, now: float) -> None:
        """Give back what the leases hold that are over."""
        leases = self._leases
        while leases and leases[0][0] <= now:
            _, number, lease = heapq.heappop(leases)
            if lease.held and lease.expires > now:  # it was renewed
                heapq.heappush(leases, (lease.expires, number, lease))
            elif lease.held:
                for counter, needed, bucket in lease.held:
                    counter.settle(needed, bucket, 0, now, lease)
                lease.held = []
                self._open -= 1

    def _resolve(self, limits: Sequence[Limit]) -> tuple[Counter, ...]:
        counters = tuple(dict.fromkeys(self._counter(limit) for limit in limits))
        if type(limits) is tuple:
            if len(self._resolved) >= IDLE_COUNTERS:
                self._resolved.clear()
            self._resolved[id(limits)] = (limits, counters)
        return counters

    def _counter(self, limit: Limit) -> Counter:
        counter = self._counters.get(limit.id)
        if counter is None or not self._goes_on(counter, limit):
            counter = self._new_counter(limit)
        return counter

    def _goes_on(self, counter: Counter, limit: Limit) -> bool:
        if not counter.counts(limit):
            return False
        if counter.limit is not limit:
            counter.limit, counter.amount = limit, limit.amount
            self._resolved.clear()
        return True

    def _new_counter(self, limit: Limit) -> Counter:
        """A counter from zero: the limit is new, or its kind, window or zone is another one since a reload."""
        counter = counter_for(limit, self._wall)
        self._counters[limit.id] = counter
        self._resolved.clear()
        return counter

    def _forget_idle(self, now: float) -> None:
        held = {counter for entry in self._leases for counter, _, _ in entry[2].held}
        for counter in self._counters.values():
            counter.roll(now)
        if self._journal is not None:  # what it does not know yet it shall know first
            held.update(counter for counter in self._counters.values() if counter.changed)
        self._counters = {id: counter for id, counter in self._counters.items() if counter.taken or counter in held}
        self._resolved.clear()
        self._forget_idle_at = max(IDLE_COUNTERS, 2 * len(self._counters))

    def _limit_reached(self, limits: Sequence[Limit], amount: Amount, now: float) -> LimitReached:
        """The limit that keeps this reservation waiting longest; waiting so long, all of them have room."""
        slowest, longest = limits[0], -1.0
        needs = needs_of(amount)
        for limit in limits:
            counter = self._counter(limit)
            counter.roll(now)
            needed = needs[KINDS[limit.kind]]
            excess = counter.taken + needed - limit.amount
            if excess > 0:
                wait = counter.wait(excess, now, self._leases) if needed <= limit.amount else math.inf
                if wait > longest:
                    slowest, longest = limit, wait
        return LimitReached(slowest, None if longest == math.inf else longest + ROUNDING)

    # the journal

    async def _write_now_and_then(self, journal: Journal) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            await self._write(journal)

    async def _write(self, journal: Journal) -> None:
        """Note what changed; all anew if the file has grown, or could not be written the last time."""
        try:
            if journal.wants_rewriting:
                await self._rewrite(journal)
                return
            changed = [note for counter in self._counters.values() if (note := note_of(counter)) is not None]
            leases, closed = self._changed_leases()
            if changed or leases or closed:
                journal.write(Note(counters=changed, leases=leases, closed=closed))
                await asyncio.to_thread(journal.sync)
        except OSError as error:
            if not self._journal_fails:
                log.error("the quota journal cannot be written (%s); it is tried again each second", error.strerror)  # noqa: TRY400
            self._journal_fails = journal.wants_rewriting = True
        else:
            self._journal_fails = False

    async def _rewrite(self, journal: Journal) -> None:
        """A new file with what counts now. Everything noted is absolute, so that it may change between two lines."""
        with journal.rewriting():
            self._noted.clear()
            counters = iter(list(self._counters.values()))
            while some := list(islice(counters, COUNTERS_A_LINE)):
                notes = [note for counter in some if (note := note_of(counter, everything=True)) is not None]
                journal.write(Note(counters=notes))
                await asyncio.sleep(0)
            journal.write(Note(leases=self._changed_leases()[0], holds=self._holds.all()))
            await asyncio.to_thread(journal.sync)

    def _changed_leases(self) -> tuple[list[LeaseNote], list[int]]:
        """Leases that are open and not noted as they are, and those noted that are not open any more. Most requests
        begin and end between two notes and are in neither."""
        noted = self._noted
        closed = [number for number, (lease, _, _) in noted.items() if not lease.held]
        for number in closed:
            del noted[number]
        opened = []
        for _, number, lease in self._leases:
            if lease.held and noted.get(number) != (now := (lease, len(lease.held), lease.expires)):
                noted[number] = now
                held = [(c.limit.id, amount, bucket.opened) for c, amount, bucket in lease.held if c.kind != GATE]
                opened.append(LeaseNote(number, lease.expires, held))
        return opened, closed

    def _restore(self, journal: Journal) -> None:
        """What an earlier run left behind. Its requests died with it: they are inside of no gate any more, and what
        they reserved is given back when their leases expire."""
        now = self._clock()
        notes = journal.read()
        shift = now - journal.elapsed(notes[-1]) - notes[-1].clock if notes else 0.0
        counters, leases = restored(notes, shift, self._wall)
        self._counters.update(counters)
        self._holds.restore((hold for note in notes for hold in note.holds), shift)
        for expires, held in leases:
            number = next(self._numbers)
            lease = Lease(f"memory-{number}", (), Amount(0), expires)
            lease.held = held
            heapq.heappush(self._leases, (expires, number, lease))
            self._open += 1
        self._expire(now)


@hookimpl
def register_quota_stores() -> list[type[QuotaStore]]:
    return [MemoryQuotaStore]

"""What was used: journaled at once, written behind in batches, read back.

Every admitted request leaves an intent before a provider is called and a record afterwards. Both go to the
journal first; a task of ours ships the records to the metadata store. While that is away the journal grows, and memory
does not: what is there already is read back from it later. What a crash left open is settled at
the next start: an intent without a record becomes a record with outcome `unknown`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from llmhub_core.contracts.errors import HubError, Unavailable
from llmhub_core.contracts.exchange import Exchange, Record
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.usage import tokens_of_bytes
from llmhub_core.hub.journal import Journal, Segment, name_of, read_entries, segments_in
from llmhub_core.hub.ledger_entries import Intent, Outcome, batches, decode_names, encode, read_ahead, readable, unknown
from llmhub_core.hub.waking import woken

log = logging.getLogger("llmhub.ledger")

SHIP_EVERY = 1.0  # seconds
SYNC_EVERY = 0.1
BATCH = 2000
RETRY_AT_MOST = 10.0
HELD = 20_000
"""Records that are held in memory while the store is away."""
PROBE_EVERY = 1.0


class Ledger:
    """`price` completes a record's cost when it is known; called before a record is shipped, never before. `shipped` is
    told, behind the callers' backs, of records that are in the store now. `cap` is how many bytes of journal may wait
    for the store; beyond it new requests are refused with `meter_full`."""

    def __init__(
        self,
        folder: Path,
        store: MetadataStore,
        price: Callable[[Sequence[Record]], Awaitable[None]],
        shipped: Callable[[Sequence[Record]], None] = lambda batch: None,
        cap: int = 1024**3,
    ) -> None:
        self.folder = folder
        """Where the journal is; to be said before `start`."""
        self._store = store
        self._price = price
        self._shipped = shipped
        self._cap = cap
        self._unread = 0  # records in segments that have to be read back
        self._gap = False  # some of the records in memory may not be in the journal
        self._open: dict[str, Segment] = {}
        self._records: list[Record] = []
        self._segments: list[Segment] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._flushing = False
        self._refused = False
        self._left_by_others: list[Path] = []
        self._behind = 0  # bytes in segments that wait for the store
        self.broken: str | None = None
        """Why the journal cannot be written, if it cannot."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(self.folder)
        self._name = name_of(self.folder, make=True)
        await self._recover(self._journal.earlier(), self._name)
        self._tasks = [asyncio.create_task(self._ship_all(), name="ledger-ship")]
        self._tasks.append(asyncio.create_task(self._sync_all(), name="ledger-sync"))

    async def stop(self) -> None:
        """Ship what is there, for ten seconds at most; the rest waits in the journal for the next start."""
        self._stopping = True
        self._wake.set()
        if self._tasks:
            ship, sync = self._tasks
            sync.cancel()
            _, late = await asyncio.wait([ship], timeout=10)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self.flush()
        try:
            self._journal.sync()
        except OSError as error:
            self._note_broken(error)
        self._journal.close()

    @property
    def backlog(self) -> int:
        """Records that are not in the store yet."""
        return len(self._records) + self._unread

    @property
    def filled(self) -> float:
        """Share of the journal's largest size that waits for the store."""
        return (self._behind + self._journal.size) / self._cap

    # the hot path: no await, and one write to the page cache a turn of the loop

    def intend(self, exchange: Exchange) -> None:
        """Before a provider is called, and `flush` between the two. Unavailable (`meter_full`) if the journal is full.

        It is written when this turn of the loop ends, or with the next `flush`: until then nobody was asked, and if the
        hub is killed, the request leaves no trace.
        """
        journal, head = self._journal, exchange.head
        if self._behind + journal.size > self._cap:
            raise Unavailable("The usage journal is full because the database is away; try again later.",
                              code="meter_full", retry_after=30)  # fmt: skip
        intent = Intent(
            exchange.id,
            exchange.arrived_at,
            exchange.caller.name,
            exchange.dialect.name,
            head.operation,
            head.model,
            head.stream,
            tokens_of_bytes(len(exchange.body)),
        )
        journal.add(encode(intent))
        self._flush_soon()
        segment = journal.segment
        segment.waiting += 1
        self._open[intent.id] = segment

    def close(self, record: Record) -> None:
        """When the exchange is over. A record without an intent (refused before any call) is taken as well.

        It is written with the intents of this turn of the loop. If the hub is killed before that, the intent tells of
        the request, as it would have a moment earlier.
        """
        segment = self._open.pop(record.id, None)
        if segment is not None:
            segment.waiting -= 1
        try:
            entry = encode(Outcome(record))
        except UnicodeEncodeError:  # a caller's header or path that is no text
            record = readable(record)
            entry = encode(Outcome(record))
        self._journal.add(entry)
        self._flush_soon()
        self._records.append(record)
        if len(self._records) >= BATCH:
            self._wake.set()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> bool:
        """Hand what was noted to the operating system; from here on the death of this process cannot lose it. False if
        it, or what was there to write last, could not be: then no provider may be called, with `unrecorded` as the
        reason. Records still go to the store, from memory."""
        try:
            if self._journal.flush():
                self._refused = False
        except OSError as error:
            self._refused = True
            self._note_broken(error)
        return not self._refused

    def _note_broken(self, error: OSError) -> None:
        if self.broken is None:
            log.error("the usage journal cannot be written: %s", error.strerror or error)
        self.broken = error.strerror or str(error)
        self._gap = True

    # behind the caller's back

    async def flushed(self) -> None:
        """Wait until everything closed so far is in the store."""
        while self.backlog:
            self._wake.set()
            await asyncio.sleep(0.005)

    async def _sync_all(self) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY)
            try:
                await asyncio.to_thread(self._journal.sync)
            except OSError as error:
                self._note_broken(error)
                self._copy_on()
            if self.broken is not None:
                await self._mend()

    def _copy_on(self) -> None:
        """A file of which the disk refused a part is not trusted again: what can be read of it goes into a new one."""
        journal = self._journal
        bad, journal.bad = journal.bad, []
        if journal.segment.path in bad and not self._seal():
            return
        for path in bad:
            if path.exists():  # else its records are in the store
                for entry in read_entries(path):
                    journal.add(entry)
        self.flush()

    async def _mend(self) -> None:
        """Try whether the disk is well again; until then the hub says that it is not ready."""
        await asyncio.sleep(PROBE_EVERY)
        try:
            await asyncio.to_thread(self._journal.probe)
        except OSError as error:
            self._note_broken(error)
        else:
            log.info("the usage journal can be written again")
            self.broken = None

    def _seal(self) -> bool:
        """Begin a new segment; False if the disk refuses one, and the old one goes on."""
        self.flush()  # what was noted so far is counted as the old one's
        try:
            done = self._journal.rotate()
        except OSError as error:
            self._note_broken(error)
            return False
        self._segments.append(done)
        self._behind += done.size
        return True

    async def _ship_all(self) -> None:
        pause = SHIP_EVERY
        while True:
            if self._stopping:
                self._wake.clear()
            else:
                await woken(self._wake, pause)
            try:
                await self._ship()
                pause = SHIP_EVERY
            except Exception as error:
                pause = min(pause * 2, RETRY_AT_MOST)
                why = error.message if isinstance(error, HubError) else type(error).__name__
                log.warning("%d records wait for the database: %s", self.backlog, why)
                if self._stopping:
                    return
                if len(self._records) > HELD:
                    self._let_go()
                await asyncio.sleep(pause)
            if self._stopping and not self.backlog:
                return

    def _let_go(self) -> None:
        """Records that are all in the journal need not be in memory as well, however long the store is away."""
        self.flush()
        if self._gap or not self._seal():
            return
        for segment in self._segments:
            segment.unread = segment.unread or not segment.shipped
        self._unread += len(self._records)
        self._records.clear()

    async def _ship_unread(self) -> None:
        for segment in [each for each in self._segments if each.unread]:
            async with contextlib.aclosing(read_ahead(batches(segment, BATCH))) as found:
                async for batch in found:
                    await self._store_batch(batch, name_of(segment.path.parent))
                    self._unread = max(0, self._unread - len(batch))
            segment.unread, segment.shipped = False, True
        self._unread = 0

    async def _store_batch(self, batch: list[Record], journal: str) -> None:
        await self._price(batch)
        await self._store.append_from(journal, batch)
        self._shipped(batch)

    async def _ship(self) -> None:
        while self._left_by_others:  # only here, where no batch is under way
            folder = self._left_by_others[-1]
            await self._recover(segments_in(folder), name_of(folder))
            self._left_by_others.remove(folder)
        await self._ship_unread()
        while self._records:
            batch = self._records[:BATCH]
            # A segment may go once everything written to it before now is in the store.
            last = len(batch) == len(self._records)
            if last:
                self.flush()
                if self._journal.size:
                    self._seal()
            sealed = list(self._segments)
            await self._store_batch(batch, self._name)
            del self._records[: len(batch)]
            if last:
                for segment in sealed:
                    segment.shipped = True
        if self.broken is None:
            self._gap = False
        for segment in [each for each in self._segments if each.shipped and each.waiting == 0]:
            self._segments.remove(segment)
            self._behind -= segment.size
            segment.path.unlink(missing_ok=True)

    def adopt(self, folder: Path) -> None:
        """Ship what is in the journal of a process that is dead, as if it were an earlier run's of this one."""
        self._left_by_others.append(folder)
        self._wake.set()

    async def _recover(self, earlier: Sequence[Segment], journal: str) -> None:
        """Find what is open; the records themselves are read again when they are shipped, however many they are. Those
        of which the store says that they came are left out: they may be pruned there by now."""
        came = await self._store.last_from(journal) if earlier and journal else ""
        intents: dict[str, Intent] = {}
        before = self._unread
        for place, segment in enumerate(earlier):
            for number, entry in enumerate(read_entries(segment.path), 1):
                try:
                    found = decode_names(entry)
                except msgspec.DecodeError:
                    log.warning("an entry of %s is of another version and was passed over", segment.path.name)
                    continue
                if isinstance(found, Intent):
                    intents[found.id] = found
                else:
                    intents.pop(found.record.id, None)
                    self._unread += 1
                    if found.record.id == came:
                        self._unread = before
                        for each in earlier[:place]:
                            each.skip = each.size  # more than all
                        segment.skip = number
            segment.unread = True
            self._segments.append(segment)
            self._behind += segment.size
        for intent in intents.values():
            record = unknown(intent)
            self._journal.add(encode(Outcome(record)))  # then what told of them may go with its segment
            self._records.append(record)
        self.flush()
        if intents:
            log.warning("%d requests were open when the hub was killed; they are recorded as unknown", len(intents))


def unrecorded() -> Unavailable:
    """What a caller is told whose request cannot be noted."""
    return Unavailable("Usage cannot be recorded at the moment, so no request is taken; try again later.",
                       code="meter_full", retry_after=30)  # fmt: skip

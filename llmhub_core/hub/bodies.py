"""What was asked and answered, word for word, for operators who want it kept: `[bodies]` says of which requests.

While an exchange runs the bytes are only held on to. When it is over a task of ours redacts them (`body_text`), seals
them and writes them in batches, beside the ledger and never in its way: what cannot be kept is counted and told, and
nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import ClassVar, Protocol

import msgspec

from llmhub_core.contracts.bodies import BodyStore, SealedBody
from llmhub_core.contracts.exchange import Exchange, Record
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.hub.body_text import MARGIN, BodyText, BodyWriter
from llmhub_core.hub.catalog import Catalog
from llmhub_core.hub.redaction import Redaction
from llmhub_core.hub.settings import BodySettings
from llmhub_core.hub.vault import CannotOpen, Secret, Vault, VaultClosed
from llmhub_core.hub.vault.sealing import BODY, key_of
from llmhub_core.hub.waking import woken

log = logging.getLogger("llmhub.bodies")

MOST_HELD = 64 * 1024 * 1024
"""Bytes of bodies that are held in memory, under way and waiting for the database; what comes on top is not kept."""

WHOLE = 16 * 1024 * 1024
"""Bytes of an answer in one piece that are looked at."""

STREAMED = 16
"""Bytes of a stream that are held for each byte that is kept of what it says."""

BATCH = 50
EVERY = 1.0
RETRY_AT_MOST = 10.0
GOODBYE = 5.0
TELL_EVERY = 60.0
"""Seconds: between batches, between tries, for the last batch, between two words about what is lost."""

PRESENTED = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
"""Headers in which callers show who they are."""


class Bodies(msgspec.Struct):
    """Of one request, as they were kept."""

    request: BodyText
    answer: BodyText | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Bodies).decode


def sealed(vault: Vault, id: str, at: float, bodies: Bodies) -> SealedBody:
    """VaultClosed if it cannot be sealed."""
    text = vault.seal_data(BODY, id, zlib.compress(_encode(bodies)), BODY)
    return SealedBody(id, at, key_of(text), text)


def opened(vault: Vault, kept: SealedBody) -> Bodies:
    """CannotOpen, with half a sentence why."""
    data = vault.open_data(BODY, kept.id, kept.sealed, BODY)
    try:
        return _decode(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError):
        raise CannotOpen("was kept by another version") from None


class Note:
    """The bodies of one exchange, as they pass."""

    __slots__ = ("_bodies", "_pieces", "_room", "at", "exchange", "media_type", "passed", "weight")

    def __init__(self, bodies: BodyKeeper, exchange: Exchange, room: int) -> None:
        self._bodies = bodies
        self._pieces: list[bytes] = []
        self._room = room
        self.exchange = exchange
        self.at = exchange.arrived_at
        self.media_type = ""
        self.passed = 0
        """Bytes of the answer."""
        self.weight = len(exchange.body)

    def answer(self, media_type: str, body: bytes) -> None:
        """One in a single piece."""
        self.media_type, self._room = media_type, WHOLE
        self.piece(body)

    def begin(self, media_type: str, first: bytes) -> None:
        """A stream, with its first piece."""
        self.media_type = media_type
        self.piece(first)

    def piece(self, piece: bytes) -> None:
        """More of it. Held on to as it is, without a copy."""
        length = len(piece)
        self.passed += length
        if self._room > 0 and self._bodies.takes(length):
            self._pieces.append(piece if length <= self._room else piece[: self._room])
            self._room -= length
            self.weight += length
        else:
            self._room = 0  # never a piece behind a gap

    def let_go(self) -> None:
        """Nobody wants it any more, though more of it passes."""
        self._room = 0
        self._pieces.clear()

    def held(self) -> bytes:
        return b"".join(self._pieces)


class Around(Protocol):
    """The hub, as far as it is needed here."""

    store: MetadataStore
    vault: Vault
    catalog: Catalog


class BodyKeeper:
    """`kept` and `lost` count requests since the start; `why` tells why the last one was lost."""

    name: ClassVar[str] = "bodies"

    def __init__(self, settings: BodySettings, around: Around) -> None:
        self._settings = settings
        self._around = around
        self._open: dict[str, Note] = {}
        self._waiting: deque[Note] = deque()
        self._batch: list[Note] = []
        self._rows: list[SealedBody] | None = None
        self._held = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told_at = 0.0
        self._told = 0
        self.kept = 0
        self.lost = 0
        self.why = ""

    @property
    def store(self) -> BodyStore | None:
        return self._around.store.bodies

    @property
    def wanted(self) -> bool:
        """Whether bodies are kept at all."""
        return self._settings.store != "none" and self.store is not None

    def turn_to(self, settings: BodySettings) -> None:
        """From now on other requests are chosen. Those under way are let go if none are."""
        self._settings = settings
        if settings.store != "none" and self.store is None:
            log.error(
                "bodies.store = %s has no effect: the metadata store %s keeps none; take sqlite or postgresql",
                settings.store, self._around.store.name,
            )  # fmt: skip
        if not self.wanted:
            for note in self._open.values():
                note.let_go()
                self._held -= note.weight
            self._open.clear()

    def start(self) -> None:
        """When the store is open."""
        self._task = asyncio.create_task(self._write_on(), name="bodies-write")

    async def stop(self) -> None:
        """Write what waits, for a few seconds at most."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(GOODBYE):
                await self._write()
        except Exception as error:
            self._lose(self.waiting, f"the database did not take them before the hub stopped ({type(error).__name__})")

    @property
    def waiting(self) -> int:
        """Requests that are over, and not yet written."""
        return len(self._waiting) + len(self._batch)

    # while requests run

    def begin(self, exchange: Exchange) -> Note | None:
        """Hold on to what passes from now on; None if this one is not to be kept."""
        settings = self._settings
        if not (chosen(exchange.caller.name, settings.tokens) and chosen(exchange.head.model, settings.models)):
            return None
        note = Note(self, exchange, min(WHOLE, settings.largest * STREAMED) + MARGIN)
        if not self.takes(note.weight):
            self._lose(1, "too many wait for the database, or are under way")
            return None
        self._open[exchange.id] = note
        return note

    def takes(self, length: int) -> bool:
        """Whether there is room for so many bytes; it is taken then."""
        if self._held + length > MOST_HELD:
            return False
        self._held += length
        return True

    def finished(self, record: Record) -> None:
        """The exchange is over, but for an error that has yet to be told."""
        note = self._open.pop(record.id, None)
        if note is None:
            return
        if self._settings.store == "failed" and record.outcome == "served":
            self._held -= note.weight
            return
        self._waiting.append(note)
        if len(self._waiting) >= BATCH:
            self._wake.set()

    def refused(self, id: str, media_type: str, body: bytes) -> None:
        """What the caller of a request that is over is told instead of an answer."""
        if self._waiting and (note := self._waiting[-1]).exchange.id == id and not note.passed:
            note.answer(media_type, body)

    # behind the callers' backs

    async def flushed(self) -> None:
        """Wait until all that are over are written, or lost."""
        while self.waiting:
            self._wake.set()
            await asyncio.sleep(0.005)

    async def _write_on(self) -> None:
        pause = EVERY
        while True:
            await woken(self._wake, pause)
            try:
                await self._write()
                pause = EVERY
            except Exception as error:  # the database is away: they wait, as long as there is room
                pause = min(pause * 2, RETRY_AT_MOST)
                log.warning("the bodies of %d requests wait for the database: %s", self.waiting, type(error).__name__)
            self._tell()

    async def _write(self) -> None:
        store = self.store
        assert store is not None or not self._waiting  # noqa: S101 — none is begun without a store
        while self._waiting or self._batch:
            assert store is not None  # noqa: S101
            if not self._batch:
                self._batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if self._rows is None:
                self._rows = await asyncio.to_thread(self._seal, self._batch)
            await store.keep_bodies(self._rows)
            self.kept += len(self._rows)
            self._held -= sum(note.weight for note in self._batch)
            self._batch, self._rows = [], None

    def _seal(self, notes: Sequence[Note]) -> list[SealedBody]:
        """Takes its time: not on the event loop."""
        rows, redaction = [], Redaction(secrets_of(self._around.catalog))
        for note in notes:
            try:
                bodies = _bodies(note, redaction, self._settings)
                rows.append(sealed(self._around.vault, note.exchange.id, note.at, bodies))
            except VaultClosed:
                self._lose(1, "the vault is closed")
            except Exception as error:
                self._lose(1, f"they could not be read ({type(error).__name__})")
        return rows

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        self.why = why

    def _tell(self) -> None:
        if self.lost > self._told and time.monotonic() >= self._told_at + TELL_EVERY:
            log.warning("the bodies of %d requests were not kept: %s", self.lost - self._told, self.why)
            self._told, self._told_at = self.lost, time.monotonic()


def chosen(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of `patterns` takes the name in (any does, where none takes one in) and none with ``!`` leaves it
    out."""
    out = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    taken = [pattern for pattern in patterns if not pattern.startswith("!")]
    return not any(_fits(name, each) for each in out) and (not taken or any(_fits(name, each) for each in taken))


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def secrets_of(catalog: Catalog) -> list[Secret]:
    """All that the hub itself sends to providers: keys, and what their settings keep to themselves."""
    found: list[Secret] = []
    for place in catalog.places.values():
        found += place.secrets.values()
        options = place.options
        for field in fields(options) if is_dataclass(options) else ():
            value = getattr(options, field.name)
            if field.name == "headers" and isinstance(value, dict):
                found += (Secret(each) for each in value.values() if isinstance(each, str))
            elif not field.repr and isinstance(value, str):
                found.append(Secret(value))
    return found


def _presented(exchange: Exchange) -> list[Secret]:
    """What the caller showed."""
    found = (exchange.headers.get(name, "") for name in PRESENTED)
    return [Secret(value.rpartition(" ")[2]) for value in found if value]


def _bodies(note: Note, redaction: Redaction, settings: BodySettings) -> Bodies:
    exchange = note.exchange
    writer = BodyWriter(redaction.also(_presented(exchange)), settings.largest, settings.media)
    asked, media_type = exchange.body, exchange.where.media
    if exchange.replaced:
        # What an interceptor took out of a request is not kept behind its back.
        asked = exchange.dialect.encode_request(exchange.request, exchange.head.model).body
        media_type = "application/json"
    answer = None
    if note.media_type:
        answer = writer.answer(exchange.dialect, note.held(), note.media_type, note.passed)
    return Bodies(writer.request(asked, media_type), answer)

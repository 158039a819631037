"""What the journal says: of each admitted request that it is to be asked, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import islice

import msgspec

from llmhub_core.contracts.exchange import Record
from llmhub_core.hub.journal import Segment, read_entries


class Intent(msgspec.Struct, tag="intent", gc=False):
    """Enough to make an honest record if nothing else is ever heard of the request."""

    id: str
    arrived_at: float
    caller: str
    dialect: str
    operation: str
    model: str
    stream: bool
    input_tokens: int


class _Name(msgspec.Struct, gc=False):
    id: str


class _Ended(msgspec.Struct, tag="outcome", gc=False):
    """An outcome of which only the name is wanted."""

    record: _Name


class Outcome(msgspec.Struct, tag="outcome", gc=False):
    record: Record


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Intent | Outcome).decode
decode_names = msgspec.json.Decoder(Intent | _Ended).decode


async def read_ahead(batches: Iterator[list[Record]]) -> AsyncGenerator[list[Record], None]:
    """Each is read while the one before it is stored."""
    reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
    try:
        while batch := await reading:
            reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
            yield batch
    finally:
        await asyncio.gather(reading, return_exceptions=True)


def batches(segment: Segment, size: int) -> Iterator[list[Record]]:
    """The records of a segment, `size` at a time."""
    batch: list[Record] = []
    for entry in islice(read_entries(segment.path), segment.skip, None):
        try:
            found = _decode(entry)
        except msgspec.DecodeError:
            continue  # told when the hub started
        if isinstance(found, Outcome):
            batch.append(found.record)
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def readable(record: Record) -> Record:
    """`record` with half characters replaced, wherever a caller or provider put some."""
    text = {
        name: value.encode("utf-8", "replace").decode()
        for name in record.__struct_fields__
        if isinstance(value := getattr(record, name), str)
    }
    tags = {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in record.tags.items()
    }
    for attempt in record.attempts:
        attempt.detail = attempt.detail.encode("utf-8", "replace").decode()
    return msgspec.structs.replace(record, **text, tags=tags)


def unknown(intent: Intent) -> Record:
    """What a request is taken for of which only the intent is known."""
    return Record(
        id=intent.id,
        arrived_at=intent.arrived_at,
        caller=intent.caller,
        dialect=intent.dialect,
        operation=intent.operation,
        model=intent.model,
        stream=intent.stream,
        outcome="unknown",
        code="hub_killed",
        source="gateway",
        input_tokens=intent.input_tokens,
        usage_estimated=True,
    )

"""The other end of `page_process.py`: a program that is handed a store, then one task after the other, and works on
several at once. It ends with the line on which they come, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pickle
import socket
import struct
import sys
from collections.abc import Coroutine
from typing import Any

from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.metadata_store import MetadataStore

BEAT = 1.0
"""Seconds between two signs of life, while there is work."""

NICE = 10

Told = tuple[bool, Any]
"""Whether it was done, and what came of it: a result, or the refusal that it ended with; None for any other failure."""

NOT_DONE: Told = (False, None)
"""Whoever asked tries itself then, and says what is wrong."""

HEAD = struct.Struct("!II")
"""Before each message: the bytes that follow, and the number of the task. No bytes are a sign of life, or have the task
cancelled."""


def framed(number: int, message: object) -> bytes:
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(body), number) + body


def understood(body: bytes | memoryview) -> Any:
    """From the other end of a line that nobody else has."""
    return pickle.loads(body)  # noqa: S301


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    size, number = HEAD.unpack(await reader.readexactly(HEAD.size))
    return number, await reader.readexactly(size)


async def serve(line: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=line)
    _, greeting = await _read(reader)
    store, modules = understood(greeting)
    for module in modules:
        importlib.import_module(module)
    writer.write(await _done(0, store.start()))
    working: dict[int, asyncio.Task[None]] = {}
    beating = asyncio.create_task(_beat(writer, working))
    try:
        while True:
            number, task = await _read(reader)
            if task:
                working[number] = asyncio.create_task(_work(store, number, task, writer))
                working[number].add_done_callback(lambda _, number=number: working.pop(number))  # type: ignore[misc]
            elif number in working:
                working[number].cancel()
    finally:
        beating.cancel()


async def _beat(writer: asyncio.StreamWriter, working: dict[int, asyncio.Task[None]]) -> None:
    while True:
        await asyncio.sleep(BEAT)
        if working:
            writer.write(HEAD.pack(0, 0))


async def _work(store: MetadataStore, number: int, task: bytes, writer: asyncio.StreamWriter) -> None:
    async def work() -> Any:
        function, args = understood(task)
        return await function(store, *args)

    writer.write(await _done(number, work()))


async def _done(number: int, work: Coroutine[Any, Any, Any]) -> bytes:
    """What is told of it."""
    told: Told
    try:
        told = True, await work
    except (Denied, HubError) as refusal:
        told = False, refusal
    except Exception:
        told = NOT_DONE
    try:
        return framed(number, told)
    except Exception:
        return framed(number, NOT_DONE)


def _go_last() -> None:
    """Whatever serves callers goes before this, also where the hub itself goes before all else."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.nice(NICE)


def main() -> None:
    _go_last()
    asyncio.run(_serve_and_leave(socket.socket(fileno=int(sys.argv[1]))))


async def _serve_and_leave(line: socket.socket) -> None:
    """Without waiting for what still runs in threads: it only reads."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await serve(line)
    os._exit(0)


if __name__ == "__main__":
    main()

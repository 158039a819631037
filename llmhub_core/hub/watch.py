"""Sees that the configuration is another by now: the file, a file that a secret lies in, or what is stored.

Looks twice a second, so that every process counts a change within a second of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

log = logging.getLogger("llmhub.watch")

INTERVAL = 0.5
PATIENCE = 5.0
"""Seconds that a database may take to say its revision."""


class Watched(Protocol):
    """What is looked at: how it was when it was last read, and how it is now."""

    read_stamp: object
    read_revision: int

    async def stamp(self) -> object: ...

    async def revision(self) -> int: ...

    async def reload(self, file: bool = True) -> object: ...


class Watch:
    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._watching: asyncio.Task[None] | None = None
        self._stirring: object = None
        self._out = False
        self._asked = asyncio.Event()

    def look_now(self) -> None:
        """Read everything again at once."""
        self._asked.set()

    def start(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), INTERVAL)
            looks = (self._read_again,) if self._asked.is_set() else (self._look_at_store, self._look_at_file)
            for look in looks:
                await _guarded(look)

    async def _read_again(self) -> None:
        self._asked.clear()
        await self._watched.reload()

    async def _look_at_file(self) -> None:
        """A file that is being written is left alone until it has been the same for two looks."""
        stamp = await self._watched.stamp()
        if stamp == self._watched.read_stamp:
            self._stirring = None
        elif stamp == self._stirring:
            self._stirring = None
            await self._watched.reload()
        else:
            self._stirring = stamp

    async def _look_at_store(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                revision = await self._watched.revision()
        except Exception as error:
            if not self._out:
                log.warning("changes of what is stored are not seen at the moment: %s", type(error).__name__)
            self._out = True
            return
        self._out = False
        if revision != self._watched.read_revision:
            await self._watched.reload(file=False)


async def _guarded(look: Callable[[], Awaitable[None]]) -> None:
    try:
        await look()
    except Exception as error:
        log.exception("looking for changes of the configuration failed: %s", type(error).__name__)

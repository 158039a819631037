"""Sees that the configuration is another by now: the file, a file that a secret lies in, or what is stored.

Looks twice a second, so that every process counts a change within a second of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

log = logging.getLogger("llmhub.watch")
T = TypeVar("T")

INTERVAL = 0.5
PATIENCE = 3.0
"""Seconds that a database may take to say its revision; then it is away."""


class Watched(Protocol):
    """What is looked at: how it was when it was last read, and how it is now."""

    read_stamp: object
    read_revision: int

    async def stamp(self) -> object: ...

    async def revision(self) -> int: ...

    async def reload(self, file: bool = True) -> object: ...


class Watch:
    """`away`: the store did not answer when it was asked last; `took` is how many seconds its latest answer took."""

    def __init__(self, watched: Watched) -> None:
        self.away = False
        self.took: float | None = None
        self._watched = watched
        self._watching: asyncio.Task[None] | None = None
        self._stirring: object = None
        self._when_away: list[Callable[[], None]] = []
        self._asked = asyncio.Event()

    def look_now(self) -> None:
        """Read everything again at once."""
        self._asked.set()

    def on_away(self, told: Callable[[], None]) -> None:
        """From now on call it when the store goes away, and when it is back."""
        self._when_away.append(told)

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
        revision = await self.ask()
        if revision not in (None, self._watched.read_revision):
            await self._watched.reload(file=False)

    async def ask(self) -> int | None:
        """The revision of what is stored; None if the store is away."""
        began = time.perf_counter()
        try:
            revision = await within(PATIENCE, self._watched.revision())
        except Exception as error:
            if not self.away:
                log.warning("changes of what is stored are not seen at the moment: %s", type(error).__name__)
            self._turn(True)
            return None
        self.took = time.perf_counter() - began
        if self.away:
            log.warning("the database is back")
        self._turn(False)
        return revision

    def _turn(self, away: bool) -> None:
        if away != self.away:
            self.away = away
            for told in self._when_away:
                told()


async def within(seconds: float, question: Coroutine[Any, Any, T]) -> T:
    """Its answer, or TimeoutError then and not later: a question to a database that hangs takes seconds to give up."""
    asking = asyncio.ensure_future(question)
    try:
        done, _ = await asyncio.wait({asking}, timeout=seconds)
    except asyncio.CancelledError:
        asking.cancel()
        raise
    if not done:
        asking.cancel()
        asking.add_done_callback(lambda given_up: given_up.cancelled() or given_up.exception())
        raise TimeoutError
    return asking.result()


async def _guarded(look: Callable[[], Awaitable[None]]) -> None:
    try:
        await look()
    except Exception as error:
        log.exception("looking for changes of the configuration failed: %s", type(error).__name__)

"""Pages and answers of the control plane are made in a process of their own: on the loop that serves callers each would
keep them waiting, and in a thread it would keep the interpreter from them.

It is started when somebody looks at a page, and ends when nobody has for a while. Until it is there, whenever it is
not, and for all that it cannot do, the process that serves does the work itself: pages know nothing of where they are
made. They are functions of a store and of plain values (`run`), and travel as pickle does it, by name: both ends are
this program, and the line between them has no name by which anybody else could come to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple

from llmhub_core.admin.page_program import HEAD, framed, understood
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.metadata_store import MetadataStore

log = logging.getLogger("llmhub.admin")

T = TypeVar("T")
Args = TypeVarTuple("Args")

IDLE = 120.0
"""Seconds without a page after which the process ends."""

SILENCE = 4.0
"""Seconds without a sign of life, with work to do, after which it hangs and is killed."""

START = 30.0
"""Seconds that a start may take."""

REST = 5.0
"""Seconds until it is started again after it died; `REST_LONG` if it never came up."""

REST_LONG = 60.0

PASSED_ON = ("HOME", "LANG", "LC_", "LD_", "PATH", "PG", "PYTHON", "SSL_", "TMPDIR", "TZ")
"""What the names of environment variables begin with that the process gets: what Python and a database's driver look
for. Others may hold provider keys and root keys."""


TWICE = 2.0
"""Seconds: what fails there after longer is not tried here too. A database that hangs would have people wait twice."""


class _NotDone(Exception):
    """It was not done there."""


class _Line(asyncio.Protocol):
    """To one process."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.asked: dict[int, asyncio.Future[Any]] = {0: self.ready}
        self.used = self.heard = time.monotonic()
        self._numbers = itertools.count(1)
        self._read = bytearray()
        self._transport: asyncio.WriteTransport

    async def ask(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        number, now = next(self._numbers), time.monotonic()
        message = framed(number, (function, args))
        if not self.asked:
            self.heard = now
        answer = self.asked[number] = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        self.used = now
        try:
            return await answer
        except asyncio.CancelledError:
            if not self.lost.done():
                self._transport.write(HEAD.pack(0, number))
            raise
        finally:
            self.asked.pop(number, None)

    def greet(self, store: MetadataStore, modules: Sequence[str]) -> None:
        self._transport.write(framed(0, (store, modules)))

    def close(self) -> None:
        self._transport.close()

    # asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for answer in self.asked.values():
            if not answer.done():
                answer.set_exception(_NotDone())

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        read = self._read
        read += data
        while len(read) >= HEAD.size:
            size, number = HEAD.unpack_from(read)
            end = HEAD.size + size
            if len(read) < end:
                break
            if size:
                self._take(number, *understood(memoryview(read)[HEAD.size : end]))
            del read[:end]

    def _take(self, number: int, done: bool, value: Any) -> None:
        answer = self.asked.get(number)
        if answer is None or answer.done():  # nobody waits any more
            return
        if done:
            answer.set_result(value)
        else:
            answer.set_exception(value or _NotDone())


class PageProcess:
    """Of one hub's `store`. Construct (starts nothing) → `run` → `close`."""

    def __init__(self, store: MetadataStore) -> None:
        self.enabled = True
        self.modules: list[str] = []
        """Those whose functions it will be asked for: they are imported before."""
        self._store = store
        self._line: _Line | None = None
        self._life: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    async def run(self, function: Callable[[MetadataStore, *Args], Awaitable[T]], *args: *Args) -> T:
        """What `function` (of a module, by its name) makes of the store and of `args`, which it does not change: there,
        or here. It only reads. What it refuses (Denied, HubError) is raised here."""
        line = self._line
        if line is None:
            self._begin()
        else:
            began = time.monotonic()
            try:
                result: T = await line.ask(function, args)
            except _NotDone:
                log.debug("%s was not done by the page process", function.__name__)
                if not line.lost.done() and time.monotonic() - began > TWICE:
                    raise TimeoutError from None
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                log.warning("%s cannot go to the page process: %s", function.__name__, error)
            else:
                return result
        return await function(self._store, *args)

    async def close(self) -> None:
        self.enabled = False
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    def _begin(self) -> None:
        alive = self._life is not None and not self._life.done()
        if self.enabled and not alive and time.monotonic() >= self._rests_until:
            self._life = asyncio.create_task(self._live(), name="page process")

    async def _live(self) -> None:
        store = self._store.reader()
        if store is None:
            self.enabled = False
            return
        self._rests_until = time.monotonic() + REST_LONG
        ours, its = socket.socketpair()
        try:
            with its:
                process = await _start(its)
        except OSError as error:
            ours.close()
            log.warning("pages are made by the process that serves, for no other can be started: %s", error)
            return
        try:
            await self._use(process, ours, store)
        finally:
            self._line = None
            ours.close()
            await _end(process)

    async def _use(self, process: Process, ours: socket.socket, store: MetadataStore) -> None:
        _, line = await asyncio.get_running_loop().create_unix_connection(_Line, sock=ours)
        try:
            line.greet(store, self.modules)
            try:
                async with asyncio.timeout(START):
                    await line.ready
            except (TimeoutError, _NotDone, HubError) as error:
                why = error.message if isinstance(error, HubError) else type(error).__name__.strip("_")
                log.warning("pages are made by the process that serves, for the one of their own fails: %s", why)
                return
            del line.asked[0]
            self._line, line.used = line, time.monotonic()
            if await _over(line):
                log.warning("the page process (%d) is gone; another is started soon", process.pid)
            self._rests_until = time.monotonic() + REST
        finally:
            line.close()


async def _start(its: socket.socket) -> Process:
    # Ctrl-C at a terminal is not for it: it ends with the line.
    environ = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "llmhub_core.admin.page_program", str(its.fileno()),
        stdin=DEVNULL, stdout=DEVNULL, env=environ, pass_fds=(its.fileno(),), start_new_session=True,
    )  # fmt: skip


async def _over(line: _Line) -> bool:
    """Until it is not used any more; whether it died before, or hangs."""
    while not line.lost.done():
        await asyncio.wait((line.lost,), timeout=1.0)
        now = time.monotonic()
        if line.asked:
            line.used = now
            if now - line.heard > SILENCE:
                return True
        elif now - line.used > IDLE:
            return False
    return True


async def _end(process: Process) -> None:
    """It only reads, so nothing is lost."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()

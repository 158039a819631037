"""Starts the workers, keeps their number, and replaces them one by one when it is told to.

It serves nothing itself and opens no store: what is done once for all, schema and set-up link, the first worker does
before the others start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from typing import Any

from llmhub_core.cli.listening import SharedPort
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.siblings import LONGEST_LINE

log = logging.getLogger("llmhub.supervisor")

PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker that died is started again; the next one if it does not come up, the first if it lived."""

LIVED = 30.0
"""Seconds after which the death of a worker is no sign that the next will die too."""

PATIENCE = 60.0
"""Seconds that a worker which replaces another may take to start."""

LAST_WAIT = 20.0
"""Seconds beyond `drain` after which a worker that should have stopped is killed."""


class _Worker:
    """One process. `ready` has what it says when it serves; StartError if it ends, or cannot, before that."""

    def __init__(self, number: int, process: Process) -> None:
        self.number = number
        self.process = process
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.writer: asyncio.StreamWriter
        self.since = time.monotonic()
        self.leaving = False
        self.gone = asyncio.Event()

    @property
    def serves(self) -> bool:
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    def say(self, **message: Any) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """`command` starts a worker, given its options; `greet` is told of the set-up secret when all serve."""

    def __init__(
        self, command: Sequence[str], workers: int, port: SharedPort, drain: float, greet: Callable[[str], None]
    ) -> None:
        self._command = command
        self._of = workers
        self._port = port
        self._drain = drain
        self._greet = greet
        self._stop = asyncio.Event()
        self._queues: dict[int, socket.socket] = {}
        self._now: dict[int, _Worker] = {}
        self._alive: set[_Worker] = set()
        self._turns = {number: asyncio.Lock() for number in range(1, workers + 1)}
        self._all_serve = False
        self._rolling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. StartError, with nothing left running, if a worker cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, self._roll_soon)
        try:
            stopping = asyncio.create_task(self._stop.wait())
            starting = asyncio.create_task(self._start_all())
            await asyncio.wait((stopping, starting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                self._greet(starting.result())
                await stopping
            else:
                starting.cancel()
        finally:
            self._stop.set()
            await self._stop_all()

    async def _start_all(self) -> str:
        first = await self._begin(1, first=True)
        ready = await first.ready
        others = [await self._begin(number) for number in range(2, self._of + 1)]
        for worker in others:
            await worker.ready
        self._all_serve = True
        secret: str = ready["setup"]
        return secret

    def _reload(self) -> None:
        for worker in self._alive:
            worker.signal(signal.SIGHUP)

    # one worker

    async def _begin(self, number: int, first: bool = False) -> _Worker:
        """Start a process on the place of that number; it is the one there from now on, unless one serves there."""
        queue = self._queues.get(number)
        if queue is None:
            queue = self._queues[number] = self._port.queue()
        ours, its = socket.socketpair()
        told = (number, self._of, int(first), queue.fileno(), its.fileno())
        process = await asyncio.create_subprocess_exec(
            *self._command, "--worker", *map(str, told),
            stdin=asyncio.subprocess.DEVNULL, pass_fds=(queue.fileno(), its.fileno()), process_group=0,
        )  # fmt: skip
        its.close()
        worker = _Worker(number, process)
        reader, worker.writer = await asyncio.open_unix_connection(sock=ours, limit=LONGEST_LINE)
        self._alive.add(worker)
        if number not in self._now or not self._now[number].serves or self._now[number].gone.is_set():
            self._now[number] = worker
        self._spawn(self._mind(worker, reader))
        return worker

    async def _mind(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        """Carry its words to the others, and see it end."""
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self._take(worker, json.loads(line))
        code = await worker.process.wait()
        worker.gone.set()
        worker.writer.close()
        self._alive.discard(worker)
        if not worker.ready.done():
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            worker.ready.set_exception(StartError(f"Worker {worker.number} {how} before it served; its log says why."))
        elif worker.serves and not worker.leaving and not self._stop.is_set():
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            log.error("worker %d (process %d) %s; it is started again", worker.number, worker.process.pid, how)
            if self._now.get(worker.number) is worker:
                self._spawn(self._revive(worker))

    async def _revive(self, dead: _Worker) -> None:
        number = dead.number
        tries = 0 if time.monotonic() - dead.since > LIVED else 1
        async with self._turns[number]:
            while self._now[number] is dead or not self._now[number].serves:
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)] if tries > 1 else 0.0)
                if self._stop.is_set():
                    return
                try:
                    worker = await self._begin(number)
                    await worker.ready
                except (StartError, OSError) as error:
                    tries = max(tries, 1) + 1
                    log.error("worker %d does not start again: %s", number, error)  # noqa: TRY400 — it says it all
                    # Nobody takes what comes into its queue: let the system give new connections to the others.
                    self._queues.pop(number).close()
                else:
                    log.info("worker %d serves again (process %d)", number, worker.process.pid)
                    return

    def _take(self, sender: _Worker, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "ready":
            sender.ready.set_result(message)
        elif kind == "failed":
            sender.ready.set_exception(StartError(message["why"]))
        elif kind == "call":
            others = [each for each in self._alive if each is not sender and each.serves and not each.leaving]
            for each in others:
                of = f"{sender.process.pid}"
                each.say(kind="call", id=message["id"], of=of, word=message["word"], what=message["what"])
            if message["id"]:
                sender.say(kind="called", id=message["id"], count=len(others))
        elif kind == "answer":
            for each in self._alive:
                if f"{each.process.pid}" == message["to"]:
                    each.say(kind="answer", id=message["id"], number=sender.number, value=message["value"])

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # all of them

    def _roll_soon(self) -> None:
        if not self._all_serve or (self._rolling is not None and not self._rolling.done()):
            log.warning("the workers are being started or replaced already")
            return
        self._rolling = self._spawn(self._roll())

    async def _roll(self) -> None:
        """The new one serves before the old one stops, in each place after the other. If a new one cannot, the old ones
        go on."""
        log.info("replacing %d workers, one by one", self._of)
        for number in range(1, self._of + 1):
            async with self._turns[number]:
                old = self._now[number]
                try:
                    new = await self._begin(number)
                    async with asyncio.timeout(PATIENCE):
                        await asyncio.shield(new.ready)
                except (StartError, OSError, TimeoutError) as error:
                    why = error if isinstance(error, StartError) else "it takes too long to start"
                    log.error("the workers are not replaced: %s", why)  # noqa: TRY400 — it says it all
                    with contextlib.suppress(UnboundLocalError):
                        new.leaving = True
                        new.signal(signal.SIGKILL)
                    return
                self._now[number] = new
                old.leaving = True
                old.say(kind="retire")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._drain + LAST_WAIT):
                        await old.gone.wait()
                if not old.gone.is_set():
                    old.signal(signal.SIGKILL)
        log.info("all workers are replaced")

    async def _stop_all(self) -> None:
        for worker in self._alive:
            worker.leaving = True
            worker.signal(signal.SIGTERM)
        waiting = [asyncio.create_task(worker.gone.wait()) for worker in self._alive]
        if waiting:
            await asyncio.wait(waiting, timeout=self._drain + LAST_WAIT)
        for worker in list(self._alive):
            worker.signal(signal.SIGKILL)
            await worker.process.wait()
        for task in (*waiting, *self._tasks):
            task.cancel()
        await asyncio.gather(*waiting, *self._tasks, return_exceptions=True)
        for queue in self._queues.values():
            queue.close()


def command_of_this() -> list[str]:
    """What starts this program again, with the options that it was started with."""
    return [sys.executable, "-m", "llmhub_core", *sys.argv[1:]]

"""The thread that writes: whatever waits goes into one transaction, and nobody's event loop ever waits for a disk."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmhub_plugins.stores.sqlite_quota.counts import Counts

from llmhub_core.contracts import LimitReached, StartError, Unavailable

T = TypeVar("T")
log = logging.getLogger("llmhub.quota")

MOST = 64
"""Jobs in one transaction: other processes wait for its end."""
PAUSE = 0.001
"""Seconds between two attempts to begin while another process writes. SQLite's own waiting is up to 100 ms a nap."""


@dataclass(slots=True, eq=False)
class Job:
    """`work` runs within a transaction, before `deadline`. `undo` makes another one of a result nobody waits for."""

    work: Callable[[Counts], Any]
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    undo: Callable[[Any], Callable[[Counts], None] | None] | None = None
    result: Any = None
    error: BaseException | None = None


class Writer:
    """`ask` from one event loop; everything else happens in the thread."""

    def __init__(self, path: Path, open_counts: Callable[[], Counts]) -> None:
        self._path = path
        self._open_counts = open_counts
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._counts: Counts
        self._thread = threading.Thread(target=self._run, name="llmhub-quota", daemon=True)

    async def start(self, patience: float) -> None:
        try:
            self._counts = await asyncio.to_thread(self._open, patience)
        except (sqlite3.Error, OSError) as error:
            raise StartError(
                f"The quota file {self._path} cannot be used: {error}. Check that the folder exists and may be written "
                "to, and that the file is a SQLite database on a local disk."
            ) from error
        self._thread.start()

    def _open(self, patience: float) -> Counts:
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._open_counts()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def time(self) -> int:
        """By the clock of the file, in milliseconds."""
        return self._counts.time()

    async def stop(self) -> None:
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def ask(
        self,
        work: Callable[[Counts], T],
        patience: float,
        undo: Callable[[T], Callable[[Counts], None] | None] | None = None,
    ) -> T:
        """What `work` returns or raises; Unavailable if it could not be done within `patience` seconds."""
        loop = asyncio.get_running_loop()
        job = Job(work, time.monotonic() + patience, loop, loop.create_future(), undo)
        self._jobs.put(job)
        try:
            result: T = await job.future
        except asyncio.CancelledError:
            if not job.future.cancelled():  # both at once: the answer had come, and nobody will hear it
                self._take_back(job)
            raise
        return result

    # --- in the thread

    def _run(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._waiting()
            while batch and not self._begin(batch):
                time.sleep(PAUSE)
            if batch:
                self._transact(batch)
        self._counts.close()

    def _waiting(self) -> tuple[list[Job], bool]:
        """What waits, and whether that is the last."""
        batch = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == MOST:
                return batch, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _begin(self, batch: list[Job]) -> bool:
        """False if another process writes; jobs that have waited too long leave the batch."""
        try:
            self._counts.begin()
        except sqlite3.Error as error:
            self._counts.roll_back()
            now = time.monotonic()
            late = [job for job in batch if job.deadline <= now or not _is_busy(error)]
            for job in late:
                job.error = _unavailable(error)
            batch[:] = [job for job in batch if job not in late]
            self._answer(late)
            return False
        return True

    def _transact(self, batch: list[Job]) -> None:
        try:
            for job in batch:
                try:
                    job.result = job.work(self._counts)
                except LimitReached as reached:  # it looked and changed nothing
                    job.error = reached
            self._counts.commit()
        except Exception as error:  # of a thread nobody else would hear
            self._counts.roll_back()
            for job in batch:
                job.error = _unavailable(error)
        self._answer(batch)

    def _answer(self, batch: list[Job]) -> None:
        """To the event loop that asks: in one call, for that wakes it."""
        if batch:
            try:
                batch[0].loop.call_soon_threadsafe(self._tell, batch)
            except RuntimeError:
                log.warning("the hub stopped before its quotas were answered")

    # --- in the event loop again

    def _tell(self, batch: list[Job]) -> None:
        for job in batch:
            if job.future.cancelled():
                self._take_back(job)
            elif job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

    def _take_back(self, job: Job) -> None:
        undoing = job.undo(job.result) if job.undo is not None and job.error is None else None
        if undoing is not None:
            future = job.loop.create_future()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody asks for it
            self._jobs.put(Job(undoing, time.monotonic() + 60.0, job.loop, future))


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unavailable(error: BaseException) -> Unavailable:
    log.error("quotas cannot be counted: %s: %s", type(error).__name__, error)
    return Unavailable(
        "Quotas cannot be counted at the moment; try again soon.", code="quota_backend_unavailable", retry_after=2.0
    )

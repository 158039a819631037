"""What is owed to the quota store when a request is over: never in the caller's task if it could have to wait, for
callers leave at any moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from llmhub_core.contracts.candidate import Limit
from llmhub_core.contracts.quota_store import Amount, QuotaStore, Reservation
from llmhub_core.hub.waiting import Waiting

log = logging.getLogger("llmhub.hub")


class Settling:
    """`waiting` is called when something may be free again."""

    def __init__(self, quota: QuotaStore, waiting: Waiting) -> None:
        self._quota = quota
        self._waiting = waiting
        self._tasks: set[asyncio.Future[None]] = set()

    def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        if self._quota.waits:
            settling = self._quota.settling(reservation, actual, limits)
            if isinstance(settling, asyncio.Future):
                self._follow(settling)
            else:
                self.spawn(settling)
        else:
            _run_through(self._quota.settle(reservation, actual, limits))
            if self._waiting.lines:
                self._waiting.call()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._follow(asyncio.create_task(work))

    def _follow(self, task: asyncio.Future[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work behind a request failed: %s", type(task.exception()).__name__)
        self._waiting.call()

    def __bool__(self) -> bool:
        """Whether something is owed yet."""
        return bool(self._tasks)

    async def all(self) -> None:
        """Until nothing is owed."""
        while self._tasks:
            await asyncio.wait(self._tasks)


def _run_through(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that promised not to suspend."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a quota store that says waits = False suspended")

"""Lets old records go, in small steps that leave the database to everybody else most of the time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from llmhub_core.contracts.metadata_store import MetadataStore

log = logging.getLogger("llmhub.retention")

FIRST = 60.0  # seconds after the start, when there is much else to do
EVERY = 600.0
PAUSE = 0.1
REST = 3.0
"""After each step a pause of so many times what it took."""


class Retention:
    """`keep` is for how many seconds records are kept; 0 keeps all of them. `keep_bodies` says it of their bodies,
    afresh each time."""

    def __init__(self, store: MetadataStore, keep: float, keep_bodies: Callable[[], float] = lambda: 0.0) -> None:
        self._store = store
        self._keep = keep
        self._keep_bodies = keep_bodies
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._now_and_then(), name="retention")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def prune(self) -> None:
        """Everything that is due."""
        await self._step_by_step(lambda: self._store.prune(time.time() - self._keep if self._keep else 0.0))
        bodies, keep = self._store.bodies, self._keep_bodies()
        if bodies is not None and keep:
            await self._step_by_step(lambda: bodies.prune_bodies(time.time() - keep))

    async def _step_by_step(self, step: Callable[[], Awaitable[bool]]) -> None:
        while True:
            began = time.monotonic()
            if not await step():
                return
            await asyncio.sleep(max(PAUSE, REST * (time.monotonic() - began)))

    async def _now_and_then(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            try:
                await self.prune()
            except Exception as error:  # the database is away, or busy; what is due stays due
                log.warning("old records could not be let go: %s", type(error).__name__)
            await asyncio.sleep(EVERY)

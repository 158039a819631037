"""What is reserved lasts as long as the process that reserved it: a killed one gives all back within a minute."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from llmhub_core.contracts.quota_store import QuotaStore

log = logging.getLogger("llmhub.leases")

LEASE = 45.0
"""Seconds after which a reservation whose holder died is given back."""

EVERY = 10.0
"""Seconds between two renewals: a store that does not answer three times in a row takes nothing away yet."""


class Leases:
    """Renews what is reserved while `busy` says that requests are under way. Started when the store is up, and stopped
    before it. `dead_are_free` is called once, when whatever was reserved before the start is free or renewed."""

    def __init__(
        self, quota: QuotaStore, busy: Callable[[], bool], dead_are_free: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._quota = quota
        self._busy = busy
        self._dead_are_free = dead_are_free
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._renewing = asyncio.create_task(self._keep_renewing(), name="leases")

    async def stop(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing

    async def _keep_renewing(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(EVERY)
            if self._dead_are_free is not None and time.monotonic() > began + LEASE + EVERY:
                call, self._dead_are_free = self._dead_are_free, None
                await call()
            if self._busy():
                try:
                    await self._quota.renew(LEASE)
                except Exception as error:
                    log.warning("what is reserved could not be renewed, tried again soon: %s", type(error).__name__)

"""A quota store for several hubs in virtual time, as far from each of them as Redis is: what it does with holds and
claims is what the suite wants of those that are real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from llmhub_plugins.stores.memory import MemoryQuotaStore, MemorySettings

from llmhub_core.contracts import Amount, Hold, Level, Limit, QuotaStore, Reservation, hookimpl

ROUND_TRIP = 0.001
NEWS = 0.05
"""Seconds."""


class Place:
    """Where all of a run's hubs count, and what they know of limits together."""

    def __init__(self) -> None:
        self.store = MemoryQuotaStore(MemorySettings())
        self.told: list[tuple[QuotaStore, Callable[[Hold], None]]] = []
        self.claims: dict[str, tuple[QuotaStore, float]] = {}
        self.holders: dict[str, QuotaStore] = {}
        self._facts: dict[str, str] = {}

    async def fact(self, name: str) -> str:
        return self._facts.get(name, "")

    async def keep_fact(self, name: str, text: str, was: str | None = None) -> bool:
        if was is not None and was != self._facts.get(name, ""):
            return False
        self._facts[name] = text
        return True


class SharedQuotaStore(QuotaStore):
    name = "shared"
    place: Place
    """Of the run that makes it."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._place = self.place

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        await asyncio.sleep(ROUND_TRIP)
        return await self._place.store.reserve(limits, amount, lease)

    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        await asyncio.sleep(ROUND_TRIP)
        await self._place.store.settle(reservation, actual, limits)

    async def renew(self, lease: float) -> None:
        await self._place.store.renew(lease)

    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]:
        await asyncio.sleep(ROUND_TRIP)
        return await self._place.store.levels(limits)

    async def hold(self, hold: Hold) -> None:
        await asyncio.sleep(ROUND_TRIP)
        place = self._place
        place.claims.pop(hold.subject, None)
        place.holders[hold.subject] = self
        await place.store.hold(hold)
        for other, told in place.told:
            if other is not self:
                asyncio.get_running_loop().call_later(NEWS, told, hold)

    async def holds(self) -> Sequence[Hold]:
        return await self._place.store.holds()

    async def claim(self, subject: str, lasts: float) -> float:
        await asyncio.sleep(ROUND_TRIP)
        place, now = self._place, time.monotonic()
        held = next((hold for hold in await place.store.holds() if hold.subject == subject), None)
        if held is not None and held.lasts is not None and place.holders[subject] is not self:
            return held.lasts
        who, until = place.claims.get(subject, (self, 0.0))
        if who is not self and until > now:
            return until - now
        place.claims[subject] = self, now + lasts
        return 0.0

    def watch(self, told: Callable[[Hold], None]) -> None:
        self._place.told.append((self, told))


class Plugin:
    @hookimpl
    def register_quota_stores(self) -> list[type[QuotaStore]]:
        return [SharedQuotaStore]

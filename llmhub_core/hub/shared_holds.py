"""What is held against keys, accounts and deployments: told to the other processes of this hub, and heard from them.

The quota store carries it, to all processes that count in the same place, and keeps what rests over a restart. Only
that a provider cannot be reached stays on the machine, for others may have another way there; its workers tell each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from llmhub_core.contracts.quota_store import Hold, QuotaStore
from llmhub_core.hub.catalog import Catalog
from llmhub_core.hub.guesses import REFUSED
from llmhub_core.hub.health import BREAKER, Health
from llmhub_core.hub.learning import Learning
from llmhub_core.hub.pool import Pool, provider_of
from llmhub_core.hub.siblings import Siblings


class Holder(Protocol):
    """The hub, as far as it is needed here."""

    catalog: Catalog
    pool: Pool
    health: Health
    quota: QuotaStore
    siblings: Siblings
    learning: Learning


class SharedHolds:
    """`start` when the quota store is up. `spawn` does something off the caller's way."""

    def __init__(self, hub: Holder, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._hub = hub
        self._spawn = spawn
        hub.pool.share = self._tell
        hub.health.share = self._tell_of_breaker
        hub.learning.tell = self._tell_of_refusal
        hub.quota.watch(self._heard)
        hub.siblings.answer("hold", self._heard_nearby)
        self._up = False

    async def start(self) -> None:
        """Take over what earlier runs and other processes hold."""
        self._up = True
        for hold in await self._hub.quota.holds():
            self._heard(hold)
        for mark in self._hub.pool.invalid():
            self._hub.pool.may_be_tried(mark)  # somebody may have put a good key in its place

    def stop(self) -> None:
        self._up = False

    def _tell(self, hold: Hold) -> None:
        if self._up:
            self._spawn(self._hub.quota.hold(hold))

    def _tell_of_breaker(self, hold: Hold, nearby: bool) -> None:
        """A hub that is alone tells nobody, and forgets its breakers when it ends."""
        if nearby or hold.state == "active":
            self._hub.siblings.tell("hold", msgspec.to_builtins(hold))
        if self._hub.quota.waits and not nearby:
            self._tell(hold)

    def _tell_of_refusal(self, hold: Hold) -> None:
        """What follows from it is nobody's but of those that run now."""
        if self._hub.quota.waits:
            self._tell(hold)

    def _heard_nearby(self, told: Any) -> None:
        self._heard(msgspec.convert(told, Hold))

    def _heard(self, hold: Hold) -> None:
        """Of providers and keys that this hub knows; others may share the store and not the configuration."""
        hub, subject = self._hub, hold.subject
        if subject.startswith(REFUSED):
            hub.learning.guesses.adopt(hold)
            return
        place = hub.catalog.places.get(provider_of(subject))
        if place is None or (subject.startswith("key:") and subject not in {f"key:{key.id}" for key in place.keys}):
            return
        if subject.startswith(BREAKER):
            hub.health.adopt(hold)
        else:
            hub.pool.adopt(hold)

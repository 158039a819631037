"""What happened, told to everybody who is to know: the ledger, observers, alerts, those who wait, open pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from llmhub_core.contracts.exchange import Exchange, Record
from llmhub_core.contracts.observer import HealthChange, Observer
from llmhub_core.hub.alerts import Alerts
from llmhub_core.hub.ledger import Ledger
from llmhub_core.hub.pricing import Pricing
from llmhub_core.hub.waiting import Waiting

log = logging.getLogger("llmhub.hub")


class Hears(Protocol):
    """Who is told of each exchange that is over."""

    @property
    def name(self) -> str: ...

    def finished(self, record: Record) -> None: ...


class Teller(Protocol):
    """The hub, as far as it is needed here."""

    observers: list[Observer]
    pricing: Pricing
    ledger: Ledger
    alerts: Alerts
    waiting: Waiting
    spawn: Callable[[Coroutine[Any, Any, None]], None]


class Telling:
    """An observer that fails keeps nobody else from hearing."""

    def __init__(self, hub: Teller) -> None:
        self._hub = hub
        self.hear: list[Hears] = []
        """Observers, and whoever else is told of exchanges."""
        self.watchers: list[Callable[[], None]] = []
        """Are told that something about keys, providers or the configuration is another now."""

    def finish(self, exchange: Exchange) -> Record:
        """The exchange is over: its one record goes to the ledger and to the observers."""
        hub, record = self._hub, exchange.record()
        hub.pricing.price((record,))
        hub.ledger.close(record)
        for observer in self.hear:
            try:
                observer.finished(record)
            except Exception:
                log.exception("the observer %s failed", observer.name)
        if record.cost is None and hub.observers and hub.pricing.awaits(record):
            hub.spawn(self._tell_price(record))
        return record

    async def _tell_price(self, record: Record) -> None:
        await self._hub.pricing.complete((record,))
        for observer in self._hub.observers if record.cost is not None else ():
            try:
                observer.priced(record)
            except Exception:
                log.exception("the observer %s failed", observer.name)

    def announce(self, change: HealthChange) -> None:
        """Of a key, an account or a place."""
        if change.now == "active":
            self._hub.waiting.call()
        for observer in self._hub.observers:
            try:
                observer.health_changed(change)
            except Exception:
                log.exception("the observer %s failed", observer.name)
        self.stir()

    def stir(self) -> None:
        """Look again: something about keys, providers or the configuration is another now."""
        self._hub.alerts.wake()
        for tell in self.watchers:
            tell()

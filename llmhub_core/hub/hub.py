"""Everything that runs, opened and closed in order."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import logging
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from llmhub_core.contracts.candidate import Deployment, Limit
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.exchange import Exchange, Record
from llmhub_core.contracts.interceptor import Interceptor
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.observer import HealthChange, Observer
from llmhub_core.contracts.plugin import Plugin
from llmhub_core.contracts.quota_store import Amount, QuotaStore, Reservation
from llmhub_core.hub.affinity import Affinity
from llmhub_core.hub.alerts import Alerts
from llmhub_core.hub.build import Secrets, build_catalog, build_tokens, plugin_settings, revealed
from llmhub_core.hub.fault_lab import FaultLab
from llmhub_core.hub.health import Health
from llmhub_core.hub.ledger import Ledger
from llmhub_core.hub.pool import Pool
from llmhub_core.hub.pricing import Pricing
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.retries import Retries
from llmhub_core.hub.settings import Settings
from llmhub_core.hub.standings import Standings
from llmhub_core.hub.tokens import PURPOSE
from llmhub_core.hub.vault import Vault
from llmhub_core.hub.vault.opening import NOT_STARTED, given_keys, open_vault
from llmhub_core.hub.waiting import Waiting

log = logging.getLogger("llmhub.hub")

M = TypeVar("M")

MOST_JOINED = 10_000

LEASE = 900.0
"""Seconds after which a reservation whose holder died is given back."""


class Hub:
    """`data` is the folder for everything that is written; `base` is where relative paths of the settings begin.

    Construct (no I/O beyond reading secrets) → start → use → stop.
    """

    def __init__(self, settings: Settings, registry: Registry, data: Path, base: Path | None = None) -> None:
        self.settings = settings
        self.registry = registry
        self.data = data
        self.base = base or Path.cwd()
        self.catalog, self.secrets = build_catalog(settings, registry, self.base)
        self.vault: Vault = NOT_STARTED
        self.sealed = ""
        """Why no traffic is served though the hub runs: its root keys do not open what is stored; "" if they do."""
        self.tokens = build_tokens(settings.tokens)
        routing = settings.routing
        self.pool = Pool(routing.cooldown, routing.max_cooldown, self.announce)
        self.health = Health(routing.breaker_failures, routing.breaker_pause)
        self.affinity = Affinity()
        self.retries = Retries(routing.retry_budget)
        self.waiting = Waiting(routing.waiting)
        self.dialects: dict[str, Dialect[Any]] = {
            cls.name: cls(plugin_settings(settings, "dialects", cls.name, cls.Settings)) for cls in registry.dialects
        }
        self.interceptors: list[Interceptor] = [
            registry.interceptors.get(name)(options)
            for name, options in settings.plugins.get("interceptors", {}).items()
        ]
        self.observers: list[Observer] = [
            registry.observers.get(name)(revealed(options, f"observers.{name}", base or Path.cwd()))
            for name, options in settings.plugins.get("observers", {}).items()
        ]
        self.store: MetadataStore = self._store("metadata_stores", settings.storage.metadata)
        self.quota: QuotaStore = self._store("quota_stores", settings.storage.quota)
        own = {
            (entry.provider, entry.model): Deployment(
                entry.provider, entry.model, input_price=entry.input_price, output_price=entry.output_price
            )
            for route in settings.routes
            for entry in route.deployments
            if entry.input_price is not None
        }
        self.pricing = Pricing(own, {table.name: table.kind for table in settings.providers})
        self.alerts = Alerts(settings.alerts, self, self.store, self.observers, settings.server.public_url)
        self.ledger = Ledger(
            data / "journal", self.store, self.pricing.price, self.alerts.shipped, settings.storage.journal
        )
        self.standings = Standings(self.catalog, self.pool, self.pricing, self.quota)
        self.sees_requests = tuple(each for each in self.interceptors if "request" in each.sees)
        self.sees_events = tuple(each for each in self.interceptors if "event" in each.sees)
        self.sees_responses = tuple(each for each in self.interceptors if "response" in each.sees)
        self.fault_lab = FaultLab(self.pool, self.health, self._switch_faults)
        self.faults: FaultLab | None = None
        """The same, while any fault is active: the one thing that an ordinary request looks at."""
        self.draining = False
        self.ready = False
        self.in_flight = 0
        self._idle: asyncio.Event | None = None  # made when somebody waits
        self._started: list[Plugin] = []
        self._settling: set[asyncio.Task[None]] = set()
        self._lock = -1
        self._memos: dict[str, Any] = {}
        self._joined: dict[tuple[int, int], tuple[tuple[Limit, ...], tuple[Limit, ...], tuple[Limit, ...]]] = {}
        self._targets: dict[tuple[str, str], Dialect[Any] | None] = {}

    def memo(self, name: str, make: Callable[[], M]) -> M:
        """Something that a room above keeps for as long as the hub lives."""
        if name not in self._memos:
            self._memos[name] = make()
        memo: M = self._memos[name]
        return memo

    def target(self, dialect: Dialect[Any], place: str) -> Dialect[Any] | None:
        """In which dialect a request is sent to a provider: the caller's own if it is spoken there, else the best of
        the same operation, for translation; None if there is none."""
        key = (dialect.name, place)
        if key not in self._targets:
            speaks = self.catalog.places[place].provider.speaks
            found = dialect if dialect.name in speaks else None
            if found is None and dialect.translates:
                known = (self.dialects[name] for name in speaks if name in self.dialects)
                found = next((d for d in known if d.operation == dialect.operation and d.translates), None)
            self._targets[key] = found
        return self._targets[key]

    def _store(self, door: str, url: str) -> Any:
        """The plugin that the scheme of `url` names. Its Settings get the address as `url`, in which a relative file
        path begins in the data folder, and that folder itself as `folder`, where they have such fields."""
        scheme, _, rest = url.partition(":")
        cls = getattr(self.registry, door).get(scheme)
        if scheme == "sqlite" and rest.startswith("///") and not rest.startswith("////"):
            url = f"sqlite:///{self.data / rest[3:]}"
        options = self.settings.plugins.get(door, {}).get(scheme)
        fields = getattr(cls.Settings, "__dataclass_fields__", {})
        told = {}
        if "url" in fields and (rest or options is None):
            told["url"] = url
        if "folder" in fields and not getattr(options, "folder", ""):
            told["folder"] = str(self.data)
        return cls(cls.Settings(**told) if options is None else dataclasses.replace(options, **told))

    async def start(self, migrate: bool = True) -> None:
        """StartError with a finished sentence if it cannot run here."""
        self._take_folder()
        loading = asyncio.create_task(self.pricing.load())  # slow to import: beside everything else
        await self._start(self.store)
        state = await self.store.schema()
        if not state.is_current:
            if not migrate:
                raise StartError(
                    f"The database is at schema {state.current or 'nothing'}, this version needs {state.wanted}; "
                    "run: llm-hub migrate"
                )
            await self.store.migrate()
        await self._open_vault()
        await self._start(self.quota)
        for plugin in (
            *self.dialects.values(),
            *(place.provider for place in self.catalog.places.values()),
            *self.interceptors,
            *self.observers,
        ):
            await self._start(plugin)
        await loading  # before records are shipped, or the first ones would stay without a price
        await self.ledger.start()
        await self.standings.start()
        await self.alerts.start()
        self.ready = True

    async def _open_vault(self) -> None:
        keys = given_keys(self.settings.secrets.keys, os.environ, self.base, self.data)
        self.vault = await open_vault(keys, self.store.configuration, self.data)
        if not self.vault.closed:
            self.tokens = build_tokens(self.settings.tokens, self.vault.derive(PURPOSE))
        elif self.store.configuration is not None:
            self.sealed = self.vault.closed
            log.error("SEALED, no traffic is served: %s", self.sealed)

    async def _start(self, plugin: Plugin) -> None:
        await plugin.start()
        self._started.append(plugin)

    async def stop(self) -> None:
        """Settle what is open, ship what is journaled, close in reverse order."""
        self.ready = False
        self.fault_lab.stop_all()
        await self.settled()
        await self.alerts.stop()
        await self.standings.stop()
        await self.ledger.stop()
        for plugin in reversed(self._started):
            try:
                await plugin.stop()
            except Exception:
                log.exception("%s did not stop cleanly", plugin.name)
        self._started.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_folder(self) -> None:
        """One hub a data folder: two would each believe the journal and the counters to be its own."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.data / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = -1
            raise StartError(
                f"Another llm-hub runs on the data folder {self.data}; stop it, or give this one a folder of its own "
                "with --data-dir."
            ) from None

    # settling: never in the caller's task if it could have to wait, for callers leave at any moment

    def settle(self, reservation: Reservation, actual: Amount, limits: tuple[Limit, ...] | None = None) -> None:
        settling = self.quota.settle(reservation, actual, limits)
        if self.quota.waits:
            self._spawn(settling)
        else:
            _run_through(settling)
            if self.waiting.lines:
                self.waiting.call()

    def joined(self, own: tuple[Limit, ...], limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        """Both in one tuple, the same one each time: quota stores know it again by its identity."""
        if not limits:
            return own
        key = (id(own), id(limits))
        known = self._joined.get(key)
        if known is None:
            if len(self._joined) >= MOST_JOINED:
                self._joined.clear()
            known = self._joined[key] = (own, limits, own + limits)
        return known[2]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work behind a request failed: %s", type(task.exception()).__name__)
        self.waiting.call()

    async def settled(self) -> None:
        """Until every reservation of finished requests is settled."""
        while self._settling:
            await asyncio.wait(self._settling)

    def entered(self) -> None:
        """A request is under way."""
        self.in_flight += 1

    def left(self) -> None:
        self.in_flight -= 1
        if self._idle is not None and not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Until no request is under way."""
        while self.in_flight:
            self._idle = self._idle or asyncio.Event()
            self._idle.clear()
            await self._idle.wait()

    # what happened

    def finish(self, exchange: Exchange) -> Record:
        """The exchange is over: its one record goes to the ledger and to the observers."""
        record = exchange.record()
        self.pricing.price((record,))
        self.ledger.close(record)
        for observer in self.observers:
            try:
                observer.finished(record)
            except Exception:
                log.exception("the observer %s failed", observer.name)
        return record

    def announce(self, change: HealthChange) -> None:
        if change.now == "active":
            self.waiting.call()
        for observer in self.observers:
            try:
                observer.health_changed(change)
            except Exception:
                log.exception("the observer %s failed", observer.name)
        self.alerts.wake()

    def _switch_faults(self, active: bool) -> None:
        self.faults = self.fault_lab if active else None

    def secret(self, key_id: str) -> str:
        secret = self.secrets.get(key_id)
        return "" if secret is None else secret.reveal()


def _run_through(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that promised not to suspend."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a quota store that says waits = False suspended")


__all__ = ["Hub", "Secrets"]

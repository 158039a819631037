"""Everything that runs, opened and closed in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from llmhub_core.contracts.candidate import ProviderKey
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.exchange import Record
from llmhub_core.contracts.interceptor import Interceptor
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.observer import Observer
from llmhub_core.contracts.plugin import Plugin
from llmhub_core.contracts.quota_store import QuotaStore
from llmhub_core.hub import moved
from llmhub_core.hub.affinity import Affinity
from llmhub_core.hub.alerts import Alerts
from llmhub_core.hub.bodies import BodyKeeper
from llmhub_core.hub.build import (
    Sources,
    build_catalog,
    build_store,
    build_tokens,
    kinds_of,
    own_prices,
    plugin_settings,
    revealed,
)
from llmhub_core.hub.catalog import Catalog, Place
from llmhub_core.hub.configuration import Configured, Source
from llmhub_core.hub.fault_lab import FaultLab
from llmhub_core.hub.folder import Claims, counting_place
from llmhub_core.hub.half_open import HalfOpen
from llmhub_core.hub.health import Health
from llmhub_core.hub.joined_limits import JoinedLimits
from llmhub_core.hub.learning import Learning
from llmhub_core.hub.leases import Leases
from llmhub_core.hub.ledger import Ledger
from llmhub_core.hub.pool import Mark, Pool
from llmhub_core.hub.pricing import Pricing
from llmhub_core.hub.recount import recount
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.reloading import Reloaded, Reloading
from llmhub_core.hub.retention import Retention
from llmhub_core.hub.retries import Retries
from llmhub_core.hub.running import Running
from llmhub_core.hub.settings import Loaded, Settings, scheme_of
from llmhub_core.hub.settings_entries import Merged
from llmhub_core.hub.settling import Settling
from llmhub_core.hub.shared_holds import SharedHolds
from llmhub_core.hub.siblings import ALONE, Siblings, Worker
from llmhub_core.hub.standings import Standings, learn_prices
from llmhub_core.hub.telling import Telling
from llmhub_core.hub.tokens import PURPOSE
from llmhub_core.hub.unanswered import Unanswered
from llmhub_core.hub.under_way import UnderWay
from llmhub_core.hub.vault import Vault
from llmhub_core.hub.vault.opening import NOT_STARTED, falls_behind, given_keys, open_vault
from llmhub_core.hub.vault.roster import Present, Roster
from llmhub_core.hub.waiting import Waiting

log = logging.getLogger("llmhub.hub")

M = TypeVar("M")

GATHER_EVERY = 10.0
"""Seconds between two looks for journals whose process is gone."""


class Hub:
    """`data` is the folder for everything that is written; `base` is where relative paths of the settings begin.

    Construct (no I/O beyond reading secrets) → start → use → stop. With the `source` of its settings the configuration
    can change while it runs, by the file and by what is stored beside it; without, the settings are all there is.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        data: Path,
        base: Path | None = None,
        source: Source | None = None,
        loaded: Loaded | None = None,
        worker: Worker = ALONE,
    ) -> None:
        self.worker = worker
        self.siblings = Siblings()
        self.settings = settings
        self.registry = registry
        self.data = data
        self.base = base or Path.cwd()
        self.vault: Vault = NOT_STARTED
        self.sealed = ""
        """Why no traffic is served though the hub runs: its root keys do not open what is stored; "" if they do."""
        first = loaded or Loaded(settings, None, [], [])
        self.configuration = Reloading(self, source, Configured(first, Merged(settings), settings))
        self.catalog = build_catalog(settings, registry, Sources(self.base))
        self._token_key = b""
        self.tokens = build_tokens(settings.tokens)
        routing = settings.routing
        self.telling = Telling(self)
        self.finish, self.announce = self.telling.finish, self.telling.announce
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
        self.store: MetadataStore = build_store("metadata_stores", settings.storage.metadata, settings, registry, data)
        self.quota: QuotaStore = build_store("quota_stores", settings.storage.quota, settings, registry, data)
        self._settling = Settling(self.quota, self.waiting)
        self.settle, self.spawn = self._settling.settle, self._settling.spawn
        dead_are_free = self._count_again if worker.is_chief and self.quota.waits else None
        self.leases = Leases(self.quota, lambda: bool(self.in_flight or self._settling), dead_are_free)
        self.half_open = HalfOpen(self.pool, self.health, self.quota) if self.quota.waits else None
        """Where other processes may try the same as this one."""
        self.pricing = Pricing(own_prices(settings), kinds_of(settings))
        self.alerts = Alerts(
            settings.alerts, self, self.store, self.observers, settings.server.public_url, follows=not worker.is_chief
        )
        self.unanswered = Unanswered()
        self.ledger = Ledger(
            data / "journal", self.store, self.pricing.complete, self._shipped, settings.storage.journal
        )
        self.retention = Retention(self.store, settings.storage.keep, lambda: self.settings.bodies.keep)
        self.body_keeper = BodyKeeper(settings.bodies, self)
        self.bodies: BodyKeeper | None = None
        """The same, while any are kept: the one thing that an ordinary request looks at."""
        self.standings = Standings(self.catalog, self.pool, self.pricing, self.quota)
        self.pricing.along, self.pricing.learned = self.standings.unpriced, self.standings.price_anew
        self.learning = Learning(
            self.catalog,
            self.quota,
            lambda: self.store.configuration,
            lambda: self.standings.turn_to(self.catalog),
            self.pool,
            worker.is_chief,
        )
        self.shared_holds = SharedHolds(self, self._settling.spawn)
        self.sees_requests = tuple(each for each in self.interceptors if "request" in each.sees)
        self.sees_events = tuple(each for each in self.interceptors if "event" in each.sees)
        self.sees_responses = tuple(each for each in self.interceptors if "response" in each.sees)
        self.fault_lab = FaultLab(self.pool, self.health, self._switch_faults)
        self.faults: FaultLab | None = None
        """The same, while any fault is active: the one thing that an ordinary request looks at."""
        self.draining = False
        self.ready = False
        self.under_way = UnderWay()
        self._eras = [self.under_way]
        self._retiring: set[asyncio.Task[None]] = set()
        self._running = Running()
        self._claims = Claims(data)
        self._roster: Roster | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._memos: dict[str, Any] = {}
        self._joined = JoinedLimits()
        self.joined = self._joined.joined

    def memo(self, name: str, make: Callable[[], M]) -> M:
        """Something that a room above keeps for as long as the hub lives."""
        if name not in self._memos:
            self._memos[name] = make()
        memo: M = self._memos[name]
        return memo

    def target(self, dialect: Dialect[Any], place: Place) -> Dialect[Any] | None:
        """In which dialect a request is sent to a provider: the caller's own if it is spoken there, else the best of
        the same operation, for translation; None if there is none."""
        targets = place.targets
        if dialect.name not in targets:
            speaks = place.provider.speaks
            found = dialect if dialect.name in speaks else None
            if found is None and dialect.translates:
                known = (self.dialects[name] for name in speaks if name in self.dialects)
                found = next((d for d in known if d.operation == dialect.operation and d.translates), None)
            targets[dialect.name] = found
        return targets[dialect.name]

    def _shipped(self, batch: Sequence[Record]) -> None:
        self.alerts.shipped(batch)
        self.unanswered.count(batch)

    async def start(self) -> None:
        """StartError with a finished sentence if it cannot run here."""
        counts_in = counting_place(getattr(self.quota.settings, "url", ""), self.data)
        self.ledger.folder = self._claims.take(
            alone=not self.worker.number,
            database=getattr(self.store.settings, "url", ""),
            counts_alone=scheme_of(self.settings.storage.quota) == "memory",
            counts_in=counts_in,
        )
        await self._running.start(self.store)
        state = await self.store.schema()
        if not state.is_current:
            if not self.worker.first:
                raise StartError(
                    f"The database is at schema {state.current or 'nothing'}, this version needs {state.wanted}; "
                    "run: llm-hub migrate"
                )
            await self.store.migrate()
        await moved.mind(self.store.configuration, moved.PATIENCE)
        await self._open_vault(counts_in)
        await self.configuration.add_stored()
        await self._running.start(self.quota)
        await self.shared_holds.start()
        for plugin in (
            *self.dialects.values(),
            *(place.provider for place in self.catalog.places.values()),
            *self.interceptors,
            *self.observers,
        ):
            await self._running.start(plugin)
        await self.ledger.start()
        if self.worker.is_chief:
            self.retention.start()
            self._gather()
            if self.worker.of > 1:
                self._gathering = asyncio.create_task(self._keep_gathering())
        if self.worker.is_chief:
            await recount(self.catalog, self.tokens, self.store, self.quota, self.ledger)
        self.leases.start()
        await self.standings.start()
        await self.learning.start()
        await self.alerts.start()
        self.body_keeper.start()
        self._turn_bodies()
        self.ready = True
        self.configuration.watch()

    async def _open_vault(self, counts_in: str) -> None:
        keys = given_keys(self.settings.secrets.keys, os.environ, self.base, self.data)
        store = self.store.configuration
        self.vault = await open_vault(keys, store, self.data)
        if store is not None and not self.vault.closed:
            self._roster = Roster(store, [key.id for key in self.vault.keys], counts_in, self._warn_of)
            await self._roster.join()
            if why := await falls_behind(self.vault, store):
                await self._roster.leave()
                self.vault = Vault((), why)
        if not self.vault.closed:
            self._token_key = self.vault.derive(PURPOSE)
            self.tokens = build_tokens(self.settings.tokens, self._token_key)
        elif store is not None:
            self.sealed = self.vault.closed
            log.error("SEALED, no traffic is served: %s", self.sealed)

    def _warn_of(self, other: Present) -> None:
        log.error(
            "another hub on this database (%s) counts quotas in %s: each of the two grants the whole of every limit. "
            "Set storage.quota of both to the same store.", other.name, other.quota,
        )  # fmt: skip

    async def _count_again(self) -> None:
        await recount(self.catalog, self.tokens, self.store, self.quota)

    async def stop(self) -> None:
        """Settle what is open, ship what is journaled, close in reverse order."""
        self.ready = False
        await self.configuration.stop()
        if self._roster is not None:
            await self._roster.leave()
        if self._gathering is not None:
            self._gathering.cancel()
        for task in self._retiring:
            task.cancel()
        self.fault_lab.stop_all()
        await self.settled()
        await self.body_keeper.stop()
        await self.learning.stop()
        await self.leases.stop()
        await self.retention.stop()
        await self.alerts.stop()
        await self.standings.stop()
        await self.ledger.stop()
        self.shared_holds.stop()
        await self._running.stop_all()
        self._claims.release()

    def _gather(self) -> None:
        """What a process that is gone has left in its journal, and no other takes up, is this one's to ship."""
        for folder in self._claims.abandoned():
            self.ledger.adopt(folder)

    async def _keep_gathering(self) -> None:
        while True:
            await asyncio.sleep(GATHER_EVERY)
            self._gather()

    # the configuration, while the hub runs

    async def reload(self, file: bool = True) -> Reloaded:
        """Let what is configured now count, in one step: what is stored and, with `file`, the file.

        Requests under way end on what they began with, and what did not change goes on as it was. A file that is
        wrong is not used, with all its problems in the answer; what is stored counts all the same.
        """
        return await self.configuration.reload(file)

    async def start_providers(self, places: Iterable[Place]) -> Mapping[str, str]:
        """Those of places that shall count from now on; if some cannot, why, by name: then none is left running."""
        # Before that, all are started with everything else.
        return await self._running.start_all(places) if self.ready else {}

    async def learn_prices(self, settings: Settings, catalog: Catalog) -> None:
        """Those that the order of candidates will depend on when this counts."""
        if self.ready:  # before that, they are learned when all is there
            await learn_prices(catalog, self.pricing, kinds_of(settings))

    def turn_to(self, settings: Settings, catalog: Catalog) -> None:
        """One step: nothing that runs sees half of it."""
        before, self.catalog, self.settings = self.catalog, catalog, settings
        catalog.take_over()
        self._forget(before)
        self.tokens = build_tokens(settings.tokens, self._token_key)
        self.pool.tune(settings.routing.cooldown, settings.routing.max_cooldown)
        self.health.tune(settings.routing.breaker_failures, settings.routing.breaker_pause)
        self.retries.share, self.waiting.most = settings.routing.retry_budget, settings.routing.waiting
        self.pricing.turn_to(own_prices(settings), kinds_of(settings))
        self.standings.turn_to(catalog)
        self.learning.turn_to(catalog)
        self._joined.clear()
        if self.ready:
            self._turn_bodies()
        self.telling.stir()
        kept = {place.provider for place in catalog.places.values()}
        gone = [place.provider for place in before.places.values() if place.provider not in kept]
        earlier = [era for era in self._eras if era.count]
        self.under_way = UnderWay()
        self._eras = [*earlier, self.under_way]
        if gone and self.ready:
            task = asyncio.create_task(self._retire(gone, earlier))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _forget(self, before: Catalog) -> None:
        """What is held against places and keys that are gone, or are others under the same name."""
        for place in before.places.values():
            after = self.catalog.places.get(place.name)
            if after is None or after.provider is not place.provider:
                self.health.forget_provider(place.name)
            for key in place.keys:
                if after is None or after.secrets.get(key.name) != place.secrets.get(key.name):
                    self.pool.reset(key)

    async def _retire(self, gone: Sequence[Plugin], earlier: Sequence[UnderWay]) -> None:
        """Stop what no new request can reach, once the last of those that began with it has ended."""
        for era in earlier:
            await era.over()
        await self._running.stop(gone)

    async def settled(self) -> None:
        """Until every reservation of finished requests is settled."""
        await self._settling.all()

    @property
    def in_flight(self) -> int:
        """Requests that are under way."""
        return sum(era.count for era in self._eras)

    async def idle(self) -> None:
        """Until no request is under way."""
        while self.in_flight:
            for era in tuple(self._eras):
                await era.over()

    # what is held of an ordinary request

    def _turn_bodies(self) -> None:
        """Nothing of an ordinary request is held while nobody wants to keep any."""
        self.body_keeper.turn_to(self.settings.bodies)
        self.bodies = self.body_keeper if self.body_keeper.wanted else None
        self.telling.hear = [*self.observers] if self.bodies is None else [*self.observers, self.bodies]

    def _switch_faults(self, active: bool) -> None:
        self.faults = self.fault_lab if active else None

    def key_state(self, key: ProviderKey) -> Mark:
        """Of a configured key: what the configuration says of it, else what the providers said."""
        out = self.catalog.places[key.provider].out.get(key.name)
        return self.pool.state(key) if out is None else Mark(*out, None)

"""Reads the configuration again while the hub runs, and lets what it says count."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from llmhub_core.contracts import ABSENT, Entry, MetadataStore, SettingsError
from llmhub_core.hub.build import CannotBuild, Sources, build_catalog
from llmhub_core.hub.catalog import Catalog, Place
from llmhub_core.hub.configuration import Configured, Source, base_of, changes, configure
from llmhub_core.hub.entry_secrets import in_use
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import Loaded, Settings
from llmhub_core.hub.settings_entries import Id, LeftOut
from llmhub_core.hub.vault import Vault
from llmhub_core.hub.watch import Watch

log = logging.getLogger("llmhub.configuration")

MOST_TOLD = 20
"""Changes that the log tells of one reload."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of reading the configuration again.

    changes        what counts from now on, in words; nothing if all is as it was
    problems       why the file is not used: the one that was used before still is
    left_out       stored entries that do not count, and why
    needs_restart  settings that are another now, and count from the next start on
    """

    at: float
    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    needs_restart: tuple[str, ...] = ()


class Running(Protocol):
    """The hub, as far as its configuration knows it."""

    registry: Registry
    vault: Vault
    store: MetadataStore
    catalog: Catalog

    async def start_providers(self, places: Iterable[Place]) -> Mapping[str, str]: ...

    async def learn_prices(self, settings: Settings, catalog: Catalog) -> None: ...

    def turn_to(self, settings: Settings, catalog: Catalog) -> None: ...


class Reloading:
    """`now` is what counts, `last` what became of reading it the last time. Without a source nothing changes."""

    def __init__(self, hub: Running, source: Source | None, first: Configured) -> None:
        self.now = first
        self.last = Reloaded(0.0)
        self.read_stamp: object = None
        self.read_revision = ABSENT
        self._hub = hub
        self._source = source
        self._first = first.loaded
        self._lost: dict[Id, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._watch = Watch(self)

    @property
    def store_away(self) -> bool:
        """Whether the database did not answer lately."""
        return self._watch.away

    @property
    def store_took(self) -> float | None:
        """Seconds of its latest answer."""
        return self._watch.took

    def on_away(self, told: Callable[[], None]) -> None:
        """From now on call it when the database goes away, and when it is back."""
        self._watch.on_away(told)

    async def store_answers(self) -> bool:
        """Asks it, unless it is known to be away."""
        if self._source is None:  # nobody would ask again
            return True
        return not self.store_away and await self._watch.ask() is not None

    @property
    def source(self) -> Source | None:
        """Where the configuration was read."""
        return self._source

    async def add_stored(self) -> None:
        """Before anything is served: what was configured beside the file counts from the first request on."""
        if self._source is not None:
            self.read_stamp = await self.stamp()
            await self._watch.ask()  # how long it takes to answer is known from the first page on
            self.read_revision, entries = await self._stored()
            if entries:
                await self._turn_to(self._source, self._first, self.read_revision, entries)
                self._tell((), ())

    async def look(self) -> Configured:
        """What would count with all that is stored, without letting it, and without its secrets; the store is open."""
        assert self._source is not None  # noqa: S101 — there is nothing to look at without one
        revision, entries = await self._stored()
        return await asyncio.to_thread(
            configure, self._source, self._first, revision, entries, self.now, self._first, self._hub.vault, self._lost
        )

    def watch(self) -> None:
        """From now on see changes by itself."""
        if self._source is not None:
            self._watch.start()

    async def stop(self) -> None:
        await self._watch.stop()

    def reload_soon(self) -> None:
        """For signals: at the next look, whether something changed or not."""
        self._watch.look_now()

    async def stamp(self) -> object:
        """Another one as soon as the file is."""
        return self._source and await asyncio.to_thread(self._source.stamp, self.now.loaded)

    async def revision(self) -> int:
        """Of what is stored."""
        return ABSENT if self._hub.store.configuration is None else await self._hub.store.configuration.revision()

    async def _stored(self) -> tuple[int, tuple[Entry, ...]]:
        if self._hub.store.configuration is None:
            return ABSENT, ()
        revision, stored = await self._hub.store.configuration.entries()
        entries, self._lost = in_use(stored, self._hub.vault)
        return revision, tuple(entries)

    async def reload(self, file: bool = True) -> Reloaded:
        """As `Hub.reload`."""
        source = self._source
        if source is None:
            return Reloaded(time.time(), problems=("This hub was started without a configuration to read again.",))
        async with self._one_at_a_time:
            last, fresh = self.now.loaded, None
            problems = () if file else self.last.problems
            if file:
                self.read_stamp = await self.stamp()
                try:
                    fresh = await asyncio.to_thread(source.load)
                except SettingsError as error:
                    problems = tuple(error.problems)
            self.read_revision, entries = await self._stored()
            if fresh is not None:
                try:
                    return self._tell(await self._turn_to(source, fresh, self.read_revision, entries), ())
                except SettingsError as error:
                    problems = tuple(error.problems)
            return self._tell(await self._turn_to(source, last, self.read_revision, entries), problems)

    async def _turn_to(
        self, source: Source, loaded: Loaded, revision: int, entries: tuple[Entry, ...]
    ) -> tuple[str, ...]:
        """Build all that the file and the entries say, then let it count; what changed, in words. SettingsError, and
        all stays, if the file is at fault."""
        hub, was, unusable = self._hub, self.now, {**self._lost}
        while True:
            now = await asyncio.to_thread(
                configure, source, loaded, revision, entries, was, self._first, hub.vault, unusable
            )
            sources = Sources(base_of(loaded), source.environ, now.stored)
            try:
                catalog = await asyncio.to_thread(build_catalog, now.settings, hub.registry, sources, hub.catalog)
            except CannotBuild as error:
                failed = error.providers
            else:
                running = {place.provider for place in hub.catalog.places.values()}
                failed = await hub.start_providers(p for p in catalog.places.values() if p.provider not in running)
                if not failed:
                    break
            if not all(("provider", name) in now.merged.counting for name in failed):
                raise SettingsError([f"provider {name}: {why}" for name, why in failed.items()])
            unusable |= {("provider", name): why for name, why in failed.items()}
        await hub.learn_prices(now.settings, catalog)
        found = changes(was.settings, now.settings, _other_secrets(hub.catalog, catalog))
        self.now = now
        hub.turn_to(now.settings, catalog)
        return tuple(found)

    def _tell(self, found: tuple[str, ...], problems: tuple[str, ...]) -> Reloaded:
        before, left_out, needs_restart = self.last, self.now.merged.left_out, self.now.needs_restart
        self.last = Reloaded(time.time(), found, problems, tuple(self.now.loaded.warnings), left_out, needs_restart)
        if found:
            more = f" and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
            log.info("changed: %s%s", "; ".join(found[:MOST_TOLD]), more)
        for problem in problems if problems != before.problems else ():
            log.error("the changed configuration is not used: %s", problem)
        for out in left_out if left_out != before.left_out else ():
            log.warning("does not count: %s", out)
        if needs_restart and needs_restart != before.needs_restart:
            log.warning("counts from the next start on: %s", ", ".join(needs_restart))
        return self.last


def _other_secrets(before: Catalog, after: Catalog) -> frozenset[str]:
    """Ids of keys that are there in both and have another secret."""
    return frozenset(
        f"{name}/{key}"
        for name, place in after.places.items()
        if name in before.places
        for key, secret in place.secrets.items()
        if secret != before.places[name].secrets.get(key)
    )

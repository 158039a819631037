"""Plugins that are started, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.plugin import Plugin
from llmhub_core.hub.catalog import Place

log = logging.getLogger("llmhub.hub")

PATIENCE = 10.0
"""Seconds that a provider may take to start while the hub runs."""


class Running:
    """Who is in it is started."""

    def __init__(self) -> None:
        self._started: list[Plugin] = []

    def __contains__(self, plugin: Plugin) -> bool:
        return plugin in self._started

    async def start(self, plugin: Plugin) -> None:
        await plugin.start()
        self._started.append(plugin)

    async def start_all(self, places: Iterable[Place]) -> Mapping[str, str]:
        """The providers of places; if some cannot start, why, by name: then none of them is left running."""
        failed: dict[str, str] = {}
        begun: list[Plugin] = []
        for place in places:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.start(place.provider)
                begun.append(place.provider)
            except Exception as error:
                known = isinstance(error, StartError)
                failed[place.name] = f"does not start: {error if known else type(error).__name__}"
        if failed:
            await self.stop(begun)
        return failed

    async def stop(self, plugins: Iterable[Plugin]) -> None:
        """Those of them that run; one that fails keeps no other from it."""
        for plugin in plugins:
            if plugin in self._started:
                self._started.remove(plugin)
                try:
                    await plugin.stop()
                except Exception:
                    log.exception("%s did not stop cleanly", plugin.name)

    async def stop_all(self) -> None:
        await self.stop(tuple(reversed(self._started)))

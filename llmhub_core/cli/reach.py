"""Provider keys, tried from this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from llmhub_core.cli.common import fail
from llmhub_core.cli.database import open_hub, open_vault_of
from llmhub_core.contracts.errors import StartError
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.networks import Networks
from llmhub_core.hub.probe import probe


def tried(config: Path | None, folder: Path | None, name: str = "", model: str = "") -> list[dict[str, Any]]:
    """What each key's provider said, or that of one; ends the command if there is no such key."""

    async def inside() -> list[dict[str, Any]]:
        async with open_hub(config, folder) as hub:
            await open_vault_of(hub)
            await hub.configuration.add_stored()
            return await try_keys(hub, name, model)

    try:
        found = asyncio.run(inside())
    except StartError as error:
        fail(str(error))
    if name and not found:
        fail(f"There is no key {name}. llm-hub key list shows all of them.")
    return found


async def try_keys(hub: Hub, name: str = "", model: str = "") -> list[dict[str, Any]]:
    upstream = Upstream(networks=Networks(hub.settings.upstream.networks))
    places = [place for place in hub.catalog.places.values() if not name or name.startswith(f"{place.name}/")]
    found = []
    try:
        for place in places:
            await place.provider.start()
            try:
                for key in place.keys:
                    if not name or key.id == name:
                        said = await probe(hub, upstream.fetch, place, key, model)
                        own = ("works", "asked", "ms", "status", "code", "message")
                        told = {each: getattr(said, each) for each in own}
                        found.append({"key": key.id, **told, "models": said.models})
            finally:
                await place.provider.stop()
    finally:
        await upstream.stop()
    return found

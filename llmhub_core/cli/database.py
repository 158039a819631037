"""What commands do in the database, whether a hub runs on it or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from llmhub_core.cli.common import data_dir, fail, load_source
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.people import PeopleStore
from llmhub_core.hub import moved
from llmhub_core.hub.configuration import base_of
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.vault.opening import given_keys, open_vault

T = TypeVar("T")


def with_hub(work: Callable[[Hub], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    """What `work` answers, given a hub whose store is open and whose schema is right, and of which nothing else runs.
    Ends the command with a sentence if that cannot be, or if what was wanted is refused."""
    from llmhub_core.admin.refusals import Denied

    async def inside() -> T:
        async with open_hub(config, folder) as hub:
            return await work(hub)

    try:
        return asyncio.run(inside())
    except StartError as error:
        fail(str(error))
    except Denied as denied:
        fail(f"{denied.message} {denied.advice}".strip())


def with_people(work: Callable[[PeopleStore], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    """As `with_hub`, for those who sign in."""

    async def those(hub: Hub) -> T:
        return await work(people_of(hub))

    return with_hub(those, config, folder)


def people_of(hub: Hub) -> PeopleStore:
    """Those who sign in; StartError where the store keeps none."""
    if hub.store.people is None:
        raise StartError("The metadata store of this hub keeps no users; take sqlite or postgresql.")
    return hub.store.people


@asynccontextmanager
async def open_hub(config: Path | None, folder: Path | None) -> AsyncIterator[Hub]:
    """Its store is open, nothing else runs, and the data folder's lock is left to a hub that serves."""
    loaded, registry, source = load_source(config)
    hub = Hub(loaded.settings, registry, data_dir(folder), base_of(loaded), source, loaded)
    hub.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    await hub.store.start()
    try:
        state = await hub.store.schema()
        if not state.current:
            await hub.store.migrate()
        elif not state.is_current:
            raise StartError("The database has no schema of this version; run: llm-hub migrate")
        await moved.mind(hub.store.configuration)
        yield hub
    finally:
        await hub.store.stop()


async def open_vault_of(hub: Hub) -> None:
    """As the hub itself does when it starts."""
    keys = given_keys(hub.settings.secrets.keys, os.environ, hub.base, hub.data)
    hub.vault = await open_vault(keys, hub.store.configuration, hub.data)

"""What commands do in the database, whether a hub runs on it or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from llmhub_core.cli.common import data_dir, fail, load_settings
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.people import PeopleStore
from llmhub_core.hub.hub import Hub

T = TypeVar("T")


def with_hub(work: Callable[[Hub], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    """What `work` answers, given a hub whose store is open and whose schema is right, and of which nothing else runs.
    Ends the command with a sentence if that cannot be, or if what was wanted is refused."""
    from llmhub_core.admin.refusals import Denied

    try:
        return asyncio.run(_with_hub(work, config, folder))
    except StartError as error:
        fail(str(error))
    except Denied as denied:
        fail(f"{denied.message} {denied.advice}".strip())


def with_people(work: Callable[[PeopleStore], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    """As `with_hub`, for those who sign in."""

    async def those(hub: Hub) -> T:
        if hub.store.people is None:
            raise StartError("The metadata store of this hub keeps no users; take sqlite or postgresql.")
        return await work(hub.store.people)

    return with_hub(those, config, folder)


async def _with_hub(work: Callable[[Hub], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    loaded, registry = load_settings(config)
    hub = Hub(loaded.settings, registry, data_dir(folder), loaded.path.absolute().parent if loaded.path else None)
    hub.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    await hub.store.start()
    try:
        state = await hub.store.schema()
        if not state.current:
            await hub.store.migrate()
        elif not state.is_current:
            raise StartError("The database has no schema of this version; run: llm-hub migrate")
        return await work(hub)
    finally:
        await hub.store.stop()

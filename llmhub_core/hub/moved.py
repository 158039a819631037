"""Whether a database is being moved, or was: what is in the middle of that is nobody's to serve from.

The database that everything is carried into says so until all of it is there; from then on the other says where it
went.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import StartError

log = logging.getLogger("llmhub.move")

FACT = "move"
"""In the target ``{"from": …, …}`` while the move is under way, in the source ``{"to": …}`` when it is done."""

PATIENCE = 60.0
"""Seconds that a hub waits for the end of a move: it takes the last of what the hub before it left behind."""


async def state(store: ConfigurationStore) -> dict[str, Any]:
    """{} if nothing is moved."""
    text = await store.fact(FACT)
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


async def note(store: ConfigurationStore, state: dict[str, Any]) -> None:
    await store.keep_fact(FACT, json.dumps(state) if state else "")


async def mind(store: ConfigurationStore | None, patience: float = 0.0) -> None:
    """StartError with what to do if the database may not be served from; waits so long for a move to end."""
    if store is None:
        return
    ends, told = time.monotonic() + patience, False
    while found := await state(store):
        if "to" in found:
            raise StartError(
                f"This database was moved to {found['to']}; what is done here would be lost. "
                "Set [storage] metadata to that address."
            )
        if time.monotonic() >= ends:
            raise StartError(
                f"Everything is being moved from {found['from']} into this database, and some of it is not here yet. "
                f"Stop the hub that runs on {found['from']}, and let the move end; if it does not run: "
                f"llm-hub move --from {found['from']} --to and this address"
            )
        if not told:
            log.warning("waiting for the end of the move from %s", found["from"])
            told = True
        await asyncio.sleep(0.1)

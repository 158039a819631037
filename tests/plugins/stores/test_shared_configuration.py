"""Two hubs in processes of their own on one PostgreSQL: what one is told, the other does within a second."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from databases import opened, store_of
from houses import ask

from llmhub_core.contracts import Entry
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.postgres import Postgres

SEEN_WITHIN = 1.0
ROUTE = json.dumps({"deployments": [{"provider": "echo", "model": "small"}]})


@asynccontextmanager
async def served(folder: Path, url: str) -> AsyncIterator[str]:
    """The address of `llm-hub serve` in a process and a data folder of its own."""
    folder.mkdir()
    (folder / "hub.toml").write_text(
        f'[storage]\nmetadata = "{url}"\n[auth]\napi = "token"\n[server]\nport = 0\n'
        '[[providers]]\nname = "echo"\nkind = "echo"\nmodels = ["small"]\n'
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLMHUB_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmhub_core", "serve", "--config", folder / "hub.toml", "--data-dir", folder / "data",
        cwd=folder, env=environ | {"LLMHUB_SECRET_KEY": "0" * 40},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 40)
        yield line.decode().split(" listens on ")[1].split()[0]
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def seen(client: aiohttp.ClientSession, url: str, caller: str, status: int) -> float:
    """Seconds until a request is answered so."""
    began = time.monotonic()
    async with asyncio.timeout(10):
        while (await ask(client, url, headers={"authorization": f"Bearer {caller}"})).status != status:  # noqa: ASYNC110 — nobody tells callers
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_revoked_token_ends_everywhere_within_a_second(
    postgres: Postgres,
    tmp_path: Path,
    client: aiohttp.ClientSession,
) -> None:
    database, caller = postgres.new_database(), mint()
    known, nothing = json.dumps({"hash": digest(caller)}), json.dumps({"hash": digest(caller), "disabled": True})
    async with (
        opened(store_of(database)) as store,
        served(tmp_path / "one", database) as one,
        served(tmp_path / "two", database) as two,
    ):
        configuration = store.configuration
        assert configuration is not None

        async def both(status: int) -> None:
            took = await asyncio.gather(*(seen(client, url, caller, status) for url in (one, two)))
            assert max(took) < SEEN_WITHIN, status

        await configuration.put(Entry("token", "app", known))
        await both(404)
        for _ in range(3):
            await configuration.put(Entry("route", "fast", ROUTE))
            await both(200)
            await configuration.remove("token", "app")
            await both(401)
            await configuration.put(Entry("token", "app", known))
            await both(200)
            await configuration.put(Entry("token", "app", nothing))
            await both(401)
            await configuration.remove("route", "fast")
            await configuration.put(Entry("token", "app", known))
            await both(404)

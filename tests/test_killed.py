"""kill -9 under load, again and again: what a provider answered is in the ledger, once."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, STREAM, one_provider
from nursery import Nursery, nursery

from llmhub_core.contracts import Record
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

CALLERS = 8
LIFE = "x-life"
ANSWERS = 12
"""Answered requests of each life before it is ended, at least."""


class Load:
    """Callers that never give up, each with a number of its own for every request: whole, streamed, and streams that
    the caller leaves after the first bytes."""

    def __init__(self, client: aiohttp.ClientSession, upstream: FakeUpstream, token: str) -> None:
        self.client, self.url, self.token = client, "", token
        self.heard: list[str] = []
        """Ids of requests of which the caller had the head of an answer."""
        self.answered: dict[int, int] = {}
        """In which life of the hub the provider was asked, by number; a hub says that by a header."""
        self._numbers = itertools.count(1)
        upstream.on(self._answer)

    def _answer(self, request: ReceivedRequest) -> Answer:
        asked = request.json
        number = int(asked["messages"][0]["content"])
        assert number not in self.answered, "the provider was asked twice for one request"
        self.answered[number] = int(request.headers[LIFE])
        if asked.get("stream"):
            return sse_answer(STREAM, delay_first=0.002, delay=0.003)
        return json_answer(COMPLETION, delay_first=0.004)

    async def caller(self) -> None:
        while True:
            number = next(self._numbers)
            try:
                await self._ask(number, ("whole", "streamed", "left")[number % 3])
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.05)  # killed, or not there yet

    async def _ask(self, number: int, kind: str) -> None:
        body = {**CHAT, "messages": [{"role": "user", "content": str(number)}], "stream": kind != "whole"}
        headers = {"authorization": f"Bearer {self.token}", "x-client-request-id": str(number)}
        response = await self.client.post(self.url + "/v1/chat/completions", json=body, headers=headers)
        try:
            assert response.status == 200, await response.text()
            self.heard.append(response.headers["x-request-id"])
            if kind == "left":
                await response.content.readany()
            else:
                await response.read()
                response.release()
        finally:
            response.close()

    async def live(self, hubs: Nursery, arguments: tuple[str, ...]) -> tuple[float, float]:
        """One life of a hub; when it began and ended."""
        began, enough = time.time(), len(self.heard) + ANSWERS
        hub = hubs.start(*arguments)
        try:
            async with asyncio.timeout(30):
                while len(self.heard) < enough:  # noqa: ASYNC110 — callers of another process are served
                    await asyncio.sleep(0.005)
            await asyncio.sleep(random.random() * 0.04)
        finally:
            await asyncio.to_thread(hubs.kill, hub)
        return began, time.time()


async def killed(kills: int, hubs: Nursery, folder: Path, database: str) -> None:
    """One hub after the other on one `database`, "" for the one that a hub makes."""
    folder.mkdir()
    async with FakeUpstream() as upstream:
        await _killed(kills, hubs, folder, database, upstream)


async def _killed(kills: int, hubs: Nursery, folder: Path, database: str, upstream: FakeUpstream) -> None:
    token = mint()
    limits = "{ concurrency = 100, tpm = 100000000, budget = '1000 USD/day' }"
    rest = f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nlimits = {limits}\n'
    storage = f'[storage]\nmetadata = "{database}"\n' if database else ""

    def config(life: int) -> str:
        place = 'kind = "openai_compatible"\n'
        return storage + one_provider(upstream.url).replace(place, f'{place}headers = {{ {LIFE} = "{life}" }}\n') + rest

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("--config", f"{folder}/config.toml", "--port", str(port), "--data-dir", f"{folder}/data")
    async with aiohttp.ClientSession() as client:
        load = Load(client, upstream, token)
        load.url = f"http://127.0.0.1:{port}"
        callers = [asyncio.create_task(load.caller()) for _ in range(CALLERS)]
        lives = []
        for life in range(kills):
            (folder / "config.toml").write_text(config(life))
            lives.append(await load.live(hubs, arguments))
        for task in callers:
            task.cancel()
        for ended in await asyncio.gather(*callers, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended

    async with House(config(kills), folder=folder) as house:
        await house.hub.ledger.flushed()
        records = await house.hub.store.latest(10**7)
        caller = house.hub.tokens.find(token)
        assert caller is not None
        (gate,) = [level for level in await house.hub.quota.levels(caller.limits) if level.limit.kind == "concurrency"]
        assert (gate.used, gate.reserved) == (0, 0)
    assert_once(load, records, lives)
    unknown = sum(record.outcome == "unknown" for record in records)
    kind = database.partition(":")[0] or "sqlite"
    print(f"{kills} kills over {kind}, {len(load.answered)} requests to the provider, {unknown} recorded as unknown")


def assert_once(load: Load, records: list[Record], lives: list[tuple[float, float]]) -> None:
    ids = Counter(record.id for record in records)
    assert max(ids.values()) == 1
    assert set(load.heard) <= set(ids), "a caller had an answer that nobody recorded"
    numbers = Counter(int(record.client_request_id) for record in records if record.client_request_id)
    assert max(numbers.values()) == 1
    assert {record.outcome for record in records} <= {"served", "cancelled", "unknown", "failed"}
    # What was open when it was killed has no number any more, but one record for each, in the life that it had.
    for life, (began, ended) in enumerate(lives):
        nameless = sum(began <= record.arrived_at <= ended and not record.client_request_id for record in records)
        unnamed = sum(asked == life and number not in numbers for number, asked in load.answered.items())
        assert unnamed <= nameless <= unnamed + CALLERS
    assert len({record.id for record in records if not record.client_request_id}) <= CALLERS * len(lives)


@pytest.fixture
def databases() -> Iterator[tuple[str, str]]:
    """One of each kind, or two SQLite files where there is no PostgreSQL."""
    if Postgres.programs() is None or find_spec("asyncpg") is None:
        yield "", ""
        return
    with Postgres.running() as server:
        yield "", server.new_database()


async def killed_in_both(kills: int, folder: Path, databases: tuple[str, str]) -> None:
    """Side by side, for a hub that starts waits for many things."""
    with nursery(folder / "said") as hubs:
        async with asyncio.TaskGroup() as lanes:
            for number, database in enumerate(databases):
                lanes.create_task(killed(kills // 2, hubs, folder / f"{number}", database))


@pytest.mark.timeout(240)
async def test_fifty_kills_under_load(tmp_path: Path, databases: tuple[str, str]) -> None:
    await killed_in_both(50, tmp_path, databases)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_kills_under_load(tmp_path: Path, databases: tuple[str, str]) -> None:
    """pytest -m soak tests/test_killed.py -s: half of them over each database, a quarter of an hour."""
    await killed_in_both(1000, tmp_path, databases)

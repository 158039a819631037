"""Keys that were refused come back by themselves, and what rests does so over a restart of the whole hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
from houses import COMPLETION, ask, one_provider

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

DENIED = {"error": {"message": "Incorrect API key provided.", "type": "t", "param": None, "code": "invalid_api_key"}}


async def until(holds: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_refused_key_is_asked_for_its_models_until_it_works(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    good = False
    upstream.on(lambda request: json_answer({"data": []} if request.path.endswith("/models") else COMPLETION)
                if good else json_answer(DENIED, 401))  # fmt: skip
    async with House("[routing]\nretry_invalid = 0.1\n" + one_provider(upstream.url)) as house:
        assert (await ask(client, house.url)).status == 503
        key = house.hub.catalog.places["main"].keys[0]
        asked = len(upstream.requests)
        await until(lambda: len(upstream.requests) > asked)
        assert upstream.requests[-1].path.endswith("/models")
        assert house.hub.pool.state(key).state == "invalid", "it was refused again"
        assert (await ask(client, house.url)).status == 503
        good = True
        await until(lambda: house.hub.pool.state(key).state == "active")
        assert not house.hub.pool.calm, "a list of models proves nothing yet"
        assert (await ask(client, house.url)).status == 200
        assert house.hub.pool.calm


async def test_nobody_asks_where_that_is_switched_off(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(DENIED, 401))
    async with House("[routing]\nretry_invalid = 0\n" + one_provider(upstream.url)) as house:
        await ask(client, house.url)
        asked = len(upstream.requests)
        await asyncio.sleep(2.5)
        assert len(upstream.requests) == asked


async def test_what_rests_is_known_after_a_restart(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(DENIED, 429, {"retry-after": "90"}))
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        await ask(client, house.url)
        asked = len(upstream.requests)
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        refused = await ask(client, house.url)
        assert refused.status == 429
        assert 80 <= int(refused.headers["retry-after"]) <= 90
        assert len(upstream.requests) == asked
        house.hub.pool.reset(house.hub.catalog.places["main"].keys[0])
        await ask(client, house.url)
        assert len(upstream.requests) == asked + 1


async def test_a_refused_key_is_tried_by_the_first_request_after_a_restart(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(DENIED, 401))
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        await ask(client, house.url)
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        assert (await ask(client, house.url)).status == 200
        assert house.hub.pool.calm

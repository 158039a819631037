"""A reservation lasts as long as the process that holds it: not a minute longer, and not a moment less."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, one_provider
from redis_server import counting_in_redis

from llmhub_core.contracts import Level, Limit
from llmhub_core.gateway import meter
from llmhub_core.hub import leases
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

SWEEP = 10.0
"""Seconds after the end of a lease within which what it held is free."""

LIMITS = "limits = { concurrency = 3, rpd = 50, tpd = 100000 }"
"""Of a day: what fills a minute is free a minute later, lease or not."""

HUB = """
import sys
from llmhub_core.hub import leases
leases.LEASE = float(sys.argv[1])
leases.EVERY = leases.LEASE / 4
from llmhub_core.cli import main
main(sys.argv[2:])
"""
"""A hub with leases of another length."""


@pytest.fixture(params=["memory", "sqlite", "redis"])
def quota(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The configuration of a store."""
    if request.param != "redis":
        yield f'[storage]\nquota = "{request.param}:{"///quota.db" if request.param == "sqlite" else ""}"\n'
        return
    with counting_in_redis(tmp_path) as configuration:
        yield configuration


async def levels(house: House) -> dict[str, Level]:
    """Of the key's limits, by kind."""
    (place,) = house.hub.catalog.places.values()
    limits: tuple[Limit, ...] = place.keys[0].limits
    return {level.limit.kind: level for level in await house.hub.quota.levels(limits)}


@asynccontextmanager
async def asking(url: str, upstream: FakeUpstream, answer_after: float) -> AsyncIterator[asyncio.Task[int]]:
    """A request that has reached the provider; its status when it is answered, 0 if the hub dies before."""
    upstream.on(lambda _: json_answer(COMPLETION, delay_first=answer_after))

    async def ask() -> int:
        try:
            async with aiohttp.ClientSession() as client:
                return (await client.post(f"{url}/v1/chat/completions", json=CHAT)).status
        except aiohttp.ClientError:
            return 0

    task = asyncio.create_task(ask())
    await upstream.wait_for(1)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_long_answer_keeps_its_place(
    quota: str, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE", 0.8)
    monkeypatch.setattr(meter, "LEASE", 0.8)
    monkeypatch.setattr(leases, "EVERY", 0.2)
    config = quota + one_provider(upstream.url).replace("secret =", LIMITS + "\nsecret =")
    async with House(config, folder=tmp_path) as house, asking(house.url, upstream, 2.0) as task:
        until = time.monotonic() + 1.8  # what is settled is so before the caller has its answer
        while time.monotonic() < until:
            found = await levels(house)
            if time.monotonic() < until:
                assert [found[kind].reserved for kind in ("concurrency", "requests")] == [1, 1]
                assert found["tokens"].reserved > 100
            await asyncio.sleep(0.1)
        assert await task == 200
        await house.hub.idle()
        await house.hub.settled()
        assert {kind: (each.used, each.reserved) for kind, each in (await levels(house)).items()} == {
            "concurrency": (0, 0), "requests": (1, 0), "tokens": (14, 0),
        }  # fmt: skip


async def killed(lease: float, quota: str, upstream: FakeUpstream, folder: Path) -> tuple[float, float]:
    """Kill a hub with a request that outlasted its first lease. For how many seconds its places were seen taken after
    the kill, and when they were free."""
    config = quota + one_provider(upstream.url).replace("secret =", LIMITS + "\nsecret =")
    path = folder / "config.toml"
    path.write_text(config)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = ("serve", "--config", str(path), "--port", str(port), "--data-dir", str(folder / "data"))
    with (folder / "said").open("wb") as said:
        hub = subprocess.Popen([sys.executable, "-c", HUB, str(lease), *serve], stdout=said, stderr=said)
    try:
        async with asyncio.timeout(120):
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert hub.poll() is None, (folder / "said").read_text()
                await asyncio.sleep(0.02)
        async with asking(f"http://127.0.0.1:{port}", upstream, 3600.0) as task:
            await asyncio.sleep(1.25 * lease)
            hub.send_signal(signal.SIGKILL)
            hub.wait()
            died = time.monotonic()
            assert await task == 0
    finally:
        hub.kill()
        hub.wait()
    taken = 0.0
    async with House(config, folder=folder) as house:
        while True:
            found = await levels(house)
            passed = time.monotonic() - died
            assert found["requests"].used == 0, "nobody knows that it was used"
            if not any(level.reserved for level in found.values()):
                return taken, passed
            taken = passed
            assert passed < lease + SWEEP, "what a dead process reserved is still reserved"
            await asyncio.sleep(0.05)


@pytest.mark.timeout(200)
async def test_what_a_killed_hub_reserved_is_free_after_its_lease(
    quota: str, upstream: FakeUpstream, tmp_path: Path
) -> None:
    _, free = await killed(2.0, quota, upstream, tmp_path)
    assert free < 2.0 + SWEEP


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_what_a_killed_hub_reserved_is_free_within_a_minute(
    quota: str, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """pytest -m soak tests/test_leases.py: with the leases that a hub has, and so two minutes for each store."""
    taken, free = await killed(leases.LEASE, quota, upstream, tmp_path)
    assert taken > 20.0, "the next hub knows what was reserved"
    print(f"taken until {taken:.1f} s after the kill, free at {free:.1f} s")
    assert free < 60.0

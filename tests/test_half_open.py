"""Of all processes one request tries whether a rest is over: real hubs on a real Redis, and one hub's many requests."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, ask, provider, route
from redis_server import counting_in_redis
from served import Workers

from llmhub_core.contracts import (
    Amount,
    Candidate,
    CandidateStats,
    Deployment,
    Level,
    NoSettings,
    ProviderKey,
    QuotaStore,
    Reservation,
    UpstreamLimited,
    UpstreamOverloaded,
    UpstreamUnreachable,
)
from llmhub_core.hub.half_open import HalfOpen
from llmhub_core.hub.health import Health
from llmhub_core.hub.pool import Pool
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer

REST = 1.0


@pytest.fixture
async def spare() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        fake.on(lambda _: json_answer(COMPLETION))
        yield fake


@pytest.mark.timeout(120)
async def test_of_two_processes_one_tries_and_the_other_hears(
    upstream: FakeUpstream, spare: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    well = asyncio.Event()
    asked: list[float] = []
    refusal = {"error": {"message": "slow", "code": "rate_limit_exceeded"}}

    def answer(request: ReceivedRequest) -> Answer:
        asked.append(time.monotonic())
        # Whatever is told takes its time: what tries again is alone for so long.
        if well.is_set():
            return json_answer(COMPLETION, delay_first=0.4)
        return json_answer(refusal, 429, headers={"retry-after-ms": str(int(REST * 1000))}, delay_first=0.2)

    upstream.on(answer)
    with counting_in_redis(tmp_path) as quota:
        config = tmp_path / "config.toml"
        text = quota + provider("main", upstream.url) + provider("spare", spare.url)
        config.write_text(text + route("fast", "main/small", "spare/small"))
        async with AsyncExitStack() as stack:
            hubs = [await stack.enter_async_context(Workers(config, tmp_path / name)) for name in ("one", "two")]

            async def caller(url: str) -> None:
                while True:
                    assert (await ask(client, url, CHAT)).status == 200
                    await asyncio.sleep(0.005)

            assert (await ask(client, hubs[0].url, CHAT)).status == 200
            await asyncio.sleep(0.2)
            assert len(asked) == 1
            callers = [asyncio.create_task(caller(hub.url)) for hub in hubs for _ in range(6)]
            await asyncio.sleep(4 * REST)
            gaps = [after - before for before, after in itertools.pairwise(asked)]
            assert len(gaps) >= 2
            assert min(gaps) >= REST, "one request tries after each rest"
            well.set()
            known = len(asked)
            while len(asked) < known + 12:  # until all callers of both are served there again
                await asyncio.sleep(0.01)
                assert time.monotonic() < asked[known - 1] + 30.0
                assert not any(task.done() for task in callers)
            tried, first, *rest = asked[known:]
            assert first - tried >= 0.4, "nobody else before it was answered"
            assert rest[-1] - first < 1.5
            for task in callers:
                task.cancel()
            await asyncio.gather(*callers, return_exceptions=True)


# one process, and what the store says


class Told(QuotaStore):
    """Answers claims as the test says, after it was asked."""

    def __init__(self) -> None:
        super().__init__(NoSettings())
        self.left = 0.0
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def claim(self, subject: str, lasts: float) -> float:
        self.asked.append(subject)
        await self.may_answer.wait()
        return self.left

    async def reserve(self, limits: object, amount: Amount, lease: float) -> Reservation:
        raise NotImplementedError

    async def settle(self, reservation: Reservation, actual: Amount, limits: object = None) -> None:
        raise NotImplementedError

    async def renew(self, lease: float) -> None:
        raise NotImplementedError

    async def levels(self, limits: object) -> list[Level]:
        raise NotImplementedError


class Place:
    def __init__(self) -> None:
        self.store = Told()
        self.pool, self.health = Pool(10.0, 600.0, lambda change: None), Health(1, 10.0)
        self.half_open = HalfOpen(self.pool, self.health, self.store)
        self.stats = CandidateStats(Candidate(Deployment("p", "m"), ProviderKey("p", "k")))

    async def goes(self, last: bool = False) -> bool:
        return await self.half_open.may_go(self.stats, lambda: last)

    def limited(self) -> None:
        """Was so for a while, which is over."""
        error = UpstreamLimited("x")
        error.retry_after = 30.0
        self.pool.note(self.stats, error)
        for mark in self.pool.marks.values():
            mark.until = time.monotonic() - 0.001

    def broken(self, error: type[UpstreamOverloaded | UpstreamUnreachable] = UpstreamOverloaded) -> None:
        self.health.begin(self.stats)
        self.health.end(self.stats, error("x"), None)
        for _, _, breaker in self.health.open():
            breaker.open_until = time.monotonic() - 0.001


@pytest.fixture
def place() -> Place:
    return Place()


async def test_nobody_is_asked_while_nothing_is_held_against_anybody(place: Place) -> None:
    assert place.half_open.calm
    assert await place.goes()
    assert place.store.asked == []


@pytest.mark.parametrize("what", ["limited", "broken"])
async def test_of_many_requests_at_once_one_asks_and_goes(place: Place, what: str) -> None:
    getattr(place, what)()
    place.store.may_answer.clear()
    going = [asyncio.create_task(place.goes()) for _ in range(20)]
    await asyncio.sleep(0.01)
    place.store.may_answer.set()
    assert sorted(await asyncio.gather(*going)) == [False] * 19 + [True]
    assert len(place.store.asked) == 1


async def test_who_gets_no_claim_waits_as_long_as_it_lasts(place: Place) -> None:
    place.limited()
    place.store.left = 1.5
    assert not await place.goes(last=True)
    mark = place.pool.blocked(place.stats.candidate, time.monotonic())
    assert mark is not None
    assert mark.until == pytest.approx(time.monotonic() + 1.5, abs=0.1)
    assert not await place.goes()
    assert len(place.store.asked) == 1, "asked once"
    mark.until, place.store.left = time.monotonic(), 0.0
    assert await place.goes()


async def test_a_breaker_keeps_nobody_from_the_last_candidate(place: Place) -> None:
    place.broken()
    place.store.left = 5.0
    assert not await place.goes()
    assert not await place.goes()
    assert await place.goes(last=True)
    assert len(place.store.asked) == 1
    place.health.forget("p", "m")
    assert await place.goes()


async def test_what_cannot_be_reached_is_tried_by_one_of_each_machine(place: Place) -> None:
    place.broken(UpstreamUnreachable)
    assert await place.goes()
    (subject,) = place.store.asked
    assert subject.startswith("breaker:p/m@")


async def test_who_leaves_while_asking_lets_the_next_one_go(place: Place) -> None:
    place.limited()
    place.broken()
    place.store.may_answer.clear()
    going = asyncio.create_task(place.goes())
    await asyncio.sleep(0.01)
    assert not await place.goes()
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    place.store.may_answer.set()
    assert await place.goes()

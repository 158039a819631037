"""Several processes on one quota store: what one finds out about keys and deployments all know, and one tries again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, ask, provider, route
from redis_server import counting_in_redis

from llmhub_core.contracts import (
    Candidate,
    CandidateStats,
    Deployment,
    Hold,
    ProviderKey,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamUnreachable,
)
from llmhub_core.hub.health import Health
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer

HUBS = 4
PAUSE = 2.0

ROUTING = f"[routing]\nbreaker_failures = 2\nbreaker_pause = {PAUSE}\ncooldown = {PAUSE}\n"


@pytest.fixture(params=["sqlite", "redis"])
def quota(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The configuration of a store that several hubs share."""
    if request.param == "sqlite":
        yield f'[storage]\nquota = "sqlite:///{tmp_path}/quota.db"\n'
        return
    with counting_in_redis(tmp_path) as configuration:
        yield configuration


@pytest.fixture
async def spare() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        fake.on(lambda _: json_answer(COMPLETION))
        yield fake


@pytest.fixture
async def hubs(quota: str, upstream: FakeUpstream, spare: FakeUpstream, tmp_path: Path) -> AsyncIterator[list[House]]:
    """Side by side as processes would be."""
    config = quota + ROUTING + provider("main", upstream.url) + provider("spare", spare.url)
    config += route("fast", "main/small", "spare/small")

    async with AsyncExitStack() as stack:
        houses = []
        for number in range(1, HUBS + 1):
            folder = tmp_path / str(number)
            folder.mkdir()
            houses.append(await stack.enter_async_context(House(config, folder=folder)))
        await asyncio.sleep(0.3)  # until everybody listens
        yield houses


def out(house: House) -> bool:
    """Whether `main` is left alone."""
    (one, _) = house.hub.catalog.routes["fast"].standing
    now = time.monotonic()
    return house.hub.health.blocked(one.candidate, now) is not None or bool(house.hub.pool.blocked(one.candidate, now))


async def until(holds: Callable[[], bool], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def served_again(houses: list[House], client: aiohttp.ClientSession, upstream: FakeUpstream) -> list[float]:
    """Keep all hubs busy until all ask `upstream` again; when it was asked meanwhile, in seconds from now."""
    began, before, asked = time.monotonic(), len(upstream.requests), list[float]()

    async def caller(house: House) -> None:
        while True:
            assert (await ask(client, house.url)).status == 200
            await asyncio.sleep(0.01)

    callers = [asyncio.create_task(caller(house)) for house in houses]
    while any(out(house) for house in houses) or not asked:
        if len(upstream.requests) > before + len(asked):
            asked.append(time.monotonic() - began)
        assert time.monotonic() < began + 15.0
        assert not any(task.done() for task in callers)
        await asyncio.sleep(0.001)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return asked


SICK, SLOW_DOWN = (
    json_answer({"error": {"message": "oops", "type": "server_error"}}, 503),
    json_answer({"error": {"message": "slow", "code": "rate_limit_exceeded"}}, 429, headers={"retry-after": "2"}),
)


@pytest.mark.parametrize("trouble", [SICK, SLOW_DOWN], ids=["breaker", "rest"])
async def test_what_one_finds_out_all_know_and_one_request_tries_again(
    hubs: list[House], upstream: FakeUpstream, client: aiohttp.ClientSession, trouble: Answer
) -> None:
    well = asyncio.Event()

    def answer(request: ReceivedRequest) -> Answer:
        # A good answer takes its time: what tries again is alone for so long.
        return json_answer(COMPLETION, delay_first=0.5) if well.is_set() else trouble

    upstream.on(answer)
    found = hubs[2]
    while not out(found):
        body = {**CHAT, "seed": len(upstream.requests)}  # the same one counts once
        assert (await ask(client, found.url, body)).status == 200
    known = len(upstream.requests)
    await until(lambda: all(out(house) for house in hubs))
    for house in hubs:
        assert (await ask(client, house.url)).status == 200, "served by the other one"
    assert len(upstream.requests) == known, "those that were told ask nothing"
    well.set()
    asked = await served_again(hubs, client, upstream)
    assert len([at for at in asked if at < asked[0] + 0.45]) == 1, "one of all tries"
    for house in hubs:
        assert not out(house)


async def test_another_hub_tries_where_the_one_that_found_out_is_idle(
    hubs: list[House], upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.on(lambda _: SLOW_DOWN)
    assert (await ask(client, hubs[0].url)).status == 200
    await until(lambda: all(out(house) for house in hubs))
    upstream.on(lambda _: json_answer(COMPLETION, delay_first=0.5))
    asked = await served_again(hubs[1:], client, upstream)
    assert len([at for at in asked if at < asked[0] + 0.45]) == 1


async def test_what_one_guesses_after_a_refusal_all_hold_to(
    quota: str, upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = quota + "[routing]\ncooldown = 0.1\n" + provider("main", upstream.url) + route("fast", "main/small")
    config = config.replace('kind = "openai', 'learn_limits = "bind"\nkind = "openai')
    taken = 0

    def answer(request: ReceivedRequest) -> Answer:
        nonlocal taken
        taken += 1
        refusal = {"error": {"message": "slow", "code": "rate_limit_exceeded"}}
        return json_answer(COMPLETION) if taken <= 3 else json_answer(refusal, 429)

    upstream.on(answer)
    async with AsyncExitStack() as stack:
        houses = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            houses.append(await stack.enter_async_context(House(config, folder=tmp_path / name)))
        await asyncio.sleep(0.3)  # until everybody listens
        for _ in range(2):
            assert (await ask(client, houses[0].url)).status == 200
        assert (await ask(client, houses[1].url)).status == 200
        assert (await ask(client, houses[0].url)).status in (429, 503)
        (subject,) = houses[1].hub.learning._standing
        await until(lambda: all(house.hub.learning.guesses.get(subject) for house in houses))
        for house in houses:
            guess = house.hub.learning.guesses.get(subject)
            assert guess is not None
            assert guess.amounts == (3, None)


# what is told of breakers


def stats() -> CandidateStats:
    return CandidateStats(Candidate(Deployment("p", "a/b"), ProviderKey("p", "k")))


def failing(health: Health, one: CandidateStats, error: UpstreamError | None) -> None:
    health.begin(one)
    health.end(one, error, None)


def test_what_opens_and_closes_is_told() -> None:
    told: list[tuple[Hold, bool]] = []
    health, other, one = Health(1, 0.05), Health(1, 0.05), stats()
    health.share = lambda hold, nearby: told.append((hold, nearby))
    failing(health, one, UpstreamOverloaded("x"))
    ((hold, nearby),) = told
    assert (hold.subject, hold.state, hold.lasts, nearby) == ("breaker:p/a/b", "cooling", 0.05, False)
    other.adopt(hold)
    assert other.blocked(one.candidate, time.monotonic()) is not None
    assert other.out() == {("p", "a/b"): 1}
    time.sleep(0.06)
    health.begin(one)
    health.end(one, None, 0.1)
    assert told[-1] == (Hold("breaker:p/a/b", "active"), False)
    other.adopt(told[-1][0])
    assert other.calm
    assert len(told) == 2


def test_that_a_place_cannot_be_reached_from_here_is_told_on_this_machine_only() -> None:
    told: list[tuple[Hold, bool]] = []
    health = Health(1, 10.0)
    health.share = lambda hold, nearby: told.append((hold, nearby))
    failing(health, stats(), UpstreamUnreachable("x"))
    assert [nearby for _, nearby in told] == [True]


def test_an_ordinary_failure_tells_nobody_anything() -> None:
    told: list[Hold] = []
    health, one = Health(3, 10.0), stats()
    health.share = lambda hold, nearby: told.append(hold)
    for error in (UpstreamOverloaded("x"), None, UpstreamOverloaded("x"), None, None):
        failing(health, one, error)
    assert told == []

"""Limits that are learned while requests go by: from headers, from errors, and from refusals that say nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from houses import COMPLETION, ask, provider, route

from llmhub_core.admin import limits
from llmhub_core.admin.views import LevelView
from llmhub_core.cli import main
from llmhub_core.hub import guesses, learning
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.limit_estimates import BOUNDLESS
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer

HEADERS = {
    "x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "12s",
    "x-ratelimit-limit-tokens": "40000", "x-ratelimit-remaining-tokens": "39000", "x-ratelimit-reset-tokens": "1.5s",
}  # fmt: skip
LIMITED = {"error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}


class Time:
    """A clock that goes on when the test says so, for windows and for what is learned; headers are looked at each
    time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        for room, name in ((learning, "SOON"), (learning, "LATER"), (guesses, "QUIET")):
            monkeypatch.setattr(room, name, 0.0)

    def tune(self, hub: Hub) -> None:
        hub.learning.clock = lambda: self.now
        hub.quota._clock = lambda: self.now  # type: ignore[attr-defined]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def learns(mode: str, url: str, key: str = "") -> str:
    config = provider("main", url, more=key) + route("fast", "main/small")
    return config.replace('kind = "openai', f'learn_limits = "{mode}"\nkind = "openai') + (
        '[routing]\ncooldown = "0 s"\n'
    )


async def learned(house: House) -> list[LevelView]:
    return [level for level in await limits.quotas(house.control) if level.learned is not None]


async def asked(client: aiohttp.ClientSession, house: House, clock: Time, times: int, every: float = 2.0) -> list[int]:
    statuses = []
    for _ in range(times):
        clock.now += every
        statuses.append((await ask(client, house.url)).status)
        await house.hub.idle()
    return statuses


async def test_what_headers_tell_is_shown_with_how_often_and_since_when(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, headers=HEADERS))
    async with House(learns("show", upstream.url), tune=clock.tune) as house:
        await asked(client, house, clock, 10)
        house.hub.learning.bind()
        requests, tokens = await learned(house)
        assert (requests.kind, requests.window, requests.amount, requests.used) == ("requests", 60, 5, 1)
        assert (tokens.kind, tokens.window, tokens.amount, tokens.left) == ("tokens", 60, 40_000, 39_000)
        assert requests.learned is not None
        assert (requests.learned.source, requests.learned.samples, requests.learned.model) == ("header", 10, "small")
        assert requests.learned.last_seen - requests.learned.first_seen == 18
        assert not requests.learned.binds
        assert await asked(client, house, clock, 3, every=0.0) == [200, 200, 200]  # nobody is held to it


async def test_where_learned_limits_bind_nobody_is_asked_for_more(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, headers=HEADERS))
    async with House(learns("bind", upstream.url), tune=clock.tune) as house:
        assert await asked(client, house, clock, 2) == [200, 200]
        house.hub.learning.bind()
        assert all(level.learned and not level.learned.binds for level in await learned(house))
        await asked(client, house, clock, 1)
        house.hub.learning.bind()
        assert all(level.learned and level.learned.binds for level in await learned(house))
        statuses = await asked(client, house, clock, 8, every=0.1)
        assert statuses == [200] * 2 + [429] * 6, "what went before it was told counts too"
        assert len(upstream.requests) == 5
        clock.now += 61
        assert await asked(client, house, clock, 1) == [200]


async def test_nothing_is_looked_at_where_nothing_is_to_be_learned(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, headers=HEADERS))
    off = learns("show", upstream.url, 'learn_limits = "off"')
    async with House(off, tune=clock.tune) as house:
        await asked(client, house, clock, 3)
        assert house.hub.learning.book == {}
        assert await learned(house) == []


async def test_a_restart_and_another_process_know_what_was_learned(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, headers=HEADERS))
    config = learns("bind", upstream.url).replace("[routing]", '[storage]\nquota = "sqlite:///quota.db"\n[routing]')

    def tune(hub: Hub) -> None:
        hub.learning.clock = lambda: clock.now

    async with House(config, folder=tmp_path, tune=tune) as house:
        await asked(client, house, clock, 3)
    async with House(config, folder=tmp_path, tune=tune) as house:
        assert [level.learned and level.learned.samples for level in await learned(house)] == [3, 3]
        assert all(level.learned and level.learned.binds for level in await learned(house))
        await asked(client, house, clock, 2)
        hub = house.hub
        other = learning.Learning(hub.catalog, hub.quota, lambda: hub.store.configuration, list, hub.pool)
        # What both saw adds up, whoever writes first.
        seen = learning.Seen(next(iter(house.hub.learning.book)), clock.now + 60, learning.seen_limits(HEADERS)[0])
        other._note(seen)
        other._news = house.hub.learning._news = True
        await asyncio.gather(other.share(), house.hub.learning.share())
        await house.hub.learning.share()
        assert [level.learned and level.learned.samples for level in await learned(house)] == [6, 5]


async def test_a_number_in_a_refusal_is_learned_with_its_day(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time
) -> None:
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
    error = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": [failure]}
    upstream.on(lambda request: json_answer({"error": error}, 429))
    config = provider("google", upstream.url, kind="gemini") + route("fast", "google/gemini-2.5-pro")
    async with House(config, tune=clock.tune) as house:
        assert await asked(client, house, clock, 1) == [429]
        (level,) = await learned(house)
        assert (level.amount, level.window, level.zone) == (50, 86_400, "America/Los_Angeles")
        assert level.learned is not None
        assert (level.learned.source, level.learned.samples) == ("body", 1)
        assert level.resting_until is not None
        assert level.last_reset is not None


async def test_the_command_shows_declared_and_learned_limits_side_by_side(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, headers=HEADERS))
    config = learns("show", upstream.url, 'limits = { rpd = 100 }\nreset = "America/Los_Angeles"')
    config = config.replace("[routing]", '[storage]\nquota = "sqlite:///quota.db"\n[routing]')

    def tune(hub: Hub) -> None:
        hub.learning.clock = lambda: clock.now

    async with House(config, folder=tmp_path, tune=tune) as house:
        await asked(client, house, clock, 3)
    options = ["quotas", "--config", str(house.config), "--data-dir", str(house.hub.data)]
    table = await asyncio.to_thread(CliRunner().invoke, main, options)
    assert table.exit_code == 0, table.output
    assert "key main/k1" in table.output
    assert "declared" in table.output
    assert "learned from header, 3 times" in table.output
    told = await asyncio.to_thread(CliRunner().invoke, main, [*options, "--json"])
    declared, *others = json.loads(told.output)
    assert (declared["amount"], declared["used"], declared["learned"]) == (100, 3, None)
    assert declared["last_reset"] <= time.time() < declared["next_reset"]
    assert [(each["kind"], each["amount"], each["learned"]["samples"]) for each in others] == [
        ("requests", 5, 3), ("tokens", 40_000, 3),
    ]  # fmt: skip


def hidden(limit: int, clock: Time) -> Callable[[object], Answer]:
    """A provider that admits `limit` requests a minute and never says so."""
    admitted: deque[float] = deque()

    def answer(request: object) -> Answer:
        while admitted and admitted[0] <= clock.now - 60:
            admitted.popleft()
        if len(admitted) >= limit:
            return json_answer(LIMITED, 429)
        admitted.append(clock.now)
        return json_answer(COMPLETION)

    return answer


async def test_a_refusal_that_tells_nothing_holds_back_what_would_be_refused_too(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time
) -> None:
    upstream.on(hidden(5, clock))
    async with House(learns("bind", upstream.url), tune=clock.tune) as house:
        hub_learning = house.hub.learning
        assert hub_learning._ticking is not None
        hub_learning._ticking.cancel()
        assert await asked(client, house, clock, 6, every=1.0) == [200] * 5 + [503]
        await asyncio.gather(*hub_learning.guesses._tasks)
        refused = await asked(client, house, clock, 10, every=1.0)
        assert refused == [429] * 10
        assert len(upstream.requests) == 6, "only the first one was asked of the provider"
        assert await learned(house) == [], "one refusal makes no limit"
        clock.now += 61.0
        assert await asked(client, house, clock, 6, every=0.1) == [200] * 5 + [429]
        await hub_learning.guesses.look()
        assert await asked(client, house, clock, 1, every=0.1) == [503]
        assert len(upstream.requests) == 12, "after a minute one more is tried"


async def test_a_limit_that_is_never_told_is_found_and_kept_to(
    upstream: FakeUpstream, client: aiohttp.ClientSession, clock: Time
) -> None:
    upstream.on(hidden(20, clock))
    async with House(learns("bind", upstream.url), tune=clock.tune) as house:
        (stats,) = house.hub.catalog.stats
        assert {limit.amount for limit in stats.limits} == {BOUNDLESS}, "counted, and held to nothing"
        assert house.hub.learning._ticking is not None
        house.hub.learning._ticking.cancel()  # the clock is ours
        asked_before = 0
        for _ in range(12):  # minutes
            asked_before = len(upstream.requests)
            await house.hub.learning.look_at_counts()
            for _ in range(30):
                clock.now += 2.0
                await ask(client, house.url)
                await house.hub.idle()
                await asyncio.gather(*house.hub.learning.guesses._tasks)
                await house.hub.learning.guesses.look()
                house.hub.learning.bind()
        (level,) = await learned(house)
        assert level.learned is not None
        assert (level.kind, level.learned.source, level.learned.binds) == ("requests", "counts", True)
        assert 18 <= level.amount <= 22
        assert len(upstream.requests) - asked_before <= 22

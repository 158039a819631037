"""What strategies decide by: prices, and quotas that nobody asks the store for while a request waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import pytest
from houses import COMPLETION, ask, route
from llmhub_plugins.stores.memory import MemoryQuotaStore

from llmhub_core.contracts import (
    Amount,
    CandidateStats,
    Deployment,
    Level,
    Limit,
    NoSettings,
    UpstreamLimited,
)
from llmhub_core.hub import standings
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.pricing import Pricing
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer


def place(name: str, keys: str, url: str = "http://127.0.0.1:9", kind: str = "openai") -> str:
    return f'[[providers]]\nname = "{name}"\nkind = "{kind}"\nbase_url = "{url}/v1"\nkeys = [{keys}]\n'


def key(name: str, limits: str = "", more: str = "") -> str:
    return f'{{ name = "{name}", secret = "sk-{name}"{more}, limits = {{ {limits} }} }}'


def stats_of(house: House, model: str = "fast") -> dict[str, CandidateStats]:
    return {stats.candidate.key.name: stats for stats in house.hub.catalog.routes[model].standing}


class Counting(MemoryQuotaStore):
    """Counts the questions for levels, and can be out."""

    asked = 0
    limits = 0
    out = False

    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]:
        self.asked += 1
        self.limits += len(limits)
        if self.out:
            raise ConnectionError("the store is out")
        return await super().levels(limits)


def counting(store: Counting) -> Callable[[Hub], None]:
    def tune(hub: Hub) -> None:
        hub.quota = store
        hub.standings._quota = store

    return tune


async def test_the_tightest_limit_counts_and_concurrency_is_none() -> None:
    keys = key("a", "rpm = 10, rpd = 40, tpm = 1000") + ", " + key("b", "concurrency = 1") + ", " + key("c")
    async with House(place("main", keys) + route("fast", "main/m")) as house:
        stats, hub = stats_of(house), house.hub
        limits = stats["a"].candidate.key.limits
        await hub.quota.reserve(limits, Amount(1, 700), 60)
        await hub.quota.reserve(stats["b"].candidate.key.limits, Amount(1), 60)
        await hub.standings.look()
        assert [stats[name].quota_left for name in "abc"] == [pytest.approx(0.3), 1.0, 1.0]
        for _ in range(7):
            await hub.quota.reserve(limits, Amount(1, 1), 60)
        await hub.standings.look()
        assert stats["a"].quota_left == pytest.approx(0.2), "eight of ten requests"


async def test_what_a_restart_remembers_counts_from_the_first_request_on(tmp_path: Path) -> None:
    config = place("main", key("a", "rpd = 10")) + route("fast", "main/m")
    async with House(config, folder=tmp_path) as house:
        limits = stats_of(house)["a"].candidate.key.limits
        reservation = await house.hub.quota.reserve(limits, Amount(), 60)
        house.hub.settle(reservation, Amount())
    async with House(config, folder=tmp_path) as house:
        assert stats_of(house)["a"].quota_left == pytest.approx(0.9)


async def test_a_resting_key_has_nothing_left() -> None:
    keys = key("a", "rpm = 10") + ", " + key("b", "rpm = 10")
    async with House(place("main", keys) + route("fast", "main/m")) as house:
        stats, hub = stats_of(house), house.hub
        hub.pool.note(stats["a"], UpstreamLimited("later", retry_after=60.0))
        await hub.standings.look()
        assert (stats["a"].quota_left, stats["b"].quota_left) == (0.0, 1.0)
        hub.pool.reset(stats["a"].candidate.key)
        await hub.standings.look()
        assert stats["a"].quota_left == 1.0


async def test_attempts_count_between_two_looks() -> None:
    grouped = ', group = "g"'
    keys = ", ".join([key("a", "rpm = 10"), key("g1", "rpm = 100", grouped), key("g2", "rpm = 100", grouped)])
    async with House(place("main", keys) + route("fast", "main/m")) as house:
        stats, hub = stats_of(house), house.hub
        for name in ("a", "g1", "g2"):
            hub.health.begin(stats[name])
        assert stats["a"].quota_left == pytest.approx(0.9)
        # The two of a group go down by double steps each: both together as fast as what they share.
        assert [stats[name].quota_left for name in ("g1", "g2")] == [pytest.approx(0.98)] * 2
        for _ in range(20):
            hub.health.begin(stats["a"])
        assert stats["a"].quota_left == 0.0
        await hub.standings.look()
        assert stats["a"].quota_left == 1.0, "the store knows better"


async def test_what_an_attempt_takes_is_learned_where_tokens_are_limited() -> None:
    async with House(place("main", key("a", "tpm = 1000")) + route("fast", "main/m")) as house:
        one, hub = stats_of(house)["a"], house.hub
        assert one.quota_step == 0.0
        for _ in range(2):
            hub.health.begin(one)
            await hub.quota.reserve(one.candidate.key.limits, Amount(1, 100), 60)
        await hub.standings.look()
        assert (one.quota_left, one.quota_step) == (pytest.approx(0.8), pytest.approx(0.1))
        hub.health.begin(one)
        assert one.quota_left == pytest.approx(0.7)


async def test_requests_ask_the_store_for_nothing(
    upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standings, "INTERVAL", 3600.0)
    upstream.on(lambda request: json_answer(COMPLETION))
    store = Counting(NoSettings())
    keys = key("a", "rpm = 100") + ", " + key("b", "rpm = 100")
    config = place("main", keys, upstream.url) + route("fast", "main/m", strategy="most_quota_left")
    async with House(config, tune=counting(store)) as house:
        for _ in range(10):
            assert (await ask(client, house.url)).status == 200
        assert store.asked == 1, "at the start"
        served = [record.key for record in await house.records()]
    assert sorted(served) == ["a"] * 5 + ["b"] * 5


async def test_the_background_keeps_looking_though_the_store_was_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standings, "INTERVAL", 0.01)
    store = Counting(NoSettings())
    async with House(place("main", key("a", "rpm = 10")) + route("fast", "main/m"), tune=counting(store)) as house:
        one = stats_of(house)["a"]
        store.out = True
        await house.hub.quota.reserve(one.candidate.key.limits, Amount(), 60)
        asked = store.asked
        await until(lambda: store.asked > asked + 2)
        assert one.quota_left == 1.0, "as it was known last"
        assert [record.name for record in caplog.records].count("llmhub.standings") == 1
        store.out = False
        await until(lambda: one.quota_left < 1.0)


async def test_without_limits_nothing_looks() -> None:
    store = Counting(NoSettings())
    config = place("main", key("a", "concurrency = 2") + ", " + key("b")) + route("fast", "main/m")
    async with House(config, tune=counting(store)) as house:
        assert house.hub.standings._looking is None
        assert store.asked == 0


class Remote(Counting):
    waits = True


@pytest.mark.parametrize(("kind", "calls"), [(Counting, 25), (Remote, 3)])
async def test_many_limits_are_asked_for_in_parts(kind: type[Counting], calls: int) -> None:
    store = kind(NoSettings())
    keys = ", ".join(key(f"k{n}", "rpm = 10") for n in range(250))
    async with House(place("main", keys) + route("fast", "main/m"), tune=counting(store)):
        assert (store.asked, store.limits) == (calls, 250)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 — it happens in the hub, which tells nobody
            await asyncio.sleep(0.005)


# prices


async def test_every_candidate_of_a_route_has_its_price() -> None:
    config = place("openai", key("a")) + place("claude", key("b"), kind="anthropic")
    config += place("house", key("c"), kind="openai_compatible")
    config += route("fast", "openai/gpt-4o-mini", "claude/claude-sonnet-4-5", "house/own", strategy="cheapest")
    config += '[[routes]]\nmodel = "own"\ndeployments = [\n'
    config += '  { provider = "openai", model = "gpt-4o-mini", input_price = 1, output_price = 5 },\n'
    config += '  { provider = "house", model = "own", input_price = 0, output_price = 0 },\n]\n'
    async with House(config) as house:
        prices = {name: stats.price for name, stats in stats_of(house).items()}
        own = {name: stats.price for name, stats in stats_of(house, "own").items()}
    assert own == {"a": 2.0, "c": 0.0}
    assert prices == {"a": 2.0, "b": pytest.approx((3 * 3 + 15) / 4), "c": 0.0}, "what is charged is what is compared"


@pytest.mark.parametrize(
    ("deployment", "price"),
    [
        (Deployment("openai", "gpt-4o-mini"), (3 * 0.15 + 0.6) / 4),
        (Deployment("claude", "claude-sonnet-4-5"), (3 * 3 + 15) / 4),
        (Deployment("openai", "gpt-4o-mini", input_price=2, output_price=6), 3.0),
        (Deployment("openai", "gpt-4o-mini", input_price=2), (3 * 0.15 + 0.6) / 4),
        (Deployment("house", "nobody-knows-it"), None),
        (Deployment("openai", "nobody-knows-it"), None),
    ],
)
async def test_prices_are_blended_three_to_one(deployment: Deployment, price: float | None) -> None:
    pricing = Pricing({}, {"openai": "openai", "claude": "anthropic", "house": "openai_compatible"})
    await pricing.learn([(deployment.provider, deployment.model)])
    assert pricing.blended(deployment) == (None if price is None else pytest.approx(price))


async def test_without_the_table_only_own_prices_are_known() -> None:
    pricing = Pricing({}, {"openai": "openai"})
    assert pricing.blended(Deployment("openai", "gpt-4o-mini")) is None
    assert pricing.blended(Deployment("openai", "gpt-4o-mini", input_price=1, output_price=1)) == 1.0

"""What each strategy makes of some traffic: seeded, with a clock of its own, real breakers and quotas."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import pytest
from llmhub_plugins.stores.memory import MemoryQuotaStore
from llmhub_plugins.strategies.cheapest import Cheapest
from llmhub_plugins.strategies.least_busy import LeastBusy
from llmhub_plugins.strategies.lowest_latency import LowestLatency
from llmhub_plugins.strategies.most_quota_left import MostQuotaLeft

from llmhub_core.contracts import (
    Amount,
    Candidate,
    CandidateStats,
    Choice,
    Deployment,
    Limit,
    LimitReached,
    NoSettings,
    ProviderKey,
    Strategy,
    Timeouts,
    UpstreamOverloaded,
)
from llmhub_core.hub.catalog import NO_SECRET, Catalog, Place, Route, Standing
from llmhub_core.hub.health import Health
from llmhub_core.hub.pool import Pool
from llmhub_core.hub.pricing import Pricing
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.standings import Standings
from llmhub_core.testing.strategy import a_candidate

SEEDS = [1, 2, 3]
ECHO = Registry().discover().providers.get("echo")
ATTEMPTS = 3
NEVER = UpstreamOverloaded("no")


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("llmhub_core.hub.health.time", clock)
    monkeypatch.setattr("llmhub_core.hub.standings.time", clock)
    return clock


@dataclass
class Answer:
    """What a place does with a request: seconds to the first token and in all; or an error after `total`."""

    first: float
    total: float
    fails: bool = False


Conduct = Callable[[float, random.Random], Answer]
"""An answer, from the seconds since the beginning and a source of chance."""


def steady(first: float, total: float = 2.0) -> Conduct:
    return lambda now, chance: Answer(first * chance.uniform(0.8, 1.2), first + total * chance.uniform(0.5, 1.5))


def failing(after: float) -> Conduct:
    return lambda now, chance: Answer(after, after, fails=True)


def changing(*phases: tuple[float, Conduct]) -> Conduct:
    """Each place from its second on."""

    def place(now: float, chance: random.Random) -> Answer:
        return [each for since, each in phases if since <= now][-1](now, chance)

    return place


@dataclass
class Attempted:
    at: float
    name: str
    fails: bool


class World:
    """A route under Poisson traffic. `log` has every attempt; `lost` the times of requests that nobody answered."""

    def __init__(self, strategy: Strategy, places: dict[str, Conduct], standing: list[CandidateStats], clock: Clock):
        self.strategy, self.places, self.standing, self.clock = strategy, places, standing, clock
        self.health = Health(5, 10.0)
        self.log: list[Attempted] = []
        self.lost: list[float] = []
        self.busy: Counter[str] = Counter()  # seconds in flight
        self._began = clock.now
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, seconds: float, rate: float, seed: int) -> World:
        self._chance = random.Random(seed)
        at, turn = 0.0, 0
        while (at := at + self._chance.expovariate(rate)) < seconds:
            self._at(at, lambda turn=turn: self._request(turn))  # type: ignore[misc]
            turn += 1
        while self._events:
            when, _, happen = heapq.heappop(self._events)
            self.clock.now = self._began + when
            happen()
        return self

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), happen))

    def _request(self, turn: int) -> None:
        usable = [each for each in self.standing if self.health.blocked(each.candidate, self.clock.now) is None]
        choice = Choice("fast", turn, self._chance.random())
        self._attempt([*self.strategy.order(choice, usable or self.standing)][:ATTEMPTS])

    def _attempt(self, left: Sequence[CandidateStats]) -> None:
        now = self.clock.now - self._began
        if not left:
            self.lost.append(now)
            return
        stats = left[0]
        name = stats.candidate.deployment.model
        answer = self.places[name](now, self._chance)
        self.log.append(Attempted(now, name, answer.fails))
        self.busy[name] += answer.total  # type: ignore[assignment]
        self.health.begin(stats)

        def end() -> None:
            self.health.end(stats, NEVER if answer.fails else None, None if answer.fails else answer.first)
            if answer.fails:
                self._attempt(left[1:])

        self._at(now + answer.total, end)

    def shares(self, since: float = 0.0, until: float = float("inf")) -> dict[str, float]:
        """Of the attempts begun in between."""
        found = Counter(each.name for each in self.log if since <= each.at < until)
        return {name: found[name] / max(1, found.total()) for name in self.places}


def world(strategy: Strategy, clock: Clock, places: dict[str, Conduct]) -> World:
    return World(strategy, places, [a_candidate(name) for name in places], clock)


def weighted_world(clock: Clock, places: dict[str, Conduct], weights: Sequence[int]) -> World:
    standing = [a_candidate(name, weight=weight) for name, weight in zip(places, weights, strict=True)]
    return World(LeastBusy(NoSettings()), places, standing, clock)


# least_busy


@pytest.mark.parametrize("seed", SEEDS)
def test_load_follows_weight(seed: int, clock: Clock) -> None:
    places = dict.fromkeys(("a", "b", "c"), steady(0.3, total=4.0))
    run = weighted_world(clock, places, (1, 2, 5)).run(600, rate=20, seed=seed)
    total = run.busy.total()
    for name, weight in {"a": 1, "b": 2, "c": 5}.items():
        assert run.busy[name] / total == pytest.approx(weight / 8, rel=0.06)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_takes_longer_gets_less_to_do(seed: int, clock: Clock) -> None:
    run = weighted_world(clock, {"quick": steady(0.3, 2.0), "slow": steady(0.3, 8.0)}, (1, 1)).run(600, 20, seed)
    assert run.busy["slow"] / run.busy.total() == pytest.approx(0.5, abs=0.03), "both as busy as the other"
    assert run.shares()["slow"] == pytest.approx(2.3 / (2.3 + 8.3), abs=0.03)


def test_without_load_turns_follow_weight(clock: Clock) -> None:
    run = weighted_world(clock, dict.fromkeys("ab", steady(0.001, 0.001)), (1, 3)).run(3600, 1, seed=1)
    assert run.shares()["b"] == pytest.approx(0.75, abs=0.01)


# lowest_latency


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_place_loses_traffic_until_it_is_fast(seed: int, clock: Clock) -> None:
    places = {
        "a": steady(0.4),
        "b": steady(0.4),
        "turns": changing((0, steady(0.3)), (300, steady(5.0)), (900, steady(0.3))),
    }
    run = world(LowestLatency(NoSettings()), clock, places).run(1800, rate=10, seed=seed)
    assert run.shares(until=300)["turns"] > 0.35
    assert 0.001 < run.shares(360, 900)["turns"] < 0.02, "hardly ever asked, but not forgotten"
    assert run.shares(since=1300)["turns"] > 0.35


@pytest.mark.parametrize("seed", SEEDS)
def test_answering_errors_fast_does_not_attract(seed: int, clock: Clock) -> None:
    places = {"fine": steady(1.0), "fails": failing(0.005), "well": steady(1.2)}
    run = world(LowestLatency(NoSettings()), clock, places).run(600, rate=10, seed=seed)
    assert run.shares()["fails"] < 0.01
    assert not run.lost


@pytest.mark.parametrize("seed", SEEDS)
def test_who_begins_to_fail_is_left_and_found_again(seed: int, clock: Clock) -> None:
    lately = changing((0, steady(0.2)), (300, failing(0.005)), (600, steady(0.2)))
    run = world(LowestLatency(NoSettings()), clock, {"fine": steady(1.0), "lately": lately}).run(1500, 10, seed)
    assert run.shares(until=300)["lately"] > 0.8
    assert run.shares(310, 600)["lately"] < 0.02
    assert run.shares(since=1000)["lately"] > 0.8
    assert not run.lost


@pytest.mark.parametrize("seed", SEEDS)
def test_who_falls_silent_is_left_before_the_first_request_runs_out_of_time(seed: int, clock: Clock) -> None:
    silent = changing((0, steady(0.3)), (600, failing(120.0)), (720, steady(0.3)))
    run = world(LowestLatency(NoSettings()), clock, {"a": steady(0.5), "silent": silent}).run(1500, 10, seed)
    assert run.shares(until=600)["silent"] > 0.5
    assert run.shares(640, 720)["silent"] < 0.35
    assert not run.lost


def test_the_new_are_explored(clock: Clock) -> None:
    places = {f"p{n}": steady(0.2 + n / 10) for n in range(10)}
    run = world(LowestLatency(NoSettings()), clock, places).run(600, rate=5, seed=1)
    first = {name: next(each.at for each in run.log if each.name == name) for name in places}
    assert max(first.values()) < 20, "each within a few seconds"
    shares = run.shares(since=60)
    assert shares["p0"] == max(shares.values())
    assert shares["p9"] == min(shares.values())


# cheapest


def test_the_cheap_one_wins_and_is_missed_only_while_it_fails(clock: Clock) -> None:
    cheap = changing((0, steady(3.0)), (600, failing(0.1)), (1200, steady(3.0)))
    run = world(Cheapest(NoSettings()), clock, {"dear": steady(0.2), "cheap": cheap, "unknown": steady(0.1)})
    for stats, price in zip(run.standing, (10.0, 0.5, None), strict=True):
        stats.price = price
    run.run(2400, rate=5, seed=1)
    assert run.shares(until=600) == {"dear": 0.0, "cheap": 1.0, "unknown": 0.0}
    served = [each for each in run.log if 610 < each.at < 1200 and not each.fails]
    assert {each.name for each in served} == {"dear"}
    assert run.shares(since=1510)["cheap"] == 1.0, "after the longest pause of the breaker at the latest"
    assert not run.lost


# most_quota_left


class Quotas:
    """Keys with quotas in a real store, and the hub that looks at them each second."""

    def __init__(self, keys: Sequence[ProviderKey], clock: Clock) -> None:
        self.clock = clock
        self.strategy = MostQuotaLeft(NoSettings())
        self.store = MemoryQuotaStore(NoSettings(), clock=clock.monotonic, wall=clock.monotonic)
        place = Place("p", "p", ECHO(ECHO.Settings()), tuple(keys), Timeouts())
        self.standing = [
            Standing(Candidate(Deployment("p", "m"), key), place=place, secret=NO_SECRET) for key in place.keys
        ]
        catalog = Catalog([], self.strategy)
        catalog.add(Route("fast", self.strategy, self.standing))
        self.pool, self.health = Pool(10, 600, lambda change: None), Health(5, 10.0)
        self.standings = Standings(catalog, self.pool, Pricing({}, {}), self.store)
        self.served: Counter[str] = Counter()
        self.in_vain = self.refused = 0

    async def open(self) -> Quotas:
        """Started, but looking only when told to: the clock is ours."""
        await self.standings.start()
        await self.standings.stop()
        return self

    async def run(
        self, seconds: float, rate: float, chance: random.Random, tokens: int = 0, looks: bool = True
    ) -> None:
        """`tokens` each request, on average."""
        began, looked, turn = self.clock.now, self.clock.now, 0
        while (now := self.clock.now) < began + seconds:
            if looks and now >= looked + 1.0:
                looked = now
                await self.standings.look()
            await self.request(turn, chance.random(), round(tokens * chance.uniform(0.5, 1.5)))
            turn += 1
            self.clock.now += chance.expovariate(rate)

    async def request(self, turn: int, draw: float, tokens: int) -> None:
        amount = Amount(1, tokens)
        for stats in self.strategy.order(Choice("fast", turn, draw), self.standing):
            try:
                reservation = await self.store.reserve(stats.candidate.key.limits, amount, 60)
            except LimitReached:
                self.in_vain += 1
                continue
            self.health.begin(stats)
            self.health.end(stats, None, 0.1)
            await self.store.settle(reservation, amount)
            self.served[stats.candidate.key.name] += 1
            return
        self.refused += 1

    async def left(self) -> dict[str, float]:
        limits = {limit.id: limit for stats in self.standing for limit in stats.candidate.key.limits}
        return {
            level.limit.id: level.left / level.limit.amount for level in await self.store.levels([*limits.values()])
        }


def keyed(kind: str, window: int, *amounts: int) -> list[ProviderKey]:
    limits = [Limit(f"k{n}", kind, amount, window) for n, amount in enumerate(amounts)]  # type: ignore[arg-type]
    return [ProviderKey("p", limit.id, limits=(limit,)) for limit in limits]


@pytest.mark.parametrize("seed", SEEDS)
async def test_keys_of_all_sizes_run_out_together(seed: int, clock: Clock) -> None:
    keys = keyed("requests", 86_400, 200, 1000, 5000)
    shared = Limit("group", "requests", 1800, 86_400)
    keys += [ProviderKey("p", f"g{n}", group="g", limits=(shared,)) for n in range(3)]
    quotas, chance = await Quotas(keys, clock).open(), random.Random(seed)
    await quotas.run(950, 8, chance)  # 7,600 of 8,000
    assert not quotas.in_vain, "no key is asked that has nothing left while others have"
    left = await quotas.left()
    assert max(left.values()) - min(left.values()) < 0.01
    await quotas.run(100, 8, chance)
    assert sum(quotas.served.values()) == 8000, "used to the last request"
    assert max((await quotas.left()).values()) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
async def test_bursts_between_two_looks_do_not_run_to_one_key(seed: int, clock: Clock) -> None:
    quotas = await Quotas(keyed("requests", 60, *[60] * 50), clock).open()
    for place, stats in enumerate(quotas.standing):
        await quotas.store.reserve(stats.candidate.key.limits, Amount(place % 5), 600)
    await quotas.standings.look()
    await quotas.run(50, 50, random.Random(seed), looks=False)
    assert quotas.in_vain == quotas.refused == 0
    left = await quotas.left()
    assert max(left.values()) - min(left.values()) < 2 / 60


@pytest.mark.parametrize("seed", SEEDS)
async def test_tokens_are_used_evenly_too(seed: int, clock: Clock) -> None:
    chance = random.Random(seed)
    quotas = await Quotas(keyed("tokens", 60, 10_000, 20_000, 50_000, 80_000), clock).open()
    spread: list[float] = []
    for _ in range(30):
        await quotas.run(10, 4, chance, tokens=500)  # 120,000 of 160,000 a minute
        left = await quotas.left()
        spread.append(max(left.values()) - min(left.values()))
    assert sum(spread[6:]) / len(spread[6:]) < 0.12
    served = sum(quotas.served.values())
    assert quotas.refused == 0
    assert quotas.in_vain < 0.02 * served

"""The quota store in Redis: exact for all hubs, and bearable while Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from llmhub_plugins.stores import redis as redis_stores
from llmhub_plugins.stores.redis import RedisQuotaSettings, RedisQuotaStore, RedisSocketQuotaStore, counters
from llmhub_plugins.stores.redis.line import Away
from redis_server import Server, needs_redis

from llmhub_core.contracts import Amount, Limit, LimitReached, QuotaStore, Reservation, StartError, Unavailable
from llmhub_core.hub.leases import LEASE, Leases
from llmhub_core.testing.house import House
from llmhub_core.testing.quota_machine import Clock, QuotaMachine
from llmhub_core.testing.quota_processes import Race
from llmhub_core.testing.stores import QuotaStoreSuite

DAY = 86_400
PATIENT = 5.0
"""Seconds to wait for Redis where a busy machine must not look like an absent Redis."""


def at(server: Server, timeout: float = PATIENT, prefix: str = "") -> RedisQuotaStore:
    prefix = prefix or uuid.uuid4().hex
    url = server.url
    return RedisQuotaStore(RedisQuotaSettings(url=url, prefix=prefix, timeout=timeout, connect_timeout=timeout))


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def standing(store: QuotaStore, *limits: Limit) -> list[tuple[int, int]]:
    return [(level.used, level.reserved) for level in await store.levels(limits)]


async def until(holds: Callable[[], bool], within: float = 10.0) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within
        await asyncio.sleep(0.005)
    return time.monotonic() - began


class TestRedis(QuotaStoreSuite):
    shared = True
    server: ClassVar[Server]
    prefix: ClassVar[str]

    @pytest.fixture(autouse=True)
    def in_redis(self, server: Server) -> None:
        type(self).server = server
        type(self).prefix = uuid.uuid4().hex

    @classmethod
    def make(cls) -> QuotaStore:
        return at(cls.server, prefix=cls.prefix)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "callers"), [*((seed, 25) for seed in range(5)), (5, 200)])
def test_many_processes_and_many_kills(server: Server, tmp_path: Path, seed: int, callers: int) -> None:
    amounts = (1, 2, 5, 17, 100, 333, 1000, 20_000)
    Race(at(server), tmp_path, processes=8, amounts=amounts, kills=40, lease=6.0, seed=seed, callers=callers).run(
        within=500.0
    )


# --- every order of events

CLOCK = "redis.call('TIME')"


class RedisMachine(QuotaMachine):
    """The server's clock is a key, which the test sets; nothing else of the script is another."""

    numbers = itertools.count()

    def open(self, clock: Clock) -> QuotaStore:
        if not hasattr(self, "prefix"):
            self.prefix = f"machine-{next(self.numbers)}"
            self.cold = socket.create_connection(("127.0.0.1", MACHINES.port))
        return at(MACHINES, prefix=self.prefix)

    def crash(self, store: QuotaStore) -> None:
        assert isinstance(store, RedisQuotaStore)
        assert store._exact._keeper is not None
        store._exact._keeper.cancel()
        self.run(store._exact._asking.line.close())
        self.run(store._holds.stop())  # which has nothing to tell

    def run(self, work: Any) -> Any:
        now = self.clock.true()
        seconds, rest = int(now), int((now % 1) * 1_000_000)
        words = ("HSET", "test-clock", "s", str(seconds), "us", str(rest))
        self.cold.sendall(counters.command(*words))
        self.cold.recv(100)
        return super().run(work)

    def expires_by(self) -> float:
        return self.clock.true()

    def time_of_day(self) -> float:
        return self.clock.true()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "cold"):
            self.cold.close()


RedisMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
MACHINES: Server


def test_every_order_of_events(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    global MACHINES
    MACHINES = server
    assert counters.SOURCE.count(CLOCK) == 1
    told = "redis.call('HMGET', 'test-clock', 's', 'us')"
    # Where hours pass in a moment no hub gives signs of life in between, and that is no silence.
    source = counters.SOURCE.replace(CLOCK, told).replace("SILENCE, PARDON = 8000", "SILENCE, PARDON = 2 ^ 53")
    assert "2 ^ 53, 15000" in source
    monkeypatch.setattr(counters, "SOURCE", source)
    RedisMachine.TestCase("runTest").debug()


# --- Redis away


async def timed(work: Any) -> tuple[float, Any]:
    """Seconds that it took, and what came of it."""
    began = time.perf_counter()
    try:
        answer = await work
    except (LimitReached, Unavailable) as error:
        answer = error
    return time.perf_counter() - began, answer


@pytest.fixture
async def hubs(own: Server) -> AsyncIterator[list[RedisQuotaStore]]:
    prefix = uuid.uuid4().hex
    stores = [at(own, 0.05, prefix) for _ in range(2)]
    for store in stores:
        await store.start()
    for store in stores:  # both know of both, however busy this machine is
        while is_away(store) or store._exact._hubs < 2:
            with contextlib.suppress(Away):
                await store._exact._beat()
            await asyncio.sleep(0.01)
    yield stores
    for store in stores:
        await store.stop()


away = pytest.mark.timeout(120)


def is_away(store: RedisQuotaStore) -> bool:
    return store._exact._away_since is not None


@away
async def test_a_frozen_redis_costs_a_moment_and_nothing_is_counted_twice(
    own: Server, hubs: list[RedisQuotaStore]
) -> None:
    store = hubs[0]
    soft = [
        Limit("rpm", "requests", 1000, 3600),
        Limit("tpd", "tokens", 10**6, DAY, "UTC"),
        Limit("c", "concurrency", 50),
    ]
    budget = Limit("usd", "money", 1000, 3600)
    await store.settle(await store.reserve([*soft, budget], Amount(1, 100), 900.0), Amount(1, 40, 100))
    streams = [await store.reserve(soft, Amount(1, 100), 900.0) for _ in range(3)]

    own.signal(signal.SIGSTOP)
    began = time.perf_counter()
    used = tokens = 1
    opening = 0.0
    while not is_away(store):
        took, answer = await timed(store.reserve(soft, Amount(1, 100), 900.0))
        opening += took
        assert isinstance(answer, Reservation), "requests go on"
        await store.settle(answer, Amount(1, 10))
        used += 1
    assert opening <= 0.35, "three times fifty milliseconds, and some for a busy machine"
    await store.settle(streams[0], Amount(1, 70))  # what Redis gave is settled while it is away
    slowest = []
    for number in range(200):
        took, answer = await timed(store.reserve(soft, Amount(1, 100), 900.0))
        slowest.append(took)
        if isinstance(answer, Reservation):
            used += 1
            await store.settle(answer, Amount(1, 20))
        if number == 100:
            streams.append(await store.reserve(soft, Amount(1, 100), 900.0))  # one that begins without Redis
    assert sorted(slowest)[-3] <= 0.05
    assert time.perf_counter() - began < 5.0
    spent, refusal = 0, None
    while refusal is None:
        _, answer = await timed(store.reserve([budget], Amount(), 900.0))
        if isinstance(answer, Reservation):
            await store.settle(answer, Amount(1, 0, 10))
            spent += 10
        else:
            refusal = answer
    assert isinstance(refusal, Unavailable)
    assert refusal.code == "quota_backend_unavailable"
    assert spent == 50, "a twentieth of the budget, which is less than its share of half of the rest"

    own.signal(signal.SIGCONT)
    assert await until(lambda: not is_away(store)) < 5.0
    (rpm, _), (_, reserved), (_, running) = await standing(store, *soft)
    assert (rpm, running) == (used + 1, 3)  # and one of the streams is over
    assert reserved == 300
    for stream in streams[1:]:
        await store.settle(stream, Amount(1, 50))
    tokens = 40 + 70 + (used - 1 - 200) * 10 + 200 * 20 + 3 * 50
    assert await standing(store, *soft, budget) == [(used + 4, 0), (tokens, 0), (0, 0), (100 + spent, 0)]
    assert await standing(hubs[1], *soft, budget) == await standing(store, *soft, budget)


@pytest.fixture
def quick_pardon(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = "SILENCE, PARDON = 8000, 15000"
    assert usual in counters.SOURCE
    monkeypatch.setattr(counters, "SOURCE", counters.SOURCE.replace(usual, "SILENCE, PARDON = 2500, 3000"))


@away
async def test_who_lives_keeps_its_place_though_redis_stood_still_for_longer_than_a_lease(
    quick_pardon: None, own: Server, hubs: list[RedisQuotaStore]
) -> None:
    limits = [Limit("c", "concurrency", 4), Limit("tpd", "tokens", 1000, DAY, "UTC")]
    prefix = hubs[0].settings.prefix
    alive, dead, patient = hubs[0], at(own, 0.05, prefix), at(own, PATIENT, prefix)
    await dead.start()
    streams = [await alive.reserve(limits, Amount(1, 100), 1.0)]
    await dead.reserve(limits, Amount(1, 100), 1.0)
    renewing = asyncio.create_task(renewed_often(alive))
    own.signal(signal.SIGSTOP)
    assert dead._exact._keeper is not None
    dead._exact._keeper.cancel()
    await until(lambda: is_away(alive))
    streams.append(await alive.reserve(limits, Amount(1, 100), 1.0))
    await asyncio.sleep(3.5)
    own.signal(signal.SIGCONT)
    await patient.start()
    assert (await standing(patient, *limits))[0][1] >= 2, "nobody could tell Redis that he lives"
    await until(lambda: not is_away(alive))
    began = time.monotonic()
    while await standing(hubs[1], *limits) != [(0, 2), (0, 200)]:
        assert time.monotonic() - began < 8.0, "what a dead hub reserved is still reserved"
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.5)
    assert await standing(hubs[1], *limits) == [(0, 2), (0, 200)]
    renewing.cancel()
    for stream in streams:
        await alive.settle(stream, Amount(1, 70))
    assert await standing(hubs[1], *limits) == [(0, 0), (140, 0)]
    await patient.stop()
    await dead._exact._asking.line.close()
    await dead._holds.stop()


async def renewed_often(store: RedisQuotaStore) -> None:
    while True:
        await store.renew(1.0)
        await asyncio.sleep(0.2)


@away
async def test_who_is_inside_of_a_gate_is_inside_after_redis_lost_its_data(
    own: Server, hubs: list[RedisQuotaStore]
) -> None:
    limits = [Limit("c", "concurrency", 3), Limit("rpm", "requests", 100, 3600)]
    running = [await store.reserve(limits, Amount(), 45.0) for store in (hubs[0], hubs[0], hubs[1])]
    assert own.ask("FLUSHALL") == "+OK"
    for store in hubs:
        await store.renew(45.0)
    began = time.monotonic()
    while await standing(hubs[1], *limits) != [(0, 3), (3, 0)]:
        assert time.monotonic() - began < 5.0, await standing(hubs[1], *limits)
        await asyncio.sleep(0.05)
    with pytest.raises(LimitReached):
        await hubs[1].reserve(limits, Amount(), 45.0)
    for store, one in zip((hubs[0], hubs[0], hubs[1]), running, strict=True):
        await store.settle(one, Amount())
        await store.renew(45.0)
    assert await standing(hubs[0], *limits) == [(0, 0), (3, 0)]


@pytest.mark.soak
@pytest.mark.timeout(200)
async def test_a_minute_without_redis(own: Server, hubs: list[RedisQuotaStore]) -> None:
    """Two hubs with 20 callers each, before, during and after, and ten streams that outlast it."""
    limits = (
        Limit("rpm", "requests", 10**6, 60),
        Limit("tpd", "tokens", 10**9, DAY, "UTC"),
        Limit("c", "concurrency", 500),
    )
    took: list[tuple[float, float]] = []
    tokens, ending = 0, False

    async def caller(store: RedisQuotaStore) -> None:
        nonlocal tokens
        while not ending:
            began = time.monotonic()
            held = await store.reserve(limits, Amount(1, 100), LEASE)
            took.append((began, time.monotonic() - began))
            await asyncio.sleep(random.uniform(0.1, 0.3))
            await store.settle(held, Amount(1, 60))
            tokens += 60

    renewing = [Leases(store, lambda: True) for store in hubs]
    for leases in renewing:
        leases.start()
    streams = [(store, await store.reserve(limits, Amount(1, 100), LEASE)) for store in hubs for _ in range(5)]
    callers = [asyncio.create_task(caller(store)) for store in hubs for _ in range(20)]
    await asyncio.sleep(3)
    own.signal(signal.SIGSTOP)
    frozen = time.monotonic()
    await until(lambda: all(is_away(store) for store in hubs))
    opened = time.monotonic()
    await asyncio.sleep(60)
    own.signal(signal.SIGCONT)
    back = await until(lambda: not any(is_away(store) for store in hubs))
    assert back < 5.0
    thawed = time.monotonic()
    await asyncio.sleep(3)
    ending = True
    await asyncio.gather(*callers)
    without = sorted(seconds for began, seconds in took if opened < began < thawed)
    p99 = without[int(len(without) * 0.99)]
    print(
        f"noticed after {(opened - frozen) * 1000:.0f} ms, slowest {max(each for _, each in took) * 1000:.0f} ms; "
        f"without Redis {len(without)} reservations, p99 {p99 * 1000:.2f} ms; exact {back * 1000:.0f} ms after"
    )
    assert opened - frozen <= 0.2
    assert p99 <= 0.05
    assert max(seconds for _, seconds in took) <= 0.3
    assert (await standing(hubs[0], *limits))[1:] == [(tokens, 1000), (0, 10)]
    await asyncio.sleep(20)
    assert (await standing(hubs[0], *limits))[1:] == [(tokens, 1000), (0, 10)], "who lives keeps its place"
    for store, held in streams:
        await store.settle(held, Amount(1, 60))
        tokens += 60
    for leases in renewing:
        await leases.stop()
    assert (await standing(hubs[0], *limits))[1:] == [(tokens, 0), (0, 0)]


@away
async def test_a_share_of_each_limit_is_used_without_redis_and_not_more(
    own: Server, hubs: list[RedisQuotaStore]
) -> None:
    limits = {
        "rpm": Limit("rpm", "requests", 20, 3600),
        "used": Limit("used", "requests", 100, 3600),
        "gate": Limit("gate", "concurrency", 8, 0),
        "tokens": Limit("tokens", "tokens", 1000, 3600),
    }
    for _ in range(90):
        await hubs[0].settle(await hubs[0].reserve([limits["used"]], Amount(), 900.0), Amount())
    await hubs[1].reserve([limits["used"]], Amount(0), 900.0)
    own.signal(signal.SIGSTOP)
    admitted = dict.fromkeys(limits, 0)
    for store in hubs:
        for name, limit in limits.items():
            while True:
                _, answer = await timed(store.reserve([limit], Amount(1, 100), 900.0))
                if not isinstance(answer, Reservation):
                    assert isinstance(answer, LimitReached)
                    assert 0 < (answer.retry_after or 0) <= 30
                    break
                admitted[name] += 1
    assert admitted == {"rpm": 20, "used": 10, "gate": 8, "tokens": 10}
    with pytest.raises(LimitReached) as reached:
        await hubs[0].reserve([limits["tokens"]], Amount(1, 1001), 900.0)
    assert reached.value.retry_after is None
    own.signal(signal.SIGCONT)


@away
async def test_whoever_asked_before_the_freeze_leaves_nothing_behind(own: Server, hubs: list[RedisQuotaStore]) -> None:
    limits = [Limit("rpm", "requests", 1000, 3600), Limit("c", "concurrency", 50)]
    store = hubs[0]
    await store.settle(await store.reserve(limits, Amount(), 900.0), Amount())
    for pause in (0.1, 1.5):
        own.signal(signal.SIGSTOP)
        asked = await asyncio.gather(*(timed(store.reserve(limits, Amount(), 900.0)) for _ in range(20)))
        assert max(took for took, _ in asked) <= 0.2
        assert is_away(store), "twenty without an answer are enough"
        answers = [answer for _, answer in asked]
        await asyncio.sleep(pause)
        own.signal(signal.SIGCONT)
        await until(lambda: not is_away(store))
        await asyncio.sleep(0.2)
        assert (await standing(store, *limits))[1] == (0, 20), "each of them once"
        for answer in answers:
            await store.settle(answer, Amount(0))
        assert await standing(store, *limits) == [(1, 0), (0, 0)]


@away
async def test_a_redis_that_dies_under_load_and_comes_back_empty_resets_no_limit(
    own: Server, hubs: list[RedisQuotaStore], caplog: pytest.LogCaptureFixture
) -> None:
    limits = [Limit("rpd", "requests", 100, DAY, "UTC"), Limit("tph", "tokens", 10_000, 3600)]
    for _ in range(60):
        await hubs[0].settle(await hubs[0].reserve(limits, Amount(1, 10), 900.0), Amount(1, 10))
    await hubs[1].settle(await hubs[1].reserve(limits, Amount(1, 10), 900.0), Amount(1, 10))
    open_one = await hubs[1].reserve(limits, Amount(1, 500), 900.0)
    own.process.kill()
    own.process.wait()
    for _ in range(5):
        await hubs[0].settle(await hubs[0].reserve(limits, Amount(1, 10), 900.0), Amount(1, 10))
    own.start()
    noticed = "Redis has lost its data"
    await until(lambda: sum(noticed in record.getMessage() for record in caplog.records) == 2)
    for store in hubs:
        await until(lambda store=store: not is_away(store) and not store._exact._remembered)  # type: ignore[misc]
    (requests, _), (tokens, _) = await standing(hubs[0], *limits)
    assert requests == 60 + 1 + 1 + 5
    assert tokens == 600 + 10 + 500 + 50
    await hubs[1].settle(open_one, Amount(1, 700))
    assert await standing(hubs[0], *limits) == [(67, 0), (1360, 0)]


async def test_a_script_that_redis_forgot_is_sent_again(server: Server) -> None:
    store, limit = at(server), Limit("rpm", "requests", 10, 3600)
    await store.start()
    await store.reserve([limit], Amount(), 900.0)
    assert server.ask("SCRIPT", "FLUSH") == "+OK"
    await store.reserve([limit], Amount(), 900.0)
    assert await standing(store, limit) == [(0, 2)]
    await store.stop()


async def test_a_broken_connection_is_made_anew_and_every_request_is_answered(server: Server) -> None:
    store, limits = at(server), [Limit("rpm", "requests", 10_000, 3600), Limit("c", "concurrency", 1000)]
    await store.start()
    answered = 0

    async def one() -> None:
        nonlocal answered
        for _ in range(40):
            await store.settle(await store.reserve(limits, Amount(), 900.0), Amount())
            answered += 1

    work = [asyncio.create_task(one()) for _ in range(25)]
    for _ in range(5):
        await asyncio.sleep(0.02)
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.gather(*work)
    await until(lambda: not is_away(store) and not store._exact._apart.settlements and not store._exact._apart.used)
    assert await standing(store, *limits) == [(answered, 0), (0, 0)]
    await store.stop()


@pytest.mark.parametrize(
    ("fault", "cure"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "read-only"],
)
@away
async def test_a_redis_that_refuses_is_away_too(own: Server, fault: tuple[str, ...], cure: tuple[str, ...]) -> None:
    store, limit = at(own), Limit("rpm", "requests", 1000, 3600)
    await store.start()
    await store.settle(await store.reserve([limit], Amount(), 900.0), Amount())
    assert own.ask(*fault) == "+OK"
    for _ in range(10):
        await store.settle(await store.reserve([limit], Amount(), 900.0), Amount())
    await until(lambda: is_away(store))
    assert own.ask(*cure) == "+OK"
    await until(lambda: not is_away(store))
    assert await standing(store, limit) == [(11, 0)]
    await store.stop()


@away
async def test_a_hub_starts_without_redis_and_finds_it_later(own: Server, caplog: pytest.LogCaptureFixture) -> None:
    own.stop()
    store = at(own, 0.05)
    limit, budget = Limit("rpm", "requests", 10, 3600), Limit("usd", "money", 1000, 3600)
    await store.start()
    held = await store.reserve([limit], Amount(), 900.0)
    with pytest.raises(Unavailable):
        await store.reserve([limit, budget], Amount(), 900.0)
    assert [(level.used, level.limit) for level in await store.levels([limit])] == [(1, limit)]
    free = await store.reserve([], Amount(), 900.0)
    await store.settle(free, Amount())
    own.start()
    await until(lambda: not is_away(store))
    assert await standing(store, limit) == [(0, 1)]
    await store.settle(held, Amount())
    await store.settle(await store.reserve([limit, budget], Amount(), 900.0), Amount(1, 0, 7))
    assert await standing(store, limit, budget) == [(2, 0), (7, 0)]
    await store.stop()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in said if "is away" in line]) == 1
    assert len([line for line in said if "Redis is back" in line]) == 1


async def test_requests_without_limits_ask_redis_nothing(server: Server) -> None:
    store = at(server)
    await store.start()
    before = server.ask("INFO", "commandstats")
    for _ in range(50):
        reservation = await store.reserve((), Amount(), 900.0)
        await store.settle(reservation, Amount())
        assert reservation.settled
    calls = [line for line in server.ask("INFO", "commandstats").split() if line.startswith("cmdstat_evalsha:")]
    assert calls == [line for line in before.split() if line.startswith("cmdstat_evalsha:")]
    await store.stop()


async def test_a_request_is_two_questions_whatever_its_limits(server: Server) -> None:
    store = at(server)
    await store.start()
    limits = tuple(Limit(f"r{number}", "requests", 100, 60) for number in range(20))

    def calls() -> int:
        stats = server.ask("INFO", "commandstats").split("cmdstat_evalsha:calls=")[1]
        return int(stats.split(",")[0])

    before = calls()
    await store.settle(await store.reserve(limits, Amount(), 900.0), Amount())
    assert calls() - before == 2
    await store.stop()


async def test_a_day_that_ends_is_noticed_by_the_servers_clock(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)  # what this machine believes is of no account
    store, limit = at(server), Limit("d", "requests", 2, DAY, "Asia/Tokyo")
    await store.start()
    for _ in range(2):
        await store.reserve([limit], Amount(), 900.0)
    with pytest.raises(LimitReached) as reached:
        await store.reserve([limit], Amount(), 10.0**6)
    (level,) = await store.levels([limit])
    monkeypatch.undo()
    until_midnight = DAY - (time.time() + 9 * 3600) % DAY
    assert level.resets_in == pytest.approx(until_midnight, abs=5)
    assert reached.value.retry_after is not None
    await store.stop()


async def test_the_hub_counts_its_callers_in_redis(own: Server, tmp_path: Path) -> None:
    token = "lh-" + "t" * 40
    config = f"""
[storage]
quota = "{own.url}"
[quota_stores.redis]
timeout = {PATIENT}
connect_timeout = {PATIENT}
[auth]
api = "token"
[[tokens]]
name = "game"
hash = "sha256:{sha256(token.encode()).hexdigest()}"
limits = {{ rpd = 3, concurrency = 2 }}
[[providers]]
name = "echo"
kind = "echo"
keys = [{{ name = "k", secret = "none", limits = {{ rpd = 100 }} }}]
"""
    body = {"model": "echo/x", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {token}"}
    async with (
        House(config, folder=made(tmp_path / "a")) as one,
        House(config, folder=made(tmp_path / "b")) as other,
        aiohttp.ClientSession(headers=headers) as client,
    ):
        statuses = []
        for house in (one, other, one, other, one):
            async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
                statuses.append(answer.status)
            await house.hub.settled()
        assert statuses == [200, 200, 200, 429, 429]
        key = Limit("key:echo/k:requests/86400", "requests", 100, DAY, "UTC")
        assert await standing(one.hub.quota, key) == [(3, 0)]


# --- the address


async def test_a_wrong_password_is_told_at_the_start_without_showing_it(tmp_path: Path) -> None:
    needs_redis()
    server = Server(tmp_path, "--requirepass", "sesame-1")
    try:
        wrong = server.url.replace("//", "//:open-sesame@")
        store = RedisQuotaStore(RedisQuotaSettings(url=wrong, timeout=PATIENT, connect_timeout=PATIENT))
        with pytest.raises(StartError, match="refuses the user or the password") as caught:
            await store.start()
        assert "sesame" not in str(caught.value)
        right = server.url.replace("//", "//:sesame-1@")
        store = RedisQuotaStore(RedisQuotaSettings(url=right, timeout=PATIENT, connect_timeout=PATIENT))
        await store.start()
        await store.reserve([Limit("r", "requests", 1, 60)], Amount(), 900.0)
        await store.stop()
    finally:
        server.stop()


@pytest.mark.parametrize("url", ["redis://:geheim@host:port/0", "http://:geheim@host", "redis://:geheim@[::1/0"])
async def test_an_address_that_cannot_be_read_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StartError) as caught:
        await RedisQuotaStore(RedisQuotaSettings(url=url)).start()
    assert "geheim" not in str(caught.value)


async def test_a_reservation_of_another_store_is_refused(server: Server) -> None:
    store = at(server)
    await store.start()
    with pytest.raises(TypeError):
        await store.settle(Reservation("x", (), Amount(), 1.0), Amount())
    await store.stop()


def test_all_schemes_are_known() -> None:
    assert [store.name for store in redis_stores.register_quota_stores()] == ["redis", "rediss", "unix"]


async def test_hubs_by_socket_and_by_port_count_together(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    server = Server(tmp_path, "--unixsocket", str(path), "--requirepass", "s3cret")
    url = f"unix://:s3cret@{path}?db=1"
    by_socket = RedisSocketQuotaStore(RedisQuotaSettings(url=url, timeout=5.0, connect_timeout=5.0))
    address = f"redis://:s3cret@127.0.0.1:{server.port}/1"
    by_port = RedisQuotaStore(RedisQuotaSettings(url=address, timeout=5.0, connect_timeout=5.0))
    for store in (by_socket, by_port):
        await store.start()
    limits = (Limit("c", "concurrency", 1),)
    held = await by_socket.reserve(limits, Amount(), 60.0)
    with pytest.raises(LimitReached):
        await by_port.reserve(limits, Amount(), 60.0)
    await by_socket.settle(held, Amount())
    await by_port.settle(await by_port.reserve(limits, Amount(), 60.0), Amount())
    for store in (by_socket, by_port):
        await store.stop()
    server.stop()


async def test_a_frozen_redis_keeps_nobody_from_trying(own: Server) -> None:
    store = at(own, timeout=0.05)
    await store.start()
    assert await store.claim("key:p/k", 60.0) == 0.0
    own.signal(signal.SIGSTOP)
    took = []
    for number in range(10):
        began = time.monotonic()
        assert await store.claim(f"key:p/{number}", 60.0) == 0.0
        took.append(time.monotonic() - began)
    own.signal(signal.SIGCONT)
    await store.stop()
    assert max(took) < 0.4, took
    assert sorted(took)[5] < 0.005, "noticed, and not asked any more"

"""The quota store in memory: exact, all-or-nothing, and never a unit too much."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from llmhub_plugins.stores import memory
from llmhub_plugins.stores.memory import MemoryQuotaStore, MemorySettings
from llmhub_plugins.stores.memory import journal as journal_room
from llmhub_plugins.stores.memory.counters import BUCKETS, DAY

from llmhub_core.contracts import (
    Amount,
    Level,
    Limit,
    LimitReached,
    NoSettings,
    QuotaStore,
    Reservation,
    StartError,
)
from llmhub_core.testing.house import House
from llmhub_core.testing.quota_machine import Clock, QuotaMachine


def make_store(clock: Clock) -> MemoryQuotaStore:
    return MemoryQuotaStore(NoSettings(), clock=clock.monotonic, wall=clock.wall)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryQuotaStore:
    return make_store(clock)


def requests(amount: int, window: int = 60, zone: str | None = None, id: str = "r") -> Limit:
    return Limit(id, "requests", amount, window, zone)


def tokens(amount: int, window: int = 60, zone: str | None = None, id: str = "t") -> Limit:
    return Limit(id, "tokens", amount, window, zone)


async def level(store: QuotaStore, limit: Limit) -> Level:
    (answer,) = await store.levels([limit])
    return answer


async def refused(store: QuotaStore, limits: list[Limit], amount: Amount | None = None) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        await store.reserve(limits, amount or Amount(), 600.0)
    return caught.value


# --- what counts, and for how long


async def test_a_request_counts_for_exactly_its_window_from_its_reservation(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    limit = requests(2)
    first = await store.reserve([limit], Amount(), 600.0)
    clock.now = 20.0
    await store.settle(first, Amount())
    await store.reserve([limit], Amount(), 600.0)
    assert (await refused(store, [limit])).retry_after == pytest.approx(40.0, abs=1e-5)
    clock.now = 59.999
    await refused(store, [limit])
    clock.now = 60.0
    await store.reserve([limit], Amount(), 600.0)
    assert (await refused(store, [limit])).retry_after == pytest.approx(20.0, abs=1e-5)


async def test_a_full_window_empties_also_when_nobody_looks(store: MemoryQuotaStore, clock: Clock) -> None:
    limit = requests(1)
    for moment in (0.0, 60.0, 150.0):
        clock.now = moment
        await store.reserve([limit], Amount(), 600.0)


async def test_uses_close_in_time_leave_together_with_the_latest(store: MemoryQuotaStore, clock: Clock) -> None:
    limit = requests(3)
    for moment in (0.0, 0.5, 0.75):
        clock.now = moment
        await store.reserve([limit], Amount(), 600.0)
    clock.now = 60.5
    assert (await refused(store, [limit])).retry_after == pytest.approx(0.25, abs=1e-5)
    clock.now = 60.75
    assert (await level(store, limit)).left == 3


async def test_settling_gives_back_what_the_estimate_was_too_much(store: MemoryQuotaStore) -> None:
    limit = tokens(1000)
    reservation = await store.reserve([limit], Amount(tokens=900), 600.0)
    assert (await level(store, limit)) == Level(limit, 0, 900, 60.0)
    await store.settle(reservation, Amount(tokens=100))
    assert (await level(store, limit)) == Level(limit, 100, 0, 60.0)
    await store.reserve([limit], Amount(tokens=900), 600.0)


async def test_what_is_used_beyond_the_estimate_counts_from_the_settlement(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    limit = tokens(1000)
    reservation = await store.reserve([limit], Amount(tokens=10), 600.0)
    clock.now = 90.0  # the reservation's own window is over, the stream was long
    await store.settle(reservation, Amount(tokens=1500))
    assert (await level(store, limit)) == Level(limit, 1490, 0, 60.0)
    assert (await level(store, limit)).left == 0
    await refused(store, [limit], Amount(tokens=1))
    clock.now = 150.0
    assert (await level(store, limit)) == Level(limit, 0, 0, 0.0)


async def test_settling_twice_changes_nothing(store: MemoryQuotaStore) -> None:
    limits = [tokens(1000), Limit("c", "concurrency", 1, 0)]
    reservation = await store.reserve(limits, Amount(tokens=500), 600.0)
    await store.settle(reservation, Amount(tokens=200))
    second = await store.reserve(limits, Amount(tokens=1), 600.0)
    before = await store.levels(limits)
    await store.settle(reservation, Amount(tokens=999))
    assert await store.levels(limits) == before
    assert not second.settled


async def test_nothing_reported_by_a_provider_makes_a_counter_negative(store: MemoryQuotaStore) -> None:
    limit = tokens(100)
    await store.settle(await store.reserve([limit], Amount(tokens=-50), 600.0), Amount(tokens=-50))
    assert (await level(store, limit)).left == 100


async def test_concurrency_is_given_back_by_settling_and_by_nothing_else_but_the_lease(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    gate = Limit("c", "concurrency", 2, 0)
    first = await store.reserve([gate], Amount(requests=0), 30.0)
    clock.now = 10.0
    await store.reserve([gate], Amount(), 100.0)
    assert (await refused(store, [gate])).retry_after == pytest.approx(20.0, abs=1e-5)
    assert (await level(store, gate)) == Level(gate, 0, 2, 20.0)
    await store.settle(first, Amount())
    third = await store.reserve([gate], Amount(), 5.0)
    clock.now = 14.999
    await refused(store, [gate])
    clock.now = 15.0
    await store.reserve([gate], Amount(), 100.0)
    await store.settle(third, Amount())  # too late: its place is another's
    await refused(store, [gate])


async def test_an_expired_lease_gives_back_and_a_late_settlement_still_counts(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    limits = [tokens(1000, DAY, "UTC"), requests(1, 3600)]
    reservation = await store.reserve(limits, Amount(tokens=1000), 30.0)
    assert (await refused(store, limits, Amount(tokens=1))).retry_after == pytest.approx(30.0, abs=1e-5)
    clock.now = 30.0
    assert [one.left for one in await store.levels(limits)] == [1000, 1]
    await store.settle(reservation, Amount(tokens=400))
    assert [(one.used, one.reserved) for one in await store.levels(limits)] == [(400, 0), (1, 0)]


# --- days


async def test_a_day_begins_at_midnight_of_its_zone_also_when_it_has_25_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 10, 24, 23, 30, tzinfo=berlin)
    clock = Clock(evening.timestamp())
    store = make_store(clock)
    limit = requests(1, DAY, "Europe/Berlin")
    await store.reserve([limit], Amount(), 10.0**6)
    assert (await refused(store, [limit])).retry_after == pytest.approx(1800.0, abs=1e-5)
    clock.now = 1799.0
    await refused(store, [limit])
    clock.now = 1800.0
    await store.reserve([limit], Amount(), 10.0**6)
    assert (await refused(store, [limit])).retry_after == pytest.approx(25 * 3600.0, abs=1e-5)
    assert (await level(store, limit)).resets_in == 25 * 3600.0


async def test_a_wall_clock_set_back_begins_no_day_twice(clock: Clock, store: MemoryQuotaStore) -> None:
    limit = requests(1, DAY, "UTC")
    clock.started = datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC).timestamp()
    await store.reserve([limit], Amount(), 10.0**6)
    clock.started -= 3600.0
    await refused(store, [limit])
    clock.started += 3600.0
    await refused(store, [limit])


async def test_a_reservation_of_yesterday_leaves_today_alone(clock: Clock, store: MemoryQuotaStore) -> None:
    limit = tokens(100, DAY, "UTC")
    reservation = await store.reserve([limit], Amount(tokens=80), 10.0**6)
    clock.now = 12 * 3600.0
    await store.reserve([limit], Amount(tokens=90), 10.0**6)
    await store.settle(reservation, Amount(tokens=85))  # five more than yesterday knew of
    assert (await level(store, limit)) == Level(limit, 5, 90, 24 * 3600.0)


# --- many limits


async def test_one_full_limit_keeps_the_others_untouched(store: MemoryQuotaStore) -> None:
    wide, narrow = requests(10, id="wide"), tokens(5, id="narrow")
    error = await refused(store, [wide, narrow], Amount(tokens=6))
    assert (error.limit, error.retry_after, error.status) == (narrow, None, 429)
    assert (await level(store, wide)).left == 10


async def test_the_limit_that_keeps_waiting_longest_is_named(store: MemoryQuotaStore, clock: Clock) -> None:
    minute, hour = requests(1, 60, id="minute"), requests(1, 3600, id="hour")
    await store.reserve([minute, hour], Amount(), 10.0**6)
    error = await refused(store, [minute, hour])
    assert error.limit == hour
    clock.now = error.retry_after or 0.0
    await store.reserve([minute, hour], Amount(), 10.0**6)


async def test_a_limit_named_twice_counts_once(store: MemoryQuotaStore) -> None:
    limit = requests(2)
    await store.settle(await store.reserve([limit, limit], Amount(), 600.0), Amount())
    assert (await level(store, limit)).used == 1


async def test_limits_are_shared_by_id_and_not_by_object(store: MemoryQuotaStore) -> None:
    await store.reserve([requests(1)], Amount(), 600.0)
    await refused(store, [requests(1)])


async def test_a_reload_may_change_the_amount_and_keeps_what_was_counted(store: MemoryQuotaStore) -> None:
    await store.reserve([requests(1)], Amount(), 600.0)
    await store.reserve([requests(2)], Amount(), 600.0)
    await refused(store, [requests(2)])


async def test_a_limit_of_another_nature_starts_anew(store: MemoryQuotaStore) -> None:
    old = await store.reserve([requests(1)], Amount(), 600.0)
    await store.reserve([requests(1, 3600)], Amount(), 600.0)
    await store.settle(old, Amount())
    await refused(store, [requests(1, 3600)])


async def test_a_limit_of_nothing_refuses_for_ever(store: MemoryQuotaStore) -> None:
    assert (await refused(store, [requests(0)])).retry_after is None


async def test_no_limits_no_question(store: MemoryQuotaStore) -> None:
    reservation = await store.reserve([], Amount(), 600.0)
    await store.settle(reservation, Amount())
    assert reservation.settled


async def test_a_thousand_at_once_with_room_for_one(store: MemoryQuotaStore) -> None:
    limits = [requests(10), tokens(1)]
    answers = await asyncio.gather(
        *(store.reserve(limits, Amount(tokens=1), 600.0) for _ in range(1000)), return_exceptions=True
    )
    assert sum(isinstance(answer, Reservation) for answer in answers) == 1


async def test_a_reservation_of_another_store_is_refused(store: MemoryQuotaStore) -> None:
    with pytest.raises(TypeError):
        await store.settle(Reservation("x", (), Amount(), 1.0), Amount())


# --- what is kept


async def test_memory_stays_flat(store: MemoryQuotaStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDLE_COUNTERS", 16)
    store._forget_idle_at = 16
    minute = tokens(10**9)
    held = await store.reserve([requests(5, id="held"), requests(5, 1, id="short")], Amount(), 10.0**6)
    for number in range(5000):
        clock.now += 0.05
        passing = requests(5, 1, id=f"passing-{number}")
        await store.settle(await store.reserve([minute, passing], Amount(tokens=3), 600.0), Amount(tokens=2))
    assert len(store._counters) <= 100
    assert len(store._leases) <= BUCKETS + 3
    assert len(store._counters["t"].buckets) <= BUCKETS + 1
    assert (await level(store, minute)).used == pytest.approx(60 / 0.05 * 2, rel=1 / BUCKETS)
    await store.settle(held, Amount(requests=2))
    assert (await level(store, requests(5, 1, id="short"))).used == 1


# --- after a restart


def journaled(folder: Path, clock: Clock) -> MemoryQuotaStore:
    return MemoryQuotaStore(MemorySettings(folder=str(folder)), clock=clock.monotonic, wall=clock.wall)


async def restarted(store: MemoryQuotaStore, folder: Path, clock: Clock) -> MemoryQuotaStore:
    await store.stop()
    store = journaled(folder, clock)
    await store.start()
    return store


def kill(store: MemoryQuotaStore) -> None:
    """Nothing is written any more."""
    assert store._writing is not None
    store._writing.cancel()


@pytest.fixture
async def kept(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> MemoryQuotaStore:
    monkeypatch.setattr(memory, "PERIOD", 0.01)
    store = journaled(tmp_path, clock)
    await store.start()
    return store


async def test_a_restart_forgets_nothing(kept: MemoryQuotaStore, tmp_path: Path, clock: Clock) -> None:
    limits = [tokens(1000), tokens(9000, DAY, "Asia/Tokyo", "day"), Limit("usd", "money", 10**10, 30 * DAY)]
    for moment, spent in ((0.0, 100), (30.0, 250)):
        clock.now = moment
        reservation = await kept.reserve(limits, Amount(1, 400), 600.0)
        await kept.settle(reservation, Amount(1, spent, spent * 10**6))
    clock.now = 45.0
    before = await kept.levels(limits)
    store = await restarted(kept, tmp_path, clock)
    assert await store.levels(limits) == before
    clock.now = 61.0
    assert [(one.used, one.reserved) for one in await store.levels(limits)] == [(250, 0), (350, 0), (35 * 10**7, 0)]
    await store.stop()


async def test_the_time_between_two_runs_counts(kept: MemoryQuotaStore, tmp_path: Path, clock: Clock) -> None:
    limits = [tokens(1000), tokens(1000, 3600, id="hour"), tokens(9000, DAY, "UTC", "day")]
    await kept.settle(await kept.reserve(limits, Amount(1, 400), 600.0), Amount(1, 400))
    later = Clock(clock.wall() + 100.0)  # another boot: its monotonic clock begins anew
    later.now = -50.0
    store = await restarted(kept, tmp_path, later)
    assert [one.used for one in await store.levels(limits)] == [400, 400, 400]
    later.now = 0.0
    assert [one.used for one in await store.levels(limits)] == [0, 400, 400]
    later.now = 13 * 3600.0
    assert [one.used for one in await store.levels(limits)] == [0, 0, 0]
    await store.stop()


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_wall_clock_set_between_two_runs_changes_no_window(
    kept: MemoryQuotaStore, tmp_path: Path, clock: Clock, step: float
) -> None:
    limits = [tokens(1000), tokens(1000, 3600, id="hour"), tokens(9000, DAY, "UTC", "day")]
    await kept.settle(await kept.reserve(limits, Amount(1, 400), 600.0), Amount(1, 400))
    clock.started += step
    clock.now = 59.0
    store = await restarted(kept, tmp_path, clock)
    assert [one.used for one in await store.levels(limits)] == [400, 400, 400]
    clock.now = 60.0
    assert [one.used for one in await store.levels(limits)] == [0, 400, 400]
    await store.stop()


async def test_what_a_killed_process_held_comes_back_when_its_leases_expire(
    kept: MemoryQuotaStore, tmp_path: Path, clock: Clock
) -> None:
    limits = [tokens(1000, DAY, "UTC"), requests(5, 3600), Limit("c", "concurrency", 1, 0)]
    done = await kept.reserve(limits, Amount(1, 100), 900.0)
    await kept.settle(done, Amount(1, 70), limits[1:])
    await kept.settle(done, Amount(1, 70), limits[:1])
    await kept.reserve(limits, Amount(1, 500), 900.0)
    await asyncio.sleep(0.1)
    kill(kept)
    clock.now = 899.0
    store = journaled(tmp_path, clock)
    await store.start()
    assert [(one.used, one.reserved) for one in await store.levels(limits)] == [(70, 500), (1, 1), (0, 0)]
    clock.now = 900.0
    assert [(one.used, one.reserved) for one in await store.levels(limits)] == [(70, 0), (1, 0), (0, 0)]
    kill(store)


async def test_two_hundred_callers_use_all_and_no_more_through_kills(tmp_path: Path) -> None:
    """What a kill takes from the journal, its last second, the ledger knows."""
    limits = [requests(amount, 3600, id=f"hour-{amount}") for amount in (1, 2, 5, 17, 100, 333, 1000)]
    gate, lease, chance = Limit("gate", "concurrency", 60, 0), 60.0, random.Random(7)
    ahead = 0.0  # after a kill its leases are over
    settled: Counter[str] = Counter()

    async def caller(store: MemoryQuotaStore) -> None:
        left = [*limits]
        while left:
            limit = chance.choice(left)
            try:
                held = await store.reserve((limit, gate), Amount(), lease)
            except LimitReached as reached:
                if reached.limit == limit and (reached.retry_after or 0) > 2 * lease:
                    left.remove(limit)
                await asyncio.sleep(chance.random() * 0.01)
                continue
            await asyncio.sleep(chance.random() * 0.02)
            used = chance.random() > 0.1
            await store.settle(held, Amount(int(used)))
            settled[limit.id] += used

    def open_store() -> MemoryQuotaStore:
        return MemoryQuotaStore(
            MemorySettings(folder=str(tmp_path)),
            clock=lambda: time.monotonic() + ahead,
            wall=lambda: time.time() + ahead,
        )

    for life in range(6):
        store = open_store()
        await store.start()
        callers = [asyncio.create_task(caller(store)) for _ in range(200)]
        _, running = await asyncio.wait(callers, timeout=0.15 if life < 5 else 20.0)
        for task in running:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert store._journal is not None
        await store._write(store._journal)
        kill(store)
        ahead += lease
    assert not running
    again = open_store()
    await again.start()
    assert [(one.used, one.reserved) for one in await again.levels(limits)] == [(limit.amount, 0) for limit in limits]
    assert {limit.id: settled[limit.id] for limit in limits} == {limit.id: limit.amount for limit in limits}
    assert await level(again, gate) == Level(gate, 0, 0, 0.0)
    await again.stop()


async def test_a_line_cut_short_costs_only_itself(kept: MemoryQuotaStore, tmp_path: Path, clock: Clock) -> None:
    for moment in (0.0, 1.0):
        clock.now = moment
        await kept.settle(await kept.reserve([tokens(1000)], Amount(1, 100), 600.0), Amount(1, 100))
        await asyncio.sleep(0.1)
    kill(kept)
    file = tmp_path / "quota.journal"
    file.write_bytes(file.read_bytes()[:-5])
    store = journaled(tmp_path, clock)
    await store.start()
    assert (await level(store, tokens(1000))).used == 100
    kill(store)


async def test_the_journal_stays_small_and_idle_costs_nothing(
    kept: MemoryQuotaStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_room, "SMALL", 2000)
    file = tmp_path / "quota.journal"
    largest = 0
    for _ in range(60):
        clock.now += 0.5
        await kept.settle(await kept.reserve([tokens(1000)], Amount(1, 10), 600.0), Amount(1, 5))
        await asyncio.sleep(0.02)
        largest = max(largest, file.stat().st_size)
    assert largest < 12_000
    used = (await level(kept, tokens(1000))).used
    await asyncio.sleep(0.1)
    before = file.stat()
    await asyncio.sleep(0.1)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert file.stat().st_mode & 0o777 == 0o600
    store = await restarted(kept, tmp_path, clock)
    assert (await level(store, tokens(1000))).used == used
    await store.stop()


async def test_a_disk_that_refuses_for_a_while_loses_nothing(
    kept: MemoryQuotaStore, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept._journal is not None
    os.dup2(os.open("/dev/full", os.O_WRONLY), kept._journal._fd)
    blocked = tmp_path / "quota.journal.part"
    blocked.mkdir()
    await kept.settle(await kept.reserve([tokens(1000)], Amount(1, 10), 600.0), Amount(1, 5))
    await asyncio.sleep(0.1)
    assert [record.levelname for record in caplog.records] == ["ERROR"], "once, and not each second"
    blocked.rmdir()
    await asyncio.sleep(0.1)
    kill(kept)
    store = journaled(tmp_path, clock)
    await store.start()
    assert (await level(store, tokens(1000))).used == 5
    kill(store)


async def test_a_folder_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"quota\.journal cannot be used"):
        await MemoryQuotaStore(MemorySettings(folder=str(tmp_path / "none"))).start()


async def test_the_hub_shows_the_store_its_folder(tmp_path: Path) -> None:
    config = """
[[providers]]
name = "echo"
kind = "echo"
keys = [{ name = "k", secret = "none", limits = { rpd = 5 } }]
"""
    body = {"model": "echo/x", "messages": [{"role": "user", "content": "hi"}]}
    for statuses in ([200, 200, 200], [200, 200, 429]):
        async with House(config, folder=tmp_path) as house, aiohttp.ClientSession() as client:
            for status in statuses:
                async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == status
    assert (tmp_path / "data" / "quota.journal").is_file()


# --- every order of events


class MemoryMachine(QuotaMachine):
    gates_survive = False

    def open(self, clock: Clock) -> MemoryQuotaStore:
        if not hasattr(self, "folder"):
            quick = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 — a new folder in it
            self.folder = tempfile.TemporaryDirectory(prefix="llmhub-", dir=quick)
        return journaled(Path(self.folder.name), clock)

    def crash(self, store: QuotaStore) -> None:
        assert isinstance(store, MemoryQuotaStore)
        assert store._journal is not None
        self.run(store._write(store._journal))  # a second has passed
        kill(store)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


MemoryMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestEveryOrderOfEvents = MemoryMachine.TestCase

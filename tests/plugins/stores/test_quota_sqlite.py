"""The quota store in a SQLite file: exact for several processes, and kept."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import stat
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from llmhub_plugins.stores.sqlite_quota import SqliteQuotaSettings, SqliteQuotaStore, counts

from llmhub_core.contracts import Amount, Limit, LimitReached, QuotaStore, StartError, Unavailable
from llmhub_core.testing.house import House
from llmhub_core.testing.quota_machine import Clock, QuotaMachine
from llmhub_core.testing.quota_processes import Race
from llmhub_core.testing.stores import QuotaStoreSuite

DAY = 86_400


def at(folder: Path | str, clock: Clock | None = None, **options: float) -> SqliteQuotaStore:
    settings = SqliteQuotaSettings(url=f"sqlite:///{folder}/quota.db", **options)
    if clock is None:
        return SqliteQuotaStore(settings)
    return SqliteQuotaStore(settings, clock=clock.monotonic, wall=clock.wall)


async def standing(store: QuotaStore, *limits: Limit) -> list[tuple[int, int]]:
    return [(level.used, level.reserved) for level in await store.levels(limits)]


class TestSqlite(QuotaStoreSuite):
    shared = True
    folder: ClassVar[Path]
    numbers = itertools.count()

    @pytest.fixture(autouse=True)
    def in_a_folder(self, tmp_path: Path) -> None:
        type(self).folder = tmp_path

    @classmethod
    def make(cls) -> QuotaStore:
        return at(cls.folder) if hasattr(cls, "folder") else at("/nowhere")


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "callers"), [*((seed, 25) for seed in range(5)), (5, 200)])
def test_many_processes_and_many_kills(tmp_path: Path, seed: int, callers: int) -> None:
    amounts = (1, 2, 5, 17, 100, 333, 1000, 20_000)
    Race(at(tmp_path), tmp_path, processes=8, amounts=amounts, kills=40, lease=6.0, seed=seed, callers=callers).run(
        within=500.0
    )


# --- every order of events


class SqliteMachine(QuotaMachine):
    def open(self, clock: Clock) -> QuotaStore:
        if not hasattr(self, "folder"):
            quick = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 — a new folder in it
            self.folder = tempfile.TemporaryDirectory(prefix="llmhub-", dir=quick)
        return at(self.folder.name, clock)

    def crash(self, store: QuotaStore) -> None:
        self.run(store.stop())  # it writes nothing at the end: whatever was answered is written already

    def expires_by(self) -> float:
        return self.clock.true()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


SqliteMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestEveryOrderOfEvents = SqliteMachine.TestCase


# --- clocks


async def test_another_start_of_the_machine_goes_on_with_the_time_of_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute, hour = Limit("m", "requests", 9, 60), Limit("h", "requests", 9, 3600)
    clock = Clock()
    clock.now = 5000.0
    store = at(tmp_path, clock)
    await store.start()
    await store.settle(await store.reserve([minute, hour], Amount(), 900.0), Amount())
    await store.reserve([minute, hour], Amount(), 900.0)
    await store.stop()
    monkeypatch.setattr(counts, "_boot", lambda: "another")
    after = Clock(clock.wall() + 100.0)
    store = at(tmp_path, after)
    await store.start()
    assert await standing(store, minute, hour) == [(0, 0), (1, 1)]
    after.now = 800.0
    assert await standing(store, minute, hour) == [(0, 0), (1, 0)]
    await store.stop()
    monkeypatch.setattr(counts, "_boot", lambda: "a third")
    lost = Clock(0.0)  # the machine believes in 1970: nothing comes back sooner for that
    store = at(tmp_path, lost)
    await store.start()
    assert await standing(store, hour) == [(1, 0)]
    await store.stop()


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_wall_clock_that_is_set_changes_no_window_and_begins_no_day_twice(tmp_path: Path, step: float) -> None:
    clock = Clock(datetime(2026, 3, 1, 23, 30, tzinfo=UTC).timestamp())
    store = at(tmp_path, clock)
    await store.start()
    limits = [Limit("m", "tokens", 100, 60), Limit("d", "tokens", 100, DAY, "UTC"), Limit("c", "concurrency", 5, 0)]
    await store.reserve(limits, Amount(1, 60), 900.0)
    clock.started += step
    assert (await standing(store, *limits))[::2] == [(0, 60), (0, 1)]
    clock.started -= step
    assert await standing(store, *limits) == [(0, 60), (0, 60), (0, 1)]
    clock.now = 1801.0
    assert await standing(store, *limits) == [(0, 0), (0, 0), (0, 0)]
    clock.started += -3600.0
    assert (await standing(store, limits[1])) == [(0, 0)], "its lease is over, also for yesterday"
    await store.stop()


# --- the file


async def test_what_was_counted_is_there_for_the_next_process_and_for_all_beside_it(tmp_path: Path) -> None:
    limits = [Limit("r", "requests", 3, 3600), Limit("c", "concurrency", 2, 0)]
    stores = [at(tmp_path) for _ in range(3)]
    for store in stores:
        await store.start()
    for store in stores[:2]:
        await store.reserve(limits, Amount(), 900.0)
    with pytest.raises(LimitReached) as reached:
        await stores[2].reserve(limits, Amount(), 900.0)
    assert reached.value.limit == limits[1]
    for store in stores:
        await store.stop()
    (mode,) = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert mode == 0o600
    store = at(tmp_path)
    await store.start()
    assert await standing(store, *limits) == [(0, 2), (0, 2)]
    await store.stop()


async def test_what_is_over_is_thrown_away(tmp_path: Path) -> None:
    clock = Clock()
    store = at(tmp_path, clock)
    await store.start()
    for number in range(200):
        limits = [Limit(f"r{number}", "requests", 9, 60), Limit("d", "tokens", 10**6, DAY, "UTC")]
        await store.settle(
            await store.reserve([*limits, Limit("c", "concurrency", 2, 0)], Amount(1, 7), 900.0), Amount()
        )
        clock.now += 3600.0
    with sqlite3.connect(tmp_path / "quota.db") as file:
        (uses,) = file.execute("SELECT count(*) FROM quota_uses").fetchone()
        (held,) = file.execute("SELECT count(*) FROM quota_held").fetchone()
    file.close()
    assert uses < 10
    assert held == 0
    await store.stop()


async def test_who_writes_too_long_has_requests_refused_and_settlements_wait(tmp_path: Path) -> None:
    store = at(tmp_path, busy_timeout=0.2)
    await store.start()
    limit = Limit("t", "tokens", 100, 3600)
    reservation = await store.reserve([limit], Amount(1, 50), 900.0)
    other = sqlite3.connect(tmp_path / "quota.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    settling = asyncio.create_task(store.settle(reservation, Amount(1, 20)))
    began = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        await store.reserve([limit], Amount(), 900.0)
    assert time.monotonic() - began < 3.0
    assert (refused.value.status, refused.value.code) == (503, "quota_backend_unavailable")
    assert not settling.done()
    other.execute("ROLLBACK")
    other.close()
    await settling
    assert await standing(store, limit) == [(20, 0)]
    await store.stop()


async def test_a_full_disk_refuses_and_goes_on_afterwards(tmp_path: Path) -> None:
    store = at(tmp_path)
    await store.start()
    limit = Limit("t", "tokens", 100, 3600)
    file = store._writer._counts._file
    (pages,) = file.execute("PRAGMA page_count").fetchone()
    file.execute(f"PRAGMA max_page_count = {pages}")
    refusals = 0
    for number in range(300):
        try:
            await store.reserve([limit, Limit(f"{number}-{'x' * 500}", "requests", 5, 3600)], Amount(), 900.0)
        except Unavailable:
            refusals += 1
    assert refusals > 100
    file.execute("PRAGMA max_page_count = 100000")
    await store.reserve([limit, Limit("new", "requests", 5, 3600)], Amount(1, 10), 900.0)
    assert await standing(store, limit) == [(0, 10)], "what failed left nothing behind"
    await store.stop()


@pytest.mark.parametrize("url", ["sqlite:", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "other:///a"])
def test_an_address_that_names_no_file_is_told(url: str) -> None:
    with pytest.raises(StartError, match="does not name a file for quotas"):
        SqliteQuotaStore(SqliteQuotaSettings(url=url))


async def test_a_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "quota.db").write_bytes(b"this is a letter, and not a small one " * 100)
    for store in (at(tmp_path), at(tmp_path / "none")):
        with pytest.raises(StartError, match=r"quota\.db cannot be used"):
            await store.start()


async def test_the_hub_keeps_it_in_its_folder_apart_from_the_records(tmp_path: Path) -> None:
    config = """
[storage]
quota = "sqlite:///quota.db"
[quota_stores.sqlite]
busy_timeout = 9
[[providers]]
name = "echo"
kind = "echo"
keys = [{ name = "k", secret = "none", limits = { rpd = 3 } }]
"""
    body = {"model": "echo/x", "messages": [{"role": "user", "content": "hi"}]}
    for statuses in ([200, 200], [200, 429]):
        async with House(config, folder=tmp_path) as house, aiohttp.ClientSession() as client:
            assert house.hub.quota.settings.busy_timeout == 9
            for status in statuses:
                async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == status
            await house.hub.settled()
    assert {"quota.db", "llm-hub.db"} <= set(os.listdir(tmp_path / "data"))

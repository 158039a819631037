"""Old records go, in small steps and by one process; their sums stay, and it is told what is no longer there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest
from databases import Store, opened, store_of
from houses import COMPLETION, ask, one_provider
from llmhub_plugins.stores.sql import retention as room
from llmhub_plugins.stores.sql.tables import records, usage_totals
from sqlalchemy import func, select
from test_sql import HOUR, TEN, added_up, record, some_records

from llmhub_core.contracts import Record, UsageGroup, UsageQuestion
from llmhub_core.hub import retention as hub_room
from llmhub_core.hub.retention import Retention
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

DAY = 24 * HOUR
CUT = TEN + 3 * HOUR


async def steps(store: Store, before: float) -> int:
    """How many it took."""
    taken = 0
    while await store.prune(before):
        taken += 1
    return taken


async def sums(store: Store, question: UsageQuestion) -> dict[tuple[str, ...], tuple[int, int, int]]:
    return {
        row.group: (row.requests, row.input_tokens, row.cost) for row in await store.usage(question) if row.requests
    }


def expected(batch: Sequence[Record], question: UsageQuestion) -> dict[tuple[str, ...], tuple[int, int, int]]:
    return {row.group: (row.requests, row.input_tokens, row.cost) for row in added_up(batch, question)}


async def test_old_records_go_and_their_sums_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STEP", 40)
    batch = some_records(400)
    await store.append(batch)
    assert await store.kept_since() == 0.0
    everything = [
        UsageQuestion(0.0, 4e9, by) for by in ((), ("model",), ("caller", "hour"), ("key", "caller"), ("provider",))
    ]
    before = [await sums(store, question) for question in everything]
    old = [one for one in batch if one.arrived_at < CUT]
    assert await steps(store, CUT + 1234.5) == 1 + -(-len(old) // 40), "a mark first, then 40 at a time"
    assert await store.kept_since() == CUT, "a whole hour"
    assert {one.id for one in await store.latest(1000)} == {one.id for one in batch if one.arrived_at >= CUT}
    assert [await sums(store, question) for question in everything] == before
    assert await steps(store, CUT) == 0


@pytest.mark.parametrize("by", [(), ("model",), ("caller",), ("key", "caller"), ("hour",), ("minute",)])
async def test_a_span_that_begins_before_has_whole_hours_there(store: Store, by: tuple[UsageGroup, ...]) -> None:
    batch = some_records(400)
    await store.append(batch)
    await steps(store, CUT)
    for since, until in ((TEN + 1000, TEN + 4.5 * HOUR + 7), (TEN + 0.4 * HOUR, TEN + 1.5 * HOUR), (CUT + 5, CUT + 90)):
        whole = (
            since // HOUR * HOUR if since < CUT else since,
            -(-until // HOUR) * HOUR if until < CUT else until,
        )
        if by != ("minute",):
            assert await sums(store, UsageQuestion(since, until, by)) == expected(batch, UsageQuestion(*whole, by))
            continue
        # An hour whose minutes are gone stands in its first one.
        minutes = await sums(store, UsageQuestion(since, until, by))
        known = expected([one for one in batch if one.arrived_at >= CUT], UsageQuestion(*whole, by))
        assert known.items() <= minutes.items()
        hours = expected([one for one in batch if one.arrived_at < CUT], UsageQuestion(*whole, ("hour",)))
        assert minutes == {**known, **hours}


async def test_what_is_not_old_stays_however_often_it_is_asked(store: Store) -> None:
    await store.append([record(1)])
    assert await steps(store, TEN) == 0
    assert await store.kept_since() == 0.0
    assert await steps(store, 0.0) == 0
    assert len(await store.latest(10)) == 1


async def test_minutes_go_after_two_days_also_where_records_are_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now(moment: float) -> None:
        monkeypatch.setattr(time, "time", lambda: moment)

    async def minutes() -> int:
        async with store._database._engine.connect() as connection:
            count = select(func.count()).select_from(usage_totals).where(usage_totals.c.span == 60)
            return int((await connection.execute(count)).scalar_one())

    now(TEN + HOUR)
    batch = [record(number, arrived_at=TEN + 60.0 * number) for number in range(180)]
    await store.append(batch)
    assert await minutes() == 180
    now(TEN + 2 * DAY + HOUR)
    assert await steps(store, 0.0) == 1, "an hour in one step"
    assert await minutes() == 120
    now(TEN + 9 * DAY)
    await steps(store, 0.0)
    assert await minutes() == 0
    assert len(await store.latest(1000)) == 180
    question = UsageQuestion(TEN + 61, TEN + 2 * HOUR + 61, ("minute",))
    assert await sums(store, question) == expected(batch, question)


async def test_one_process_does_it_and_another_goes_on_when_that_is_gone(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "STEP", 5)
    await store.append(some_records(100))
    async with opened(store_of(url)) as other:
        assert await store.prune(CUT)
        assert await store.prune(CUT)
        assert not await other.prune(CUT)
        assert await other.kept_since() == CUT
        here = time.time()
        monkeypatch.setattr(time, "time", lambda: here + room.LEASE + 1)
        assert await other.prune(CUT)
        assert not await store.prune(CUT)
        await steps(other, CUT)
        assert all(one.arrived_at >= CUT for one in await store.latest(1000))


async def test_records_come_and_are_read_while_old_ones_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STEP", 20)
    monkeypatch.setattr(hub_room, "PAUSE", 0.0)
    old = some_records(600)
    await store.append(old)
    pruning = asyncio.create_task(Retention(store, time.time() - CUT).prune())
    fresh = [record(number, id=f"new_{number}", arrived_at=CUT + number) for number in range(300)]
    everything = UsageQuestion(0.0, 4e9, ("model",))
    for begin in range(0, 300, 30):
        await store.append(fresh[begin : begin + 30])
        assert await sums(store, everything) == expected([*old, *fresh[: begin + 30]], everything)
    await pruning
    kept = [one for one in old if one.arrived_at >= CUT]
    async with store._database._engine.connect() as connection:
        count = (await connection.execute(select(func.count()).select_from(records))).scalar_one()
    assert count == len(kept) + len(fresh)
    assert await sums(store, everything) == expected([*old, *fresh], everything)


async def test_a_hub_prunes_and_says_what_is_no_longer_there(
    tmp_path: Path, upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_room, "FIRST", 0.05)
    monkeypatch.setattr(hub_room, "EVERY", 0.05)
    upstream.script(json_answer(COMPLETION))
    config = '[storage]\nkeep = "30 d"\n' + one_provider(upstream.url)
    async with House(config, folder=tmp_path) as house:
        long_ago = time.time() - 31 * DAY
        await house.hub.store.append([record(1, id="req_old", arrived_at=long_ago)])
        assert (await ask(client, house.url)).status == 200
        await house.records()
        async with asyncio.timeout(20):
            while await house.hub.store.find_record("req_old") is not None:  # noqa: ASYNC110 — nobody tells
                await asyncio.sleep(0.02)
        assert len(await house.records()) == 1
        kept = await house.hub.store.kept_since()
        assert long_ago < kept <= time.time() - 30 * DAY

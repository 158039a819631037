"""A database of each earlier schema, with records in it, becomes one of today's; and the way back."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest
from alembic import command
from databases import opened, store_of
from llmhub_plugins.stores.sql import database
from llmhub_plugins.stores.sql.migrations import REVISIONS
from llmhub_plugins.stores.sql.rows import COLUMNS, row_of
from llmhub_plugins.stores.sql.sums import FOUR, LONG, LONGEST, QUARTER, Row, columns_of, summed
from llmhub_plugins.stores.sql.tables import records, usage_hours, usage_totals
from llmhub_plugins.stores.sql.upgrade import alembic_config
from sqlalchemy import Connection, Table, inspect, text
from test_sql import HOUR, TEN, UsageQuestion, assert_usage, some_records

from llmhub_core.contracts import Record, RecordFilter, Unavailable


async def made_by(revision: str, url: str, batch: list[Record]) -> None:
    """A database as the version with that schema left it."""

    def make(connection: Connection) -> None:
        command.upgrade(alembic_config(connection), revision)
        there = {column["name"] for column in inspect(connection).get_columns(records.name)}
        rows = [dict(zip(COLUMNS, row_of(one), strict=True)) for one in batch]
        connection.execute(records.insert(), [{name: row[name] for name in there} for row in rows])
        sums = dict(summed(batch, time.time()))
        _put(connection, usage_hours, sums[usage_hours])
        if revision >= "0006":
            totals = sums[usage_totals]
            came = {LONG: "0008", FOUR: "0010", QUARTER: "0010", LONGEST: "0011"}
            there = {(LONG, "caller"): "0011", (3600, "tag"): "0012", (86_400, "tag"): "0012"}
            _put(
                connection,
                usage_totals,
                [row for row in totals if revision >= there.get((row[0], row[1]), came.get(row[0], "0006"))],
            )

    async with opened(store_of(url), migrate=False) as store, store._database.alone() as connection:
        await connection.run_sync(make)


def _put(connection: Connection, table: Table, rows: list[Row]) -> None:
    connection.execute(table.insert(), [dict(zip(columns_of(table), row, strict=True)) for row in rows])


async def test_a_hub_of_an_older_version_leaves_records_to_a_newer_one(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = some_records(6)
    async with opened(store_of(url)) as older, opened(store_of(url)) as newer:
        await older.append(batch[:2])
        async with newer._database.alone() as migrating:
            late = asyncio.create_task(older.append(batch[2:4]))
            await asyncio.sleep(0.1)
            assert not late.done(), "nothing is written beside a migration, which would not count it"
            await migrating.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Unavailable, match=r"schema '9999' while this hub ran.*start it again"):
            await late
        monkeypatch.setattr(database, "REVISIONS", (*REVISIONS, "9999"))
        await newer.append(batch)
        assert len(await newer.requests(RecordFilter(), 10, None)) == 6


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_sums_are_the_same_after_the_upgrade(
    empty_url: str,
    revision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: TEN + 9 * 24 * HOUR)
    batch = some_records(300, span=9 * 24 * HOUR)
    await made_by(revision, empty_url, batch)
    async with opened(store_of(empty_url), migrate=False) as store:
        state = await store.schema()
        assert state.current == revision
        assert [step[:4] for step in state.steps] == [*REVISIONS[REVISIONS.index(revision) + 1 :]]
        assert all(len(step) > 20 for step in state.steps), "each says what it brings"
        assert (await store.migrate()).is_current
        for by in (
            (),
            ("model",),
            ("caller",),
            ("provider", "key"),
            ("caller", "model"),
            ("key", "caller"),
            ("minute",),
        ):
            await assert_usage(store, batch, UsageQuestion(0.0, 4e9, by))  # type: ignore[arg-type]
            recent = UsageQuestion(TEN + 7.6 * 24 * HOUR + 7, TEN + 9 * 24 * HOUR, by)  # type: ignore[arg-type]
            await assert_usage(store, batch, recent)
        await assert_usage(store, batch, UsageQuestion(0.0, 4e9, ("tag", "day"), tag="team"))
        assert [*await store.tags(0.0, 4e9)] == ["team", "x=y"]
        more = some_records(50, seed=9)
        await store.append(more)
        await assert_usage(store, [*batch, *more])
        assert len(await store.requests(RecordFilter(caller="ann"), 1000)) == sum(
            one.caller == "ann" for one in [*batch, *more]
        )


async def test_the_copy_from_before_is_the_way_back(tmp_path: Path) -> None:
    path, batch = tmp_path / "hub.db", some_records(40)
    address, before = f"sqlite:///{path}", REVISIONS[-2]
    await made_by(before, address, batch)
    async with opened(store_of(address)) as store:
        await store.append(some_records(10, seed=2))
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    shutil.copy(tmp_path / f"hub.db.before-{REVISIONS[-1]}", path)
    async with opened(store_of(address), migrate=False) as store:
        assert (await store.schema()).current == before
        async with store._database._engine.connect() as connection:
            found = await connection.exec_driver_sql("SELECT id FROM records")
            assert {id for (id,) in found} == {one.id for one in batch}

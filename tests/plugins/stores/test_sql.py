"""The metadata store in SQL: one suite that both databases pass, and what is SQLite's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import Store, opened, store_of
from llmhub_plugins.stores.sql import PostgresSettings, PostgresStore, SqliteSettings, SqliteStore
from llmhub_plugins.stores.sql import database as database_room
from llmhub_plugins.stores.sql.migrations import REVISIONS
from llmhub_plugins.stores.sql.rows import COLUMNS
from llmhub_plugins.stores.sql.sqlite_insert import PLAIN, TOGETHER
from llmhub_plugins.stores.sql.tables import metadata, records, usage_totals
from llmhub_plugins.stores.sql.upgrade import alembic_config
from llmhub_plugins.stores.sql.usage_query import usage_statement
from sqlalchemy import Connection, select, text

from llmhub_core.contracts import (
    Attempt,
    Decision,
    MetadataStore,
    Record,
    SchemaState,
    StartError,
    UsageGroup,
    UsageQuestion,
    UsageRow,
)
from llmhub_core.testing.postgres import Postgres

MINUTE, HOUR = 60.0, 3600.0
TEN = datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp()


def record(number: int, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "id": f"req_{number:06}",
        "arrived_at": TEN + number,
        "caller": "game-server",
        "dialect": "openai_chat",
        "operation": "chat",
        "model": "fast",
        "stream": True,
        "route": "fast",
        "outcome": "served",
        "status": 200,
        "provider": "openai",
        "served_model": "gpt-4o-mini",
        "key": "main",
        "lane": "verbatim",
        "finish": "stop",
        "attempts": [Attempt("openai", "gpt-4o-mini", "main", 0.25, "ok", 200, 80.5, 300.0)],
        "first_byte_ms": 81.0,
        "total_ms": 301.5,
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_tokens": 64,
        "reasoning_tokens": 5,
        "cost": 12_345,
        **changes,
    }
    return Record(**values)


def some_records(amount: int, seed: int = 1, span: float = 5 * HOUR) -> list[Record]:
    """Many kinds of records, in order of arrival, some of them at the very edges of hours."""
    draw = random.Random(seed)
    moments = sorted(
        draw.choice(
            (TEN + draw.random() * span, TEN + draw.randrange(6) * HOUR, TEN + draw.randrange(1, 6) * HOUR - 2**-20)
        )
        for _ in range(amount)
    )
    return [
        record(
            number,
            id=f"req_{draw.getrandbits(64):016x}",
            arrived_at=moment,
            caller=draw.choice(("ann", "bob", "Łukasz")),
            model=draw.choice(("fast", "slow")),
            provider=draw.choice(("openai", "anthropic", "")),
            key=draw.choice(("main", "spare")),
            tags=draw.choice(({}, {"team": "red"}, {"team": "größer", "x=y": "a=b"}, {"team": ""})),
            outcome=draw.choice(("served", "served", "served", "failed", "refused", "cancelled", "unknown")),
            input_tokens=draw.randrange(10_000),
            output_tokens=draw.randrange(1000),
            cost=draw.choice((None, 0, draw.randrange(10**9))),
        )
        for number, moment in enumerate(moments)
    ]


SHOWN = {"minute": "%Y-%m-%dT%H:%M:00Z", "hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d"}


def added_up(all_records: Sequence[Record], question: UsageQuestion) -> list[UsageRow]:
    """What `usage` must answer, the slow way."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for one in all_records:
        if question.takes(one):
            moment = datetime.fromtimestamp(one.arrived_at // MINUTE * MINUTE, UTC)
            shown = {name: f"{moment:{shape}}" for name, shape in SHOWN.items()}
            group = tuple(shown[name] if name in shown else question.name_of(name, one) for name in question.by)
            groups.setdefault(group, []).append(one)
    rows = [
        UsageRow(
            group,
            requests=len(members),
            served=sum(one.outcome == "served" for one in members),
            failed=sum(one.outcome == "failed" for one in members),
            input_tokens=sum(one.input_tokens for one in members),
            output_tokens=sum(one.output_tokens for one in members),
            cached_tokens=sum(one.cached_tokens for one in members),
            reasoning_tokens=sum(one.reasoning_tokens for one in members),
            cost=sum(one.cost or 0 for one in members),
            unpriced=sum(one.outcome == "served" and one.cost is None for one in members),
        )
        for group, members in groups.items()
    ]
    return question.largest(rows)


ALL_TIME = UsageQuestion(0.0, float("inf"), ("provider", "model", "key", "caller", "hour"))


async def assert_usage(store: MetadataStore, all_records: Sequence[Record], question: UsageQuestion = ALL_TIME) -> None:
    answer = await store.usage(question)
    assert {row.group: row for row in answer} == {row.group: row for row in added_up(all_records, question)}
    assert len({row.group for row in answer}) == len(answer)


# --- the databases


def sqlite_store(path: Path, **settings: Any) -> SqliteStore:
    return SqliteStore(SqliteSettings(url=f"sqlite:///{path}", **settings))


# --- what is kept


async def test_a_record_comes_back_as_it_went(store: Store) -> None:
    whole = record(
        1,
        left_out=[("openai/gpt-4o#spare", "cooling until 10:05")],
        adapted=["seed=dropped"],
        tags={"team": "röd", "x": '"quoted"'},
        attempts=[
            Attempt("a", "m", "k", 1.5, detail="429: slow down"),
            Attempt("b", "m", "k", 9.75, "ok", 200, 1.0, 2.0),
        ],
        cost=None,
        first_byte_ms=None,
        usage_estimated=True,
        stream=False,
        cache_write_tokens=3,
        cache_write_1h_tokens=2,
        audio_input_tokens=7,
        audio_output_tokens=8,
        server_tool_calls=1,
        client_request_id="c-1",
        arrived_at=1_763_800_000.123456,
    )
    bare = Record("req_bare", TEN, "ann", "anthropic", "chat", "m", False)
    await store.append([whole, bare])
    assert await store.find_record(whole.id) == whole
    assert await store.find_record("req_bare") == bare
    assert await store.find_record("req_none") is None
    assert await store.find_record("' OR 1=1 --") is None


def went_well(number: int, **changes: Any) -> Record:
    """Served at the first try, as most are."""
    attempts = [Attempt("openai", "gpt-4o-mini", "main", 0.25, "ok", 200, 81.0, 300.0)]
    return record(number, **{"attempts": attempts, **changes})


@pytest.mark.parametrize("amount", [*range(1, 4), *range(TOGETHER - 1, TOGETHER + 2), 2 * TOGETHER, 5 * TOGETHER - 1])
async def test_batches_of_any_size_and_mixture_come_back(store: Store, amount: int) -> None:
    odd: list[dict[str, Any]] = [
        {name: not value or 7} for name, value in PLAIN.items() if isinstance(value, bool | int)
    ]
    odd += [{name: "x"} for name, value in PLAIN.items() if isinstance(value, str)]
    odd += [
        {"tags": {"a": "b"}},
        {"adapted": ["seed=dropped"]},
        {"left_out": [("a", "b")]},
        {"decisions": [Decision("fast", "busy", 7, 0.1 + 0.2, ["a/m#k"], {"in_flight": [0]}, "c", "a/m#k")]},
        {"decisions": [Decision("fast", "mine", 7, 0.5, ["a/m#k"], {"first_token": [None]}, of=99, last_resort=True)]},
        {"cost": None},
        {"cost": 0},
    ]
    odd += [{"stream": False}, {"first_byte_ms": None}, {"attempts": []}, {"provider": "'; --"}, {"finish": ""}]
    alike = [went_well(number) for number in range(amount)]
    mixed = [went_well(number, **odd[number % len(odd)]) for number in range(1000, 1000 + amount) if number % 3]
    batch = alike + mixed
    random.Random(amount).shuffle(batch)
    await store.append(batch)
    assert {one.id: one for one in await store.latest(10_000)} == {one.id: one for one in batch}
    await assert_usage(store, batch)
    more = [went_well(number) for number in range(2 * amount)]
    await store.append(more)  # half of them are there
    await assert_usage(store, [*batch, *more[amount:]])


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "other"},
        {"model": "other"},
        {"key": "other"},
        {"started_ms": 0.0},
        {"reason": "unknown"},
        {"status": 201},
        {"status": None},
        {"first_byte_ms": 80.0},
        {"first_byte_ms": None},
        {"ended_ms": None},
        {"provider_code": "x"},
        {"provider_request_id": "x"},
        {"detail": "x"},
    ],
)
async def test_an_attempt_that_is_unlike_its_record_is_kept_whole(store: Store, change: dict[str, Any]) -> None:
    usual = went_well(1)
    odd = went_well(2)
    odd.attempts = [msgspec.structs.replace(odd.attempts[0], **change)]
    twice = went_well(3)
    twice.attempts = [*usual.attempts, *odd.attempts]
    await store.append([usual, odd, twice])
    for one in (usual, odd, twice):
        assert await store.find_record(one.id) == one


async def test_attempts_that_an_earlier_version_wrote_are_read(store: Store) -> None:
    one = went_well(1)
    await store.append([one])
    whole = msgspec.json.encode(one.attempts).decode()
    async with store._database._engine.begin() as connection:
        assert (await connection.execute(select(records.c.attempts))).scalar_one() == "[0.25,300.0]"
        await connection.execute(records.update().values(attempts=whole))
    assert await store.find_record(one.id) == one


async def test_pages_follow_each_other_without_a_gap_also_where_times_are_equal(store: Store) -> None:
    batch = [record(number, arrived_at=TEN + number // 5, id=f"{'aB-_'[number % 4]}{number}") for number in range(57)]
    await store.append(batch)
    wanted = sorted(batch, key=lambda one: (one.arrived_at, one.id), reverse=True)
    pages: list[Record] = []
    before: tuple[float, str] | None = None
    while page := await store.latest(10, before):
        pages += page
        before = (page[-1].arrived_at, page[-1].id)
    assert pages == wanted
    assert await store.latest(3) == wanted[:3]
    assert await store.latest(0) == []


async def test_nothing_is_appended_by_an_empty_batch(store: Store) -> None:
    await store.append([])
    assert await store.latest(10) == []


async def test_resending_changes_nothing(store: Store) -> None:
    batch = some_records(50)
    await store.append(batch)
    await store.append(batch)
    await store.append([msgspec.structs.replace(batch[3], cost=999, caller="someone else")])
    fresh = record(9999)
    await store.append([batch[0], fresh, batch[7], fresh])
    assert await store.find_record(batch[3].id) == batch[3]
    await assert_usage(store, [*batch, fresh])
    assert len(await store.latest(1000)) == 51


async def test_what_no_database_can_hold_does_not_hold_up_the_rest(store: Store) -> None:
    odd = record(
        1,
        caller="a\ud800b\0c",
        input_tokens=2**70,
        total_ms=float("nan"),
        tags={"k\ud800": "v\0"},
        left_out=[("x", "\ud800")],
        attempts=[Attempt("openai", "m", "k", 0.0, detail="\udfff\0")],
    )
    await store.append([record(0), odd, record(2)])
    found = await store.find_record(odd.id)
    assert found is not None
    assert (found.caller, found.input_tokens, found.total_ms) == ("a?b�c", 2**53 - 1, 0.0)
    assert found.tags == {"k?": "v�"}
    assert found.attempts[0].detail == "?�"
    assert [one.id for one in await store.latest(10)] == ["req_000002", "req_000001", "req_000000"]
    assert await store.find_record("\ud800\0") is None
    assert len(await store.latest(10, (TEN + 1, "\ud800\0"))) == 1


# --- sums


@pytest.mark.parametrize(
    "by",
    [
        (),
        ("model",),
        ("provider", "key"),
        ("caller", "day"),
        ("hour",),
        ("day",),
        ("model", "hour"),
        ("caller", "model"),
        ("day", "model", "caller"),
        ("key", "model"),
        ("caller", "hour", "key"),
        ("minute",),
        ("minute", "caller"),
    ],
)
async def test_sums_are_exact_wherever_the_span_begins_and_ends(store: Store, by: tuple[UsageGroup, ...]) -> None:
    batch = some_records(400)
    await store.append(batch)
    draw = random.Random(7)
    edges = [TEN + draw.random() * 5 * HOUR for _ in range(6)] + [TEN + hour * HOUR for hour in range(6)]
    edges += [batch[50].arrived_at, TEN - 5.0, 0.0, float("inf"), TEN + 2 * HOUR + 1, TEN + 2 * HOUR + 2]
    for _ in range(40):
        since, until = draw.choice(edges), draw.choice(edges)
        question = UsageQuestion(since, until, by)
        if by == () and not added_up(batch, question):
            assert sum(row.requests for row in await store.usage(question)) == 0
        else:
            await assert_usage(store, batch, question)


@pytest.mark.parametrize("days_later", [0, 400])
async def test_sums_by_the_minute_are_of_the_latest_days(
    store: Store, monkeypatch: pytest.MonkeyPatch, days_later: int
) -> None:
    """And where there are none, records answer the same."""
    monkeypatch.setattr(time, "time", lambda: TEN + 5 * HOUR + days_later * 24 * HOUR)
    batch = some_records(300)
    await store.append(batch)
    async with store._database._engine.connect() as connection:
        kept = (await connection.execute(select(usage_totals).where(usage_totals.c.span == 60))).all()
    assert bool(kept) == (days_later == 0)
    for by in (("minute",), ("minute", "model"), ("minute", "key"), ("hour", "provider"), ()):
        await assert_usage(store, batch, UsageQuestion(TEN + 100.5, TEN + 4 * HOUR - 77.5, by))


@pytest.mark.parametrize(
    "by", [("model",), ("day",), ("caller",), ("caller", "model"), ("key", "caller"), ("day", "key")]
)
async def test_sums_of_many_days_are_exact(
    store: Store, by: tuple[UsageGroup, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: TEN + 21 * 24 * HOUR)
    batch = some_records(400, span=20 * 24 * HOUR)
    for begin in range(0, 400, 37):
        await store.append(batch[begin : begin + 37])
    await assert_usage(store, batch, UsageQuestion(0.0, float("inf"), by))
    await assert_usage(store, batch, UsageQuestion(TEN + 2.5 * 24 * HOUR, TEN + 17 * 24 * HOUR + 11, by))


async def test_sums_until_now_need_no_narrow_ones_at_their_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = TEN + 20 * 24 * HOUR + 0.7 * HOUR
    monkeypatch.setattr(time, "time", lambda: now)
    batch = some_records(400, span=now - TEN)
    await store.append(batch)
    for by in (("caller", "model"), ("model",), ("hour",), ("minute",), ("key", "caller"), ()):
        for until in (now, now + 0.3 * HOUR, now + 1):
            await assert_usage(store, batch, UsageQuestion(TEN + 1.5 * HOUR, until, by))  # type: ignore[arg-type]
        await assert_usage(store, batch, UsageQuestion(TEN, now - 0.5 * HOUR, by))  # type: ignore[arg-type]
    names = ("anyone", "bob", batch[0].caller)
    for by in (("day", "caller"), ("minute", "caller"), ("key", "caller")):
        await assert_usage(store, batch, UsageQuestion(TEN + 1.5 * HOUR, now - 0.5 * HOUR, by, {"caller": names}))  # type: ignore[arg-type]
    every, _ = usage_statement(UsageQuestion(0.0, now, ("caller", "model")), now, 0.0) or (None, None)
    assert "usage_totals" in str(every)
    assert "usage_hours" not in str(every)
    assert " records" not in str(every)


async def test_sums_come_in_order(store: Store) -> None:
    await store.append(some_records(200))
    groups = [row.group for row in await store.usage(UsageQuestion(TEN, TEN + 5 * HOUR, ("hour", "key")))]
    assert groups == sorted(groups)
    assert groups[0] == ("2026-11-22T10:00:00Z", "main")


async def test_many_batches_add_up(store: Store) -> None:
    batch = some_records(6000, seed=3)
    random.Random(5).shuffle(batch)
    for begin in range(0, len(batch), 500):
        await store.append(batch[begin : begin + 500])
    await assert_usage(store, batch)
    await assert_usage(store, batch, UsageQuestion(TEN + 1234.5, TEN + 3 * HOUR + 17, ("caller", "model")))


async def test_reading_and_writing_at_once(store: Store) -> None:
    batch = some_records(2000)
    reading = True
    seen: list[int] = []

    async def read() -> None:
        while reading:
            rows = await store.usage(UsageQuestion(TEN - 1, TEN + 2.5 * HOUR, ("model",)))
            seen.append(sum(row.requests for row in rows))
            await store.latest(5)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for begin in range(0, len(batch), 50):
        await store.append(batch[begin : begin + 50])
    reading = False
    await asyncio.gather(*readers)
    assert len(seen) > 4
    await assert_usage(store, batch)


async def test_two_stores_on_one_database(url: str, store: Store) -> None:
    batch = some_records(600)
    async with opened(store_of(url)) as other:
        await asyncio.gather(
            *(store.append(batch[begin : begin + 40]) for begin in range(0, 500, 20)),
            *(other.append(batch[begin : begin + 40]) for begin in range(100, 600, 20)),
        )
        await assert_usage(other, batch)
        await assert_usage(store, batch)
        assert len(await other.latest(1000)) == 600


async def test_a_cancelled_append_leaves_the_store_usable(store: Store) -> None:
    batch = some_records(300)
    for begin in range(0, 300, 30):
        appending = asyncio.create_task(store.append(batch[begin : begin + 30]))
        await asyncio.sleep(0.0005 * (begin / 30))
        appending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await appending
    await store.append(batch)
    await assert_usage(store, batch)


# --- the schema


async def test_an_empty_database_is_brought_to_the_schema_once(empty_url: str) -> None:
    async with opened(store_of(empty_url), migrate=False) as store:
        assert ((await store.schema()).current, (await store.schema()).wanted) == ("", REVISIONS[-1])
        assert (await store.migrate()).is_current
        await store.append([record(1)])
        assert await store.migrate() == await store.schema() == SchemaState(REVISIONS[-1], REVISIONS[-1])
        assert len(await store.latest(5)) == 1


async def test_two_may_migrate_at_once(empty_url: str) -> None:
    async with opened(store_of(empty_url), migrate=False) as one, opened(store_of(empty_url), migrate=False) as other:
        states = await asyncio.gather(one.migrate(), other.migrate(), one.migrate())
        assert all(state.is_current for state in states)
        await other.append([record(1)])


async def test_the_migrations_lead_where_a_new_database_begins(empty_url: str) -> None:
    from llmhub_plugins.stores.sql.upgrade import upgrade

    def differences(connection: Connection) -> list[Any]:
        upgrade(connection)
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    async with opened(store_of(empty_url), migrate=False) as store:
        async with store._database.alone() as connection:
            assert await connection.run_sync(differences) == []
        assert (await store.schema()).is_current
        await store.append([record(1)])


async def test_the_index_of_what_is_unusual_leaves_the_rest_out(empty_url: str) -> None:
    """Also in PostgreSQL, whose dialect is told apart."""
    told = "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_records_unusual'"
    if empty_url.startswith("sqlite"):
        told = "SELECT sql FROM sqlite_master WHERE name = 'ix_records_unusual'"
    async with opened(store_of(empty_url)) as store, store._database._engine.connect() as connection:
        assert "served" in str((await connection.execute(text(told))).scalar_one()).partition("WHERE")[2]


def test_the_revisions_are_those_of_the_files() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS
    assert scripts.get_current_head() == REVISIONS[-1]


def test_every_field_of_a_record_has_its_column() -> None:
    assert set(COLUMNS) == set(Record.__struct_fields__)
    assert tuple(records.columns.keys()) == COLUMNS


async def test_a_newer_schema_is_refused_with_a_way_out(store: Store) -> None:
    async with store._database._engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert (await store.schema()).current == "9999"
    with pytest.raises(StartError, match=r"schema '9999'.*newer version.*before-9999"):
        await store.migrate()


@pytest.mark.parametrize(
    ("broken", "lacks"),
    [
        ("DROP TABLE usage_totals", "the table usage_totals"),
        ("ALTER TABLE facts RENAME COLUMN text TO t", "facts.text"),
    ],
)
async def test_half_a_restore_is_told_at_the_start(store: Store, broken: str, lacks: str) -> None:
    async with store._database._engine.begin() as connection:
        await connection.exec_driver_sql(broken)
    with pytest.raises(StartError, match=rf"lacks {lacks}: .*run: llm-hub migrate"):
        await store.schema()


async def test_without_a_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hub.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    (tmp_path / f"hub.db.before-{REVISIONS[-1]}.part").mkdir()  # no room for it
    async with opened(sqlite_store(path), migrate=False) as store:
        with pytest.raises(StartError, match=r"could not be copied.*is as it was"):
            await store.migrate()
        assert (await store.schema()).current == ""


async def test_tables_of_somebody_else_are_left_alone(empty_url: str) -> None:
    async with opened(store_of(empty_url), migrate=False) as store:
        async with store._database._engine.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE records (mine TEXT)")
        with pytest.raises(StartError, match=r"\(records\) that llm-hub did not make"):
            await store.migrate()


async def test_a_migration_that_fails_undoes_itself(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmhub_plugins.stores.sql import database

    whole = database._create

    def breaks_off(connection: Connection) -> None:
        whole(connection)
        connection.exec_driver_sql("SELECT nothing FROM nowhere")

    async with opened(store_of(empty_url), migrate=False) as store:
        with monkeypatch.context() as patch:
            patch.setattr(database, "_create", breaks_off)
            with pytest.raises(StartError, match="is as it was"):
                await store.migrate()
        assert (await store.schema()).current == ""
        assert (await store.migrate()).is_current
        await store.append([record(1)])


# --- SQLite's own


async def test_a_new_file_is_private_and_logs_ahead(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    old = os.umask(0)
    try:
        async with opened(sqlite_store(path)) as store:
            await store.append([record(1)])
            for file in tmp_path.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            assert {file.name for file in tmp_path.iterdir()} == {"hub.db", "hub.db-wal", "hub.db-shm"}
    finally:
        os.umask(old)


@pytest.mark.parametrize(("setting", "pragma"), [("full", 2), ("normal", 1)])
async def test_a_commit_is_synced_unless_told_otherwise(tmp_path: Path, setting: str, pragma: int) -> None:
    async with opened(sqlite_store(tmp_path / "hub.db", synchronous=setting)) as store:
        writer = store._database._writer  # type: ignore[attr-defined]
        assert writer.execute("PRAGMA synchronous").fetchone() == (pragma,)
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.execute("PRAGMA foreign_keys").fetchone() == (1,)


async def test_a_database_with_something_in_it_is_copied_before_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
        connection.execute("INSERT INTO notes VALUES ('keep me')")
        connection.commit()
    copy = tmp_path / f"hub.db.before-{REVISIONS[-1]}"
    async with opened(sqlite_store(path)):
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT text FROM notes").fetchall() == [("keep me",)]
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


async def test_an_empty_database_is_not_copied(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "hub.db")):
        assert not list(tmp_path.glob("*.before-*"))


async def test_a_relative_path_begins_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(SqliteStore(SqliteSettings(url="sqlite:///a b%20c.db"))):
        assert (tmp_path / "a b%20c.db").exists()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///x.db?mode=ro", "sqlite://host/x.db", "mysql:///x", "what"]
)
async def test_an_address_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(StartError, match="does not name a database file"):
        await SqliteStore(SqliteSettings(url=url)).start()


async def test_what_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader, this is no database at all." * 50)
    for path in (tmp_path / "letter.txt", tmp_path / "no" / "folder.db", tmp_path):
        with pytest.raises(StartError, match="cannot be opened"):
            await sqlite_store(path).start()


async def test_a_writer_elsewhere_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    async with opened(sqlite_store(path, busy_timeout=0.2)) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await store.append([record(1)])
            assert await store.latest(5) == []
            other.execute("ROLLBACK")
        await store.append([record(1)])
        await assert_usage(store, [record(1)])


def surroundings() -> dict[str, str]:
    """For a Python of its own that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


WRITER = """
    import asyncio, sys
    sys.path[:0] = [{path!r}]
    from test_sql import SqliteSettings, SqliteStore, record

    async def main():
        store = SqliteStore(SqliteSettings(url={url!r}))
        await store.start()
        await store.migrate()
        number = 0
        while True:
            await store.append([record(number + each, arrived_at=1e9 + 7 * (number + each)) for each in range(25)])
            number += 25
            print(number, flush=True)

    asyncio.run(main())
"""


async def test_kill_9_in_the_middle_of_appends(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    program = textwrap.dedent(WRITER).format(path=str(Path(__file__).parent), url=url)
    acknowledged = 0
    for wait in (0.05, 0.11):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            stdout=asyncio.subprocess.PIPE,
            env=surroundings(),
        )
        assert process.stdout is not None
        acknowledged = max(acknowledged, int(await process.stdout.readline()))
        await asyncio.sleep(wait)
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in (await process.stdout.read()).splitlines(keepends=True) if line.endswith(b"\n")]
        acknowledged = max([acknowledged, *said])
        await process.wait()

    async with opened(SqliteStore(SqliteSettings(url=url))) as store:
        with contextlib.closing(sqlite3.connect(tmp_path / "hub.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = await store.latest(10**6)
        assert {one.id for one in kept} >= {f"req_{number:06}" for number in range(acknowledged)}
        assert len(kept) % 25 == 0
        await assert_usage(store, kept)
        await store.append([record(10**6)])


def test_importing_the_plugin_imports_no_database_library() -> None:
    program = textwrap.dedent("""
        import asyncio, sys, tempfile
        from llmhub_plugins.stores.sql import SqliteSettings, SqliteStore
        assert not {"sqlalchemy", "alembic", "aiosqlite", "asyncpg"} & set(sys.modules)

        async def main(url):
            for again in (False, True):
                store = SqliteStore(SqliteSettings(url=url))
                await store.start()
                if again:
                    assert (await store.schema()).is_current
                    assert await store.migrate() == await store.schema()
                    print("alembic" in sys.modules, "asyncpg" in sys.modules)
                else:
                    await store.migrate()
                    for name in [name for name in sys.modules if name.split(".")[0] == "alembic"]:
                        del sys.modules[name]
                await store.stop()

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(f"sqlite:///{folder}/hub.db"))
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=50,
        env=surroundings(),
    )
    assert (done.stdout, done.returncode) == ("False False\n", 0), done.stderr


# --- PostgreSQL's own


async def test_a_postgres_that_is_not_there_is_reported_without_its_password() -> None:
    settings = PostgresSettings(url="postgresql://hub:s3cret@127.0.0.1:1/hub", timeout=2.0)
    with pytest.raises(StartError, match="cannot be reached") as caught:
        await PostgresStore(settings).start()
    assert "s3cret" not in str(caught.value)
    assert "hub:***@127.0.0.1" in str(caught.value)


async def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmhub_plugins.stores.sql import postgres as postgres_room

    monkeypatch.setattr(postgres_room, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"llm-hub\[postgres\]"):
        await PostgresStore(PostgresSettings()).start()


async def test_connections_that_the_server_closed_are_replaced(postgres: Postgres) -> None:
    url = postgres.new_database()
    batch = some_records(40)
    async with opened(store_of(url)) as store, opened(store_of(url)) as other:
        await store.append(batch[:20])
        async with other._database._engine.connect() as connection:
            await connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await store.append(batch)
        await assert_usage(store, batch)


async def test_a_batch_is_stored_whole_or_not_at_all(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmhub_plugins.stores.sql import postgres as postgres_room

    async with opened(store_of(postgres.new_database())) as store:
        with monkeypatch.context() as patch:
            broken = dict.fromkeys(postgres_room._ADD_SUMS, "SELECT nothing FROM nowhere WHERE $1 = $2")
            patch.setattr(postgres_room, "_ADD_SUMS", broken)
            with pytest.raises(Exception, match="nowhere"):
                await store.append([record(1)])
        assert await store.latest(5) == []
        await store.append([record(1)])
        await assert_usage(store, [record(1)])


def test_both_are_brought_to_the_door() -> None:
    from llmhub_plugins.stores import sql

    assert [each.name for each in sql.register_metadata_stores()] == ["sqlite", "postgresql"]
    assert database_room.Database.__abstractmethods__ == {"append", "alone"}


async def test_how_far_a_journal_came_is_noted_with_its_batch(store: Store) -> None:
    assert await store.last_from("one") == ""
    await store.append_from("one", [record(1), record(2)])
    await store.append_from("two", [record(3)])
    await store.append_from("one", [record(2), record(4)])
    await store.append([record(5)])
    assert [await store.last_from(name) for name in ("one", "two", "three")] == [record(4).id, record(3).id, ""]
    with pytest.raises((AttributeError, TypeError)):
        await store.append_from("one", [record(6), None])  # type: ignore[list-item]
    assert await store.last_from("one") == record(4).id, "all or nothing"
    (row,) = await store.usage(UsageQuestion(0.0, 4e9, ()))
    assert row.requests == 5

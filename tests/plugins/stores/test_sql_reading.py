"""How is read: beside those who write, and never for too long."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from databases import opened, store_of
from llmhub_plugins.stores.sql.configuration_tables import facts
from llmhub_plugins.stores.sql.reading import Read, Rows
from llmhub_plugins.stores.sql.sqlite import SEARCHES
from llmhub_plugins.stores.sql.sqlite_reading import SqliteReader
from llmhub_plugins.stores.sql.tables import records
from sqlalchemy import Select, func, literal, select
from sqlalchemy.exc import DBAPIError, OperationalError

from llmhub_core.contracts import RecordFilter, Unavailable, UsageQuestion
from llmhub_core.testing.records import a_record

SOON = 4.0
"""Seconds: far less than what would not end."""


def endless() -> Select[Any]:
    numbers = select(literal(1).label("number")).cte(recursive=True)
    return select(func.count()).select_from(numbers.union_all(select(numbers.c.number + 1)))


COUNT = select(func.count()).select_from(records)


async def test_what_takes_too_long_is_stopped_and_nobody_waits_for_it(url: str) -> None:
    async with opened(store_of(url, query_timeout=0.8)) as store:
        began = time.monotonic()
        searcher = store._database._searcher
        asked = [asyncio.create_task(searcher.rows(endless())) for _ in range(2 * SEARCHES)]
        await asyncio.sleep(0.1)
        assert await store._database._reader.rows(COUNT) == [(0,)], "a session is found while others search"
        assert time.monotonic() - began < 0.8
        for each in asked:
            with pytest.raises(Unavailable, match="Ask for a shorter time") as refused:
                await each
            assert refused.value.code == "query_timeout"
        assert time.monotonic() - began < SOON
        assert await searcher.rows(COUNT) == [(0,)]


async def test_another_process_reads_what_this_one_wrote_and_writes_nothing(url: str) -> None:
    async with opened(store_of(url)) as store:
        await store.append([a_record("r1"), a_record("r2", caller="bob")])
        reader = pickle.loads(pickle.dumps(store.reader()))  # noqa: S301 — as it goes to that process
        await reader.start()
        try:
            wanted, question = RecordFilter(caller="bob"), UsageQuestion(0.0, time.time() + 3600, ("caller",))
            assert [record.id for record in await reader.requests(wanted, 10)] == ["r2"]
            assert await reader.usage(question) == await store.usage(question)
            await store.append([a_record("r3")])
            assert await reader.find_record("r3") == await store.find_record("r3")
            assert await reader.people.find_session("nobody's") is None
            with pytest.raises(DBAPIError, match=r"read-?only"):
                await reader.people.end_session("nobody's")
            with pytest.raises(DBAPIError, match=r"read-?only"):
                await reader.configuration.keep_fact("a fact", "of nobody's")
        finally:
            await reader.stop()


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path / "hub.db"))


@pytest.fixture
async def reader(path: Path) -> AsyncIterator[SqliteReader]:
    reader = SqliteReader(path, 1, query_timeout=60.0, busy_timeout=1.0)
    yield reader
    await reader.close()


async def test_nothing_is_searched_for_nobody(reader: SqliteReader) -> None:
    asked = asyncio.create_task(reader.rows(endless()))
    await asyncio.sleep(0.1)
    asked.cancel()
    async with asyncio.timeout(SOON):
        assert await reader.rows(COUNT) == [(0,)], "the only thread is free again"


async def test_closing_waits_for_no_question(path: Path) -> None:
    reader = SqliteReader(path, 1, query_timeout=60.0, busy_timeout=1.0)
    asked = asyncio.create_task(reader.rows(endless()))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(SOON):
        await reader.close()
    with pytest.raises(Unavailable):
        await asked


async def test_all_that_a_question_reads_is_of_one_moment(reader: SqliteReader, path: Path) -> None:
    def twice(read: Read) -> tuple[Rows, Rows]:
        before = read(select(facts))
        with sqlite3.connect(path) as other:
            other.execute("INSERT INTO facts (name, text) VALUES ('between', 'two')")
        return before, read(select(facts))

    before, after = await reader.ask(twice)
    assert before == after
    assert len(await reader.rows(select(facts))) == len(before) + 1


async def test_readers_cannot_write(reader: SqliteReader) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        await reader.ask(lambda read: read(records.delete()))  # type: ignore[arg-type]

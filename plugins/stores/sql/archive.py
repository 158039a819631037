"""All tables, row by row: read as they were at one moment, written as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import time
from typing import Any, Literal

import msgspec
from llmhub_plugins.stores.sql.aio import AsyncConnection, AsyncEngine
from llmhub_plugins.stores.sql.configuration import SqlConfiguration, next_revision
from llmhub_plugins.stores.sql.retention import HOLDER
from llmhub_plugins.stores.sql.rows import COLUMNS, record_of, row_of, storable, storable_text
from llmhub_plugins.stores.sql.tables import SUMS, metadata, records, usage_hours
from llmhub_plugins.stores.sql.writing import writing
from sqlalchemy import Select, Table, Text, delete, func, literal_column, select, tuple_

from llmhub_core.contracts import ARCHIVE_BATCH, PARTS, Archive, Intake, Part, Record, Row, Snapshot

_encode = msgspec.json.Encoder().encode
_NUL = b"\\u0000"
"""As JSON writes it."""

ROWID: Any = literal_column("rowid")
_RECORD = tuple(records.c[name] for name in COLUMNS)


class SqlArchive(Archive):
    def __init__(self, engine: AsyncEngine, configuration: SqlConfiguration) -> None:
        self._engine = engine
        self._facts = configuration

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        async with self._engine.connect() as connection:
            if _is_postgres(connection):
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                mark = None if _is_postgres(connection) else await _newest(connection)
                yield SqlSnapshot(connection, mark)

    @asynccontextmanager
    async def intake(self) -> AsyncIterator[Intake]:
        async with writing(self._engine) as connection:
            yield SqlIntake(connection)

    async def known(self, ids: Sequence[str]) -> set[str]:
        wanted = [storable_text(id) for id in ids]
        async with self._engine.connect() as connection:
            return {*(await connection.execute(select(records.c.id).where(records.c.id.in_(wanted)))).scalars()}

    async def newer(self, mark: int, limit: int, until: int | None = None) -> tuple[int, Sequence[Record]]:
        if self._engine.dialect.name == "postgresql":
            raise LookupError("PostgreSQL does not tell in which order records came to be stored")
        statement = select(ROWID, *_RECORD).where(mark < ROWID).order_by(ROWID).limit(limit)
        if until is not None:
            statement = statement.where(until >= ROWID)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
            if not rows and await _newest(connection) < mark:
                raise LookupError("its records were numbered anew, by VACUUM or because all were gone")
        return (rows[-1][0] if rows else mark), [record_of(row[1:]) for row in rows]

    async def hold(self, seconds: float) -> None:
        await self._facts.keep_fact(HOLDER, f"held {time() + seconds}")

    async def sums(self) -> Mapping[str, int]:
        async with self._engine.connect() as connection:
            totals = await connection.execute(select(*(func.sum(usage_hours.c[name]) for name in SUMS)))
            found = {f"usage {name}": int(total or 0) for name, total in zip(SUMS, totals.one(), strict=True)}
            for name in ("records", *PARTS):
                counted = await connection.execute(select(func.count()).select_from(metadata.tables[name]))
                found[name] = counted.scalar_one()
        return found


class SqlSnapshot(Snapshot):
    def __init__(self, connection: AsyncConnection, mark: int | None) -> None:
        self._connection = connection
        self.mark = mark

    async def count(self, part: Part | Literal["records"]) -> int:
        counted = await self._connection.execute(select(func.count()).select_from(metadata.tables[part]))
        return int(counted.scalar_one())

    async def rows(self, part: Part) -> AsyncIterator[list[Row]]:
        table = metadata.tables[part]
        keys = [*table.primary_key.columns]
        async for batch in self._pages(select(table), keys):
            yield [dict(row._mapping) for row in batch]

    async def records(self) -> AsyncIterator[list[Record]]:
        async for batch in self._pages(select(*_RECORD), [records.c.arrived_at, records.c.id]):
            yield [record_of(row) for row in batch]

    async def _pages(self, statement: Select[Any], keys: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
        ordered = statement.order_by(*keys).limit(ARCHIVE_BATCH)
        page = (await self._connection.execute(ordered)).all()
        while page:
            yield page
            last = [page[-1]._mapping[key] for key in keys]
            page = (await self._connection.execute(ordered.where(tuple_(*keys) > tuple_(*last)))).all()


class SqlIntake(Intake):
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, part: Part, rows: Sequence[Row]) -> list[Row | None]:
        table = metadata.tables[part]
        keys = [column.name for column in table.primary_key.columns]
        wanted = [tuple(_storable(row[name]) for name in keys) for row in rows]
        statement = select(table).where(tuple_(*table.primary_key.columns).in_(wanted))
        there = {
            tuple(row._mapping[name] for name in keys): dict(row._mapping)
            for row in (await self._connection.execute(statement)).all()
        }
        return [there.get(key) for key in wanted]

    async def add(self, part: Part, rows: Sequence[Row]) -> int:
        if part == "configuration" and rows:
            revision = await next_revision(self._connection)
            rows = [{**row, "revision": revision} for row in rows]
        table = metadata.tables[part]
        names = [column.name for column in table.columns]
        return await self._insert(table, names, [tuple(_storable(row[name]) for name in names) for row in rows])

    async def clear(self, part: Part, keep: Sequence[str] = ()) -> None:
        table = metadata.tables[part]
        statement = delete(table)
        if keep:
            statement = statement.where(next(iter(table.primary_key.columns)).not_in(keep))
        await self._connection.execute(statement)

    async def add_records(self, batch: Sequence[Record]) -> int:
        once = {record.id: record for record in reversed(batch)}.values()
        return await self._insert(records, COLUMNS, [_row(record) for record in once])

    async def _insert(self, table: Table, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
        """By the driver itself, a batch in one statement; ON CONFLICT leaves what is there."""
        if not rows:
            return 0
        quote = self._connection.dialect.identifier_preparer.quote
        head = f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))})"
        if _is_postgres(self._connection):
            arrays = ", ".join(f"${n}::{_type(table.c[name], self._connection)}[]" for n, name in enumerate(names, 1))
            statement = f"{head} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"  # noqa: S608 — our own names
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            return (await self._connection.exec_driver_sql(statement, columns)).rowcount
        marks = ", ".join("?" * len(names))
        statement = f"{head} VALUES ({marks}) ON CONFLICT DO NOTHING"
        return (await self._connection.exec_driver_sql(statement, list(rows))).rowcount


def _is_postgres(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "postgresql"


def _type(column: Any, connection: AsyncConnection) -> str:
    return "TEXT" if isinstance(column.type, Text) else str(column.type.compile(connection.dialect))


def _row(record: Record) -> tuple[Any, ...]:
    """PostgreSQL takes no NUL in a text, SQLite does."""
    row = row_of(record)
    if _NUL not in _encode(row):  # a tenth of the time that it takes to look at each
        return row
    return row_of(storable(record)) if any(isinstance(each, str) and "\0" in each for each in row) else row


def _storable(value: Any) -> Any:
    return storable_text(value) if isinstance(value, str) else value


async def _newest(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.max(ROWID)).select_from(records))).scalar() or 0)

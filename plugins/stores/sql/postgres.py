"""PostgreSQL, by asyncpg.

Records are written by the driver itself, for this happens on the event loop, and through SQLAlchemy it would cost
several times as much: a batch by COPY, and its sums as one array for each column. The arrays are written as PostgreSQL
writes them (``{1,2}``), for the driver looks at each value of an array whether it is one itself, which costs more than
all the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llmhub_plugins.stores.sql import SHIPPED
from llmhub_plugins.stores.sql.aio import AsyncConnection, create_async_engine
from llmhub_plugins.stores.sql.database import REVISION, Database
from llmhub_plugins.stores.sql.reading import EngineReader
from llmhub_plugins.stores.sql.rows import COLUMNS, row_of, storable, storable_text
from llmhub_plugins.stores.sql.sums import KEYS, TABLES, columns_of, summed
from llmhub_plugins.stores.sql.tables import SUMS, UNUSUAL, records
from sqlalchemy import URL, Column, Table, Text, bindparam, make_url, text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from llmhub_core.contracts import Record, StartError

if TYPE_CHECKING:
    from llmhub_plugins.stores.sql import PostgresSettings

MIGRATION_LOCK = 7_453_010_771_942_105_117
"""The advisory lock of whoever migrates: a number that nobody else uses."""

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]

for _index in records.indexes:
    if _index.name == "ix_records_unusual":
        _index.dialect_options["postgresql"]["where"] = UNUSUAL


_NOTE = "INSERT INTO facts (name, text) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET text = excluded.text"


def _insert_records() -> str:
    """INSERT what is not there yet of records that come as an array for each of `COLUMNS`; says the new ids. For
    batches of which a part is there already: COPY takes such a one not at all."""
    quote = _DIALECT.identifier_preparer.quote
    names = ", ".join(quote(name) for name in COLUMNS)
    arrays = ", ".join(f"${place}::{_type(records.c[name])}[]" for place, name in enumerate(COLUMNS, 1))
    return (
        f"INSERT INTO {records.name} ({names}) SELECT * FROM unnest({arrays}) "  # noqa: S608 — our own names
        "ON CONFLICT (id) DO NOTHING RETURNING id"
    )


def _type(column: Column[Any]) -> str:
    return "TEXT" if isinstance(column.type, Text) else column.type.compile(_DIALECT)


def _add_sums(table: Table) -> str:
    """Add to the sums in rows that come as the text of an array for each column, or make them."""
    names = columns_of(table)
    quote = _DIALECT.identifier_preparer.quote
    arrays = ", ".join(f"${place}::TEXT::{_type(table.c[name])}[]" for place, name in enumerate(names, 1))
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in SUMS)
    columns, keys = (", ".join(map(quote, each)) for each in (names, KEYS[table]))
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT * FROM unnest({arrays}) "  # noqa: S608 — our own names
        f"ON CONFLICT ({keys}) DO UPDATE SET {sums}"
    )


def _array(values: Sequence[int] | Sequence[str]) -> str:
    """As PostgreSQL writes an array."""
    if not isinstance(values[0], str):
        return "{" + ",".join(map(str, values)) + "}"
    return "{" + ",".join(map(_quoted, values)) + "}"


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


_INSERT_RECORDS = _insert_records()
_ADD_SUMS = {table: _add_sums(table) for table in TABLES}


class PostgresDatabase(Database):
    """Made by `open`."""

    @classmethod
    async def open(cls, settings: PostgresSettings, reads_only: bool = False) -> PostgresDatabase:
        """StartError if the driver is missing or the database does not answer. With `reads_only` nothing can be
        written, and one connection is enough beside those for questions."""
        if find_spec("asyncpg") is None:
            raise StartError("PostgreSQL needs its driver: pip install 'llm-hub[postgres]'")
        url = _driver_url(settings.url)
        # Without these a database that hangs would hang everything, for ever.
        limits: dict[str, Any] = {"timeout": settings.timeout, "command_timeout": settings.timeout}
        pool: dict[str, Any] = {"pool_timeout": settings.timeout, "pool_pre_ping": True, "hide_parameters": True}
        asking: dict[str, str] = {"default_transaction_read_only": "on"} if reads_only else {}
        connections = 1 if reads_only else settings.pool_size
        engine = create_async_engine(
            url, connect_args={**limits, "server_settings": asking}, pool_size=connections, **pool
        )
        patience = {"statement_timeout": str(int(settings.query_timeout * 1000))}
        # Compiling a question, or starting processes that help with it, takes longer than answering it.
        patience |= {"jit": "off", "max_parallel_workers_per_gather": "0"}
        # The groups of a year by caller and model do not fit in the usual 4 MB, and are sorted on the disk then.
        patience |= {"work_mem": "32MB"}
        # A plan for any values compares each row with each name of a list, one for these values looks it up.
        patience |= {"plan_cache_mode": "force_custom_plan"}
        reading = {**limits, "command_timeout": settings.query_timeout + 5.0, "server_settings": asking | patience}
        readers = create_async_engine(
            url, connect_args=reading, pool_size=settings.query_pool_size, max_overflow=0, **pool
        )
        shown = url.set(drivername="postgresql").render_as_string(hide_password=True)
        database = cls(engine, EngineReader(engine), EngineReader(readers), shown)
        try:
            async with engine.connect():
                pass
        except (SQLAlchemyError, OSError) as error:
            await database.close()
            reason = str(getattr(error, "orig", None) or error)
            raise StartError(f"The database {database.shown} cannot be reached: {reason}") from error
        return database

    async def append(self, batch: Sequence[Record], journal: str = "") -> None:
        once = {record.id: record for record in reversed(batch)}
        if not once:
            return
        note = (SHIPPED + journal, storable_text(batch[-1].id)) if journal else None
        from asyncpg import PostgresError  # type: ignore[import-untyped]

        try:
            await self._write(list(once.values()), note)
        except (UnicodeError, OverflowError, ValueError, PostgresError):
            await self._write([storable(record) for record in once.values()], note)

    async def _write(self, batch: Sequence[Record], note: tuple[str, str] | None) -> None:
        from asyncpg import UniqueViolationError

        # Apart from the event loop, which has callers to serve; and the database works meanwhile.
        rows = await asyncio.to_thread(lambda: [*map(row_of, batch)])
        try:
            async with self._recording() as driver:
                copying = driver.copy_records_to_table(records.name, records=rows, columns=COLUMNS)
                _, sums = await asyncio.gather(copying, asyncio.to_thread(_sums_of, batch))
                for statement, arrays in sums:
                    await driver.execute(statement, *arrays)
                if note is not None:
                    await driver.execute(_NOTE, *note)
        except UniqueViolationError:  # some are there already; again, to see which
            async with self._recording() as driver:
                new = {id for (id,) in await driver.fetch(_INSERT_RECORDS, *zip(*rows, strict=True))}
                for statement, arrays in _sums_of([record for record in batch if record.id in new]):
                    await driver.execute(statement, *arrays)
                if note is not None:
                    await driver.execute(_NOTE, *note)

    @asynccontextmanager
    async def _recording(self) -> AsyncIterator[Any]:
        """A transaction beside which nobody migrates."""
        async with self._transaction() as driver:
            await driver.execute("SELECT pg_advisory_xact_lock_shared($1)", MIGRATION_LOCK)
            self.require_schema(await driver.fetchval(REVISION))
            yield driver

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        """The driver's own."""
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None  # noqa: S101 — it is connected
            try:
                async with driver.transaction():
                    yield driver
            except (asyncio.CancelledError, TimeoutError, OSError):
                # The driver may still believe to be in a transaction; the next would be a part of that one, and never
                # be committed.
                driver.terminate()
                raise

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.begin() as connection:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)").bindparams(bindparam("lock", MIGRATION_LOCK))
            )
            yield connection


def _sums_of(batch: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """The statements that add a batch to the sums, each with its parameters."""
    return [
        (_ADD_SUMS[table], [*map(_array, zip(*rows, strict=True))])
        for table, rows in summed(batch, time.time())
        if rows
    ]


def _driver_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartError("The database address cannot be read; write postgresql://user:password@host/name.") from error
    return parsed.set(drivername="postgresql+asyncpg")

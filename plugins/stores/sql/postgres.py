"""PostgreSQL, by asyncpg.

Records are written by the driver itself, a batch as one array for each column: this happens on the event loop, and
through SQLAlchemy it would cost several times as much.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llmhub_plugins.stores.sql.database import Database
from llmhub_plugins.stores.sql.rows import COLUMNS, GROUP, SUMS, row_of, storable, summed
from llmhub_plugins.stores.sql.tables import records, usage_hours
from sqlalchemy import URL, Column, Text, bindparam, make_url, text
from sqlalchemy.dialects.postgresql import asyncpg, insert
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from llmhub_core.contracts import Record, StartError

if TYPE_CHECKING:
    from llmhub_plugins.stores.sql import PostgresSettings

MIGRATION_LOCK = 7_453_010_771_942_105_117
"""The advisory lock of whoever migrates: a number that nobody else uses."""

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]


def _insert_records() -> str:
    """INSERT what is not there yet of records that come as an array for each of `COLUMNS`; says the new ids."""
    quote = _DIALECT.identifier_preparer.quote
    names = ", ".join(quote(name) for name in COLUMNS)
    arrays = ", ".join(f"${place}::{_type(records.c[name])}[]" for place, name in enumerate(COLUMNS, 1))
    return (
        f"INSERT INTO {records.name} ({names}) SELECT * FROM unnest({arrays}) "  # noqa: S608 — our own names
        "ON CONFLICT (id) DO NOTHING RETURNING id"
    )


def _type(column: Column[Any]) -> str:
    return "TEXT" if isinstance(column.type, Text) else column.type.compile(_DIALECT)


def _add_sums() -> str:
    """Add to the sums of an hour."""
    add = insert(usage_hours)
    sums = {name: usage_hours.c[name] + add.excluded[name] for name in SUMS}
    statement = add.on_conflict_do_update(index_elements=GROUP, set_=sums)
    return str(statement.compile(dialect=_DIALECT, column_keys=[*GROUP, *SUMS]))


_INSERT_RECORDS, _ADD_SUMS = _insert_records(), _add_sums()


class PostgresDatabase(Database):
    """Made by `open`."""

    @classmethod
    async def open(cls, settings: PostgresSettings) -> PostgresDatabase:
        """StartError if the driver is missing or the database does not answer."""
        if find_spec("asyncpg") is None:
            raise StartError("PostgreSQL needs its driver: pip install 'llm-hub[postgres]'")
        url = _driver_url(settings.url)
        engine = create_async_engine(
            url,
            # Without these a database that hangs would hang everything, for ever.
            connect_args={"timeout": settings.timeout, "command_timeout": settings.timeout},
            pool_timeout=settings.timeout,
            pool_size=settings.pool_size,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        database = cls(engine, url.set(drivername="postgresql").render_as_string(hide_password=True))
        try:
            async with engine.connect():
                pass
        except (SQLAlchemyError, OSError) as error:
            await database.close()
            reason = str(getattr(error, "orig", None) or error)
            raise StartError(f"The database {database.shown} cannot be reached: {reason}") from error
        return database

    async def append(self, batch: Sequence[Record]) -> None:
        once = {record.id: record for record in reversed(batch)}
        if not once:
            return
        from asyncpg import PostgresError  # type: ignore[import-untyped]

        try:
            await self._write(list(once.values()))
        except (UnicodeError, OverflowError, ValueError, PostgresError):
            await self._write([storable(record) for record in once.values()])

    async def _write(self, batch: Sequence[Record]) -> None:
        columns = [*zip(*map(row_of, batch), strict=True)]
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None  # noqa: S101 — it is connected
            async with driver.transaction():
                new = {id for (id,) in await driver.fetch(_INSERT_RECORDS, *columns)}
                sums = summed(record for record in batch if record.id in new)
                if sums:
                    await driver.executemany(_ADD_SUMS, sums)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.begin() as connection:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)").bindparams(bindparam("lock", MIGRATION_LOCK))
            )
            yield connection


def _driver_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartError("The database address cannot be read; write postgresql://user:password@host/name.") from error
    return parsed.set(drivername="postgresql+asyncpg")

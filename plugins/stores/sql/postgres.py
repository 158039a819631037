"""PostgreSQL, by asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmhub_plugins.stores.sql.database import Database
from llmhub_plugins.stores.sql.rows import COLUMNS, GROUP, SUMS, row_of, storable, summed
from llmhub_plugins.stores.sql.tables import records, usage_hours
from sqlalchemy import URL, bindparam, make_url, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from llmhub_core.contracts import Record, StartError

if TYPE_CHECKING:
    from llmhub_plugins.stores.sql import PostgresSettings

MIGRATION_LOCK = 7_453_010_771_942_105_117
"""The advisory lock of whoever migrates: a number that nobody else uses."""

_INSERT_RECORDS = insert(records).on_conflict_do_nothing(index_elements=["id"]).returning(records.c.id)
_ADD = insert(usage_hours)
_ADD_SUMS = _ADD.on_conflict_do_update(
    index_elements=GROUP, set_={name: usage_hours.c[name] + _ADD.excluded[name] for name in SUMS}
)


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
        try:
            await self._write(list(once.values()))
        except (UnicodeError, OverflowError, ValueError, DBAPIError) as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise
            await self._write([storable(record) for record in once.values()])

    async def _write(self, batch: Sequence[Record]) -> None:
        rows = [dict(zip(COLUMNS, row_of(record), strict=True)) for record in batch]
        async with self._engine.begin() as connection:
            new = set((await connection.execute(_INSERT_RECORDS, rows)).scalars())
            sums = summed(record for record in batch if record.id in new)
            if sums:
                names = (*GROUP, *SUMS)
                await connection.execute(_ADD_SUMS, [dict(zip(names, row, strict=True)) for row in sums])

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

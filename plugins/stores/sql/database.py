"""What both databases share: the schema's revision, migrating, and reading. Writing is each one's own."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

from llmhub_plugins.stores.sql.aio import AsyncConnection, AsyncEngine
from llmhub_plugins.stores.sql.alerts import SqlAlerts
from llmhub_plugins.stores.sql.archive import SqlArchive
from llmhub_plugins.stores.sql.bodies import SqlBodies
from llmhub_plugins.stores.sql.configuration import SqlConfiguration
from llmhub_plugins.stores.sql.migrations import REVISIONS
from llmhub_plugins.stores.sql.people import SqlPeople
from llmhub_plugins.stores.sql.reading import Read, Reader
from llmhub_plugins.stores.sql.request_query import find_requests
from llmhub_plugins.stores.sql.retention import Retention, kept_since
from llmhub_plugins.stores.sql.rows import COLUMNS, record_of, storable_text
from llmhub_plugins.stores.sql.tables import metadata, records
from llmhub_plugins.stores.sql.usage_query import END_OF_TIME, find_usage, tags_statement, usage_row
from sqlalchemy import Column, Connection, MetaData, String, Table, bindparam, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from llmhub_core.contracts import (
    Record,
    RecordFilter,
    SchemaState,
    StartError,
    Unavailable,
    UsageQuestion,
    UsageRow,
)

T = TypeVar("T")

INSUFFICIENT_PRIVILEGE = "42501"
"""PostgreSQL's code."""

REVISION = "SELECT version_num FROM alembic_version"

AT_ONCE = 50
"""Rows: what becomes of them takes half a millisecond."""

_TAGS = tags_statement()
_RECORD_OF_ID = select(*(records.c[name] for name in COLUMNS)).where(records.c.id == bindparam("id"))


class Database(ABC):
    """`shown` is how messages call it: never with a password. `engine` writes what is rare; `reader` reads what is
    there at once, `searcher` what may have to be searched for."""

    def __init__(self, engine: AsyncEngine, reader: Reader, searcher: Reader, shown: str) -> None:
        self._engine = engine
        self._reader = reader
        self._searcher = searcher  # by itself, so that no page of the dashboard keeps records or sessions waiting
        self.shown = shown
        self.alerts = SqlAlerts(engine, reader)
        self.people = SqlPeople(engine, reader)
        self.configuration = SqlConfiguration(engine, reader)
        self.archive = SqlArchive(engine, self.configuration)
        self.retention = Retention(engine, self.configuration)
        self.bodies = SqlBodies(engine, reader, self.retention)

    async def close(self) -> None:
        await self._reader.close()
        await self._searcher.close()
        await self._engine.dispose()

    @abstractmethod
    async def append(self, batch: Sequence[Record], journal: str = "") -> None:
        """`journal` as of `MetadataStore.append_from`, "" for none."""

    @abstractmethod
    def alone(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction beside which no other process migrates; committed at the end, undone by an exception."""

    async def keep_copy(self, revision: str) -> str:
        """Copy a database with something in it before it is brought to `revision`; says where to, or ""."""
        return ""

    # --- the schema

    async def schema(self) -> SchemaState:
        async with self._engine.connect() as connection:
            current = await connection.run_sync(_revision)
            if current == REVISIONS[-1] and (lacking := await connection.run_sync(_lacking)):
                raise StartError(
                    f"{self.shown} says that it has schema {current!r}, and lacks {', '.join(lacking)}: a part of it "
                    "was restored, or something else changed it. Put a whole copy in its place (a SQLite file, or "
                    "pg_restore --clean of a whole dump), or name an empty database, then run: llm-hub migrate"
                )
        return SchemaState(current, REVISIONS[-1], _steps(current))

    async def migrate(self) -> SchemaState:
        async with self.alone() as connection:
            current = await connection.run_sync(_revision)
            if current != REVISIONS[-1]:
                await self._migrate(connection, current)
        return SchemaState(REVISIONS[-1], REVISIONS[-1])

    def require_schema(self, current: str) -> None:
        """Before records are written, and while nobody migrates: this version would leave out what a newer schema adds
        to the sums, and nobody would notice."""
        if current != REVISIONS[-1]:
            raise Unavailable(
                f"{self.shown} was brought to schema {current!r} while this hub ran, and it writes {REVISIONS[-1]!r}. "
                "Records wait in its journal: start it again with the version that did that."
            )

    async def _migrate(self, connection: AsyncConnection, current: str) -> None:
        if current and current not in REVISIONS:
            raise StartError(
                f"{self.shown} has schema {current!r}, which this version of llm-hub does not know: it goes up to "
                f"{REVISIONS[-1]!r}. A newer version made it. Run that one, or go back to the copy from before it "
                f"(for SQLite beside the database, *.before-{current})."
            )
        if not current and (strangers := await connection.run_sync(_our_names)):
            raise StartError(
                f"{self.shown} has tables ({', '.join(strangers)}) that llm-hub did not make; name an empty database."
            )
        try:
            copy = await self.keep_copy(REVISIONS[-1])
        except (OSError, sqlite3.Error) as error:
            raise StartError(
                f"{self.shown} could not be copied, so it was not brought to schema {REVISIONS[-1]!r} and is as it "
                f"was: {error}. There must be room beside it for once its size; then run: llm-hub migrate"
            ) from error
        try:
            if current:
                from llmhub_plugins.stores.sql.upgrade import upgrade

                await connection.run_sync(upgrade, current)
            else:
                await connection.run_sync(_create)
        except SQLAlchemyError as error:
            may_not = getattr(getattr(error, "orig", None), "sqlstate", "") == INSUFFICIENT_PRIVILEGE
            raise StartError(
                f"{self.shown} could not be brought to schema {REVISIONS[-1]!r} and is as it was"
                f"{f' (a copy is at {copy})' if copy else ''}: {type(error).__name__}: {error}"
                f"{'. Run llm-hub migrate as a role that may change the schema.' if may_not else ''}"
            ) from error

    # --- reading

    async def usage(self, question: UsageQuestion) -> Sequence[UsageRow]:
        def ask(read: Read) -> Sequence[Any]:
            return find_usage(read, question, time.time(), kept_since(read))

        return await _each(partial(usage_row, question), await self._searcher.ask(ask))

    async def tags(self, since: float, until: float) -> Sequence[str]:
        values = {"since": int(max(since, 0.0)), "until": int(min(until, END_OF_TIME))}
        return [name for (name,) in await self._searcher.rows(_TAGS, values)]

    async def requests(self, wanted: RecordFilter, limit: int, before: tuple[float, str] | None) -> Sequence[Record]:
        found = await self._searcher.ask(lambda read: find_requests(read, wanted, limit, before))
        return await _each(record_of, found)

    async def kept_since(self) -> float:
        return await self._reader.ask(kept_since)

    async def find_record(self, id: str) -> Record | None:
        if id != storable_text(id):  # nothing is stored under such a name, and the drivers choke on it
            return None
        rows = await self._reader.rows(_RECORD_OF_ID, {"id": id})
        return record_of(rows[0]) if rows else None


async def _each(make: Callable[[Any], T], rows: Sequence[Any]) -> list[T]:
    """Of each row, a few at a time: callers' requests are served in between."""
    found: list[T] = []
    for start in range(0, len(rows), AT_ONCE):
        found += map(make, rows[start : start + AT_ONCE])
        await asyncio.sleep(0)
    return found


def _create(connection: Connection) -> None:
    """An empty database gets today's tables at once, as all migrations in a row would leave them (a test compares
    the two): Alembic would cost a fresh hub ten megabytes for as long as it runs."""
    metadata.create_all(connection)
    versions = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
    versions.create(connection)
    connection.execute(versions.insert().values(version_num=REVISIONS[-1]))


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return ",".join(sorted(connection.execute(text(REVISION)).scalars()))


def _steps(current: str) -> tuple[str, ...]:
    if not current:
        return ("all tables, in an empty database",)
    if current == REVISIONS[-1] or current not in REVISIONS:
        return ()
    from llmhub_plugins.stores.sql.upgrade import steps_from

    return tuple(f"{revision}: {brings}" for revision, brings in steps_from(current).items())


def _lacking(connection: Connection) -> list[str]:
    """Tables and columns that should be there."""
    inspector = inspect(connection)
    there = {
        name: {column["name"] for column in columns}
        for (_, name), columns in inspector.get_multi_columns(filter_names=[*metadata.tables]).items()
    }
    lacking = [f"the table {name}" for name in metadata.tables if name not in there]
    for name, table in metadata.tables.items():
        lacking += [
            f"{name}.{column.name}" for column in table.columns if column.name not in there.get(name, {column.name})
        ]
    return lacking


def _our_names(connection: Connection) -> list[str]:
    """Tables named like ours."""
    return sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))

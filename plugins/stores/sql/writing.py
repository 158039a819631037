"""How what is rare is written, in both databases by the same statements: plainly, by SQLAlchemy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llmhub_plugins.stores.sql.aio import AsyncConnection, AsyncEngine
from sqlalchemy import Table, bindparam, text
from sqlalchemy.dialects import sqlite


def _is_postgres(engine: AsyncEngine) -> bool:
    return engine.dialect.name == "postgresql"


@asynccontextmanager
async def writing(engine: AsyncEngine, lock: int | None = None) -> AsyncIterator[AsyncConnection]:
    """A transaction; with `lock`, nobody else who names the same number writes between its reading and its writing."""
    async with engine.connect() as connection:
        # SQLite takes its write lock at once, or two that read first would stand in each other's way.
        # PostgreSQL knows no such option.
        await connection.execution_options(begin="BEGIN IMMEDIATE")
        async with connection.begin():
            if lock is not None and _is_postgres(engine):
                statement = text("SELECT pg_advisory_xact_lock(:lock)").bindparams(bindparam("lock", lock))
                await connection.execute(statement)
            yield connection


def insert_into(engine: AsyncEngine, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, which each database's dialect has of its own."""
    if _is_postgres(engine):
        from sqlalchemy.dialects import postgresql  # not for SQLite alone: it takes long to import

        return postgresql.insert(table)
    return sqlite.insert(table)

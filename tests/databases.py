"""Databases for the tests of the SQL stores: of each kind, empty or with today's schema."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llmhub_plugins.stores.sql import PostgresSettings, PostgresStore, SqliteSettings, SqliteStore

from llmhub_core.testing.postgres import Postgres

Store = SqliteStore | PostgresStore


def store_of(url: str, **settings: Any) -> Store:
    if url.startswith("sqlite"):
        return SqliteStore(SqliteSettings(url=url, **settings))
    return PostgresStore(PostgresSettings(url=url, **settings))


@contextlib.asynccontextmanager
async def opened(store: Store, migrate: bool = True) -> AsyncIterator[Store]:
    await store.start()
    try:
        if migrate:
            await store.migrate()
        yield store
    finally:
        await store.stop()


def needs_postgresql() -> None:
    pytest.importorskip("asyncpg")
    if Postgres.programs() is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is missing; .ci/system installs it")
        pytest.skip("no PostgreSQL server is installed in /usr/lib/postgresql; .ci/system installs it")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests that do not stop it."""
    needs_postgresql()
    with Postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own for each test, with nothing in it."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'hub.db'}"
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own for each test, with today's schema."""
    template = request.getfixturevalue(f"{kind}_template")
    if kind == "sqlite":
        shutil.copy(template, tmp_path / "hub.db")
        return f"sqlite:///{tmp_path / 'hub.db'}"
    return str(request.getfixturevalue("postgres").new_database(template=template))


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with opened(store_of(url)) as store:
        yield store


# Made once and copied, which takes a tenth of the time.


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "hub.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgres: Postgres) -> str:
    _migrate(postgres.new_database("template_of_today"))
    return "template_of_today"


def _migrate(url: str) -> None:
    async def migrate() -> None:
        async with opened(store_of(url)):
            pass

    with ThreadPoolExecutor(1) as apart:  # from the event loop of the test that happens to be the first
        apart.submit(asyncio.run, migrate()).result()

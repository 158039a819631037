"""The SQLite file: one thread writes what is recorded, others read, and what is rare SQLAlchemy writes.

Writing is the hot path. A batch is handed to the thread once and written by the driver itself, with statements
that were made at start.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmhub_plugins.stores.sql import SHIPPED
from llmhub_plugins.stores.sql.aio import AsyncConnection, create_async_engine
from llmhub_plugins.stores.sql.database import REVISION, Database
from llmhub_plugins.stores.sql.migrations import step
from llmhub_plugins.stores.sql.rows import storable
from llmhub_plugins.stores.sql.sqlite_insert import insert, insert_singly
from llmhub_plugins.stores.sql.sqlite_reading import SqliteReader, only_reading
from llmhub_plugins.stores.sql.sums import KEYS, TABLES, columns_of, summed
from llmhub_plugins.stores.sql.tables import SUMS
from sqlalchemy import URL, Connection, Table, event
from sqlalchemy.dialects import sqlite

from llmhub_core.contracts import Record, StartError

if TYPE_CHECKING:
    from llmhub_plugins.stores.sql import SqliteSettings

T = TypeVar("T")

COPIED_AT_ONCE = 25_000
"""Pages, a tenth of a gigabyte."""

SEARCHES = 4
"""Questions of the dashboard at once; more wait in line."""

CHECKPOINT_PAGES = 4000
"""16 MB of log before it is worked into the file: pages that many batches touch are then written once."""


_NOTE = "INSERT INTO facts (name, text) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text"


@functools.cache
def _add_sums(table: Table) -> str:
    """Add to the sums in a row, or make it."""
    add = sqlite.insert(table)
    sums = {name: table.c[name] + add.excluded[name] for name in SUMS}
    statement = add.on_conflict_do_update(index_elements=KEYS[table], set_=sums)
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=columns_of(table)))


class SqliteDatabase(Database):
    """Made by `open`."""

    def __init__(self, path: Path, settings: SqliteSettings, reads_only: bool = False) -> None:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            connect_args={"isolation_level": None, "timeout": settings.busy_timeout},
            pool_size=2,
            max_overflow=6,
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "connect", only_reading if reads_only else _set_up)
        event.listen(engine.sync_engine, "begin", _begin)
        patience = settings.query_timeout, settings.busy_timeout
        super().__init__(engine, SqliteReader(path, 1, *patience), SqliteReader(path, SEARCHES, *patience), str(path))
        self._path = path
        self._settings = settings
        self._add_sums = {table: _add_sums(table) for table in TABLES}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmhub-sqlite")
        self._writer: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, settings: SqliteSettings, reads_only: bool = False) -> SqliteDatabase:
        """Makes the file if there is none; StartError if it cannot be used. With `reads_only` nothing is opened before
        it is asked."""
        database = cls(_path_of(settings.url), settings, reads_only)
        if reads_only:
            return database
        try:
            await database._in_thread(database._open_writer)
        except (sqlite3.Error, OSError) as error:
            await database._release()
            raise StartError(
                f"The database {database.shown} cannot be opened: {error}. Check that the folder exists and may be "
                "written to, and that the file is a SQLite database."
            ) from error
        except StartError:
            await database._release()
            raise
        return database

    async def close(self) -> None:
        if self._writer is not None:
            await self._in_thread(self._writer.close)
        await self._release()

    async def _release(self) -> None:
        self._thread.shutdown(wait=False)
        await super().close()

    async def append(self, batch: Sequence[Record], journal: str = "") -> None:
        if batch:
            await self._in_thread(lambda: self._append(batch, journal))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # --- in the thread

    def _open_writer(self) -> None:
        if not self._path.exists():
            # Private from its first moment; SQLite gives its side files the same mode.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        writer = sqlite3.connect(
            self._path, timeout=self._settings.busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            _use_wal(writer, self._settings.busy_timeout)
            # The ledger throws its journal away once a batch is committed. Without a sync at each commit (NORMAL) a
            # power cut may take back the latest commits, so then those records would be nowhere; kill -9 costs
            # nothing either way. A batch a sync is cheap, and it is this thread that waits.
            writer.execute(f"PRAGMA synchronous = {'FULL' if self._settings.synchronous == 'full' else 'NORMAL'}")
            writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            writer.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * 4096}")
            writer.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            writer.close()
            raise
        self._writer = writer

    def _append(self, batch: Sequence[Record], journal: str) -> None:
        try:
            self._write(batch, journal)
        except (UnicodeError, OverflowError, ValueError, sqlite3.IntegrityError):
            self._write([storable(record) for record in batch], journal)

    def _write(self, batch: Sequence[Record], journal: str) -> None:
        writer = self._writer
        assert writer is not None  # noqa: S101 — a hub that records has one
        cursor = writer.cursor()
        new = batch
        writer.execute("BEGIN IMMEDIATE")
        try:
            self.require_schema(cursor.execute(REVISION).fetchone()[0])
            if insert(cursor, batch) != len(batch):  # some are there already; again, to see which
                writer.execute("ROLLBACK")
                writer.execute("BEGIN IMMEDIATE")
                new = list(insert_singly(cursor, batch))
            for table, rows in summed(new, time.time()):
                cursor.executemany(self._add_sums[table], rows)
            if journal:
                cursor.execute(_NOTE, (SHIPPED + journal, batch[-1].id))
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise

    # --- migrating

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            await connection.execution_options(begin="BEGIN IMMEDIATE")
            async with connection.begin():
                yield connection

    async def keep_copy(self, revision: str) -> str:
        """By SQLite's own backup, into ``<file>.before-<revision>``. The caller holds the write lock."""
        copy = self._path.with_name(f"{self._path.name}.before-{revision}")
        return str(copy) if await asyncio.to_thread(_copy, self._path, copy) else ""


def _path_of(url: str) -> Path:
    """What follows ``sqlite:///`` is the path as it is, nothing in it is an escape."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path == ":memory:" or "?" in path:
        raise StartError(
            f"{url!r} does not name a database file. Write sqlite:////absolute/path.db or sqlite:///relative.db; "
            "a database in memory would forget everything, and options after ? are not known."
        )
    return Path(path).absolute()


def _use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """So that reading and writing do not wait for each other. SQLite does not itself wait to change this."""
    deadline = time.monotonic() + patience
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            continue
        if mode != "wal":
            raise StartError("SQLite cannot keep its write-ahead log beside the database; put it on a local disk.")
        return


def _copy(source: Path, target: Path) -> bool:
    """False if there is nothing to copy. A half-made copy never bears the target's name."""
    partial = target.with_name(f"{target.name}.part")
    with closing(sqlite3.connect(source)) as original:
        if not original.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(partial)) as copy, step(f"copying {source.name} to {target.name}") as progress:
            original.backup(copy, pages=COPIED_AT_ONCE, progress=lambda _, left, all: progress(1 - left / all), sleep=0)
    partial.replace(target)
    return True


def _set_up(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    """The driver begins nothing by itself (isolation_level None): that way schema changes can be undone too."""
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

"""Reading from the SQLite file: a whole question is one visit to a thread, where it finds an open connection.

The threads are few, and what they do is the database's work, not Python's: while SQLite searches, callers are served.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from llmhub_plugins.stores.sql.reading import Read, Reader, read_by
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")


STEPS = 1_000_000
"""Of SQLite's machine, some ten milliseconds: so often a question that takes long is asked whether to go on. More often
would be a visit to the interpreter, which callers want."""

STOPPED = "interrupted"
"""SQLite's word for it."""


class SqliteReader(Reader):
    """`threads` questions at once, each stopped after `query_timeout` seconds; `busy_timeout` as in the settings."""

    def __init__(self, path: Path, threads: int, query_timeout: float, busy_timeout: float) -> None:
        self._query_timeout = query_timeout
        self._closed = False
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="llmhub-sqlite-reader")
        self._engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"isolation_level": None, "timeout": busy_timeout, "check_same_thread": False},
            pool_size=threads,
            max_overflow=0,
            hide_parameters=True,
        )
        event.listen(self._engine, "connect", only_reading)
        event.listen(self._engine, "begin", _begin)

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    async def _ask(self, question: Callable[[Read], T]) -> T:
        ends, wanted = time.monotonic() + self._query_timeout, True

        def over() -> bool:
            return self._closed or not wanted or time.monotonic() > ends

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._visit, question, over)
        finally:
            wanted = False  # whoever asked may be gone

    def _visit(self, question: Callable[[Read], T], over: Callable[[], bool]) -> T:
        """In the thread."""
        if over():  # while it waited in line
            raise DBAPIError(None, None, sqlite3.OperationalError(STOPPED))
        with self._engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None  # noqa: S101 — it is connected
            driver.set_progress_handler(over, STEPS)
            return question(read_by(connection))

    def _gave_up(self, error: DBAPIError) -> bool:
        return str(error.orig) == STOPPED


def only_reading(connection: Any, _: Any) -> None:
    """For connections of either engine."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    """The driver begins nothing by itself (isolation_level None). All that a question reads is of one moment."""
    connection.exec_driver_sql("BEGIN")

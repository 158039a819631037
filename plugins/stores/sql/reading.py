"""How is read: a question is a plain function that reads as often as it likes, and what runs it knows the database.

So that it need not be said twice: PostgreSQL's driver is asynchronous, SQLite is asked in a thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from llmhub_plugins.stores.sql.aio import AsyncEngine
from sqlalchemy import Connection, Row, Select
from sqlalchemy.exc import DBAPIError

from llmhub_core.contracts import Unavailable

T = TypeVar("T")
Rows = Sequence[Row[*tuple[Any, ...]]]


class Read(Protocol):
    """All rows of a statement; `values` are those that it leaves open. A statement that is the same object each time
    is made ready once."""

    def __call__(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> Rows: ...


class Reader(ABC):
    """Asks one database, by connections that nobody writes with."""

    async def ask(self, question: Callable[[Read], T]) -> T:
        """What `question` returns. Unavailable if the database stopped it because it took too long."""
        try:
            return await self._ask(question)
        except DBAPIError as error:
            if not self._gave_up(error):
                raise
            raise Unavailable(
                "The database needs too long for this question. Ask for a shorter time, or for less at once.",
                code="query_timeout",
            ) from None

    async def rows(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> Rows:
        return await self.ask(lambda read: read(statement, values))

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def _ask(self, question: Callable[[Read], T]) -> T: ...

    @abstractmethod
    def _gave_up(self, error: DBAPIError) -> bool: ...


class EngineReader(Reader):
    """By an asynchronous driver. Nothing begins and ends around a question: that would be two more ways to the server,
    and each statement sees a moment of its own there anyway."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        await self._engine.dispose()

    async def _ask(self, question: Callable[[Read], T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(lambda plain: question(read_by(plain)))

    def _gave_up(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", "") == "57014"  # PostgreSQL's code for it


def read_by(connection: Connection) -> Read:
    def read(statement: Select[Any], values: Mapping[str, Any] | None = None) -> Rows:
        return connection.execute(statement, values).all()

    return read

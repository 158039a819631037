"""Everything that a metadata store keeps, row by row: for copies of it, and for moves into another store.

A row is a mapping of names to plain values (text, numbers, booleans, None), the same in every store that knows the
part; `docs/moving.md` lists the names. Records travel as they are everywhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, get_args

from llmhub_core.contracts.exchange import Record

Part = Literal[
    "configuration",
    "configuration_changes",
    "facts",
    "users",
    "admin_tokens",
    "sessions",
    "setup_links",
    "sign_in_failures",
    "kept_answers",
    "audit",
    "alerts",
    "alert_mutes",
    "usage_hours",
    "usage_totals",
]
PARTS: tuple[Part, ...] = get_args(Part)
"""All but records."""

Row = Mapping[str, Any]

ARCHIVE_BATCH = 1000
"""Rows and records that are read and written together."""


class Snapshot(ABC):
    """All as it was at one moment, whatever is written meanwhile.

    `mark` is where the records of that moment end, for `Archive.newer`; None in a store that cannot tell.
    """

    mark: int | None = None

    @abstractmethod
    async def count(self, part: Part | Literal["records"]) -> int: ...

    @abstractmethod
    def rows(self, part: Part) -> AsyncIterator[list[Row]]:
        """By key, in batches."""

    @abstractmethod
    def records(self) -> AsyncIterator[list[Record]]:
        """Oldest first, in batches."""


class Intake(ABC):
    """One transaction: all that is put in comes to stand there, or nothing."""

    @abstractmethod
    async def find(self, part: Part, rows: Sequence[Row]) -> list[Row | None]:
        """What stands there under the same keys."""

    @abstractmethod
    async def add(self, part: Part, rows: Sequence[Row]) -> int:
        """Those whose key is not there yet; says how many. Rows of `configuration` count as one change."""

    @abstractmethod
    async def clear(self, part: Part, keep: Sequence[str] = ()) -> None:
        """Let all go but the rows whose first key is one of `keep`."""

    @abstractmethod
    async def add_records(self, records: Sequence[Record]) -> int:
        """Those that are not there yet, without their sums, which come as rows; says how many."""


class Archive(ABC):
    """A part of a metadata store."""

    @abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]: ...

    @abstractmethod
    def intake(self) -> AbstractAsyncContextManager[Intake]: ...

    @abstractmethod
    async def known(self, ids: Sequence[str]) -> set[str]:
        """Those of these records that are there."""

    @abstractmethod
    async def newer(self, mark: int, limit: int, until: int | None = None) -> tuple[int, Sequence[Record]]:
        """Records that came to be stored after `mark`, and no later than `until`, in that order; and the mark after
        them. LookupError if the store cannot tell, or if its marks have been made anew since."""

    @abstractmethod
    async def hold(self, seconds: float) -> None:
        """For so long no record is let go, in no process: what follows by `newer` misses none then. Whoever follows for
        longer says it again in time."""

    @abstractmethod
    async def sums(self) -> Mapping[str, int]:
        """What two stores with the same contents agree on: ``usage …``, sums over all usage by hour, and the number of
        records and of the rows of each part."""

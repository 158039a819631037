"""Everything that must last, in SQL: a file of SQLite's, or PostgreSQL.

Rooms: `tables` (the schema), `rows` (records to rows and back), `sums` (what a batch adds up to), `usage_query`
(questions to the sums), `request_query` (the list of requests), `people_tables` and `people` (users, sessions, the
audit), `configuration_tables` and `configuration` (what was configured beside the file), `alert_tables` and `alerts`
(what is not well), `body_tables` and `bodies` (what was asked and answered), `archive` (all of it row by row, for
copies and moves), `retention` (how old records go), `writing` (how what is rare is written), `reading` and
`sqlite_reading` (how is read), `database` (what both databases share), `sqlite` and `postgres` (what they do not),
`migrations` (how a schema becomes the next).

SQLAlchemy takes a second and 20 MB to import, Alembic more: the first is imported by `start`, the second only
when a database really has to be migrated. This room imports neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from llmhub_core.contracts import (
    MetadataStore,
    Record,
    RecordFilter,
    SchemaState,
    UsageQuestion,
    UsageRow,
    hookimpl,
)

if TYPE_CHECKING:
    from llmhub_plugins.stores.sql.database import Database

SHIPPED = "shipped_from "
"""The fact of how far a journal came, before the journal's name: the id of its last record here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings:
    """`url` as in ``sqlite:////absolute/path.db`` or ``sqlite:///relative.db``."""

    url: str = field(
        default="sqlite:///llm-hub.db",
        metadata={"help": "The database file: sqlite:////absolute/path.db, or sqlite:///relative.db."},
    )
    busy_timeout: float = field(
        default=5.0, metadata={"help": "Seconds to wait while another process writes to the same file."}
    )
    synchronous: Literal["full", "normal"] = field(
        default="full",
        metadata={
            "help": "full: what is recorded survives a power cut; normal saves a disk sync for each batch of records, "
            "and a power cut may cost the latest ones."
        },
    )
    query_timeout: float = field(
        default=10.0, metadata={"help": "Seconds after which a question of the dashboard or the admin API is given up."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """`url` as in ``postgresql://user:password@host:5432/database``."""

    url: str = field(
        default="postgresql://localhost/llm-hub",
        metadata={"help": "The database: postgresql://user:password@host:5432/database."},
    )
    pool_size: int = field(default=5, metadata={"help": "Connections kept open by each process."})
    query_pool_size: int = field(
        default=3, metadata={"help": "Connections of each process that the dashboard and the admin API read by."}
    )
    query_timeout: float = field(
        default=10.0, metadata={"help": "Seconds after which a question of theirs is given up."}
    )
    timeout: float = field(
        default=15.0, metadata={"help": "Seconds after which a database that does not answer is given up."}
    )


class _SqlStore(MetadataStore):
    """Hands everything on to the database that `start` opens.

    Errors of the database come through as they are (sqlite3's, SQLAlchemy's, OSError); nothing was stored then,
    and the same call may be made again.
    """

    _database: Database
    _reads_only = False

    def reader(self) -> Self:
        reader = type(self)(self.settings)
        reader._reads_only = True
        return reader

    async def stop(self) -> None:
        await self._database.close()

    async def schema(self) -> SchemaState:
        return await self._database.schema()

    async def migrate(self) -> SchemaState:
        return await self._database.migrate()

    async def append(self, records: Sequence[Record]) -> None:
        await self._database.append(records)

    async def append_from(self, journal: str, records: Sequence[Record]) -> None:
        await self._database.append(records, journal)

    async def last_from(self, journal: str) -> str:
        return await self._database.configuration.fact(SHIPPED + journal)

    async def usage(self, question: UsageQuestion) -> Sequence[UsageRow]:
        """Exact also where `since` or `until` falls within an hour, if records are kept from then. Sorted by group;
        minutes, hours and days are UTC, as ``2026-11-22T14:00:00Z`` and ``2026-11-22``."""
        return await self._database.usage(question)

    async def tags(self, since: float, until: float) -> Sequence[str]:
        """Of whole days of UTC, a hundred at the most."""
        return await self._database.tags(since, until)

    async def latest(self, limit: int, before: tuple[float, str] | None = None) -> Sequence[Record]:
        return await self._database.requests(RecordFilter(), limit, before)

    async def requests(
        self, wanted: RecordFilter, limit: int, before: tuple[float, str] | None = None
    ) -> Sequence[Record]:
        return await self._database.requests(wanted, limit, before)

    async def prune(self, before: float) -> bool:
        return await self._database.retention.prune(before)

    async def kept_since(self) -> float:
        return await self._database.kept_since()

    async def find_record(self, id: str) -> Record | None:
        return await self._database.find_record(id)


class SqliteStore(_SqlStore):
    """One file, for one machine; several processes may share it."""

    name = "sqlite"
    Settings = SqliteSettings

    async def start(self) -> None:
        from llmhub_plugins.stores.sql.sqlite import SqliteDatabase

        self._database = await SqliteDatabase.open(self.settings, self._reads_only)
        self.alerts = self._database.alerts
        self.archive = self._database.archive
        self.bodies = self._database.bodies
        self.people = self._database.people
        self.configuration = self._database.configuration


class PostgresStore(_SqlStore):
    """For several machines, or where a PostgreSQL is at hand. Needs the driver: ``pip install llm-hub[postgres]``."""

    name = "postgresql"
    Settings = PostgresSettings

    async def start(self) -> None:
        from llmhub_plugins.stores.sql.postgres import PostgresDatabase

        self._database = await PostgresDatabase.open(self.settings, self._reads_only)
        self.alerts = self._database.alerts
        self.archive = self._database.archive
        self.bodies = self._database.bodies
        self.people = self._database.people
        self.configuration = self._database.configuration


@hookimpl
def register_metadata_stores() -> list[type[MetadataStore]]:
    return [SqliteStore, PostgresStore]

"""The statement behind the list of requests, and the indexes that keep it quick in millions of records.

Each index is by one thing that people filter by, and then by time: a page is read from its end, and whatever else
is asked of the records is tried on the way. Nearly all records are served, so only the others are worth an index
by outcome.
"""

from __future__ import annotations

from typing import Any

from llmhub_plugins.stores.sql.rows import COLUMNS, storable_text
from llmhub_plugins.stores.sql.tables import records
from sqlalchemy import Index, Select, select, text, tuple_

from llmhub_core.contracts import RecordFilter

INDEXED = ("caller", "model", "provider")

for _name in INDEXED:
    Index(f"ix_records_{_name}_arrived_at", records.c[_name], records.c.arrived_at)

_UNUSUAL = text("outcome <> 'served'")
Index(
    "ix_records_unusual_arrived_at",
    records.c.outcome,
    records.c.arrived_at,
    sqlite_where=_UNUSUAL,
    postgresql_where=_UNUSUAL,
)


def requests_statement(wanted: RecordFilter, limit: int, before: tuple[float, str] | None) -> Select[Any]:
    """Newest first."""
    table = records.c
    statement = select(*(table[name] for name in COLUMNS))
    for name in INDEXED:
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(table[name] == storable_text(value))
    if wanted.outcome is not None:
        statement = statement.where(table.outcome == wanted.outcome)
        if wanted.outcome != "served":
            statement = statement.where(_UNUSUAL)  # in these very words, or the index is not seen to fit
    if wanted.since is not None:
        statement = statement.where(table.arrived_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(table.arrived_at < wanted.until)
    if before is not None:
        arrived_at, id = before
        # The first says nothing new, but an index by time can use it.
        statement = statement.where(table.arrived_at <= arrived_at)
        statement = statement.where(tuple_(table.arrived_at, table.id) < (arrived_at, storable_text(id)))
    return statement.order_by(table.arrived_at.desc(), table.id.desc()).limit(max(0, limit))

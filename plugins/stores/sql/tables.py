"""The schema: every record whole, and its sums.

Sums are written in the same transaction as records, so that at every moment they are the sums of the other table's
rows; they stay when old records are pruned. `usage_hours` knows every combination of what sums are asked by. There can
be nearly as many of these as records, so `usage_totals` has what is asked most, in few rows: a provider's model, a
provider's key, a caller, a caller's model, a tag's value; by minute, hour and day, and what is most by a
quarter of a day, by four days, 16 and 64.

Records have few indexes, for each costs a request as much as all its columns together: by time, with what else is
filtered by, so that what does not fit is passed over within the index; by caller, of whom there are many; and of the
few that were not served.
"""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, text

from llmhub_core.contracts import UsageRow

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)

# Ids are compared byte by byte everywhere, so that pages of records break alike in both databases.
_Id = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


FILTERS = ("caller", "model", "provider")
"""What the list of requests is filtered by, beside time and outcome."""

UNUSUAL = text("outcome <> 'served'")
"""In these very words a statement must say it too, or the index is not seen to fit."""

records = Table(
    "records",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("arrived_at", Double, nullable=False),  # seconds since 1970
    _text("caller"),
    _text("dialect"),
    _text("operation"),
    _text("model"),
    Column("stream", Boolean, nullable=False),
    _text("route"),
    _text("outcome"),
    Column("status", Integer, nullable=False),
    _text("code"),
    _text("source"),
    _text("provider"),
    _text("served_model"),
    _text("key"),
    _text("lane"),
    _text("finish"),
    Column("first_byte_ms", Double),
    Column("total_ms", Double, nullable=False),
    _number("input_tokens"),
    _number("output_tokens"),
    _number("cached_tokens"),
    _number("cache_write_tokens"),
    _number("cache_write_1h_tokens"),
    _number("reasoning_tokens"),
    _number("audio_input_tokens"),
    _number("audio_output_tokens"),
    _number("server_tool_calls"),
    Column("usage_estimated", Boolean, nullable=False),
    Column("cost", BigInteger),  # 10⁻⁹ USD, NULL for unknown
    _text("client_request_id"),
    _text("attempts"),  # from here on JSON
    _text("left_out"),
    _text("adapted"),
    _text("tags"),
    Column("decisions", Text, nullable=False, server_default="[]"),
    Index("ix_records_arrived_at", "arrived_at", "id", *FILTERS),
    Index("ix_records_caller", "caller", "arrived_at", "id", "model", "provider"),
    Index(
        "ix_records_unusual",
        "outcome",
        "arrived_at",
        "id",
        *FILTERS,
        sqlite_where=UNUSUAL,  # for PostgreSQL said in its own room: its dialect takes long to import
    ),
)

GROUP = ("caller", "model", "provider", "served_model", "key")
SUMS = tuple(field.name for field in fields(UsageRow) if field.name != "group")


TOTALS: dict[str, dict[str, str]] = {
    "model": {"provider": "within", "model": "name"},
    "key": {"provider": "within", "key": "name"},
    "caller": {"caller": "name"},
    "caller_model": {"caller": "within", "model": "name"},  # by all spans but minutes and hours
    "tag": {"tag": "name"},  # its name is `within`; of requests that have it
}
"""Of each kind of total, what its two columns of names hold."""


def _began(name: str) -> Column[int]:
    """In seconds since 1970."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def _keys(*names: str) -> list[Column[str]]:
    return [Column(name, Text, primary_key=True) for name in names]


usage_hours = Table(
    "usage_hours", metadata, _began("hour"), *_keys(*GROUP), *map(_number, SUMS), sqlite_with_rowid=False
)

usage_totals = Table(
    "usage_totals",
    metadata,
    Column("span", Integer, primary_key=True, autoincrement=False),  # in seconds, as `sums` has them
    *_keys("by"),  # what `name` is a name of; `TOTALS` has them all
    _began("began"),
    *_keys("within", "name"),
    *map(_number, SUMS),
    sqlite_with_rowid=False,
)

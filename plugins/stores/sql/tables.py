"""The schema: every record whole, and its sums by the hour.

`usage_hours` is written in the same transaction as `records`, so that at every moment its rows are the sums of
the other table's.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TEXT as POSTGRES_TEXT

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)

# Ids are compared byte by byte everywhere, so that pages of records break alike in both databases.
_Id = Text().with_variant(POSTGRES_TEXT(collation="C"), "postgresql")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


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
    Index(None, "arrived_at", "id"),
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # when it began, in seconds since 1970
    Column("caller", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("served_model", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _number("requests"),
    _number("served"),
    _number("failed"),
    _number("input_tokens"),
    _number("output_tokens"),
    _number("cached_tokens"),
    _number("reasoning_tokens"),
    _number("cost"),
    _number("unpriced"),
    sqlite_with_rowid=False,
)

"""The schema's third part: what was configured beside the file, and single facts that the hub keeps for itself."""

from __future__ import annotations

from llmhub_plugins.stores.sql.tables import metadata
from sqlalchemy import BigInteger, Column, Double, Integer, Table, Text

entries = Table(
    "configuration",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("changed_at", Double, nullable=False),
)

# One row, there from the first change on: what was removed is seen too, and whoever writes waits here for its turn.
changes = Table(
    "configuration_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("text", Text, nullable=False),
)

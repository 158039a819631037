"""The schema's fifth part: what was asked and answered, sealed, where somebody wants it kept."""

from __future__ import annotations

from llmhub_plugins.stores.sql.tables import metadata
from sqlalchemy import Column, Double, Index, Table, Text

bodies = Table(
    "bodies",
    metadata,
    Column("id", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True),  # the record's
    Column("at", Double, nullable=False),
    Column("key", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Index(None, "at"),
)

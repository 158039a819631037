"""The schema's fourth part: what is or was not well, and what nobody wants to hear of for a time."""

from __future__ import annotations

from llmhub_plugins.stores.sql.tables import metadata
from sqlalchemy import Column, Double, Index, Table, Text

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("rule", "subject", "severity", "what", "advice", "page")),
    Column("opened_at", Double, nullable=False),
    Column("recovered_at", Double),
    Column("told", Text, nullable=False),
    Column("told_at", Double, nullable=False),
    Index(None, "opened_at", "id"),
    Index(None, "recovered_at"),
)

mutes = Table(
    "alert_mutes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("until", Double, nullable=False),
    Column("by", Text, nullable=False),
)

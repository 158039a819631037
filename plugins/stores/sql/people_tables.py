"""The schema's second half: who may sign in, who is signed in, who guessed, and what everybody did."""

from __future__ import annotations

from llmhub_plugins.stores.sql.tables import metadata
from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, Table, Text

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("verifier", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Index(None, "name", unique=True),
)

setup_links = Table(
    "setup_links",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("until", Double, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Index(None, "user_id"),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_at", Double, nullable=False),
    Index(None, "last_at"),
)

admin_tokens = Table(
    "admin_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("name", "digest", "hint", "role", "user_id")),
    *(Column(name, Double, nullable=False) for name in ("created_at", "until", "used_at")),
    Index(None, "name", unique=True),
    Index(None, "digest", unique=True),
)

kept_answers = Table(
    "kept_answers",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("request", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("answer", Text, nullable=False),
    Index(None, "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in ("actor", "address", "action", "subject", "result", "before", "after", "previous", "digest")
    ),
)

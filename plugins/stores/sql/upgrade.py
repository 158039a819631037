"""Runs the migrations. The only room that imports Alembic; imported when a database is behind."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from llmhub_plugins.stores.sql.migrations import REVISIONS, step
from sqlalchemy import Connection


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def steps_from(current: str) -> dict[str, str]:
    """What is to be done to a database at revision `current`, in order: each revision and what it brings."""
    scripts = ScriptDirectory.from_config(alembic_config())
    later = REVISIONS[REVISIONS.index(current) + 1 :] if current else REVISIONS
    return {revision: " ".join(scripts.get_revision(revision).doc.split()) for revision in later}


def upgrade(connection: Connection, current: str = "") -> None:
    """To the latest revision, within the transaction that `connection` is in."""
    for revision, brings in steps_from(current).items():
        with step(f"{revision}: {brings}"):
            command.upgrade(alembic_config(connection), revision)

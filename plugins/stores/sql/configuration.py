"""What was configured beside the file, in both databases by the same statements.

Every change takes the next number of `changes` first. That row stays locked until the change is committed, so that
changes are seen in the order of their numbers, and of two writers at once the second sees what the first wrote.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from llmhub_plugins.stores.sql.aio import AsyncConnection, AsyncEngine
from llmhub_plugins.stores.sql.configuration_tables import changes, entries, facts
from llmhub_plugins.stores.sql.reading import Reader
from llmhub_plugins.stores.sql.rows import storable_text
from llmhub_plugins.stores.sql.writing import insert_into, writing
from sqlalchemy import ColumnElement, and_, bindparam, delete, select, true

from llmhub_core.contracts import ABSENT, ENTRY_KINDS, ConfigurationStore, Entry, EntryKind

_REVISION = select(changes.c.revision)
_FACT = select(facts.c.text).where(facts.c.name == bindparam("name"))


class SqlConfiguration(ConfigurationStore):
    def __init__(self, engine: AsyncEngine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader

    async def entries(self) -> tuple[int, Sequence[Entry]]:
        # One statement, for PostgreSQL shows each one another moment.
        statement = select(changes.c.revision, entries).select_from(changes.outerjoin(entries, true()))
        rows = await self._reader.rows(statement)
        found = [Entry(*row[1:]) for row in rows if row[1] is not None]
        return (
            rows[0][0] if rows else ABSENT,
            sorted(found, key=lambda entry: (ENTRY_KINDS.index(entry.kind), entry.name)),
        )

    async def revision(self) -> int:
        rows = await self._reader.rows(_REVISION)
        return rows[0][0] if rows else ABSENT

    async def put(self, entry: Entry, expected: int | None = None) -> Entry | None:
        async with writing(self._engine) as connection:
            revision = await next_revision(connection)
            if expected is not None and await _standing(connection, entry.kind, entry.name) != expected:
                await connection.rollback()
                return None
            stored = replace(
                entry,
                name=storable_text(entry.name),
                body=storable_text(entry.body),
                sealed=storable_text(entry.sealed),
                revision=revision,
                changed_at=entry.changed_at or time.time(),
            )
            row = asdict(stored)
            insert = insert_into(self._engine, entries).values(row)
            await connection.execute(insert.on_conflict_do_update(index_elements=["kind", "name"], set_=row))
        return stored

    async def remove(self, kind: EntryKind, name: str, expected: int | None = None) -> bool:
        if name != storable_text(name):
            return False
        async with writing(self._engine) as connection:
            await next_revision(connection)
            standing = await _standing(connection, kind, name)
            if standing == ABSENT or expected not in (None, standing):
                await connection.rollback()
                return False
            await connection.execute(delete(entries).where(_named(kind, name)))
        return True

    async def reseal(self, kind: EntryKind, name: str, was: str, sealed: str) -> bool:
        update = entries.update().where(_named(kind, name), entries.c.sealed == was).values(sealed=sealed)
        async with writing(self._engine) as connection:
            return bool((await connection.execute(update)).rowcount)

    async def fact(self, name: str) -> str:
        rows = await self._reader.rows(_FACT, {"name": name})
        return rows[0][0] if rows else ""

    async def keep_fact(self, name: str, text: str, was: str | None = None) -> bool:
        insert = insert_into(self._engine, facts).values(name=name, text=text)
        condition = None if was is None else facts.c.text == was
        keep = (
            facts.update().where(facts.c.name == name, facts.c.text == was).values(text=text)
            if was
            else insert.on_conflict_do_update(index_elements=["name"], set_={"text": text}, where=condition)
        )
        async with writing(self._engine) as connection:
            return bool((await connection.execute(keep)).rowcount)


async def next_revision(connection: AsyncConnection) -> int:
    """The number of a change that `connection` makes; its row is locked until that is committed."""
    insert = insert_into(connection.engine, changes).values(id=1, revision=ABSENT + 1)
    counted = insert.on_conflict_do_update(index_elements=["id"], set_={"revision": changes.c.revision + 1})
    number: int = (await connection.execute(counted.returning(changes.c.revision))).scalar_one()
    return number


def _named(kind: EntryKind, name: str) -> ColumnElement[bool]:
    return and_(entries.c.kind == kind, entries.c.name == name)


async def _standing(connection: AsyncConnection, kind: EntryKind, name: str) -> int:
    """The revision of what is there now."""
    statement = select(entries.c.revision).where(_named(kind, storable_text(name)))
    return (await connection.execute(statement)).scalar() or ABSENT

"""How old records go: a few at a time, by one process, and with a mark of how far that went.

The mark is set before the first of them goes, and always to a whole hour: what was before it is asked of sums, which
stay, and what came after it of records.
"""

from __future__ import annotations

import time
from secrets import token_hex
from typing import Any

from llmhub_plugins.stores.sql.aio import AsyncEngine
from llmhub_plugins.stores.sql.body_tables import bodies
from llmhub_plugins.stores.sql.configuration import SqlConfiguration
from llmhub_plugins.stores.sql.configuration_tables import facts
from llmhub_plugins.stores.sql.reading import Read
from llmhub_plugins.stores.sql.sums import HOUR, PASSING
from llmhub_plugins.stores.sql.tables import records, usage_totals
from llmhub_plugins.stores.sql.writing import writing
from sqlalchemy import delete, func, select

STEP = 500
"""Records that go in one transaction: nobody waits longer for it than for a batch that comes."""

LEASE = 120.0
"""Seconds after which another process may go on where one stopped."""

HOLDER = "records_pruned_by"
"""The fact of who lets records go, and until when nobody else does: a name and a time."""

_MARK = "records_kept_since"

_KEPT_SINCE = select(facts.c.text).where(facts.c.name == _MARK)


class Retention:
    def __init__(self, engine: AsyncEngine, configuration: SqlConfiguration) -> None:
        self._engine = engine
        self._facts = configuration
        self._name = token_hex(8)

    async def prune(self, before: float) -> bool:
        """One step; False if there is nothing more to do, or another process does it."""
        if not await self.is_ours(time.time()):
            return False
        for span, (by, kept) in PASSING.items():
            if await self._prune_sums(span, by, int(time.time()) - kept):
                return True
        before = int(max(before, 0.0)) // HOUR * HOUR
        async with self._engine.connect() as connection:
            oldest = (await connection.execute(select(func.min(records.c.arrived_at)))).scalar()
        if oldest is None or oldest >= before:
            return False
        known = await self._facts.fact(_MARK)
        if int(known or 0) < before:
            await self._facts.keep_fact(_MARK, str(before), known)
            return True
        old = select(records.c.id).where(records.c.arrived_at < before).order_by(records.c.arrived_at).limit(STEP)
        async with writing(self._engine) as connection:
            holder = (await connection.execute(select(facts.c.text).where(facts.c.name == HOLDER))).scalar() or ""
            if not holder.startswith(self._name):
                return False  # since a moment ago somebody holds all of them
            gone = (await connection.execute(old)).scalars().all()
            await connection.execute(delete(bodies).where(bodies.c.id.in_(gone)))
            await connection.execute(delete(records).where(records.c.id.in_(gone)))
        return True

    async def is_ours(self, now: float) -> bool:
        """Whether this process is the one that lets things go."""
        known = await self._facts.fact(HOLDER)
        holder, _, until = known.partition(" ")
        if holder and holder != self._name and float(until) > now:
            return False
        if holder == self._name and float(until) > now + LEASE / 2:
            return True
        return await self._facts.keep_fact(HOLDER, f"{self._name} {now + LEASE}", known)

    async def _prune_sums(self, span: int, by: str, before: int) -> bool:
        """An hour of them, or one span."""
        table = usage_totals.c
        these = (table.span == span) & (table.by == by)
        async with self._engine.connect() as connection:
            first = (await connection.execute(select(func.min(table.began)).where(these))).scalar()
        if first is None or first >= before:
            return False
        await self._delete(delete(usage_totals).where(these, table.began < min(first + max(span, HOUR), before)))
        return True

    async def _delete(self, statement: Any) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(statement)


def kept_since(read: Read) -> float:
    """Records that arrived before this moment may be gone."""
    rows = read(_KEPT_SINCE)
    return float(rows[0][0]) if rows else 0.0

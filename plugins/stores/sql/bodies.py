"""Sealed bodies of requests, in both databases by the same statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import time

from llmhub_plugins.stores.sql.aio import AsyncEngine
from llmhub_plugins.stores.sql.body_tables import bodies
from llmhub_plugins.stores.sql.reading import Reader
from llmhub_plugins.stores.sql.retention import Retention
from llmhub_plugins.stores.sql.rows import storable_text
from llmhub_plugins.stores.sql.writing import insert_into, writing
from sqlalchemy import delete, func, select

from llmhub_core.contracts import BodyStore, SealedBody

STEP = 100
"""Bodies that go in one transaction: they are larger than records."""


class SqlBodies(BodyStore):
    def __init__(self, engine: AsyncEngine, reader: Reader, retention: Retention) -> None:
        self._engine = engine
        self._reader = reader
        self._retention = retention

    async def keep_bodies(self, batch: Sequence[SealedBody]) -> None:
        if batch:
            insert = insert_into(self._engine, bodies).on_conflict_do_nothing()
            async with writing(self._engine) as connection:
                await connection.execute(insert, [asdict(each) for each in batch])

    async def find_body(self, id: str) -> SealedBody | None:
        if id != storable_text(id):
            return None
        rows = await self._reader.rows(select(bodies).where(bodies.c.id == id))
        return SealedBody(*rows[0]) if rows else None

    async def has_body(self, id: str) -> bool:
        if id != storable_text(id):
            return False
        return bool(await self._reader.rows(select(bodies.c.id).where(bodies.c.id == id)))

    async def forget_body(self, id: str) -> bool:
        async with writing(self._engine) as connection:
            gone = await connection.execute(delete(bodies).where(bodies.c.id == storable_text(id)))
            return bool(gone.rowcount)

    async def prune_bodies(self, before: float) -> bool:
        if not await self._retention.is_ours(time()):
            return False
        old = select(bodies.c.id).where(bodies.c.at < before).order_by(bodies.c.at).limit(STEP)
        async with writing(self._engine) as connection:
            gone = await connection.execute(delete(bodies).where(bodies.c.id.in_(old)))
            return gone.rowcount >= STEP

    async def bodies_by_key(self) -> Mapping[str, int]:
        counted = select(bodies.c.key, func.count()).group_by(bodies.c.key).order_by(bodies.c.key)
        return {row[0]: row[1] for row in await self._reader.rows(counted)}

    async def bodies_of_others(self, key: str, limit: int, after: str = "") -> Sequence[SealedBody]:
        others = select(bodies).where(bodies.c.key != key, bodies.c.id > after).order_by(bodies.c.id).limit(limit)
        return [SealedBody(*row) for row in await self._reader.rows(others)]

    async def replace_bodies(self, was: Sequence[SealedBody], now: Sequence[SealedBody]) -> int:
        replaced = 0
        async with writing(self._engine) as connection:
            for before, after in zip(was, now, strict=True):
                same = (bodies.c.id == before.id) & (bodies.c.sealed == before.sealed)
                update = bodies.update().where(same).values(key=after.key, sealed=after.sealed)
                replaced += (await connection.execute(update)).rowcount
        return replaced

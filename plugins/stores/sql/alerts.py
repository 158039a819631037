"""Alerts and mutes, in both databases by the same statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llmhub_plugins.stores.sql.aio import AsyncEngine
from llmhub_plugins.stores.sql.alert_tables import alerts, mutes
from llmhub_plugins.stores.sql.reading import Reader
from llmhub_plugins.stores.sql.rows import storable_text
from llmhub_plugins.stores.sql.writing import insert_into, writing
from sqlalchemy import Select, and_, delete, or_, select, tuple_

from llmhub_core.contracts import Alert, AlertStore, Mute

ONE_AT_A_TIME = 7_453_010_771_942_105_119
"""The advisory lock of whoever looks whether an alert is open before it opens one."""


class SqlAlerts(AlertStore):
    def __init__(self, engine: AsyncEngine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader

    async def open_alert(self, alert: Alert) -> Alert:
        row = _row(alert)
        same = and_(alerts.c.rule == row["rule"], alerts.c.subject == row["subject"], alerts.c.recovered_at.is_(None))
        async with writing(self._engine, ONE_AT_A_TIME) as connection:
            there = (await connection.execute(select(alerts).where(same).limit(1))).mappings().first()
            if there is not None:
                return Alert(**there)
            await connection.execute(insert_into(self._engine, alerts).values(row))
        return Alert(**row)

    async def keep_alert(self, alert: Alert) -> None:
        row = _row(alert)
        insert = insert_into(self._engine, alerts).values(row)
        async with writing(self._engine) as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=row))

    async def unsettled_alerts(self) -> Sequence[Alert]:
        unsettled = or_(alerts.c.recovered_at.is_(None), alerts.c.told == "open")
        return await self._read(select(alerts).where(unsettled).order_by(alerts.c.opened_at, alerts.c.id))

    async def alerts(self, limit: int, before: tuple[float, str] | None = None) -> Sequence[Alert]:
        statement = select(alerts).order_by(alerts.c.opened_at.desc(), alerts.c.id.desc()).limit(max(0, limit))
        if before is not None:
            at, id = before
            statement = statement.where(tuple_(alerts.c.opened_at, alerts.c.id) < tuple_(at, storable_text(id)))
        return await self._read(statement)

    async def _read(self, statement: Select[Any]) -> Sequence[Alert]:
        return [Alert(**row._mapping) for row in await self._reader.rows(statement)]

    async def forget_alerts(self, before: float) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(delete(alerts).where(alerts.c.recovered_at < before))

    async def mute(self, mute: Mute) -> None:
        row = _row(mute)
        async with writing(self._engine) as connection:
            same = and_(mutes.c.rule == row["rule"], mutes.c.subject == row["subject"])
            await connection.execute(delete(mutes).where(same))
            await connection.execute(mutes.insert().values(row))

    async def unmute(self, id: str) -> bool:
        async with writing(self._engine) as connection:
            return bool((await connection.execute(delete(mutes).where(mutes.c.id == storable_text(id)))).rowcount)

    async def mutes(self, now: float) -> Sequence[Mute]:
        statement = select(mutes).where(mutes.c.until > now).order_by(mutes.c.until, mutes.c.id)
        return [Mute(**row._mapping) for row in await self._reader.rows(statement)]


def _row(it: Alert | Mute) -> dict[str, Any]:
    return {name: storable_text(value) if isinstance(value, str) else value for name, value in asdict(it).items()}

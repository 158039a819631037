"""The statement that answers "how much was used": whole hours from the sums, the ragged ends from the records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from llmhub_plugins.stores.sql.rows import DAY, HOUR, SUMS, hour_of
from llmhub_plugins.stores.sql.tables import records, usage_hours
from sqlalchemy import ColumnElement, Select, case, func, literal, select, union_all

from llmhub_core.contracts import UsageQuestion, UsageRow

END_OF_TIME = 253_402_300_800.0
"""The year 10000, in which dates end."""


def usage_statement(question: UsageQuestion) -> Select[Any] | None:
    """One statement, so that what it adds up is of one moment; None for an empty span of time."""
    since, until = max(question.since, 0.0), min(question.until, END_OF_TIME)
    if not since < until:
        return None
    first = hour_of(since) if since == hour_of(since) else hour_of(since) + HOUR
    last = hour_of(until)
    parts: list[Select[Any]] = []
    if first < last:
        parts.append(_whole_hours(first, last))
    if first > last:  # both within one hour
        parts.append(_records(since, until))
    else:
        if since < first:
            parts.append(_records(since, float(first)))
        if last < until:
            parts.append(_records(float(last), until))
    every = union_all(*parts).subquery()
    groups = [_group(name, every.c) for name in question.by]
    sums = [func.coalesce(func.sum(every.c[name]), 0) for name in SUMS]
    return select(*groups, *sums).group_by(*groups).order_by(*groups)


def usage_row(question: UsageQuestion, row: Sequence[Any]) -> UsageRow:
    width = len(question.by)
    group = tuple(_shown(name, value) for name, value in zip(question.by, row[:width], strict=True))
    return UsageRow(group, *(int(value) for value in row[width:]))  # PostgreSQL sums to Decimal


def _whole_hours(first: int, last: int) -> Select[Any]:
    table = usage_hours.c
    columns = [table[name] for name in ("hour", "caller", "model", "provider", "key", *SUMS)]
    return select(*columns).where(table.hour >= first, table.hour < last)


def _records(since: float, until: float) -> Select[Any]:
    """Records of one hour, as if each were a sum."""
    table = records.c
    served = table.outcome == "served"
    sums: dict[str, ColumnElement[Any]] = {
        "requests": literal(1),
        "served": case((served, 1), else_=0),
        "failed": case((table.outcome == "failed", 1), else_=0),
        "cost": func.coalesce(table.cost, 0),
        "unpriced": case((served & table.cost.is_(None), 1), else_=0),
    }
    return select(
        literal(hour_of(since)).label("hour"),
        table.caller,
        table.model,
        table.provider,
        table.key,
        *((sums[name] if name in sums else table[name]).label(name) for name in SUMS),
    ).where(table.arrived_at >= since, table.arrived_at < until)


def _group(name: str, columns: Any) -> ColumnElement[Any]:
    column: ColumnElement[Any] = columns["hour" if name == "day" else name]
    return column - column % DAY if name == "day" else column


def _shown(name: str, value: Any) -> str:
    if name == "hour":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if name == "day":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d")
    return str(value)

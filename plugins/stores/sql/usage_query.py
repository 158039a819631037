"""The statement that answers "how much was used": from the widest sums that fit, the ragged ends from the records.

A statement is made once for all questions that differ in their times alone: making one costs more than asking it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from llmhub_plugins.stores.sql.rows import storable_text
from llmhub_plugins.stores.sql.sums import DAY, HOUR, LONG, MINUTE, MINUTES_KEPT
from llmhub_plugins.stores.sql.tables import GROUP, SUMS, TOTALS, records, usage_hours, usage_totals
from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, case, func, literal, select, union_all
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from llmhub_core.contracts import UsageQuestion, UsageRow

END_OF_TIME = 253_402_300_800.0
"""The year 10000, in which dates end."""

SPANS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
_SPANS_OF: dict[str, tuple[int, ...]] = {"": (HOUR,), "caller_model": (LONG, DAY, HOUR)}
"""The widest first; of other totals there are days and hours."""
_SHAPES = {"minute": "%Y-%m-%dT%H:%M:%SZ", "hour": "%Y-%m-%dT%H:%M:%SZ", "day": "%Y-%m-%d"}


_NAMES: Any = bindparam("names", expanding=True)


class _Whole(FunctionElement[int]):
    """Seconds without their fraction."""

    inherit_cache = True
    type = BigInteger()


@compiles(_Whole)
def _whole(element: _Whole, compiler: Any, **options: Any) -> str:
    return f"CAST(floor({compiler.process(element.clauses, **options)}) AS BIGINT)"


@compiles(_Whole, "sqlite")
def _whole_in_sqlite(element: _Whole, compiler: Any, **options: Any) -> str:
    # Not every SQLite has floor; its CAST cuts off, where PostgreSQL's rounds.
    return f"CAST({compiler.process(element.clauses, **options)} AS INTEGER)"


def usage_statement(
    question: UsageQuestion, now: float, kept_since: float
) -> tuple[Select[Any], dict[str, Any]] | None:
    """One statement and its times, so that what it adds up is of one moment; None for an empty span of time.

    Before `kept_since`, a whole hour, there are sums only: a span that begins or ends there has whole hours.
    """
    since, until = max(question.since, 0.0), min(question.until, END_OF_TIME)
    if not since < until:
        return None
    if until >= now:  # nothing arrived after it, so the span in which it lies need not be taken apart
        until = min(-(-until // LONG) * LONG, END_OF_TIME)
    if since < kept_since:
        since = since // HOUR * HOUR
    if until < kept_since:
        until = -(-until // HOUR) * HOUR
    by = _totals_of(question)
    narrowest = min((SPANS[name] for name in question.by if name in SPANS), default=LONG)
    spans = [span for span in _SPANS_OF.get(by, (DAY, HOUR)) if span <= narrowest]
    if by == "model" and since >= now - MINUTES_KEPT + HOUR:  # an hour before they are pruned nobody reads them
        spans.append(MINUTE)
    pieces = _pieces(since, until, spans)
    if narrowest == MINUTE and since < kept_since:  # its minutes are gone: they count in the first of their hour
        middle = min(until, kept_since)
        pieces = chain(_pieces(since, middle, [HOUR]), _pieces(middle, until, spans))
    widths: list[int] = []
    times: dict[str, float] = {}
    for number, (span, begin, end) in enumerate(pieces):
        widths.append(span)
        times |= {f"since{number}": int(begin) if span else begin, f"until{number}": int(end) if span else end}
    only = question.by[-1] if question.names else ""
    values: dict[str, Any] = times | ({"names": [storable_text(name) for name in question.names]} if only else {})
    return _statement(by, tuple(question.by), tuple(widths), only), values


@lru_cache(maxsize=256)
def _statement(by: str, group: tuple[str, ...], widths: tuple[int, ...], only: str) -> Select[Any]:
    parts = [_part(by, span, number, only) for number, span in enumerate(widths)]
    every = union_all(*parts).subquery()
    groups = [_group(name, every.c) for name in group]
    sums = [func.coalesce(func.sum(every.c[name]), 0) for name in SUMS]
    return select(*groups, *sums).group_by(*groups).order_by(*groups)


def usage_row(question: UsageQuestion, row: Sequence[Any]) -> UsageRow:
    width = len(question.by)
    group = tuple(map(_shown, question.by, row[:width]))
    return UsageRow(group, *map(int, row[width:]))  # PostgreSQL sums to Decimal


def _totals_of(question: UsageQuestion) -> str:
    """Which totals know all that is asked by; "" where only the table of all combinations does."""
    names = set(question.by) - set(SPANS)
    return next((by for by, known in TOTALS.items() if names <= set(known)), "")


def _pieces(since: float, until: float, spans: Sequence[int]) -> Iterator[tuple[int, float, float]]:
    """[`since`, `until`) in pieces of whole spans, the widest in the middle; 0 for what only records can tell."""
    if not since < until:
        return
    if not spans:
        yield 0, since, until
        return
    span, *narrower = spans
    first, last = float(-(-since // span) * span), float(until // span * span)
    if first < last:
        yield from _pieces(since, first, narrower)
        yield span, first, last
        yield from _pieces(last, until, narrower)
    else:
        yield from _pieces(since, until, narrower)


def _part(by: str, span: int, number: int, only: str) -> Select[Any]:
    """Columns `began`, `caller`, `model`, `provider`, `key` and the sums, wherever they come from."""
    since: Any = bindparam(f"since{number}")
    until: Any = bindparam(f"until{number}")
    if not span:
        found = _records(since, until)
        return found.where(records.c[only].in_(_NAMES)) if only else found
    if not by or (by == "caller_model" and span == HOUR):
        table, began = usage_hours, usage_hours.c.hour
        names = {name: table.c[name] for name in GROUP}
        where = []
    else:
        table, began = usage_totals, usage_totals.c.began
        names = {name: table.c[column] for name, column in TOTALS[by].items()}
        where = [table.c.span == span, table.c.by == by]
    where += [began >= since, began < until]
    if only:
        where.append(names[only].in_(_NAMES))
    columns = [names.get(name, literal("")).label(name) for name in ("caller", "model", "provider", "key")]
    return select(began.label("began"), *columns, *(table.c[name] for name in SUMS)).where(*where)


def _records(since: Any, until: Any) -> Select[Any]:
    """Records, as if each were a sum."""
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
        _Whole(table.arrived_at).label("began"),
        *(table[name] for name in ("caller", "model", "provider", "key")),
        *((sums[name] if name in sums else table[name]).label(name) for name in SUMS),
    ).where(table.arrived_at >= since, table.arrived_at < until)


def _group(name: str, columns: Any) -> ColumnElement[Any]:
    if name not in SPANS:
        column: ColumnElement[Any] = columns[name]
        return column
    return columns.began - columns.began % SPANS[name]  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def _shown(name: str, value: Any) -> str:
    return datetime.fromtimestamp(value, UTC).strftime(_SHAPES[name]) if name in SPANS else str(value)

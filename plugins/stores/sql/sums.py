"""The sums of a batch of records, as rows for each of the tables that keep sums. Knows no database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import add
from typing import Any

from llmhub_plugins.stores.sql.tables import GROUP, SUMS, usage_hours, usage_totals
from sqlalchemy import Table

from llmhub_core.contracts import Record

MINUTE = 60
HOUR = 3600
QUARTER = 6 * HOUR
DAY = 86_400
FOUR = 4 * DAY
LONG = 16 * DAY
LONGEST = 64 * DAY
"""By these, four days and a quarter of one the models of each caller are summed: of these a month by the day would
be a hundred thousand rows, and of all combinations, where hours stand, a day has tens of thousands. Callers are summed
by 16 days too, for a year of them by the day would be as many."""

PASSING: dict[int, tuple[str, int]] = {MINUTE: ("model", 2 * DAY), QUARTER: ("caller_model", 64 * DAY)}
"""Sums that go: by what they are summed, and for how long they are kept. Minutes are for charts of what happens now and
for spans that begin within an hour, quarters for a month and the one before it."""

TABLES: tuple[Table, ...] = (usage_hours, usage_totals)

KEYS: dict[Table, tuple[str, ...]] = {
    usage_hours: ("hour", *GROUP),
    usage_totals: ("span", "by", "began", "within", "name"),
}

Row = tuple[Any, ...]
_Sums = dict[Row, Sequence[int]]


def columns_of(table: Table) -> tuple[str, ...]:
    """The order of the values in the rows of `summed`."""
    return (*KEYS[table], *SUMS)


def summed(records: Collection[Record], now: float) -> list[tuple[Table, list[Row]]]:
    """What is to be added to each of `TABLES`. Sorted, so that two processes that write the same rows lock them in the
    same order."""
    minutes = _by_minute(records)
    hours = _folded(minutes, lambda group: (group[0] - group[0] % HOUR, *group[1:]))
    totals: _Sums = {}
    recent = {group: sums for group, sums in minutes.items() if group[0] >= now - PASSING[MINUTE][1]}
    totals |= _folded(recent, lambda group: (MINUTE, "model", group[0], group[3], group[2]))
    totals |= _folded(hours, lambda group: (HOUR, "model", group[0], group[3], group[2]))
    totals |= _folded(hours, lambda group: (HOUR, "key", group[0], group[3], group[5]))
    totals |= _folded(hours, lambda group: (HOUR, "caller", group[0], "", group[1]))
    totals |= _by_tag(records)
    by_hour = {group: sums for group, sums in totals.items() if group[0] == HOUR}
    totals |= _folded(by_hour, partial(_widened, DAY))
    callers = {group: sums for group, sums in totals.items() if group[0] == DAY and group[1] == "caller"}
    totals |= _folded(callers, partial(_widened, LONG))
    wider = _folded(hours, lambda group: (QUARTER, "caller_model", group[0] - group[0] % QUARTER, group[1], group[2]))
    totals |= {group: sums for group, sums in wider.items() if group[2] >= now - PASSING[QUARTER][1]}
    for span in (DAY, FOUR, LONG, LONGEST):
        wider = _folded(wider, partial(_widened, span))
        totals |= wider
    return [(table, _rows(sums)) for table, sums in zip(TABLES, (hours, totals), strict=True)]


def _widened(span: int, group: Row) -> Row:
    """The group of totals in which this one of a narrower span counts."""
    return span, group[1], group[2] - group[2] % span, *group[3:]


def _by_minute(records: Iterable[Record]) -> _Sums:
    """By the minute, and all of `GROUP`."""
    sums: dict[Row, list[int]] = {}
    for record in records:
        group = (
            record.arrived_at // MINUTE,
            record.caller,
            record.model,
            record.provider,
            record.served_model,
            record.key,
        )
        total = sums.get(group)
        if total is None:
            total = sums[group] = [0] * 9
        _count(record, total)
    return {(int(group[0]) * MINUTE, *group[1:]): total for group, total in sums.items()}


def _by_tag(records: Iterable[Record]) -> Mapping[Row, list[int]]:
    """By the hour, as groups of totals. An empty value is as none."""
    sums: dict[Row, list[int]] = {}
    for record in records:
        if record.tags:
            hour = int(record.arrived_at // HOUR) * HOUR
            for name, value in record.tags.items():
                if value:
                    _count(record, sums.setdefault((HOUR, "tag", hour, name, value), [0] * 9))
    return sums


def _count(record: Record, total: list[int]) -> None:
    total[0] += 1
    if record.outcome == "served":
        total[1] += 1
        if record.cost is None:
            total[8] += 1
    elif record.outcome == "failed":
        total[2] += 1
    total[3] += record.input_tokens
    total[4] += record.output_tokens
    if record.cached_tokens:
        total[5] += record.cached_tokens
    if record.reasoning_tokens:
        total[6] += record.reasoning_tokens
    if record.cost:
        total[7] += record.cost


def _folded(sums: _Sums, group_of: Callable[[Row], Row]) -> _Sums:
    folded: _Sums = {}
    for group, each in sums.items():
        wider = group_of(group)
        total = folded.get(wider)
        folded[wider] = each if total is None else [*map(add, total, each)]
    return folded


def _rows(sums: _Sums) -> list[Row]:
    return [(*group, *sums[group]) for group in sorted(sums)]

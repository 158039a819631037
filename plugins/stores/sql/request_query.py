"""The statements behind the list of requests: newest first, and which days to look at for what is rare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from llmhub_plugins.stores.sql.reading import Read
from llmhub_plugins.stores.sql.rows import COLUMNS, storable_text
from llmhub_plugins.stores.sql.sums import DAY
from llmhub_plugins.stores.sql.tables import FILTERS, UNUSUAL, records, usage_totals
from sqlalchemy import Select, func, select, tuple_

from llmhub_core.contracts import RecordFilter

Seen = tuple[float, str]

FIRST_LOOK = 16 * DAY
"""Days that are looked through at first for what is filtered by; then eight times as many, and so on."""

GAP = 3 * DAY
"""An index is read on over so much of nothing: that is less work than to ask once more."""


def find_requests(read: Read, wanted: RecordFilter, limit: int, before: Seen | None) -> Sequence[Any]:
    """Rows of `COLUMNS`, newest first.

    A caller has an index. A model or a provider is nearly always frequent, and a page of it is found soon in the index
    by time; where it is not, totals tell which days to look at.
    """
    if wanted.caller is not None or (wanted.model is None and wanted.provider is None):
        return read(requests_statement(wanted, limit, before))
    found: list[Any] = []
    for since, until in _days(read, wanted, before):
        part = replace(wanted, since=since, until=until)
        found += read(requests_statement(part, limit - len(found), before))
        if len(found) >= limit:
            break
    return found


def requests_statement(wanted: RecordFilter, limit: int, before: Seen | None) -> Select[Any]:
    table = records.c
    statement = select(*(table[name] for name in COLUMNS))
    for name in FILTERS:
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(table[name] == storable_text(value))
    if wanted.outcome is not None:
        statement = statement.where(table.outcome == wanted.outcome)
        if wanted.outcome != "served":
            statement = statement.where(UNUSUAL)
    if wanted.since is not None:
        statement = statement.where(table.arrived_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(table.arrived_at < wanted.until)
    if before is not None:
        arrived_at, id = before
        # The first says nothing new, but an index by time can use it.
        statement = statement.where(table.arrived_at <= arrived_at)
        statement = statement.where(tuple_(table.arrived_at, table.id) < (arrived_at, storable_text(id)))
    return statement.order_by(table.arrived_at.desc(), table.id.desc()).limit(max(0, limit))


def _days(read: Read, wanted: RecordFilter, before: Seen | None) -> Iterator[tuple[float, float]]:
    """Spans in which there may be such records, newest first; elsewhere there are none."""
    # Each by itself, or SQLite would look at every record.
    ends = (select(end(records.c.arrived_at)).scalar_subquery() for end in (func.min, func.max))
    first, last = (read(select(*ends)))[0]
    if first is None:
        return
    since = max(first, wanted.since if wanted.since is not None else first)
    until = last + 1.0  # no span ends at its last moment
    if wanted.until is not None:
        until = min(until, wanted.until)
    if before is not None:
        until = min(until, before[0] + 1.0)
    end, width = -(-until // DAY) * DAY, FIRST_LOOK
    while end > since:
        begin = max(end - width, since // DAY * DAY)
        days = [day for (day,) in read(_days_statement(wanted, begin, end))]
        for begun, ended in _joined(days):
            if begun < until and ended > since:
                yield max(begun, since), min(ended, until)
        end, width = begin, width * 8


def _days_statement(wanted: RecordFilter, since: float, until: float) -> Select[Any]:
    """When the days began on which there was what is filtered by; the latest first."""
    table = usage_totals.c
    where = [table.span == DAY, table.by == "model", table.began >= int(since), table.began < int(until)]
    if wanted.provider is not None:
        where.append(table.within == storable_text(wanted.provider))
    if wanted.model is not None:
        where.append(table.name == storable_text(wanted.model))
    return select(table.began).where(*where).distinct().order_by(table.began.desc())


def _joined(days: Sequence[int]) -> list[tuple[float, float]]:
    """Days, the latest first, as spans, over short gaps."""
    spans: list[tuple[float, float]] = []
    for day in days:
        if spans and spans[-1][0] <= day + GAP:
            spans[-1] = (float(day), spans[-1][1])
        else:
            spans.append((float(day), float(day + DAY)))
    return spans

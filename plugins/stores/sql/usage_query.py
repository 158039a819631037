"""The statements that answer "how much was used": from the widest sums that fit, the ragged ends from the records.

A statement is made once for all questions that differ in their times alone: making one costs more than asking it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import sub
from typing import Any, TypeVar

from llmhub_plugins.stores.sql.reading import Read
from llmhub_plugins.stores.sql.rows import storable_text
from llmhub_plugins.stores.sql.sums import DAY, FOUR, HOUR, LONG, LONGEST, MINUTE, PASSING, QUARTER
from llmhub_plugins.stores.sql.tables import GROUP, SUMS, TOTALS, records, usage_hours, usage_totals
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from llmhub_core.contracts import UsageGroup, UsageQuestion, UsageRow

T = TypeVar("T")

END_OF_TIME = 253_402_300_800.0
"""The year 10000, in which dates end."""

SPANS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
_SPANS_OF: dict[str, tuple[int, ...]] = {
    "": (HOUR,),
    "caller_model": (LONGEST, LONG, FOUR, DAY, QUARTER, HOUR),
    "caller": (LONG, DAY, HOUR),
    "model": (DAY, HOUR, MINUTE),
}
"""The widest first; of other totals there are days and hours."""

FEW_NAMES = 32
FEW_SPANS = 512
"""Of no more names and spans each is looked up; of more all within the time are passed over."""

MOST_TAGS = 100
"""Names of tags that are told: of more somebody made them up anew each time."""

FIRST_LOOK = 16
"""Groups are so many in each span of time, to begin with, where the latest of them are looked for."""
_SHAPES = {"minute": "%Y-%m-%dT%H:%M:%SZ", "hour": "%Y-%m-%dT%H:%M:%SZ", "day": "%Y-%m-%d"}


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


class _Tags(FunctionElement[Any]):
    """A row of name and value for each of the tags in a text of JSON."""

    inherit_cache = True
    name = "tags"


@compiles(_Tags)
def _tags(element: _Tags, compiler: Any, **options: Any) -> str:
    # It knows no character 0, not even as JSON writes it.
    return rf"json_each_text(replace({compiler.process(element.clauses, **options)}, '\u0000', '\ufffd')::json)"


@compiles(_Tags, "sqlite")
def _tags_in_sqlite(element: _Tags, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


class _ByBytes(FunctionElement[str]):
    """A text that is ordered byte by byte, wherever it is."""

    inherit_cache = True
    type = Text()


@compiles(_ByBytes)
def _by_bytes(element: _ByBytes, compiler: Any, **options: Any) -> str:
    # By the words of a language PostgreSQL would take many times as long.
    return f'{compiler.process(element.clauses, **options)} COLLATE "C"'


@compiles(_ByBytes, "sqlite")
def _by_bytes_in_sqlite(element: _ByBytes, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


def find_usage(read: Read, question: UsageQuestion, now: float, kept_since: float) -> list[Any]:
    """Rows of the groups and the sums, in the order that the contract says."""
    if "tag" in question.by:
        return _by_tag(read, question, now, kept_since)
    if question.most and len(question.by) > 1 and not question.in_time:
        return _largest(read, question, now, kept_since)
    found: list[Any] = []
    for part in _parts(question, now):
        asked = usage_statement(part, now, kept_since)
        if asked is None:
            break
        rows = read(*asked)
        found = [*(reversed(rows) if question.most and question.in_time else rows), *found]
        if question.most and len(found) >= question.most:
            break
    return found[-question.most :]


def _largest(read: Read, question: UsageQuestion, now: float, kept_since: float) -> list[Any]:
    """First which groups these are, by their requests alone, then all sums of these: to add up everything of thousands
    of groups, of which few are wanted, takes a database longer than to read it."""
    asked = usage_statement(question, now, kept_since, names_only=True)
    if asked is None:
        return []
    width = len(question.by)
    wanted = {tuple(row) for row in read(*asked)}
    if not wanted:
        return []
    names = {name: tuple({group[place] for group in wanted}) for place, name in enumerate(question.by)}
    of_these = {**question.only, **{name: names[name] for name in names if name not in SPANS}}
    asked = usage_statement(replace(question, only=of_these, most=0), now, kept_since)
    assert asked is not None  # noqa: S101 — the times are the same
    rows = [row for row in read(*asked) if tuple(row[:width]) in wanted]
    return sorted(rows, key=lambda row: (-row[width], *row[:width]))


def _by_tag(read: Read, question: UsageQuestion, now: float, kept_since: float) -> list[Any]:
    """The requests without the tag are what those with it leave of all."""
    every = replace(question, only={}, most=0)
    tagged = usage_statement(every, now, kept_since)
    whole = usage_statement(replace(every, by=tuple(name for name in question.by if name != "tag")), now, kept_since)
    if tagged is None or whole is None:
        return []
    place, width = question.by.index("tag"), len(question.by)
    rows: list[Any] = [*read(*tagged)]
    rest: dict[tuple[Any, ...], list[int]] = {}
    for row in read(*whole):  # after the others: what came in between has the tag or has not
        rest[tuple(row[: width - 1])] = [*row[width - 1 :]]
    for row in rows:
        if left := rest.get((*row[:place], *row[place + 1 : width])):
            left[:] = map(sub, left, row[width:])
    rows += [(*group[:place], "", *group[place:], *left) for group, left in rest.items() if left[0] > 0]
    if "tag" in question.only:
        rows = [row for row in rows if row[place] in question.only["tag"]]
    rows.sort(key=lambda row: tuple(row[:width]))
    if question.most and not question.in_time:
        rows.sort(key=lambda row: -row[width])
        return rows[: question.most]
    return rows[-question.most :]


def tags_statement() -> Select[Any]:
    """The names of tags in [`since`, `until`), as far as days tell."""
    table = usage_totals.c
    within = (table.span == DAY, table.by == "tag", table.began > bindparam("since") - DAY)
    statement = select(table.within).where(*within, table.began < bindparam("until")).group_by(table.within)
    return statement.order_by(_ByBytes(table.within)).limit(MOST_TAGS)


def _parts(question: UsageQuestion, now: float) -> Iterator[UsageQuestion]:
    """The question itself; or the same of spans of time, the latest first, where only the latest groups are wanted.
    Each is eight times as long as the one after it: where little is to be found, there is little to look through."""
    if not (question.most and question.in_time):
        yield question
        return
    unit = SPANS[question.by[0]]
    width = unit * (question.most if len(question.by) == 1 else -(-question.most // FIRST_LOOK))
    until = min(question.until, now + unit)
    part = question
    while True:
        begin = (until - width) // max(unit, HOUR) * max(unit, HOUR)  # before `kept_since` all is of whole hours
        part = replace(part, since=max(begin, question.since))
        yield part
        if part.since <= question.since:
            return
        until, width = part.since, width * 8
        part = replace(part, until=until)


def usage_statement(
    question: UsageQuestion, now: float, kept_since: float, names_only: bool = False
) -> tuple[Select[Any], dict[str, Any]] | None:
    """One statement and its values, so that what it adds up is of one moment; None for an empty span of time.

    Before `kept_since`, a whole hour, there are sums only: a span that begins or ends there has whole hours. With
    `names_only` it tells the groups without their sums.
    """
    since, until = max(question.since, 0.0), min(question.until, END_OF_TIME)
    if not since < until or not all(question.only.values()):
        return None
    if until >= now:  # nothing arrived after it, so the span in which it lies need not be taken apart
        until = min(-(-until // LONGEST) * LONGEST, END_OF_TIME)
    if since < kept_since:
        since = since // HOUR * HOUR
    if until < kept_since:
        until = -(-until // HOUR) * HOUR
    by = _totals_of(question)
    narrowest = min((SPANS[name] for name in question.by if name in SPANS), default=LONGEST)
    spans = [span for span in _SPANS_OF.get(by, (DAY, HOUR)) if span <= narrowest]
    pieces = _pieces(since, until, spans, now)
    if narrowest == MINUTE and since < kept_since:  # its minutes are gone: they count in the first of their hour
        middle = min(until, kept_since)
        pieces = chain(_pieces(since, middle, [HOUR], now), _pieces(middle, until, spans, now))
    taken: list[tuple[int, bool]] = []
    values: dict[str, Any] = {}
    for number, (span, begin, end) in enumerate(pieces):
        listed = _can_be_looked_up(by, span, begin, end, question.only)
        taken.append((span, listed))
        if listed:
            values[f"spans{number}"] = _padded([*range(int(begin), int(end), span)])
        else:
            values |= {f"since{number}": int(begin) if span else begin, f"until{number}": int(end) if span else end}
    if by == "tag":
        values["tag"] = storable_text(question.tag)
    for name, names in question.only.items():
        values[f"only_{name}"] = _padded([storable_text(each) for each in names])
    order = "" if not question.most else "latest" if question.in_time else "largest"
    if question.most:
        values["most"] = question.most
    return _statement(by, tuple(question.by), tuple(taken), tuple(question.only), order, names_only), values


def _can_be_looked_up(by: str, span: int, begin: float, end: float, only: Mapping[UsageGroup, Sequence[str]]) -> bool:
    """Whether the rows of few callers are best found by the table's key, in which they follow upon the time. Of others
    there are too few to be worth it."""
    if not span or (end - begin) / span > FEW_SPANS:
        return False
    first = _in_hours(by, span) or "caller" in TOTALS[by]
    return first and 0 < len(only.get("caller", ())) <= FEW_NAMES


def _padded(some: list[T]) -> list[T]:
    """To 1, 2, 4, 8 … of them: for each number of them the statement is another one to the database."""
    return some + some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))


@lru_cache(maxsize=256)
def _statement(
    by: str,
    group: tuple[str, ...],
    taken: tuple[tuple[int, bool], ...],
    only: tuple[str, ...],
    order: str,
    names_only: bool,
) -> Select[Any]:
    """`taken` are the widths of the spans of each part, and whether they are listed."""
    added_up = ("requests",) if names_only else SUMS
    parts = [_part(by, span, listed, number, only, added_up) for number, (span, listed) in enumerate(taken)]
    every = union_all(*parts).subquery()
    groups = [_group(name, every.c) for name in group]
    # PostgreSQL sums to a type of any length, which takes it and its driver long to write and read.
    sums = [cast(func.coalesce(func.sum(every.c[name]), 0), BigInteger) for name in added_up]
    statement = select(*groups, *(() if names_only else sums)).group_by(*groups)
    sorted_by = [each if name in SPANS else _ByBytes(each) for name, each in zip(group, groups, strict=True)]
    if not order:
        return statement.order_by(*sorted_by)
    if order == "latest":
        sorted_by = [each.desc() for each in sorted_by]
    else:
        sorted_by.insert(0, func.sum(every.c.requests).desc())
    return statement.order_by(*sorted_by).limit(bindparam("most"))


def usage_row(question: UsageQuestion, row: Sequence[Any]) -> UsageRow:
    width = len(question.by)
    group = tuple(map(_shown, question.by, row[:width]))
    return UsageRow(group, *row[width:])


def _totals_of(question: UsageQuestion) -> str:
    """Which totals know all that is asked by; "" where only the table of all combinations does."""
    names = {*question.by, *question.only} - set(SPANS)
    return next((by for by, known in TOTALS.items() if names <= set(known)), "")


def _pieces(since: float, until: float, spans: Sequence[int], now: float) -> Iterator[tuple[int, float, float]]:
    """[`since`, `until`) in pieces of whole spans, the widest in the middle; 0 for what only records can tell."""
    if not since < until:
        return
    if not spans:
        yield 0, since, until
        return
    span, *narrower = spans
    # An hour before they go nobody reads them any more.
    there = max(since, now - PASSING[span][1] + HOUR) if span in PASSING else since
    first, last = float(-(-there // span) * span), float(until // span * span)
    if first < last:
        yield from _pieces(since, first, narrower, now)
        yield span, first, last
        yield from _pieces(last, until, narrower, now)
    else:
        yield from _pieces(since, until, narrower, now)


def _in_hours(by: str, span: int) -> bool:
    """Whether `usage_hours` tells it, and not `usage_totals`."""
    return not by or (by == "caller_model" and span == HOUR)


def _part(by: str, span: int, listed: bool, number: int, only: Sequence[str], added_up: Sequence[str]) -> Select[Any]:
    """Columns `began`, `caller`, `model`, `provider`, `key`, or `tag` for all of these, and the sums `added_up`,
    wherever they come from."""
    since: Any = bindparam(f"since{number}")
    until: Any = bindparam(f"until{number}")
    if not span:
        return _records(by, since, until, added_up).where(*(_is_one_of(records.c[name], name) for name in only))
    if _in_hours(by, span):
        table, began = usage_hours, usage_hours.c.hour
        names = {name: table.c[name] for name in GROUP}
        where = []
    else:
        table, began = usage_totals, usage_totals.c.began
        names = {name: table.c[column] for name, column in TOTALS[by].items()}
        where = [table.c.span == span, table.c.by == by]
        if "within" not in TOTALS[by].values():
            where.append(table.c.within == _within(by))  # so that the key is known up to the name
    if listed:
        where.append(began.in_(bindparam(f"spans{number}", expanding=True)))
    else:
        where += [began >= since, began < until]
    where += [_is_one_of(names[name], name) for name in only]
    columns = [names.get(name, literal("")).label(name) for name in _names(by)]
    return select(began.label("began"), *columns, *(table.c[name] for name in added_up)).where(*where)


def _names(by: str) -> tuple[str, ...]:
    return ("tag",) if by == "tag" else ("caller", "model", "provider", "key")


def _within(by: str) -> Any:
    return bindparam("tag") if by == "tag" else ""


def _is_one_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column.in_(bindparam(f"only_{name}", expanding=True))


def _records(by: str, since: Any, until: Any, added_up: Sequence[str]) -> Select[Any]:
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
    tags = _Tags(table.tags).table_valued("key", "value")
    statement = select(
        _Whole(table.arrived_at).label("began"),
        *((tags.c.value.label("tag") if name == "tag" else table[name]) for name in _names(by)),
        *((sums[name] if name in sums else table[name]).label(name) for name in added_up),
    ).where(table.arrived_at >= since, table.arrived_at < until)
    if by == "tag":
        statement = statement.join_from(records, tags, true())
        statement = statement.where(table.tags != "{}", tags.c.key == _within(by), tags.c.value != "")
    return statement


def _group(name: str, columns: Any) -> ColumnElement[Any]:
    if name not in SPANS:
        column: ColumnElement[Any] = columns[name]
        return column
    return columns.began - columns.began % SPANS[name]  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def _shown(name: str, value: Any) -> str:
    return datetime.fromtimestamp(value, UTC).strftime(_SHAPES[name]) if name in SPANS else str(value)

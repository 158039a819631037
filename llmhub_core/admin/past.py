"""What happened: sums of use, the list of requests, one request, the audit."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from llmhub_core.admin.lists import Format, Limit, after_moment, moment_cursor, page_limit
from llmhub_core.admin.refusals import not_found, unusable
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import (
    AttemptView,
    DecisionView,
    LeftOut,
    RequestLine,
    RequestPage,
    RequestView,
    UsageLine,
    UsageView,
)
from llmhub_core.contracts.exchange import Outcome, Record
from llmhub_core.contracts.metadata_store import (
    GROUPS,
    MetadataStore,
    RecordFilter,
    UsageQuestion,
    UsageRow,
    grouping,
)

HOUR = 3600.0
DAY = 86_400.0
MOST_ROWS = 20_000
"""Groups that one answer may have; a year by hour and caller is more than anybody reads."""

_AGO = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
_UNITS = {"m": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY}


class Span(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """A time is a number of seconds since 1970, an ISO date or time (UTC unless it says), or 90m, 24h, 7d, 4w ago."""

    since: str = ""
    until: str = ""
    format: Format = "json"


class UsageAsked(Span, kw_only=True):
    by: str = "model"
    """provider, model, key, caller, minute, hour, day: several with commas; or tag:NAME, alone or with a time, for the
    values of that tag."""


class RequestsAsked(Span, kw_only=True):
    caller: str | None = None
    model: str | None = None
    provider: str | None = None
    outcome: Outcome | None = None
    limit: Limit = 50
    cursor: str = ""


def moment(text: str, now: float, otherwise: float | None) -> float | None:
    """The time that was meant; Denied if it is none."""
    text = text.strip()
    if not text:
        return otherwise
    if ago := _AGO.fullmatch(text):
        return now - float(ago[1]) * _UNITS[ago[2]]
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
        return float(text)
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise unusable(
            "That is no time.", "Write 24h (or 90m, 7d, 4w) for so long ago, or 2026-11-22 or 2026-11-22T10:00Z."
        ) from None


def span_or_all(asked: Span) -> tuple[float | None, float | None]:
    """From when to when, None where it does not say."""
    now = time.time()
    return moment(asked.since, now, None), moment(asked.until, now, None)


# usage


def span(asked: Span) -> tuple[float, float]:
    """From when to when; the last day if it does not say. Now is the end of this hour, and so long ago is counted from
    there: whole hours are summed already, however many requests there were."""
    now = time.time()
    hour = now // HOUR * HOUR
    since, until = moment(asked.since, now, None), moment(asked.until, now, None)
    if since is None or _AGO.fullmatch(asked.since.strip()):
        since = (now - DAY if since is None else since) // HOUR * HOUR + HOUR
    return since, hour + HOUR if until is None or until >= now else until


async def usage(store: MetadataStore, asked: UsageAsked) -> UsageView:
    question = to_question(asked)
    lines = await used(store, question)
    kept = await store.kept_since()
    return UsageView(
        by=list(question.words),
        since=question.since,
        until=question.until,
        total=total(lines),
        items=lines,
        kept_since=kept,
    )


def to_question(asked: UsageAsked) -> UsageQuestion:
    """Denied for what nothing is summed by, and for no time."""
    since, until = span(asked)
    try:
        by, tag = grouping(asked.by.split(","))
    except ValueError as error:
        advice = f"Choose from {', '.join(GROUPS)}; or tag:NAME, alone or with a time."
        raise unusable(str(error), advice) from None
    return UsageQuestion(since, until, by, tag=tag)


async def used(store: MetadataStore, question: UsageQuestion) -> list[UsageLine]:
    if question.in_time and not question.most:  # one more is enough to know that they are too many
        question = replace(question, most=MOST_ROWS + 1)
    rows = await store.usage(question)
    if len(rows) > MOST_ROWS:
        raise unusable(f"That would be more than {MOST_ROWS:,} lines.", "Ask for a shorter time, or for fewer groups.")
    return [_line(row) async for row in unhurried(rows)]


def _line(row: UsageRow) -> UsageLine:
    return UsageLine(list(row.group), *_sums(row))


def total(lines: Sequence[UsageLine]) -> UsageLine:
    return UsageLine([], *(sum(map(attrgetter(name), lines)) for name in _SUMS))


_SUMS = UsageLine.__struct_fields__[1:]
_sums = attrgetter(*_SUMS)


# requests


async def requests(store: MetadataStore, asked: RequestsAsked) -> RequestPage:
    since, until = span_or_all(asked)
    wanted = RecordFilter(
        caller=asked.caller,
        model=asked.model,
        provider=asked.provider,
        outcome=asked.outcome,
        since=since,
        until=until,
    )
    limit = page_limit(asked.limit)
    found = await store.requests(wanted, limit + 1, after_moment(asked))
    shown = found[:limit]
    more = len(found) > limit
    return RequestPage(
        items=[_request_line(record) async for record in unhurried(shown)],
        next=moment_cursor(asked, shown[-1].arrived_at, shown[-1].id) if more else None,
        kept_since=await store.kept_since(),
    )


async def known(store: MetadataStore, id: str) -> Record:
    """The record of that id; Denied if there is none."""
    record = await store.find_record(id)
    if record is None:
        kept = await store.kept_since()
        day = f"{datetime.fromtimestamp(kept, UTC):%Y-%m-%d %H:%M} UTC"
        raise not_found("request of that id", f"Requests from before {day} are no longer kept." if kept else "")
    return record


async def request(store: MetadataStore, id: str) -> RequestView:
    record, bodies = await known(store, id), store.bodies
    own = set(RequestView.__struct_fields__) - set(RequestLine.__struct_fields__)
    plain = own - {"tags", "tried", "left_out", "decisions", "body_kept"}
    return RequestView(
        **_facts(record),
        **{name: getattr(record, name) for name in plain},
        tags=dict(record.tags),
        body_kept=bodies is not None and await bodies.has_body(id),
        tried=[
            AttemptView(**{name: getattr(attempt, name) for name in AttemptView.__struct_fields__})
            for attempt in record.attempts
        ],
        left_out=[LeftOut(candidate=label, why=why) for label, why in record.left_out],
        decisions=[
            DecisionView(**{name: getattr(decision, name) for name in DecisionView.__struct_fields__})
            for decision in record.decisions
        ],
    )


def _request_line(record: Record) -> RequestLine:
    return RequestLine(**_facts(record))


def _facts(record: Record) -> dict[str, Any]:
    facts = {name: getattr(record, name) for name in RequestLine.__struct_fields__ if name != "attempts"}
    return {**facts, "attempts": len(record.attempts)}

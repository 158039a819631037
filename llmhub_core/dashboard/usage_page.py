"""The usage page: how much, of what, when, and against the time before.

It asks for what it shows and no more: of callers and models together there are thousands of lines, of which a table has
a hundred, and of the time before it takes a sum and what these hundred were then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin import api, past
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.views import UsageLine
from llmhub_core.contracts.metadata_store import GROUPS, MetadataStore, UsageGroup, UsageQuestion
from llmhub_core.dashboard import charts
from llmhub_core.dashboard.page import Page
from llmhub_core.dashboard.render import render_gathered
from llmhub_core.dashboard.words import counted

RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
MOST_LINES = 100
"""Of a table of usage; all of them are in its CSV."""

SHOWS: dict[str, tuple[charts.Kind, Callable[[UsageLine], int]]] = {
    "requests": ("requests", lambda line: line.requests),
    "tokens": ("tokens", lambda line: line.input_tokens + line.output_tokens),
    "cost": ("money", lambda line: line.cost),
    "failures": ("requests", lambda line: line.failed),
}
"""What the chart can show, and where it stands in a line."""

TIMES = {"minute": 60.0, "hour": past.HOUR, "day": past.DAY}

Lines = Sequence[UsageLine]


class UsagePageAsked(past.UsageAsked, kw_only=True):
    show: str = "requests"
    """What the chart shows."""


@dataclass(frozen=True, slots=True)
class Used:
    """`lines` are those of the table, of which `more` says how many more there are ("" for none). `firsts` are all of
    the first group, where that is no time; `in_time` is by hour or day. `total` and `before` are sums of all; `was`
    has the requests of the same lines in the time before."""

    lines: Lines
    more: str
    firsts: Lines
    in_time: Lines
    total: UsageLine
    before: UsageLine
    was: dict[tuple[str, ...], int]

    def earlier(self, line: UsageLine) -> int:
        return self.was.get(tuple(line.group), 0)


async def usage(visit: Visit) -> web.Response:
    asked = api.query(visit.request, UsagePageAsked)
    show = asked.show if asked.show in SHOWS else "requests"
    since = asked.since or "24h"
    # The last so and so long goes until now: that the form still has the end of another time is of no account.
    asked = past.UsageAsked(since=since, until="" if since in RANGES else asked.until, by=asked.by)
    return await render_gathered(visit, "usage.html", _facts, asked, show)


async def _facts(store: MetadataStore, asked: past.UsageAsked, show: str) -> dict[str, Any]:
    question = past.to_question(asked)
    since, until = question.since, question.until
    compared = not {*TIMES} & {*question.by}
    used = await _used(store, question, compared)
    return {
        "used": used,
        "since": since,
        "until": until,
        "now": time.time(),
        "earlier": max(0.0, 2 * since - until),
        "kept_since": await store.kept_since(),
        "dearest": max((line.cost or 0 for line in used.lines), default=0),
        "most": max((line.requests for line in used.lines), default=0),
        "compared": compared,
        "latest": question.in_time,
        "asked": asked,
        "when": {"from": asked.since} | ({"to": asked.until} if asked.until else {}),
        "by": question.words,
        "groups": [*GROUPS, *(f"tag:{name}" for name in await store.tags(since, until))],
        "ranges": RANGES,
        "show": show,
        "shows": list(SHOWS),
        "csv": _csv(asked, question),
        "chart": await _chart(store, question, used, show),
        "chart_title": _title(show, question),
    }


async def _used(store: MetadataStore, question: UsageQuestion, compared: bool) -> Used:
    since, until = question.since, question.until
    before = replace(question, since=max(0.0, 2 * since - until), until=since)

    def ask(question: UsageQuestion) -> Awaitable[Lines]:
        return past.used(store, question)

    alone = len(question.by) == 1 and not question.in_time
    # The database answers them side by side.
    firsts, lines, earlier, in_time = await asyncio.gather(
        ask(replace(question, by=() if question.in_time else question.by[:1])),
        _nothing() if alone else ask(replace(question, most=MOST_LINES + 1)),
        ask(replace(before, by=())),
        ask(replace(question, by=(charts.asked_by(since, until),))),
    )
    if alone:
        lines = sorted(firsts, key=lambda line: (-line.requests, line.group))
        more = f"{counted(len(lines) - MOST_LINES, 'line')} more" if len(lines) > MOST_LINES else ""
    else:
        more = "More lines" if len(lines) > MOST_LINES else ""
    lines = lines[-MOST_LINES:] if question.in_time else lines[:MOST_LINES]
    names = {name: tuple({line.group[place] for line in lines}) for place, name in enumerate(question.by)}
    was = await ask(replace(before, only=names)) if compared and lines else ()
    return Used(
        lines,
        more,
        firsts,
        in_time,
        past.total(firsts),
        past.total(earlier),
        {tuple(line.group): line.requests for line in was},
    )


async def _nothing() -> Lines:
    return ()


async def _chart(store: MetadataStore, question: UsageQuestion, used: Used, show: str) -> charts.Chart:
    times, (kind, value) = (question.since, question.until), SHOWS[show]
    if question.in_time and show == "requests":
        return charts.by_outcome(used.in_time, *times)
    if question.in_time:
        return charts.in_all(used.in_time, times, show, kind, value)
    group: UsageGroup = question.by[0]
    shown = charts.largest(used.firsts, value)
    of_each = replace(question, by=(charts.asked_by(*times), group), only={group: tuple(shown[0])})
    own = await past.used(store, of_each) if shown[0] else []
    return charts.by_group(own, used.in_time, shown, times, kind, value)


def _title(show: str, question: UsageQuestion) -> str:
    if not question.in_time:
        return f"{show.capitalize()} by {question.words[0].replace(':', ' ', 1)}"
    return "Requests by outcome" if show == "requests" else show.capitalize()


def _csv(asked: past.UsageAsked, question: UsageQuestion) -> str:
    """Where all lines are; "" where they would be too many."""
    spans = (question.until - question.since) / TIMES[question.by[0]] if question.in_time else 0
    if spans > past.MOST_ROWS:
        return ""
    sent = {"by": asked.by, "from": asked.since, "to": asked.until, "format": "csv"}
    return f"{api.ROOT}/usage?{urlencode(sent)}"


PAGES = (Page("GET", "/usage", "viewer", usage),)

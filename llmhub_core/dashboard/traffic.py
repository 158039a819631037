"""What goes through: the overview, the requests, one request, the usage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from llmhub_core.admin import api, bodies, live, past
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.views import BodyView, UsageLine, UsageView
from llmhub_core.contracts.metadata_store import MetadataStore, UsageGroup, UsageQuestion
from llmhub_core.dashboard import charts
from llmhub_core.dashboard.page import Page, go
from llmhub_core.dashboard.render import render_gathered

RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
MOST_LINES = 100
"""Of a table of usage; all of them are in its CSV."""
OUTCOMES = ("served", "failed", "refused", "cancelled", "unknown")
SPARKS = ("requests", "failed", "input_tokens", "output_tokens", "cost")

SHOWS: dict[str, tuple[charts.Kind, Callable[[UsageLine], int]]] = {
    "requests": ("requests", lambda line: line.requests),
    "tokens": ("tokens", lambda line: line.input_tokens + line.output_tokens),
    "cost": ("money", lambda line: line.cost),
    "failures": ("requests", lambda line: line.failed),
}
"""What the chart of the usage page can show, and where it stands in a line."""


async def overview(visit: Visit) -> web.Response:
    control = visit.control
    asked = next((name for name in RANGES if name == visit.request.query.get("from")), "24h")
    now = {
        "health": await live.health(control),
        "asked": asked,
        "ranges": [(f"/?from={value}", name, value == asked) for value, name in RANGES.items()],
        "range_name": RANGES[asked],
        "origin": control.origin(visit.request),
        "models": [card.id for card in control.hub.catalog.cards()][:1],
    }
    return await render_gathered(visit, "overview.html", _overview, asked, now)


async def _overview(store: MetadataStore, asked: str, now: dict[str, Any]) -> dict[str, Any]:
    """`now` is what only the serving process knows."""
    since, until = past.span(past.Span(since=asked))
    unit = charts.unit(since, until)
    both = past.UsageAsked(since=str(since - (until - since)), until=str(until), by=unit)
    lines = (await past.usage(store, both)).items
    early = [line for line in lines if charts.start(line.group[0]) < since]
    late = [line for line in lines if charts.start(line.group[0]) >= since]
    top = {name: await past.usage(store, past.UsageAsked(since=asked, by=name)) for name in _TOPS}
    wrong = await past.requests(store, past.RequestsAsked(outcome="failed", limit=5))
    new = not lines and asked == "24h" and not (await past.requests(store, past.RequestsAsked(limit=1))).items
    return now | {
        "total": past.total(late),
        "before": past.total(early),
        "sparks": _sparks(late, since, until),
        "chart": charts.by_outcome(late, since, until),
        "top": {name: sorted(used.items, key=lambda line: -line.requests)[:5] for name, used in top.items()},
        "wrong": wrong.items,
        "new": new,
    }


_TOPS = ("model", "provider", "caller")


def _sparks(lines: Sequence[UsageLine], since: float, until: float) -> dict[str, str]:
    return {name: charts.spark(charts.over_time(lines, since, until, attrgetter(name))) for name in SPARKS}


async def requests(visit: Visit) -> web.Response:
    asked = api.query(visit.request, past.RequestsAsked)
    chosen = {name: value for name, value in visit.request.query.items() if value and name not in ("cursor", "format")}
    return await render_gathered(visit, "requests.html", _requests, asked, chosen)


async def _requests(store: MetadataStore, asked: past.RequestsAsked, chosen: dict[str, str]) -> dict[str, Any]:
    page = await past.requests(store, asked)
    newest = page.items[0].arrived_at if page.items else time.time()
    return {
        "page": page,
        "asked": asked,
        "filtered": bool(set(chosen) - {"limit"}),
        "outcomes": OUTCOMES,
        "older": None if page.next is None else "/requests?" + urlencode({**chosen, "cursor": page.next}),
        "csv": f"{api.ROOT}/requests?" + urlencode({**chosen, "format": "csv"}),
        "paged": bool(asked.cursor),
        "newest": "/requests?" + urlencode(chosen),
        "news": f"{api.ROOT}/requests?" + urlencode({**chosen, "from": repr(newest), "limit": "100"}),
    }


async def request(visit: Visit) -> web.Response:
    return await _request(visit, None)


async def show_body(visit: Visit) -> web.Response:
    """By an act of its own, for each look is noted."""
    return await _request(visit, await bodies.body(visit, api.Nothing()))


async def forget_body(visit: Visit) -> web.Response:
    await bodies.forget(visit, api.Nothing())
    return go(f"/requests/{quote(visit.part('id'), safe='')}")


async def _request(visit: Visit, body: BodyView | None) -> web.Response:
    keeping = visit.control.hub.bodies is not None
    return await render_gathered(visit, "request.html", _one_request, visit.part("id"), body, keeping)


async def _one_request(store: MetadataStore, id: str, body: BodyView | None, keeping: bool) -> dict[str, Any]:
    found = await past.request(store, id)
    return {"request": found, "spans": charts.waterfall(found), "body": body, "keeping": keeping}


class UsagePageAsked(past.UsageAsked, kw_only=True):
    show: str = "requests"
    """What the chart shows."""


async def usage(visit: Visit) -> web.Response:
    asked = api.query(visit.request, UsagePageAsked)
    show = asked.show if asked.show in SHOWS else "requests"
    asked = past.UsageAsked(since=asked.since or "24h", until=asked.until, by=asked.by)
    return await render_gathered(visit, "usage.html", _usage, asked, show)


async def _usage(store: MetadataStore, asked: past.UsageAsked, show: str) -> dict[str, Any]:
    since, until = past.span(asked)
    before = msgspec.structs.replace(asked, since=str(max(0.0, 2 * since - until)), until=str(since))
    now = msgspec.structs.replace(asked, since=str(since), until=str(until))
    # The database answers them side by side.
    used, earlier = await asyncio.gather(past.usage(store, now), past.usage(store, before))
    compared = not {"hour", "day"} & set(used.by)
    # Hours and days have an order of their own, and the latest are shown; nothing before an hour compares with it.
    lines = sorted(used.items, key=lambda line: (-line.requests, line.group)) if compared else used.items
    lines = lines[:MOST_LINES] if compared else lines[-MOST_LINES:]
    was = {tuple(line.group): line.requests for line in earlier.items} if compared else {}
    return {
        "used": used,
        "rows": [(line, was.get(tuple(line.group), 0)) for line in lines],
        "most": max((line.requests for line in lines), default=0),
        "left_out": len(used.items) - len(lines),
        "before": earlier.total,
        "compared": compared,
        "asked": asked,
        "by": ",".join(used.by),
        "groups": past.GROUPS,
        "ranges": RANGES,
        "show": show,
        "shows": list(SHOWS),
        "csv": f"{api.ROOT}/usage?"
        + urlencode({"by": asked.by, "from": asked.since, "to": asked.until, "format": "csv"}),
        "chart": await _usage_chart(store, used, show),
        "chart_title": f"{show.capitalize()} by {used.by[0] if compared else 'outcome'}",
    }


async def _usage_chart(store: MetadataStore, used: UsageView, show: str) -> charts.Chart:
    since, until = used.since, used.until
    unit, (kind, value) = charts.unit(since, until), SHOWS[show]
    in_time = await past.used(store, UsageQuestion(since, until, (unit,)))
    if used.by[0] in ("hour", "day", "minute"):
        return charts.by_outcome(in_time, since, until)
    shown = charts.largest(used.items, value)
    group: UsageGroup = used.by[0]  # type: ignore[assignment]
    question = UsageQuestion(since, until, (unit, group), tuple(shown[0]))
    own = await past.used(store, question) if shown[0] else []
    return charts.by_group(own, in_time, shown, (since, until), kind, value)


PAGES = (
    Page("GET", "/requests", "viewer", requests),
    Page("GET", "/requests/{id}", "viewer", request),
    Page("POST", "/requests/{id}/body", "owner", show_body),
    Page("POST", "/requests/{id}/body/forget", "owner", forget_body),
    Page("GET", "/usage", "viewer", usage),
)

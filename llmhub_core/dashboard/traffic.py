"""What goes through: the overview, the requests, one request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from llmhub_core.admin import api, bodies, live, past
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.views import BodyView, UsageLine
from llmhub_core.contracts.metadata_store import MetadataStore, UsageGroup, UsageQuestion
from llmhub_core.dashboard import charts
from llmhub_core.dashboard.page import Page, go
from llmhub_core.dashboard.render import render_gathered

RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
OUTCOMES = ("served", "failed", "refused", "cancelled", "unknown")
SPARKS = ("requests", "failed", "input_tokens", "output_tokens", "cost")


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
    unit = charts.asked_by(since, until)
    # The database answers them side by side.
    lines, *top = await asyncio.gather(
        past.used(store, UsageQuestion(since - (until - since), until, (unit,))),
        *(past.used(store, UsageQuestion(since, until, (name,), most=5)) for name in _TOPS),
    )
    early = [line for line in lines if charts.start(line.group[0]) < since]
    late = [line for line in lines if charts.start(line.group[0]) >= since]
    wrong = await past.requests(store, past.RequestsAsked(outcome="failed", limit=5))
    new = not lines and asked == "24h" and not (await past.requests(store, past.RequestsAsked(limit=1))).items
    return now | {
        "total": past.total(late),
        "before": past.total(early),
        "sparks": _sparks(late, since, until),
        "chart": charts.by_outcome(late, since, until),
        "top": dict(zip(_TOPS, top, strict=True)),
        "wrong": wrong.items,
        "new": new,
    }


_TOPS: tuple[UsageGroup, ...] = ("model", "provider", "caller")


def _sparks(lines: Sequence[UsageLine], since: float, until: float) -> dict[str, str]:
    """Without the hour or day that has only begun, which would look like a fall; unless nothing was before it."""
    drawn = {}
    for name in SPARKS:
        values = charts.over_time(lines, since, until, attrgetter(name))
        drawn[name] = charts.spark(values[:-1] if any(values[:-1]) else values)
    return drawn


async def requests(visit: Visit) -> web.Response:
    asked = api.query(visit.request, past.RequestsAsked)
    chosen = {name: value for name, value in visit.request.query.items() if value and name not in ("cursor", "format")}
    return await render_gathered(visit, "requests.html", _requests, asked, chosen)


async def _requests(store: MetadataStore, asked: past.RequestsAsked, chosen: dict[str, str]) -> dict[str, Any]:
    page = await past.requests(store, asked)
    newest = page.items[0].arrived_at if page.items else time.time()
    return {
        "page": page,
        "dearest": max((line.cost or 0 for line in page.items), default=0),
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


PAGES = (
    Page("GET", "/requests", "viewer", requests),
    Page("GET", "/requests/{id}", "viewer", request),
    Page("POST", "/requests/{id}/body", "owner", show_body),
    Page("POST", "/requests/{id}/body/forget", "owner", forget_body),
)

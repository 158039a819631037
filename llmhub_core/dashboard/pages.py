"""The pages, over the same calls as the admin API. One table says of each its path and who may see it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from llmhub_core import __version__
from llmhub_core.admin import api, live, past, setting
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import HEADERS, Policy, Visit, guarded
from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.people import UserRole
from llmhub_core.dashboard import charts
from llmhub_core.dashboard.render import Asset, load_assets, render, set_up_templates

DAY = 86_400.0
RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
OUTCOMES = ("served", "failed", "refused", "cancelled", "unknown")

Show = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    method: str
    path: str
    role: UserRole | None
    show: Show


def add_pages(app: web.Application, control: Control) -> None:
    assets = load_assets()
    set_up_templates(app, assets)
    for page in PAGES:
        policy = Policy(page.role, form=True)
        words = [word.strip("{}") for word in page.path.strip("/").split("/") if word] or ["overview"]
        name = ".".join(["page", *(word.replace("-", "_") for word in words), page.method.lower()])
        app.router.add_route(page.method, page.path, guarded(control, policy, page.show, refuse), name=name)
    for asset in assets.values():
        app.router.add_get(asset.path, partial(_asset, asset=asset), allow_head=False)


async def _asset(request: web.Request, asset: Asset) -> web.Response:
    headers = HEADERS | {"cache-control": "public, max-age=31536000, immutable"}
    return web.Response(body=asset.body, content_type=asset.media_type, headers=headers)


def refuse(visit: Visit, denied: Denied) -> web.Response:
    """To the sign-in page where that helps, else a page that says what would."""
    if denied.status == 401 and visit.who is None and visit.request.method == "GET":
        asked = visit.request.path_qs
        return _go("/sign-in" + ("?" + urlencode({"next": asked}) if asked != "/" else ""))
    response = render(visit, "refused.html", {"denied": denied}, status=denied.status)
    if denied.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(denied.retry_after)))
    return response


def _go(path: str) -> web.Response:
    """After a form was sent: the page that follows, by GET."""
    return web.Response(status=303, headers={"location": path})


def inside(path: str) -> str:
    """`path` if it leads to a page of ours, else the first page. Browsers read a backslash as a slash and skip tabs."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"


# --- before anybody is signed in


async def overview_or_home(visit: Visit) -> web.Response:
    if visit.who is not None:
        return await overview(visit)
    return render(visit, "home.html", {"origin": visit.control.origin(visit.request), "version": __version__})


async def sign_in_form(visit: Visit) -> web.Response:
    visit.control.people  # noqa: B018 — says so if there can be none
    if visit.who is not None:
        return _go("/")
    return _sign_in(visit, visit.request.query.get("next", ""))


def _sign_in(visit: Visit, then: str, denied: Denied | None = None, name: str = "") -> web.Response:
    facts = {"then": inside(then), "denied": denied, "name": name}
    response = render(visit, "sign-in.html", facts, status=200 if denied is None else denied.status)
    if denied is not None and denied.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(denied.retry_after)))
    return response


async def sign_in(visit: Visit) -> web.Response:
    name, then = visit.text("name"), visit.text("next")
    visit.control.people  # noqa: B018
    try:
        user = await visit.control.accounts.sign_in(name, visit.text("password"), visit.address)
    except Denied as denied:
        return _sign_in(visit, then, denied, name[:256])
    await api.begin_session(visit, user)
    return _go(inside(then))


async def sign_out(visit: Visit) -> web.Response:
    await api.sign_out(visit, api.Nothing())
    return _go("/sign-in")


async def setup_form(visit: Visit) -> web.Response:
    visit.control.people  # noqa: B018
    secret = visit.request.query.get("secret", "")
    opened = bool(secret) and await visit.control.accounts.setup_open(secret)
    return _setup(visit, secret, opened)


def _setup(visit: Visit, secret: str, opened: bool, denied: Denied | None = None, name: str = "") -> web.Response:
    facts = {"secret": secret, "open": opened, "denied": denied, "name": name}
    return render(visit, "setup.html", facts, status=(200 if opened else 403) if denied is None else denied.status)


async def set_up(visit: Visit) -> web.Response:
    secret, name = visit.text("secret"), visit.text("name")
    visit.control.people  # noqa: B018
    try:
        if visit.text("password") != visit.text("again"):
            raise Denied(400, "not_equal", "The two passwords are not equal.", "Type the same one twice.")
        owner = await visit.control.accounts.set_up(secret, name, visit.text("password"), visit.address)
    except Denied as denied:
        return _setup(visit, secret, denied.code != "setup_closed", denied, name[:64])
    await api.begin_session(visit, owner)
    return _go("/")


# --- pages


async def overview(visit: Visit) -> web.Response:
    control, now = visit.control, time.time()
    health = await live.health(control)
    since, until = past.span(past.Span())
    hours = await past.usage(control, past.UsageAsked(since=str(since - (until - since)), until=str(until), by="hour"))
    early = [line for line in hours.items if charts._start(line.group[0]) < since]
    late = [line for line in hours.items if charts._start(line.group[0]) >= since]
    top = {name: await past.usage(control, past.UsageAsked(by=name)) for name in ("model", "provider", "caller")}
    wrong = await past.requests(control, past.RequestsAsked(outcome="failed", limit=5))
    facts = {
        "health": health,
        "total": past.total(late),
        "before": past.total(early),
        "chart": charts.over_time(late, since, until),
        "top": {name: sorted(used.items, key=lambda line: -line.requests)[:5] for name, used in top.items()},
        "wrong": wrong.items,
        "new": not late and not early,
        "origin": control.origin(visit.request),
        "models": [card.id for card in control.hub.catalog.cards()][:1],
        "now": now,
    }
    return render(visit, "overview.html", facts)


async def requests(visit: Visit) -> web.Response:
    asked = api.query(visit.request, past.RequestsAsked)
    page = await past.requests(visit.control, asked)
    chosen = {name: value for name, value in visit.request.query.items() if value and name not in ("cursor", "format")}
    facts = {
        "page": page,
        "asked": asked,
        "filtered": bool(set(chosen) - {"limit"}),
        "outcomes": OUTCOMES,
        "older": None if page.next is None else "/requests?" + urlencode({**chosen, "cursor": page.next}),
        "csv": f"{api.ROOT}/requests?" + urlencode({**chosen, "format": "csv"}),
        "paged": bool(asked.cursor),
        "newest": "/requests?" + urlencode(chosen),
    }
    return render(visit, "requests.html", facts)


async def request(visit: Visit) -> web.Response:
    found = await past.request(visit.control, visit.request.match_info["id"])
    return render(visit, "request.html", {"request": found, "spans": charts.waterfall(found)})


async def usage(visit: Visit) -> web.Response:
    asked = api.query(visit.request, past.UsageAsked)
    if not asked.since:
        asked = msgspec.structs.replace(asked, since="24h")
    used = await past.usage(visit.control, asked)
    length = used.until - used.since
    before = msgspec.structs.replace(asked, since=str(used.since - length), until=str(used.since))
    earlier = await past.usage(visit.control, before)
    by_time = "hour" if length <= charts.MOST_BARS * 3600 else "day"
    in_time = await past.usage(visit.control, msgspec.structs.replace(asked, by=by_time))
    compared = not {"hour", "day"} & set(used.by)
    # Hours and days have an order of their own; an hour has nothing before it to compare with.
    lines = sorted(used.items, key=lambda line: (-line.requests, line.group)) if compared else used.items
    was = {tuple(line.group): line.requests for line in earlier.items} if compared else {}
    facts = {
        "used": used,
        "rows": [(line, was.get(tuple(line.group), 0)) for line in lines],
        "most": max((line.requests for line in used.items), default=0),
        "before": earlier.total,
        "compared": compared,
        "asked": asked,
        "by": ",".join(used.by),
        "groups": past.GROUPS,
        "ranges": RANGES,
        "chart": charts.over_time(in_time.items, used.since, used.until),
        "csv": f"{api.ROOT}/usage?"
        + urlencode({"by": asked.by, "from": asked.since, "to": asked.until, "format": "csv"}),
    }
    return render(visit, "usage.html", facts)


async def keys(visit: Visit) -> web.Response:
    found = await live.keys(visit.control)
    quotas = [level for level in await live.quotas(visit.control) if level.owner.startswith("token ")]
    by_provider: dict[str, list[Any]] = {}
    for key in found:
        by_provider.setdefault(key.provider, []).append(key)
    facts = {
        "providers": by_provider,
        "quotas": quotas,
        "now": time.time(),
        "done": visit.request.query.get("reset", ""),
    }
    return render(visit, "keys.html", facts)


async def reset_key(visit: Visit) -> web.Response:
    key = await api.reset_key(visit, api.Nothing())
    return _go("/keys?" + urlencode({"reset": key.id}))


async def plugins(visit: Visit) -> web.Response:
    return render(visit, "plugins.html", {"plugins": setting.plugins(visit.control)})


async def health(visit: Visit) -> web.Response:
    return render(visit, "health.html", {"health": await live.health(visit.control)})


PAGES = (
    Page("GET", "/", None, overview_or_home),
    Page("GET", "/sign-in", None, sign_in_form),
    Page("POST", "/sign-in", None, sign_in),
    Page("POST", "/sign-out", "viewer", sign_out),
    Page("GET", "/setup", None, setup_form),
    Page("POST", "/setup", None, set_up),
    Page("GET", "/requests", "viewer", requests),
    Page("GET", "/requests/{id}", "viewer", request),
    Page("GET", "/usage", "viewer", usage),
    Page("GET", "/keys", "viewer", keys),
    Page("POST", "/keys/{provider}/{key}/reset", "admin", reset_key),
    Page("GET", "/plugins", "viewer", plugins),
    Page("GET", "/health", "viewer", health),
)

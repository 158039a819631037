"""The pages, over the same calls as the admin API. Each room lists its own; here they get their doors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import HEADERS, Policy, Visit, guarded
from llmhub_core.admin.refusals import Denied
from llmhub_core.dashboard import (
    care,
    entrance,
    first_steps,
    hub_pages,
    key_pages,
    people_pages,
    provider_pages,
    quota_page,
    route_pages,
    token_pages,
    traffic,
    usage_page,
)
from llmhub_core.dashboard.page import go
from llmhub_core.dashboard.render import NAVIGATION, Asset, Entry, load_assets, render

PAGES = (
    *entrance.PAGES,
    *first_steps.PAGES,
    *traffic.PAGES,
    *usage_page.PAGES,
    *provider_pages.PAGES,
    *key_pages.PAGES,
    *quota_page.PAGES,
    *route_pages.PAGES,
    *token_pages.PAGES,
    *care.PAGES,
    *people_pages.PAGES,
    *hub_pages.PAGES,
)


def add_pages(app: web.Application, control: Control) -> None:
    assets = load_assets()
    control.page_process.modules += [traffic.__name__, usage_page.__name__]
    for page in PAGES:
        policy = Policy(page.role, form=True, most=page.most)
        words = [word.strip("{}") for word in page.path.strip("/").split("/") if word] or ["overview"]
        name = ".".join(["page", *(word.replace("-", "_") for word in words), page.method.lower()])
        app.router.add_route(page.method, page.path, guarded(control, policy, page.show, refuse), name=name)
    for asset in assets.values():
        app.router.add_get(asset.path, partial(_asset, asset=asset), allow_head=False)


def lost(control: Control) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What a browser is shown at an address where nothing is, or only what takes a form; the menu stands beside it for
    who is signed in."""
    show: Callable[[web.Request], Awaitable[web.StreamResponse]] = guarded(
        control, Policy(None, form=True, idle=True), _nothing_here, refuse
    )
    return show


async def _nothing_here(visit: Visit) -> web.StreamResponse:
    if isinstance(visit.request.match_info.http_exception, web.HTTPMethodNotAllowed):
        raise Denied(
            405, "method_not_allowed", "This address only takes what a form sends.",
            "What came of the form was shown once; go on from the page that it stands on.",
        )  # fmt: skip
    raise Denied(404, "not_found", "There is nothing at this address.", "Check it, or go on from the first page.")


async def _asset(request: web.Request, asset: Asset) -> web.Response:
    headers = HEADERS | {"cache-control": "public, max-age=31536000, immutable"}
    return web.Response(body=asset.body, content_type=asset.media_type, headers=headers)


def _section(path: str) -> Entry | None:
    """The list that a page belongs to; of the list itself None."""
    entries = (entry for _, pages in NAVIGATION for entry in pages)
    return next((entry for entry in entries if entry[0] != "/" and path.startswith(f"{entry[0]}/")), None)


async def refuse(visit: Visit, denied: Denied) -> web.Response:
    """To the sign-in page where that helps, else a page that says what would."""
    if denied.status == 401 and visit.who is None and visit.request.method == "GET":
        asked = visit.request.path_qs
        return go("/sign-in" + ("?" + urlencode({"next": asked}) if asked != "/" else ""))
    facts = {"denied": denied, "section": _section(visit.request.path), "again": visit.request.method == "GET"}
    response = await render(visit, "refused.html", facts, status=denied.status)
    if denied.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(denied.retry_after)))
    return response

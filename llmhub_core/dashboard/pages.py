"""The pages, one function each. So far one: where to point an SDK."""

from __future__ import annotations

from functools import partial

import aiohttp_jinja2
from aiohttp import web

from llmhub_core import __version__
from llmhub_core.admin.control import Control
from llmhub_core.dashboard.render import SECURITY_HEADERS, Asset, load_assets, set_up_templates


def add_pages(app: web.Application, control: Control) -> None:
    assets = load_assets()
    set_up_templates(app, assets)
    app.router.add_get("/", _home)
    for asset in assets.values():
        app.router.add_get(asset.path, partial(_asset, asset=asset))


async def _home(request: web.Request) -> web.Response:
    """Shown to everybody, so it names nothing that is configured."""
    facts = {"version": __version__, "origin": f"{request.scheme}://{request.host}"}
    response = aiohttp_jinja2.render_template("home.html", request, facts)
    response.headers.update(SECURITY_HEADERS)
    return response


async def _asset(request: web.Request, asset: Asset) -> web.Response:
    headers = SECURITY_HEADERS | {"cache-control": "public, max-age=31536000, immutable"}
    return web.Response(body=asset.body, content_type=asset.media_type, headers=headers)

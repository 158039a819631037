"""The hub itself: how it is and what it is made of."""

from __future__ import annotations

from aiohttp import web

from llmhub_core.admin import live, setting
from llmhub_core.admin.doors import Visit
from llmhub_core.dashboard.page import Page
from llmhub_core.dashboard.render import render


async def plugins(visit: Visit) -> web.Response:
    return render(visit, "plugins.html", {"plugins": setting.plugins(visit.control)})


async def health(visit: Visit) -> web.Response:
    return render(visit, "health.html", {"health": await live.health(visit.control)})


PAGES = (
    Page("GET", "/plugins", "viewer", plugins),
    Page("GET", "/health", "viewer", health),
)

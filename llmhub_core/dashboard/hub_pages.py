"""The hub itself: how it is and what it is made of."""

from __future__ import annotations

from aiohttp import web

from llmhub_core.admin import live, setting
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import PluginView, SettingView
from llmhub_core.dashboard.page import Page
from llmhub_core.dashboard.render import render


async def plugins(visit: Visit) -> web.Response:
    """By what they are for: the first half of the name that an entry point has."""
    groups: dict[str, list[PluginView]] = {}
    for plugin in setting.plugins(visit.control):
        groups.setdefault(plugin.entry.partition(".")[0], []).append(plugin)
    return await render(visit, "plugins.html", {"groups": groups})


async def health(visit: Visit) -> web.Response:
    return await render(visit, "health.html", {"health": await live.health(visit.control)})


async def settings(visit: Visit) -> web.Response:
    """By table, each line under its name within it."""
    only = visit.request.query.get("only") == "set"
    groups: dict[str, list[tuple[str, SettingView]]] = {}
    async for line in unhurried(setting.settings(visit.control)):
        if not only or line.origin != "default":
            table, _, name = line.key.rpartition(".")
            groups.setdefault(table or "hub", []).append((name, line))
    return await render(visit, "settings.html", {"groups": list(groups.items()), "only": only})


PAGES = (
    Page("GET", "/settings", "admin", settings),
    Page("GET", "/plugins", "viewer", plugins),
    Page("GET", "/health", "viewer", health),
)

"""The hub itself: how it is and what it is made of."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from aiohttp import web

from llmhub_core.admin import api, live, setting
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import PluginView, SettingView
from llmhub_core.dashboard.page import Page
from llmhub_core.dashboard.render import render

TABLES = 40
"""Tables of settings on a page."""


async def plugins(visit: Visit) -> web.Response:
    """By what they are for: the first half of the name that an entry point has."""
    groups: dict[str, list[PluginView]] = {}
    for plugin in setting.plugins(visit.control):
        groups.setdefault(plugin.entry.partition(".")[0], []).append(plugin)
    return await render(visit, "plugins.html", {"groups": groups})


async def health(visit: Visit) -> web.Response:
    return await render(visit, "health.html", {"health": await live.health(visit.control)})


class SettingsAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`find` is a part of a table's name or of a setting's; `only` is set, for what was chosen; pages count from 1."""

    find: str = ""
    only: str = ""
    page: int = 1


async def settings(visit: Visit) -> web.Response:
    """By table, each line under its name within it; many tables page by page."""
    asked = api.query(visit.request, SettingsAsked)
    only, find = asked.only == "set", asked.find.strip().casefold()
    groups: dict[str, list[tuple[str, SettingView]]] = {}
    async for line in unhurried(setting.settings(visit.control)):
        if (not only or line.origin != "default") and find in line.key.casefold():
            table, name = _placed(line.key)
            groups.setdefault(table, []).append((name, line))
    number = min(max(1, asked.page), max(1, -(-len(groups) // TABLES)))
    first = TABLES * (number - 1)

    def page(number: int) -> str:
        chosen = {"only": asked.only, "find": asked.find.strip(), "page": "" if number == 1 else str(number)}
        return "/settings?" + urlencode({name: value for name, value in chosen.items() if value})

    facts = {
        "groups": [*groups.items()][first : first + TABLES],
        "all": len(groups),
        "first": first + 1,
        "earlier": page(number - 1) if first else "",
        "later": page(number + 1) if first + TABLES < len(groups) else "",
        "only": only,
        "find": asked.find.strip(),
    }
    return await render(visit, "settings.html", facts)


def _placed(key: str) -> tuple[str, str]:
    """Its table and its name in it: one of several tables (providers[openai]) is a table with all that is below it."""
    entry, bracket, name = key.rpartition("].")
    if bracket:
        return f"{entry}]", name
    table, _, name = key.rpartition(".")
    return table or "hub", name


PAGES = (
    Page("GET", "/settings", "admin", settings),
    Page("GET", "/plugins", "viewer", plugins),
    Page("GET", "/health", "viewer", health),
)

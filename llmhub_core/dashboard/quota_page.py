"""The quotas page: every limit that is counted, of keys, their accounts and callers, the fullest first."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from llmhub_core.admin import api, limits
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.limits import NEARLY
from llmhub_core.admin.lists import named
from llmhub_core.admin.slices import gathered
from llmhub_core.admin.views import LevelView
from llmhub_core.dashboard.page import Page
from llmhub_core.dashboard.render import render

LINES = 100
"""Of a page."""

OWNERS = ("key", "group", "token")


class QuotasAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`find` is a part of the name of what a limit belongs to, `of` its kind; `state` is low, for what is spent, nearly
    spent, or rests; pages count from 1."""

    find: str = ""
    of: str = ""
    state: str = ""
    page: int = 1


def share(level: LevelView) -> float:
    """Of a limit, how much is used or promised."""
    return (level.used + level.reserved) / level.amount if level.amount else 1.0


def is_low(level: LevelView) -> bool:
    nearly = share(level) >= (1.0 if level.kind == "concurrency" else NEARLY)
    return nearly or level.resting_until is not None


async def quotas(visit: Visit) -> web.Response:
    asked = api.query(visit.request, QuotasAsked)
    every = await limits.quotas(visit.control)
    found = named(asked.find)

    def fits(level: LevelView) -> bool:
        kind, _, name = level.owner.partition(" ")
        return found(name) and asked.of in ("", kind) and (asked.state != "low" or is_low(level))

    chosen = await gathered(level for level in every if fits(level))
    chosen.sort(key=lambda level: (-share(level), level.owner, level.id))
    number = min(max(1, asked.page), max(1, -(-len(chosen) // LINES)))
    first = LINES * (number - 1)

    def page(number: int) -> str:
        said = {"find": asked.find.strip(), "of": asked.of, "state": asked.state, "page": "" if number == 1 else number}
        return f"/quotas?{urlencode({name: value for name, value in said.items() if value})}".rstrip("?")

    facts = {
        "levels": chosen[first : first + LINES],
        "count": len(chosen),
        "spent": sum(share(level) >= 1.0 for level in every if level.kind != "concurrency"),
        "low": sum(NEARLY <= share(level) < 1.0 for level in every if level.kind != "concurrency"),
        "resting": len({level.owner for level in every if level.resting_until is not None}),
        "every": len(every),
        "asked": asked,
        "filtered": bool(asked.find.strip() or asked.of or asked.state),
        "owners": OWNERS,
        "first": first + 1,
        "earlier": page(number - 1) if first else "",
        "later": page(number + 1) if first + LINES < len(chosen) else "",
        "now": time.time(),
        "nearly": NEARLY,
    }
    return await render(visit, "quotas.html", facts)


PAGES = (Page("GET", "/quotas", "viewer", quotas),)

"""Where requests may go: provider keys and the limits on them and on callers."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin import api, live
from llmhub_core.admin.doors import Visit
from llmhub_core.dashboard.page import Page, go
from llmhub_core.dashboard.render import render


async def keys(visit: Visit) -> web.Response:
    found = await live.keys(visit.control)
    quotas = [level for level in await live.quotas(visit.control) if level.owner.startswith("token ")]
    by_provider: dict[str, list[Any]] = {}
    for key in found:
        by_provider.setdefault(key.provider, []).append(key)
    facts = {
        "providers": by_provider,
        "usable": sum(key.state == "active" for key in found),
        "whole": len(found),
        "quotas": quotas,
        "now": time.time(),
        "done": visit.request.query.get("reset", ""),
    }
    return render(visit, "keys.html", facts)


async def reset_key(visit: Visit) -> web.Response:
    key = await api.reset_key(visit, api.Nothing())
    return go("/keys?" + urlencode({"reset": key.id}))


PAGES = (
    Page("GET", "/keys", "viewer", keys),
    Page("POST", "/keys/{provider}/{key}/reset", "admin", reset_key),
)

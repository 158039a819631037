"""Where requests may go: providers, their keys, routes with a dry run, and the callers' tokens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin import entry_calls, live, past, setting
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.admin.views import DeploymentView
from llmhub_core.contracts.candidate import Deployment
from llmhub_core.contracts.errors import HubError
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page, go
from llmhub_core.dashboard.render import render
from llmhub_core.hub.catalog import Route


async def providers(visit: Visit) -> web.Response:
    health = await live.health(visit.control)
    addresses = {each.name: getattr(each.options, "base_url", "") for each in visit.control.hub.settings.providers}
    fastest = {
        provider.name: min((each.first_token_ms for each in provider.deployments if each.first_token_ms), default=None)
        for provider in health.providers
    }
    return render(visit, "providers.html", {"health": health, "addresses": addresses, "fastest": fastest})


# --- keys


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
    key = await entry_calls.reset_key(visit, entry_calls.name_in(visit, "key"))
    return go("/keys?" + urlencode({"reset": key.id}))


# --- routes


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment of a route; `usable` of `candidates` could be taken at this moment."""

    deployment: Deployment
    usable: int
    candidates: int


@dataclass(frozen=True, slots=True)
class RouteLine:
    model: str
    strategy: str
    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...]
    fallbacks_on: dict[str, tuple[str, ...]]

    @property
    def state(self) -> str:
        usable, every = (sum(getattr(each, name) for each in self.targets) for name in ("usable", "candidates"))
        return "active" if usable == every else ("degraded" if usable else "out")


async def routes(visit: Visit) -> web.Response:
    hub, query = visit.control.hub, visit.request.query
    health = await live.health(visit.control)
    standing = [each for provider in health.providers for each in provider.deployments]
    plan, form = None, NOTHING_SENT
    asked, dialect = query.get("model", "").strip(), query.get("dialect", "openai_chat")
    if asked:
        try:
            plan = await setting.explain(visit.control, setting.ExplainAsked(model=asked, dialect=dialect))
        except HubError as error:
            form = Form({}, Denied(200, error.code, error.message, field="model"))
        except Denied as denied:
            form = Form({}, denied)
    facts = {
        "routes": [_route(route, standing) for route in hub.catalog.routes.values()],
        "names": sorted({card.id for card in hub.catalog.cards()})[:500],
        "dialects": [(name, name) for name in hub.dialects],
        "asked": asked,
        "dialect": dialect,
        "plan": plan,
        "form": form,
    }
    return render(visit, "routes.html", facts, form.status)


def _route(route: Route, standing: Iterable[DeploymentView]) -> RouteLine:
    deployments = list(dict.fromkeys(stats.candidate.deployment for stats in route.standing))
    keys = Counter(stats.candidate.deployment for stats in route.standing)
    usable = Counter((each.provider, each.model) for each in standing if each.state == "active")
    targets = sorted(
        (Target(each, min(usable[each.provider, each.model], keys[each]), keys[each]) for each in deployments),
        key=lambda target: (target.deployment.priority, -target.deployment.weight),
    )
    return RouteLine(route.model, route.strategy.name, tuple(targets), route.fallbacks, dict(route.fallbacks_on))


# --- tokens


async def tokens(visit: Visit) -> web.Response:
    hub = visit.control.hub
    levels: dict[str, list[Any]] = {}
    for level in await live.quotas(visit.control):
        if level.owner.startswith("token "):
            levels.setdefault(level.owner.removeprefix("token "), []).append(level)
    used = await past.usage(visit.control, past.UsageAsked(since="30d", by="caller"))
    facts = {
        "callers": sorted(hub.tokens.callers, key=lambda caller: caller.name),
        "levels": levels,
        "used": {line.group[0]: line for line in used.items},
        "open": hub.settings.auth.api == "open",
    }
    return render(visit, "tokens.html", facts)


PAGES = (
    Page("GET", "/providers", "viewer", providers),
    Page("GET", "/keys", "viewer", keys),
    Page("POST", "/keys/{provider}/{key}/reset", "admin", reset_key),
    Page("GET", "/routes", "viewer", routes),
    Page("GET", "/tokens", "viewer", tokens),
)

"""The names that callers ask for: where each may go, a dry run; added, changed, removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from llmhub_core.admin import entry_lists, live, setting
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.admin.views import AffinityView, DeploymentView
from llmhub_core.contracts.candidate import Deployment
from llmhub_core.contracts.errors import BadRequest, HubError
from llmhub_core.dashboard.entries import acts, adding, done, facts, form_of, one
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page
from llmhub_core.dashboard.render import render
from llmhub_core.dashboard.tables import MOST_ROWS
from llmhub_core.dashboard.token_pages import names
from llmhub_core.hub.catalog import Route

SPARE_ROWS = 3
"""Empty ones, for deployments to come: without scripts no button adds any. All but the first are folded up."""


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
    affinity: AffinityView | None = None

    @property
    def state(self) -> str:
        usable, every = (sum(getattr(each, name) for each in self.targets) for name in ("usable", "candidates"))
        return _state(usable, every)


def _state(usable: int, every: int) -> str:
    return "out" if not usable else ("active" if usable == every else "degraded")


async def routes(visit: Visit) -> web.Response:
    query = visit.request.query
    if "add" in query and visit.may("admin"):
        return await new(visit, NOTHING_SENT)
    return await _routes(visit, query.get("model", "").strip(), query.get("dialect", "openai_chat"), "")


async def dry_run(visit: Visit) -> web.Response:
    # Sent and not asked for: what people say to models has no place in addresses.
    return await _routes(visit, visit.text("model").strip(), visit.text("dialect"), visit.text("request").strip())


async def _routes(visit: Visit, asked: str, dialect: str, request: str) -> web.Response:
    hub = visit.control.hub
    health = await live.health(visit.control)
    standing = [each for provider in health.providers for each in provider.deployments]
    plan, form = None, NOTHING_SENT
    if asked or request:
        try:
            body = msgspec.json.decode(request, type=dict[str, Any]) if request else None
            plan = await setting.explain(visit.control, setting.DryRunAsked(model=asked, dialect=dialect, request=body))
        except msgspec.MsgspecError:
            form = Form({}, Denied(400, "invalid_body", "This is no JSON object.", field="request"))
        except BadRequest as error:
            where = f" ({error.param})" if error.param else ""
            form = Form({}, Denied(400, error.code, error.message + where, field="request"))
        except HubError as error:
            form = Form({}, Denied(200, error.code, error.message, field="model"))
        except Denied as denied:
            form = Form({}, denied)
    entries = await entry_lists.routes(visit.control)
    affinities = {view.name: view.affinity for view in entries}
    facts = {
        "routes": [_route(route, standing, affinities.get(route.model)) for route in hub.catalog.routes.values()],
        "stranded": [view for view in entries if view.name not in hub.catalog.routes],
        "names": names(visit),
        "dialects": [(name, name) for name in hub.dialects],
        "asked": asked,
        "dialect": dialect,
        "request": request,
        "plan": plan,
        "form": form,
        "said": done(visit),
    }
    return await render(visit, "routes.html", facts, form.status)


def _route(route: Route, standing: Iterable[DeploymentView], affinity: AffinityView | None) -> RouteLine:
    deployments = list(dict.fromkeys(stats.candidate.deployment for stats in route.standing))
    keys = Counter(stats.candidate.deployment for stats in route.standing)
    usable = Counter((each.provider, each.model) for each in standing if each.state == "active")
    targets = sorted(
        (Target(each, min(usable[each.provider, each.model], keys[each]), keys[each]) for each in deployments),
        key=lambda target: (target.deployment.priority, -target.deployment.weight),
    )
    others = dict(route.fallbacks_on)
    return RouteLine(route.model, route.strategy.name, tuple(targets), route.fallbacks, others, affinity)


def _choices(visit: Visit, form: Form) -> dict[str, object]:
    hub = visit.control.hub
    filled = [number for number in range(MOST_ROWS) if form.value(f"deployments[{number}].model")]
    first_spare = max(filled, default=-1) + 1
    return {
        "form": form,
        "rows": range(min(MOST_ROWS, max(2, first_spare + 1))),
        "spare": range(max(2, first_spare + 1), min(MOST_ROWS, first_spare + SPARE_ROWS)),
        "strategies": [(name, name.replace("_", " ")) for name in hub.registry.strategies.names],
        "places": [("", "–"), *((name, name) for name in hub.catalog.places)],
        "models": sorted({model for place in hub.catalog.places.values() for model in place.models})[:500],
    }


async def new(visit: Visit, form: Form) -> web.Response:
    return await render(visit, "route-new.html", _choices(visit, form), form.status)


async def route(visit: Visit, form: Form) -> web.Response:
    view = await one(visit, "route")
    form = form_of(visit, "route", view, form)
    too_many = len(view.settings.get("deployments", ())) > MOST_ROWS
    health = await live.health(visit.control)
    standing = [each for provider in health.providers for each in provider.deployments]
    states = {f"{each.provider}/{each.model}#{each.key}": each.state for each in standing}
    own = [states.get(each, "active") for each in view.candidates]
    more = {"too_many": too_many, "states": states, "standing": _state(own.count("active"), len(own))}
    return await render(visit, "route.html", facts(visit, "route", view) | _choices(visit, form) | more, form.status)


PAGES = (
    Page("GET", "/routes", "viewer", routes),
    Page("POST", "/dry-run", "viewer", dry_run, setting.MOST_TRIED),
    adding("route", new),
    *acts("route", route),
)

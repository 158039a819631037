"""The places that serve models: how each is doing; added, changed, removed."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from llmhub_core.admin import entry_lists, live
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.views import DeploymentView, ProviderEntryView, ProviderView
from llmhub_core.dashboard import provider_forms
from llmhub_core.dashboard.entries import acts, adding, done, facts, form_of, one
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page
from llmhub_core.dashboard.render import render


async def providers(visit: Visit) -> web.Response:
    if "add" in visit.request.query and visit.may("admin"):
        return await new(visit, NOTHING_SENT)
    health = await live.health(visit.control)
    addresses = _addresses(visit)
    fastest = {provider.name: _fastest(provider) for provider in health.providers}
    running = {provider.name for provider in health.providers}
    entries = await entry_lists.providers(visit.control)
    return await render(
        visit,
        "providers.html",
        {
            "health": health,
            "addresses": addresses,
            "fastest": fastest,
            "said": done(visit),
            "stranded": [entry for entry in entries if entry.name not in running],
        },
    )


def _addresses(visit: Visit) -> dict[str, str]:
    """Of each provider; "" where it is that of its kind."""
    return {each.name: getattr(each.options, "base_url", "") for each in visit.control.hub.settings.providers}


def _fastest(provider: ProviderView) -> float | None:
    """The time to the first byte of its fastest model, in milliseconds; None while none was measured."""
    return min((each.first_token_ms for each in provider.deployments if each.first_token_ms), default=None)


def kind_facts(visit: Visit, form: Form) -> dict[str, Any]:
    """What a form needs that asks for a kind."""
    registry = visit.control.hub.registry
    return {
        "kinds": provider_forms.kinds(registry, form.value("kind")),
        "kind_forms": provider_forms.kind_forms(registry),
    }


async def new(visit: Visit, form: Form) -> web.Response:
    return await render(visit, "provider-new.html", {"form": form, **kind_facts(visit, form)}, form.status)


async def provider(visit: Visit, form: Form) -> web.Response:
    view = await one(visit, "provider")
    form = form_of(visit, "provider", view, form)
    health = await live.health(visit.control)
    standing = next((each for each in health.providers if each.name == view.name), None)
    keys = [each for each in await entry_lists.keys(visit.control) if each.provider == view.name]
    more = {
        "form": form,
        **kind_facts(visit, form),
        "title": _title(visit, view),
        "standing": standing,
        "fastest": None if standing is None else _fastest(standing),
        "where": _addresses(visit).get(view.name, ""),
        "keys": sorted(keys, key=lambda each: each.state == "active"),
        "failing": [] if standing is None else _failing(standing),
        "now": time.time(),
    }
    return await render(visit, "provider.html", facts(visit, "provider", view) | more, form.status)


def _title(visit: Visit, view: ProviderEntryView) -> str:
    """Of its kind, or of the place that its preset knows."""
    kind, preset = str(view.settings.get("kind", "")), view.settings.get("preset")
    named = f"{kind}:{preset}" if preset else kind
    return dict(provider_forms.kinds(visit.control.hub.registry, named)).get(named, kind)


def _failing(provider: ProviderView) -> list[DeploymentView]:
    """One for each model whose breaker is open, whatever the key."""
    found: dict[str, DeploymentView] = {}
    for each in provider.deployments:
        if each.state == "failing":
            found.setdefault(each.model, each)
    return list(found.values())


PAGES = (
    Page("GET", "/providers", "viewer", providers),
    adding("provider", new),
    *acts("provider", provider),
)

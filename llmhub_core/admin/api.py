"""``/admin/api``: every call of the control plane by HTTP, in JSON, described by itself.

One table says of each call its path, who may make it, what it takes and what it answers; routes, checks and the
OpenAPI document come from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from keyword import iskeyword
from typing import Any

import msgspec
from aiohttp import web

from llmhub_core.admin import (
    again,
    alerts,
    audit,
    bodies,
    configuration,
    entry_calls,
    events,
    faults,
    limits,
    live,
    past,
    people,
    scripts,
    setting,
)
from llmhub_core.admin.answers import Written, asked_and_written, written
from llmhub_core.admin.calls import Endpoint, Nothing, query, taken
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import SAFE, Policy, Visit, guarded
from llmhub_core.admin.people import begin_session, sign_out
from llmhub_core.admin.refusals import Denied, not_found
from llmhub_core.admin.views import (
    ExplainView,
    HealthView,
    LevelView,
    Page,
    PluginView,
    ProviderView,
    RequestPage,
    RequestView,
    SettingView,
    UsageView,
)

__all__ = ["ENDPOINTS", "ROOT", "Endpoint", "Nothing", "add_api", "begin_session", "query", "sign_out", "taken"]

ROOT = "/admin/api"


# --- the calls


async def health(visit: Visit, asked: Nothing) -> HealthView:
    return await live.health(visit.control)


async def reset_provider(visit: Visit, asked: Nothing) -> ProviderView:
    """Forget what is held against a provider as a whole, and the failures of its deployments."""
    hub, name = visit.control.hub, visit.request.match_info["provider"]
    if name not in hub.catalog.places:
        raise not_found("provider of that name")
    await visit.control.accounts.note(visit.actor, visit.address, "provider.reset", name)
    await visit.control.workers.reset_provider(name)
    return next(each for each in (await live.health(visit.control)).providers if each.name == name)


async def quotas(visit: Visit, asked: limits.QuotasAsked) -> Page[LevelView]:
    return await limits.quotas_page(visit.control, asked)


async def usage(visit: Visit, asked: past.UsageAsked) -> Written:
    return await visit.control.page_process.run(asked_and_written, past.usage, asked)


async def requests(visit: Visit, asked: past.RequestsAsked) -> Written:
    return await visit.control.page_process.run(asked_and_written, past.requests, asked)


async def request(visit: Visit, asked: Nothing) -> RequestView:
    return await visit.control.page_process.run(past.request, visit.part("id"))


async def explain(visit: Visit, asked: setting.ExplainAsked) -> ExplainView:
    return await setting.explain(visit.control, asked)


async def dry_run(visit: Visit, asked: Nothing) -> ExplainView:
    return await setting.explain(visit.control, taken(visit.sent, setting.DryRunAsked))


async def plugins(visit: Visit, asked: setting.PluginsAsked) -> Page[PluginView]:
    return await setting.plugins_page(visit.control, asked)


async def settings(visit: Visit, asked: setting.SettingsAsked) -> Page[SettingView]:
    return await setting.settings_page(visit.control, asked)


async def openapi(visit: Visit, asked: Nothing) -> dict[str, Any]:
    return _described()


@cache
def _described() -> dict[str, Any]:
    from llmhub_core.admin.openapi import document

    return document(ENDPOINTS, ROOT)


async def stream(visit: Visit, asked: Nothing) -> web.StreamResponse:
    return await events.stream(visit)


ENDPOINTS = (
    *people.ENDPOINTS,
    *scripts.ENDPOINTS,
    *audit.ENDPOINTS,
    *alerts.ENDPOINTS,
    *faults.ENDPOINTS,
    *configuration.ENDPOINTS,
    Endpoint("GET", "/health", "viewer", health, HealthView, "Providers, keys, breakers, and what is not well."),
    *entry_calls.ENDPOINTS,
    Endpoint("POST", "/providers/{provider}/reset", "admin", reset_provider, ProviderView, "Forget its failures."),
    Endpoint("GET", "/quotas", "viewer", quotas, Page[LevelView], "Limits and where they stand.", limits.QuotasAsked),
    Endpoint("GET", "/usage", "viewer", usage, UsageView, "Sums of what was used.", past.UsageAsked),
    Endpoint("GET", "/requests", "viewer", requests, RequestPage, "Requests, newest first.", past.RequestsAsked),
    Endpoint("GET", "/requests/{id}", "viewer", request, RequestView, "One request with its attempts."),
    *bodies.ENDPOINTS,
    Endpoint("GET", "/explain", "viewer", explain, ExplainView, "Where a request would go.", setting.ExplainAsked),
    Endpoint(
        "POST", "/explain", "viewer", dry_run, ExplainView,
        "Where a request would go, what would get lost and which limits it would meet: nothing is sent.",
        sent=setting.DryRunAsked, most=setting.MOST_TRIED,
    ),
    Endpoint(
        "GET", "/plugins", "viewer", plugins, Page[PluginView],
        "What is loaded, and what is not.", setting.PluginsAsked,
    ),
    Endpoint(
        "GET", "/settings", "admin", settings, Page[SettingView],
        "The settings in force, by their names.", setting.SettingsAsked,
    ),
    Endpoint("GET", "/events", "viewer", stream, None, "Server-sent events: the state of the hub as it changes."),
    Endpoint("GET", "/openapi.json", "viewer", openapi, dict[str, Any], "This description."),
)  # fmt: skip


# --- over HTTP


def add_api(app: web.Application, control: Control) -> None:
    for endpoint in ENDPOINTS:
        policy = Policy(endpoint.role, idle=endpoint.answer is None, most=endpoint.most)
        handler = guarded(control, policy, _handler(endpoint), refuse)
        app.router.add_route(endpoint.method, ROOT + endpoint.path, handler, name=_name(endpoint))
    # Last, for whatever else is asked below this path; it takes nothing and tells nothing.
    app.router.add_route("*", ROOT + "/{rest:.*}", guarded(control, Policy(None), _nowhere, refuse))


def _name(endpoint: Endpoint) -> str:
    """Routes have names, so that the log and the audit can tell them without repeating what was asked."""
    words = [word.strip("{}").replace(".", "_") for word in endpoint.path.strip("/").split("/")]
    words = [f"{word}_" if iskeyword(word) else word for word in words]  # aiohttp takes none
    return ".".join(["api", *words, endpoint.method.lower()])


def _handler(endpoint: Endpoint) -> Callable[[Visit], Awaitable[web.StreamResponse]]:
    async def handle(visit: Visit) -> web.StreamResponse:
        asked = query(visit.request, endpoint.asked)
        if endpoint.repeatable:

            async def act() -> bytes:
                return msgspec.json.encode(await endpoint.call(visit, asked))

            body, before = await again.once(visit, act)
            response = web.Response(body=body, content_type="application/json", charset="utf-8")
            if before:
                response.headers[again.REPLAYED] = "true"
            return response
        answer = await endpoint.call(visit, asked)
        if isinstance(answer, web.StreamResponse):
            return answer
        if isinstance(answer, Written):
            return answer.response()
        response = (await written(answer, getattr(asked, "format", "json"))).response()
        if getattr(answer, "revision", None) is not None:
            response.etag = str(answer.revision)
        return response

    return handle


async def _nowhere(visit: Visit) -> web.StreamResponse:
    request = visit.request
    allowed = set()
    for endpoint in ENDPOINTS:
        resource = request.app.router[_name(endpoint)]
        if resource.get_info().get("path") == request.path or (
            (pattern := resource.get_info().get("pattern")) is not None and pattern.fullmatch(request.path)
        ):
            allowed.add(endpoint.method)
    if not allowed:
        raise not_found("call of that name")
    raise Denied(405, "method_not_allowed", f"Use {' or '.join(sorted(allowed))} here.")


async def refuse(visit: Visit, denied: Denied) -> web.Response:
    body = {"error": {"code": denied.code, "message": denied.message, "advice": denied.advice, "source": "gateway"}}
    response = web.Response(
        status=denied.status, body=msgspec.json.encode(body), content_type="application/json", charset="utf-8"
    )
    if denied.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(denied.retry_after)))
    if visit.request.method not in SAFE and denied.status == 413:
        response.force_close()
    return response

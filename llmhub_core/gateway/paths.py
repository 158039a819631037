"""The paths that callers know, each with its dialect; lists of models; health and metrics."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.wire import dump_json
from llmhub_core.gateway.chain import EXCHANGE, HUB, UPSTREAM, auth, chained
from llmhub_core.gateway.discovery import list_models
from llmhub_core.gateway.refusal import new_id, refuse
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.hub import Hub

FALLBACK_DIALECT = "openai_chat"
"""Whose errors are spoken where nothing tells the caller's dialect."""

NO_METRICS = "# Nothing counts here; add a table [observers.prometheus] to the configuration.\n"


def add_gateway(app: web.Application, hub: Hub) -> None:
    """Everything that callers of the public API see."""
    app[HUB] = hub
    settings = hub.settings.upstream
    app[UPSTREAM] = Upstream(per_host=settings.connections, idle=settings.idle)
    router = app.router
    for dialect in hub.dialects.values():
        handler: Any = chained(dialect)  # aiohttp asks for its own response class, and takes any with its face
        for path in dialect.paths:
            router.add_post(path, handler)
            # Said here, for a path of one dialect may look like a model's name to another.
            router.add_get(path, _only_post, allow_head=False)
    for path in sorted({path for dialect in hub.dialects.values() for path in dialect.models_paths}):
        router.add_get(path, _models, allow_head=False)
        router.add_get(path + "/{model:.+}", _model, allow_head=False)
    router.add_get("/healthz", _healthz, allow_head=False)
    router.add_get("/readyz", _readyz, allow_head=False)
    router.add_get("/metrics", _metrics, allow_head=False)
    app.on_cleanup.append(_close_upstream)


async def _close_upstream(app: web.Application) -> None:
    await app[UPSTREAM].stop()


def _dialect_of(hub: Hub, request: web.BaseRequest) -> Dialect[Any]:
    """Whose words to use on a path that no dialect has for itself."""
    path = request.path
    for dialect in hub.dialects.values():
        if dialect.claims(request.headers, path):
            return dialect
    return hub.dialects.get(FALLBACK_DIALECT) or next(iter(hub.dialects.values()))


async def _only_post(request: web.Request) -> Any:
    raise web.HTTPMethodNotAllowed("GET", ["POST"])


async def write_error(hub: Hub, request: web.BaseRequest, error: HubError) -> Reply:
    """Answer for a path that nobody serves, or for a request that never became an exchange."""
    return await refuse(request, new_id(), _dialect_of(hub, request), error)


async def _models(request: web.Request) -> Any:
    """All public names, in the shape that the caller's headers ask for."""
    dialect = _dialect_of(request.app[HUB], request)
    return await chained(dialect, (auth,), partial(_send_models, dialect))(request)


async def _send_models(dialect: Dialect[Any], request: web.Request) -> Reply:
    hub, exchange = request.app[HUB], request[EXCHANGE]
    await list_models(hub, request.app[UPSTREAM])
    cards = [card for card in hub.catalog.cards() if exchange.caller.may_use(card.id)]
    return await _send(request, dialect.encode_models(cards))


async def _model(request: web.Request) -> Any:
    dialect = _dialect_of(request.app[HUB], request)
    return await chained(dialect, (auth,), partial(_send_model, dialect))(request)


async def _send_model(dialect: Dialect[Any], request: web.Request) -> Reply:
    hub, exchange = request.app[HUB], request[EXCHANGE]
    name = request.match_info["model"]
    await list_models(hub, request.app[UPSTREAM])
    for card in hub.catalog.cards():
        if card.id == name and exchange.caller.may_use(name):
            return await _send(request, dialect.encode_model(card))
    raise hub.catalog.unknown(name)


async def _send(request: web.Request, body: bytes, content_type: str = "application/json") -> Reply:
    reply = Reply(request)
    exchange = request.get(EXCHANGE)
    await reply.send(200, content_type, body, {"x-request-id": exchange.id if exchange is not None else new_id()})
    return reply


async def _healthz(request: web.Request) -> Any:
    """Whether the process lives; says nothing about what stands behind it."""
    return await _send(request, b'{"status":"ok"}')


async def _readyz(request: web.Request) -> Any:
    """Whether traffic should come here, and if not, why."""
    hub = request.app[HUB]
    reasons = []
    if hub.draining:
        reasons.append("draining")
    if not hub.ready:
        reasons.append("starting")
    if hub.ledger.broken is not None:
        reasons.append("the usage journal cannot be written")
    body = dump_json({"status": "not ready" if reasons else "ready", "reasons": reasons})
    reply = Reply(request)
    await reply.send(503 if reasons else 200, "application/json", body, {"x-request-id": new_id()})
    return reply


async def _metrics(request: web.Request) -> Any:
    """What the observers count, in the Prometheus text format."""
    hub = request.app[HUB]
    text = "".join(observer.metrics() for observer in hub.observers)
    if not text and "prometheus" not in {observer.name for observer in hub.observers}:
        text = NO_METRICS
    return await _send(request, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

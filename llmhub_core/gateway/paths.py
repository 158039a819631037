"""The paths that callers know, each with its dialect; lists of models; health and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import HubError, NotFound, Unavailable
from llmhub_core.contracts.wire import dump_json
from llmhub_core.gateway.all_metrics import merged
from llmhub_core.gateway.chain import Handler, auth, chained
from llmhub_core.gateway.discovery import list_models
from llmhub_core.gateway.incoming import Incoming, Place
from llmhub_core.gateway.outbox import Outbox
from llmhub_core.gateway.refusal import new_id, refuse
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.networks import Networks

FALLBACK_DIALECT = "openai_chat"
"""Whose errors are spoken where nothing tells the caller's dialect."""

NO_METRICS = "# Nothing counts here; add a table [observers.prometheus] to the configuration.\n"

PLACE = web.AppKey("place", Place)


def add_gateway(app: web.Application, hub: Hub) -> None:
    """Everything that callers of the public API see."""
    settings = hub.settings.upstream
    upstream = Upstream(
        per_host=settings.connections,
        idle=settings.idle,
        networks=Networks(settings.networks),
        outbox=Outbox(hub.ledger.flush),
    )
    place = app[PLACE] = Place(hub, upstream)
    router = app.router
    for dialect in hub.dialects.values():
        handler = chained(dialect)
        for path in dialect.paths:
            router.add_post(path, _traffic(place, handler, dialect))
            # Said here, for a path of one dialect may look like a model's name to another.
            router.add_get(path, _only_post, allow_head=False)
            if "{" not in path:
                place.posts[path] = handler
    for dialect in hub.dialects.values():
        for path, why in dialect.absent.items():
            router.add_route("*", path, _traffic(place, chained(dialect, (auth,), _absent(why)), dialect))
    for path in sorted({path for dialect in hub.dialects.values() for path in dialect.models_paths}):
        router.add_get(path, _traffic(place, _models), allow_head=False)
        router.add_get(path + "/{model:.+}", _traffic(place, _model), allow_head=False)
    for path, answer in (("/healthz", _healthz), ("/readyz", _readyz), ("/metrics", _metrics)):
        router.add_get(path, _served(place, answer), allow_head=False)
    hub.siblings.answer("metrics", lambda _: _counted(hub))
    app.on_cleanup.append(_close_upstream)


def _served(place: Place, handler: Handler) -> Callable[[web.Request], Awaitable[Any]]:
    """A handler as aiohttp's router wants it; it asks for its own response class, and takes any with its face."""

    async def serve(request: web.Request) -> Any:
        return await handler(place.take(request))

    return serve


def _traffic(
    place: Place, handler: Handler, dialect: Dialect[Any] | None = None
) -> Callable[[web.Request], Awaitable[Any]]:
    """As `_served`, unless the place is barred; `dialect` None is told by the request."""

    async def serve(request: web.Request) -> Any:
        taken = place.take(request)
        if place.barred is not None:
            return await refuse(taken, new_id(), dialect or _dialect_of(taken), place.barred)
        return await handler(taken)

    return serve


def bar_if_sealed(place: Place) -> None:
    """A hub whose root keys do not fit serves no traffic; health, metrics and the control plane go on."""
    if place.hub.sealed:
        place.bar(
            Unavailable(
                "The hub is sealed: its root keys do not open what is stored. Its operator finds the reason in the log "
                "and on the dashboard.",
                code="vault_sealed",
                should_retry=False,
            )
        )


def _absent(why: str) -> Handler:
    """Says what a path of the format is not served for, to those who may ask."""

    async def refuse_path(request: Incoming) -> Reply:
        raise NotFound(why)

    return refuse_path


async def _close_upstream(app: web.Application) -> None:
    await app[PLACE].upstream.stop()


def _dialect_of(request: Incoming) -> Dialect[Any]:
    """Whose words to use on a path that no dialect has for itself."""
    path, dialects = request.path, request.hub.dialects
    for dialect in dialects.values():
        if dialect.claims(request.headers, path):
            return dialect
    return dialects.get(FALLBACK_DIALECT) or next(iter(dialects.values()))


async def _only_post(request: web.Request) -> Any:
    raise web.HTTPMethodNotAllowed("GET", ["POST"])


async def write_error(place: Place, request: web.BaseRequest, error: HubError) -> Reply:
    """Answer for a path that nobody serves, or for a request that never became an exchange."""
    taken = place.take(request)
    return await refuse(taken, new_id(), _dialect_of(taken), error)


async def _models(request: Incoming) -> Reply:
    """All public names, in the shape that the caller's headers ask for."""
    dialect = _dialect_of(request)
    return await chained(dialect, (auth,), partial(_send_models, dialect))(request)


async def _send_models(dialect: Dialect[Any], request: Incoming) -> Reply:
    hub, exchange = request.hub, request.exchange
    await list_models(hub, request.upstream)
    cards = [card for card in hub.catalog.cards() if exchange.caller.may_use(card.id)]
    return await _send(request, dialect.encode_models(cards), request_id=exchange.id)


async def _model(request: Incoming) -> Reply:
    dialect = _dialect_of(request)
    return await chained(dialect, (auth,), partial(_send_model, dialect))(request)


async def _send_model(dialect: Dialect[Any], request: Incoming) -> Reply:
    hub, exchange = request.hub, request.exchange
    name = request.variables["model"]
    await list_models(hub, request.upstream)
    for card in hub.catalog.cards():
        if card.id == name and exchange.caller.may_use(name):
            return await _send(request, dialect.encode_model(card), request_id=exchange.id)
    raise hub.catalog.unknown(name)


async def _send(
    request: Incoming, body: bytes, content_type: str = "application/json", status: int = 200, request_id: str = ""
) -> Reply:
    reply = Reply(request)
    await reply.send(status, content_type, body, {"x-request-id": request_id or new_id()})
    return reply


async def _healthz(request: Incoming) -> Reply:
    """Whether the process lives; says nothing about what stands behind it."""
    return await _send(request, b'{"status":"ok"}')


async def _readyz(request: Incoming) -> Reply:
    """Whether traffic should come here, and if not, why."""
    hub = request.hub
    reasons = []
    if hub.draining:
        reasons.append("draining")
    if not hub.ready:
        reasons.append("starting")
    if hub.sealed:
        reasons.append("sealed: the root keys do not open what is stored")
    if hub.ledger.broken is not None:
        reasons.append("the usage journal cannot be written")
    body = dump_json({"status": "not ready" if reasons else "ready", "reasons": reasons})
    return await _send(request, body, status=503 if reasons else 200)


def _counted(hub: Hub) -> str:
    text = "".join(observer.metrics() for observer in hub.observers)
    if not text and "prometheus" not in {observer.name for observer in hub.observers}:
        text = NO_METRICS
    return text


async def _metrics(request: Incoming) -> Reply:
    """What the observers count, in the Prometheus text format; of several workers all, each series with its number."""
    hub = request.hub
    text = _counted(hub)
    if hub.worker.number:
        text = merged([(hub.worker.number, text), *await hub.siblings.ask("metrics")])
    return await _send(request, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

"""open_exchange → auth → normalize → route → meter → relay"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from aiohttp import web

from llmhub_core.contracts.chat_request import Where
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.operations import CHAT
from llmhub_core.gateway.auth import recognise
from llmhub_core.gateway.discovery import list_models
from llmhub_core.gateway.meter import metered, note_refusal
from llmhub_core.gateway.normalize import arrived, check_head, intercept, read_on, understand
from llmhub_core.gateway.refusal import new_id, refuse
from llmhub_core.gateway.relay import relay
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.route import plan
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.hub import Hub

EXCHANGE = web.RequestKey("exchange", Exchange)
HUB = web.AppKey("hub", Hub)
UPSTREAM = web.AppKey("upstream", Upstream)

NO_QUERY: Mapping[str, str] = {}

Handler = Callable[[web.Request], Awaitable[Reply]]


class Step(Protocol):
    """aiohttp's middleware shape, laid around paths and not around the application: unknown paths stay 404."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[Reply]: ...


async def open_exchange(request: web.Request, handler: Handler, dialect: Dialect[Any]) -> Reply:
    """Open the exchange in the caller's dialect, and speak every refusal in it."""
    query = request.query if "?" in request.raw_path else NO_QUERY
    where = Where(request.match_info, query, request.headers.get("content-type", ""))
    exchange = Exchange(new_id(), dialect, request.headers, where)
    request[EXCHANGE] = exchange
    try:
        return await handler(request)
    except Exception as error:
        note_refusal(exchange, request.app[HUB], error)
        return await refuse(request, exchange.id, dialect, error)


async def auth(request: web.Request, handler: Handler) -> Reply:
    exchange = request[EXCHANGE]
    exchange.caller = recognise(exchange, request.app[HUB])
    return await handler(request)


async def normalize(request: web.Request, handler: Handler) -> Reply:
    exchange = request[EXCHANGE]
    hub, content = request.app[HUB], request.content
    limit = hub.settings.server.max_body
    check_head(request, exchange.dialect.media_types, limit)
    # A small body came with its head, in the ordinary case: then nothing has to be waited for.
    exchange.body = arrived(content, limit) if content.is_eof() else await read_on(content, limit)
    understand(exchange)
    if hub.sees_requests and exchange.head.operation == CHAT:
        await intercept(exchange, hub)
    return await handler(request)


async def route(request: web.Request, handler: Handler) -> Reply:
    exchange, app = request[EXCHANGE], request.app
    if app[HUB].catalog.find(exchange.head.model) is None:
        await list_models(app[HUB], app[UPSTREAM])
    exchange.plan = plan(exchange, app[HUB])
    return await handler(request)


async def meter(request: web.Request, handler: Handler) -> Reply:
    return await metered(request[EXCHANGE], request.app[HUB], partial(handler, request))


async def answer(request: web.Request) -> Reply:
    app = request.app
    return await relay(request[EXCHANGE], app[HUB], app[UPSTREAM], Reply(request))


CHAIN: tuple[Step, ...] = (auth, normalize, route, meter)


def chained(dialect: Dialect[Any], steps: tuple[Step, ...] = CHAIN, end: Handler = answer) -> Handler:
    """What a path is given as its handler: the steps, outermost first, around the end."""
    first: Step = partial(open_exchange, dialect=dialect)
    handler = end
    for step in (*reversed(steps), first):
        handler = partial(step, handler=handler)
    return handler

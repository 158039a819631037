"""open_exchange → auth → normalize → route → meter → relay"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from aiohttp import web

from llmhub_core.contracts.chat_request import Where
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.gateway.auth import recognise
from llmhub_core.gateway.discovery import list_models
from llmhub_core.gateway.meter import metered, note_refusal
from llmhub_core.gateway.normalize import read_body, understand
from llmhub_core.gateway.refusal import new_id, refuse
from llmhub_core.gateway.relay import relay
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.route import plan
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.hub import Hub

EXCHANGE = web.RequestKey("exchange", Exchange)
HUB = web.AppKey("hub", Hub)
UPSTREAM = web.AppKey("upstream", Upstream)

Handler = Callable[[web.Request], Awaitable[Reply]]


class Step(Protocol):
    """aiohttp's middleware shape, laid around paths and not around the application: unknown paths stay 404."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[Reply]: ...


async def open_exchange(request: web.Request, handler: Handler, dialect: Dialect) -> Reply:
    """Open the exchange in the caller's dialect, and speak every refusal in it."""
    exchange = Exchange(new_id(), dialect, request.headers, Where(request.match_info, request.query))
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
    exchange.body = await read_body(request, request.app[HUB].settings.server.max_body)
    await understand(exchange, request.app[HUB])
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


def chained(dialect: Dialect, steps: tuple[Step, ...] = CHAIN, end: Handler = answer) -> Handler:
    """What a path is given as its handler: the steps, outermost first, around the end."""
    first: Step = partial(open_exchange, dialect=dialect)
    handler = end
    for step in (*reversed(steps), first):
        handler = partial(step, handler=handler)
    return handler

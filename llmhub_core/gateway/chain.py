"""open_exchange → auth → normalize → route → meter → relay"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from multidict import istr

from llmhub_core.contracts.chat_request import Where
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.operations import CHAT
from llmhub_core.gateway.auth import recognise
from llmhub_core.gateway.discovery import list_models
from llmhub_core.gateway.incoming import Incoming
from llmhub_core.gateway.meter import meter, note_refusal
from llmhub_core.gateway.normalize import arrived, check_head, intercept, read_on, understand
from llmhub_core.gateway.refusal import new_id, refuse
from llmhub_core.gateway.relay import relay
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.route import plan

CONTENT_TYPE = istr("content-type")

Handler = Callable[[Incoming], Awaitable[Reply]]


class Step(Protocol):
    """A middleware, laid around paths and not around the application: unknown paths stay 404."""

    def __call__(self, request: Incoming, handler: Handler) -> Awaitable[Reply]: ...


async def open_exchange(request: Incoming, handler: Handler, dialect: Dialect[Any]) -> Reply:
    """Open the exchange in the caller's dialect, and speak every refusal in it."""
    headers = request.headers
    where = Where(request.variables, request.query, headers.get(CONTENT_TYPE, ""))
    exchange = request.exchange = Exchange(new_id(), dialect, headers, where)
    try:
        return await handler(request)
    except Exception as error:
        note_refusal(exchange, request.hub, error)
        return await refuse(request, exchange.id, dialect, error)


async def auth(request: Incoming, handler: Handler) -> Reply:
    exchange, hub, known = request.exchange, request.hub, request.known
    if known is not None and known.tokens is hub.tokens:
        exchange.caller = known.caller
    else:
        exchange.caller = recognise(exchange, hub)
        if known is not None and hub.tokens.lasting:
            known.caller, known.tokens = exchange.caller, hub.tokens
    return await handler(request)


async def normalize(request: Incoming, handler: Handler) -> Reply:
    exchange, hub, content = request.exchange, request.hub, request.content
    limit = hub.settings.server.max_body
    check_head(request, exchange.dialect.media_types, limit)
    # A small body came with its head, in the ordinary case: then nothing has to be waited for.
    exchange.body = arrived(content, limit) if content.is_eof() else await read_on(content, limit)
    understand(exchange)
    if hub.sees_requests and exchange.head.operation == CHAT:
        await intercept(exchange, hub)
    return await handler(request)


async def route(request: Incoming, handler: Handler) -> Reply:
    exchange, hub = request.exchange, request.hub
    if hub.catalog.find(exchange.head.model) is None:
        await list_models(hub, request.upstream)
    exchange.plan = plan(exchange, hub)
    return await handler(request)


CHAIN: tuple[Step, ...] = (auth, normalize, route, meter)


def chained(dialect: Dialect[Any], steps: tuple[Step, ...] = CHAIN, end: Handler = relay) -> Handler:
    """What a path is given as its handler: the steps, outermost first, around the end."""
    handler = end
    for step in reversed(steps):
        handler = _before(step, handler)
    return lambda request: open_exchange(request, handler, dialect)


def _before(step: Step, handler: Handler) -> Handler:
    # A function of its own: functools.partial with a keyword takes three times as long to call.
    return lambda request: step(request, handler)

"""From body bytes to an understood request, within limits."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader
from multidict import istr

from llmhub_core.contracts.chat_request import ChatRequest, RequestHead
from llmhub_core.contracts.chat_response import ChatResponse
from llmhub_core.contracts.errors import BadRequest, RequestTimeout, TooLarge, UnsupportedMedia
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.gateway.incoming import Incoming
from llmhub_core.hub.hub import Hub

BODY_IDLE = 10.0
BODY_TOTAL = 60.0
"""Seconds that a body may stand still, and take as a whole."""

MAX_TAGS = 16


JSON = "application/json"
CODING, TAGS, STRICT = istr("content-encoding"), istr("x-llmhub-tags"), istr("x-llmhub-strict")


def check_head(request: Incoming, media_types: tuple[str, ...], limit: int) -> None:
    """Refuse what its headers show to be unusable, before any of it is read."""
    headers, kind = request.headers, request.exchange.where.media
    if kind != JSON or kind not in media_types:
        media, _, options = kind.partition(";")
        if media.strip().lower() not in media_types or "utf-16" in options.lower():
            wanted = " or ".join(media_types)
            body = "JSON" if media_types == (JSON,) else wanted
            raise UnsupportedMedia(f"Send the body as {body}, with the header content-type: {wanted}.")
    if headers.get(CODING, "identity").lower() != "identity":
        raise UnsupportedMedia("Send the body without a content-encoding; compressed requests are not taken.")
    if not request.content.is_eof() and int(headers.get("content-length", 0)) > limit:
        raise _too_large(limit)


def arrived(content: StreamReader, limit: int) -> bytes:
    """A body of which all is here already, of at most `limit` bytes."""
    body = content.read_nowait(-1)
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def read_on(content: StreamReader, limit: int) -> bytes:
    """The rest of a body that is still arriving, of at most `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TOTAL):
            while True:
                async with asyncio.timeout(BODY_IDLE):
                    piece = await content.readany()
                if not piece:
                    return b"".join(pieces)
                size += len(piece)
                if size > limit:
                    raise _too_large(limit)
                pieces.append(piece)
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time; send it without pauses.") from None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit / 1048576:g} MiB that this hub accepts.")


def understand(exchange: Exchange) -> None:
    """Read what the chain has to know."""
    exchange.head = exchange.dialect.read_head(exchange.body, exchange.where)
    headers = exchange.headers
    tags = headers.get(TAGS)
    if tags:
        exchange.tags = _tags(tags)
    strict = headers.get(STRICT)
    if strict:
        exchange.strict = strict.strip().lower() not in {"0", "false", "no"}


async def intercept(exchange: Exchange, hub: Hub) -> None:
    """Let interceptors have their say: another request, or an answer at once."""
    for interceptor in hub.sees_requests:
        said = await interceptor.request(exchange)
        if isinstance(said, ChatResponse):
            exchange.ready = said
            return
        if said is not None:
            exchange.replace_request(said)
            exchange.head = _head_of(said, exchange.head)


def _head_of(request: ChatRequest, head: RequestHead) -> RequestHead:
    return RequestHead(
        model=request.model,
        stream=request.stream,
        framing=head.framing,
        max_output=request.sampling.max_output,
        asked_usage=head.asked_usage,
        n=request.sampling.n,
        operation=head.operation,
    )


def _tags(header: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in header.split(","):
        name, equals, value = pair.strip().partition("=")
        if not equals or not name or len(name) > 64 or len(value) > 256 or len(tags) >= MAX_TAGS:
            raise BadRequest(
                f"x-llmhub-tags takes name=value pairs, separated by commas, {MAX_TAGS} at most.",
                code="invalid_value",
                param="x-llmhub-tags",
            )
        tags[name] = value
    return tags

"""Small streams and messages of Anthropic's format, read and written by the dialect, for its tests."""

from __future__ import annotations

import json
from typing import Any

import anthropic
from aiohttp import web
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings

from llmhub_core.contracts import ChatRequest, Event, Message, Text

DIALECT = Anthropic(AnthropicSettings())
START = {"type": "message_start", "message": {"id": "msg_1", "model": "c", "usage": {"input_tokens": 4}}}
STOP = {"type": "message_stop"}


def end(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9, **usage}}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, type: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": type, **more}}


def read(*events: Any) -> list[Event]:
    decoder = DIALECT.response_decoder(True)
    data = b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)
    return [*decoder.feed(data), *decoder.close()]


def read_whole(body: Any) -> list[Event]:
    decoder = DIALECT.response_decoder(False)
    decoder.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
    return list(decoder.close())


def write(events: list[Event], stream: bool) -> bytes:
    request = ChatRequest("anthropic", "public", (Message("user", (Text("x"),)),), stream=stream)
    encoder = DIALECT.response_encoder(request)
    return b"".join(map(encoder.write, events)) + encoder.close()


async def gather(aiohttp_server: Any, body: bytes, stream: bool) -> Any:
    """What the provider's own SDK makes of `body`."""

    async def messages(http_request: web.Request) -> web.Response:
        kind = "text/event-stream" if stream else "application/json"
        return web.Response(body=body, content_type=kind)

    app = web.Application()
    app.router.add_post("/v1/messages", messages)
    server = await aiohttp_server(app)
    call: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    async with anthropic.AsyncAnthropic(api_key="k", base_url=str(server.make_url("")), max_retries=0) as client:
        if not stream:
            return await client.messages.create(**call)
        async with client.messages.stream(**call) as gathered:
            return await gathered.get_final_message()


def lines(events: list[Event]) -> list[str]:
    return write(events, True).decode().splitlines()[1::3]

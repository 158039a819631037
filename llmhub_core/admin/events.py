"""Server-sent events: the hub's state whenever it changes, for pages and programs that watch."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from llmhub_core.admin import live
from llmhub_core.admin.doors import HEADERS

if TYPE_CHECKING:
    from llmhub_core.admin.doors import Visit

EVERY = 2.0
"""Seconds between two looks."""

PULSE = 15.0
"""Seconds of silence after which a comment shows that the line is alive."""

MOST = 20
"""Streams at once: each is a connection and a look every other second."""

_open: web.AppKey[set[Any]] = web.AppKey("llmhub_event_streams", set)


def prepare(app: web.Application) -> None:
    app[_open] = set()
    app.on_shutdown.append(_end_all)


async def _end_all(app: web.Application) -> None:
    streams: set[Any] = app[_open]
    for task in list(streams):
        task.cancel()


async def stream(visit: Visit) -> web.StreamResponse:
    """Ends when the session does, when the caller leaves, and when the hub stops."""
    from llmhub_core.admin.refusals import Denied

    streams: set[Any] = visit.request.app[_open]
    if len(streams) >= MOST:
        raise Denied(429, "too_many_streams", "Too many pages watch this hub at once.", "Close one.", retry_after=10)
    response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(visit.request)
    task = asyncio.current_task()
    streams.add(task)
    try:
        await _send(visit, response)
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        streams.discard(task)
    return response


async def _send(visit: Visit, response: web.StreamResponse) -> None:
    identity = str(visit.session.identity)
    last, spoken, number = b"", time.monotonic(), 0
    who = visit.who
    while who is not None and await visit.control.sessions.present(who, identity):
        state = await _state(visit)
        if state != last:
            number += 1
            await response.write(b"id: %d\nevent: state\ndata: %b\n\n" % (number, state))
            last, spoken = state, time.monotonic()
        elif time.monotonic() - spoken >= PULSE:
            await response.write(b": here\n\n")
            spoken = time.monotonic()
        await asyncio.sleep(EVERY)
    await response.write(b"event: end\ndata: {}\n\n")


async def _state(visit: Visit) -> bytes:
    health = await live.health(visit.control)
    keys = await live.keys(visit.control)
    return msgspec.json.encode(
        {
            "in_flight": health.in_flight,
            "requests": sum(provider.requests for provider in health.providers),
            "problems": health.problems,
            "providers": {provider.name: provider.state for provider in health.providers},
            # A time that counts down would be news every time.
            "keys": {key.id: {"state": key.state, "until": key.until and round(key.until)} for key in keys},
        }
    )

"""Server-sent events: the hub's state whenever it changes, for pages and programs that watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from llmhub_core.admin import live
from llmhub_core.admin.doors import HEADERS
from llmhub_core.admin.slices import pause

if TYPE_CHECKING:
    from llmhub_core.admin.control import Control
    from llmhub_core.admin.doors import Visit

log = logging.getLogger("llmhub.admin")

EVERY = 1.0
"""Seconds between two looks; a change of health is looked at sooner."""

SOONEST = 0.2
"""Seconds between two looks when much changes."""

PULSE = 15.0
"""Seconds of silence after which a comment shows that the line is alive."""

MOST = 20
"""Streams at once, of one worker: each is a connection, and a look at its session every other second."""


class Watching:
    """The streams of one worker. However many there are, they share one look at the hub, and none looks if there are
    none."""

    def __init__(self, control: Control) -> None:
        self.streams: set[Any] = set()
        self.state = b""
        self._control = control
        self._news = asyncio.Condition()
        self._stirred = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        control.hub.telling.watchers.append(self._stirred.set)

    def add(self, stream: Any) -> None:
        self.streams.add(stream)
        if self._looking is None or self._looking.done():
            self.state = b""
            self._looking = asyncio.create_task(self._look(), name="events")

    async def other_than(self, state: bytes) -> bytes:
        """The state as soon as it is another; the same again after a while in which it was not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY), self._news:
                await self._news.wait_for(lambda: self.state != state)
        return self.state

    async def _look(self) -> None:
        while self.streams:
            self._stirred.clear()
            try:
                state = await _state(self._control)
            except Exception as error:  # the database is away: then nothing is told until it is back
                log.debug("the hub could not be looked at: %s", type(error).__name__)
            else:
                if state != self.state:
                    self.state = state
                    await self._tell()
            await asyncio.sleep(min(SOONEST, EVERY))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(EVERY - SOONEST, 0)):
                    await self._stirred.wait()

    async def _tell(self) -> None:
        """One stream after the other, or callers would wait until all have written."""
        for _ in range(len(self.streams)):
            async with self._news:
                self._news.notify()
            await pause()


_watching: web.AppKey[Watching] = web.AppKey("llmhub_event_streams", Watching)


def prepare(app: web.Application, control: Control) -> None:
    app[_watching] = Watching(control)
    app.on_shutdown.append(_end_all)


async def _end_all(app: web.Application) -> None:
    for task in list(app[_watching].streams):
        task.cancel()


async def stream(visit: Visit) -> web.StreamResponse:
    """Ends when the session does, when the caller leaves, and when the hub stops."""
    from llmhub_core.admin.refusals import Denied

    watching = visit.request.app[_watching]
    if len(watching.streams) >= MOST:
        raise Denied(429, "too_many_streams", "Too many pages watch this hub at once.", "Close one.", retry_after=10)
    response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(visit.request)
    task = asyncio.current_task()
    watching.add(task)
    try:
        await _send(visit, response, watching)
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        watching.streams.discard(task)
    return response


async def _send(visit: Visit, response: web.StreamResponse, watching: Watching) -> None:
    identity = str(visit.session.identity)
    last, spoken, number = b"", time.monotonic(), 0
    who = visit.who
    seen = 0.0
    while who is not None:
        if time.monotonic() - seen >= 2 * EVERY:  # each asks the database
            if not await visit.control.sessions.present(who, identity):
                break
            seen = time.monotonic()
        state = await watching.other_than(last)
        if state != last:
            number += 1
            await response.write(b"id: %d\nevent: state\ndata: %b\n\n" % (number, state))
            last, spoken = state, time.monotonic()
        elif time.monotonic() - spoken >= PULSE:
            await response.write(b": here\n\n")
            spoken = time.monotonic()
    await response.write(b"event: end\ndata: {}\n\n")


async def _state(control: Control) -> bytes:
    health, keys = await live.health_and_keys(control)
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

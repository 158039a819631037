"""Server-sent events: the hub's state whenever it changes, for pages and programs that watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from llmhub_core.admin import live
from llmhub_core.admin.doors import HEADERS
from llmhub_core.admin.slices import pause

if TYPE_CHECKING:
    from llmhub_core.admin.control import Control
    from llmhub_core.admin.doors import Visit
    from llmhub_core.admin.sessions import Who

log = logging.getLogger("llmhub.admin")

EVERY = 1.0
"""Seconds between two looks; a change of health is looked at sooner."""

SOONEST = 0.2
"""Seconds between two looks when much changes."""

AWAY = b'event: away\ndata: {"message": "The database does not answer."}\n\n'
"""Told once, until there is a state again: what a page shows is no longer what is."""

PULSE = 15.0
"""Seconds of silence after which a comment shows that the line is alive."""

MOST = 20
"""Streams at once, of one worker: each is a connection."""


@dataclass(eq=False, slots=True)
class Stream:
    """One of them, and whose it is. `told` is what it told last, `spoken` when; it is `stirred` to tell the
    next, a sign of life, or that its session is `over`."""

    task: asyncio.Task[Any]
    who: Who
    identity: str
    told: bytes = b""
    spoken: float = field(default_factory=time.monotonic)
    over: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)


class Watching:
    """The streams of one worker. However many there are, they share one look at the hub, and one at their sessions;
    nobody looks if there are none."""

    def __init__(self, control: Control) -> None:
        self.streams: set[Stream] = set()
        self.state = b""
        self._control = control
        self._stirred = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._checked = 0.0
        control.hub.telling.watchers.append(self._stirred.set)
        control.hub.configuration.on_away(self._stir_all)

    @property
    def news(self) -> bytes:
        """What a stream is to tell."""
        return AWAY if self._control.hub.configuration.store_away else self.state

    def _stir_all(self) -> None:
        for stream in self.streams:
            stream.stirred.set()

    def add(self, stream: Stream) -> None:
        self.streams.add(stream)
        if self._looking is None or self._looking.done():
            self.state = b""
            self._looking = asyncio.create_task(self._look(), name="events")
        elif self.state:
            stream.stirred.set()

    async def _look(self) -> None:
        while self.streams:
            self._stirred.clear()
            try:
                self.state = b"event: state\ndata: %b\n\n" % await _state(self._control)
                await self._check()
            except Exception as error:  # the database is away: then nothing else is told until it is back
                log.debug("the hub could not be looked at: %s", type(error).__name__)
            await self._tell()
            await asyncio.sleep(min(SOONEST, EVERY))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(EVERY - SOONEST, 0)):
                    await self._stirred.wait()

    async def _check(self) -> None:
        """Whose session is over."""
        if time.monotonic() - self._checked < 2 * EVERY:
            return
        self._checked = time.monotonic()
        streams = list(self.streams)
        present = await self._control.sessions.present([(each.who, each.identity) for each in streams])
        for stream, is_present in zip(streams, present, strict=True):
            stream.over = not is_present

    async def _tell(self) -> None:
        """One stream after the other, or callers would wait until all have written."""
        for stream in list(self.streams):
            silent = time.monotonic() - stream.spoken >= PULSE
            if stream.over or silent or stream.told != self.news:
                stream.stirred.set()
                await pause()


_watching: web.AppKey[Watching] = web.AppKey("llmhub_event_streams", Watching)


def prepare(app: web.Application, control: Control) -> None:
    app[_watching] = Watching(control)
    app.on_shutdown.append(_end_all)


async def _end_all(app: web.Application) -> None:
    for stream in list(app[_watching].streams):
        stream.task.cancel()


async def stream(visit: Visit) -> web.StreamResponse:
    """Ends when the session does, when the caller leaves, and when the hub stops."""
    from llmhub_core.admin.refusals import Denied

    watching, task, who = visit.request.app[_watching], asyncio.current_task(), visit.who
    if len(watching.streams) >= MOST:
        raise Denied(429, "too_many_streams", "Too many pages watch this hub at once.", "Close one.", retry_after=10)
    assert task is not None  # noqa: S101 — a handler runs in one
    assert who is not None  # noqa: S101 — the door lets nobody else pass
    response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(visit.request)
    own = Stream(task, who, str(visit.session.identity))
    watching.add(own)
    try:
        await _send(own, response, watching)
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        watching.streams.discard(own)
    return response


async def _send(stream: Stream, response: web.StreamResponse, watching: Watching) -> None:
    number = 0
    while await stream.stirred.wait():
        stream.stirred.clear()
        stream.spoken = time.monotonic()
        if stream.over:
            break
        if stream.told == watching.news:
            await response.write(b": here\n\n")
            continue
        number += 1
        stream.told = watching.news
        await response.write(b"id: %d\n%b" % (number, stream.told))
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

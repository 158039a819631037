"""Scripted providers on real sockets for the tests of the upstream client, and running a test on both event loops."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from llmhub_core.contracts.errors import UpstreamError, UpstreamTimeout
from llmhub_core.contracts.provider import Call, Timeouts
from llmhub_core.gateway.upstream import Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n"
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
QUICK = Timeouts(connect=2, first_token=2, stall=2)


BODY = b"Content-Length: 2\r\n\r\nhi"


def on_both_loops(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test on each event loop. Nothing may reach the loop's exception handler, and no task may be left."""

    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: object) -> None:
        seen: list[dict[str, object]] = []

        async def body() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
            await test(**fixtures)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(body())
            gc.collect()
        assert seen == []

    signature = inspect.signature(test)
    extra = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), extra])  # type: ignore[attr-defined]
    both = pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    result: Callable[..., None] = both(run)
    return result


class Server:
    """A scripted provider. `heads` and `bodies` are what it was asked, `met` counts connections."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.met = 0
        self.closed = asyncio.Event()  # a client closed its connection
        self.url = ""
        self.writers: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        self.writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.handler(reader, writer)
        if not writer.is_closing():
            writer.close()
        with suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
            await writer.wait_closed()
        self.tasks.discard(task)

    async def take(self, reader: asyncio.StreamReader) -> bool:
        """Read one request; False at the end."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
            return False
        self.heads.append(head)
        self.bodies.append(body)
        return True


@asynccontextmanager
async def serving(
    script: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    server: Server

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(server, reader, writer)

    server = Server(handler)
    listener = await asyncio.start_server(server.meet, "127.0.0.1", 0, ssl=tls, backlog=1000)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1/chat?x=1"
    try:
        yield server
    finally:
        listener.close()
        for writer in server.writers:
            writer.transport.abort()
        for task in list(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


def answering(*answers: bytes, keep: bool = True):  # type: ignore[no-untyped-def]
    """Each request is answered with the next of `answers`, over all connections; the last one repeats."""
    left = list(answers)

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.take(reader):
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            if not keep:
                return

    return script


@asynccontextmanager
async def client(**options: object) -> AsyncIterator[Upstream]:
    up = Upstream(**({"tls": TRUSTS_NOBODY} | options))  # type: ignore[arg-type]
    try:
        yield up
    finally:
        await up.stop()
        assert up.open_connections == 0
        assert up.idle_connections == 0


def call(server: Server, body: bytes = b"{}", timeouts: Timeouts = QUICK, **options: object) -> Call:
    return Call(server.url, {"authorization": "Bearer sk-canary", "x-a": "1"}, body, timeouts=timeouts, **options)  # type: ignore[arg-type]


async def everything(up: Upstream, one: Call) -> tuple[object, ...]:
    """The outcome of a call, comparable: status, headers, body, then how it ended."""
    try:
        resp = await up.open(one)
    except UpstreamError as error:
        return (type(error), error.code)
    body = b""
    try:
        while piece := await resp.chunk():
            body += piece
    except UpstreamError as error:
        return (resp.status, tuple(resp.headers.items()), body, type(error), error.code)
    assert await resp.chunk() == b""
    resp.abort()
    return (resp.status, tuple(resp.headers.items()), body)


async def settle(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        await asyncio.sleep(0.002)


async def silent(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.take(reader)
    await server.take(reader)


def dripping(*pieces: bytes, every: float):  # type: ignore[no-untyped-def]
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await server.take(reader):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(every)
            await server.take(reader)

    return script


async def late(up: Upstream, one: Call, least: float, most: float) -> None:
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout) as caught:
        await up.fetch(one)
    assert least <= time.monotonic() - began <= most
    assert (caught.value.status, caught.value.code) == (504, "upstream_timeout")
    assert caught.value.__context__ is None
    await settle(lambda: up.open_connections == 0)

"""The HTTP server around the application: what aiohttp says by default that a gateway must not say.

Its own error texts repeat what the caller sent, credentials included, its log does the same, its errors are
plain text or HTML, and every answer names the versions it runs on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from multidict import istr

from llmhub_core.contracts.errors import BadRequest, HubError, Internal, MethodNotAllowed, NotFound, TooLarge
from llmhub_core.gateway.incoming import Incoming, Place
from llmhub_core.gateway.known_head import LENGTH, KnownHead, Whole, remember

log = logging.getLogger("llmhub.server")

KEEP_ALIVE = 75.0
LINGER = 2.0
GOODBYE = 1.0
"""Seconds that what still runs is given at the very end: streams of events never end by themselves."""
BODY_BUFFER = 64 * 1024
"""Bytes of a body that lie unread before the caller is asked to pause."""

EXPECT = istr("expect")

ErrorWriter = Callable[[web.BaseRequest, HubError], Awaitable[Any]]
"""Answers a request with an error in the dialect that its path or headers tell."""


def _plain(message: RawRequestMessage) -> bool:
    """Whether there is nothing to a request but its head and its body."""
    return (
        message.method == "POST" and message.version[0] == 1 and EXPECT not in message.headers and not message.upgrade
    )


class _Handler(RequestHandler):
    """One connection. Errors below the application get a fixed text, and none of it is logged."""

    def __init__(self, manager: web.Server, place: Place, **options: Any) -> None:
        super().__init__(manager, **options)
        self._place = place
        self._known: KnownHead | None = None
        self._next: Incoming | None = None  # a request that came with the head that is known
        self._between = True  # whether all that came so far were whole requests
        self._due = 0  # bytes that the request at hand still lacks
        self._body: StreamReader | None = None  # where they go; None: to aiohttp's parser

    def data_received(self, data: bytes) -> None:
        """A head like the one before needs no parser. Everything else goes through aiohttp's, and is watched, for
        a head is only known again between two requests."""
        if self._force_close or self._close:
            return
        if not data:  # aiohttp's word for: go on with what was held back
            super().data_received(data)
            return
        known, waiter = self._known, self._waiter
        if known is not None and self._between and waiter is not None and self._next is None and not waiter.done():
            start = known.body_at(data)
            if start and self._take(known, data, start):
                waiter.set_result(None)
                return
        if self._body is not None:
            data = self._feed(self._body, data)
            if not data:
                return
        self._parse(data)

    def _take(self, known: KnownHead, data: bytes, start: int) -> bool:
        """A request with the known head, whose body has come or is to come; False if more than that has."""
        due = known.length - (len(data) - start)
        if due < 0:
            return False
        content: Any
        if due:
            content = self._body = StreamReader(self, BODY_BUFFER, loop=self._loop)
            self._due = due
            if start < len(data):
                content.feed_data(data[start:])
        else:
            content = Whole(data[start:])
        self._request_count += 1
        self._next = Incoming(self._place, self, known.message, content, known=known, outbox=self._place.outbox)
        return True

    def _feed(self, body: StreamReader, data: bytes) -> bytes:
        """The rest of a body; what comes after it is given back."""
        piece = data[: self._due]
        self._due -= len(piece)
        body.feed_data(piece)
        if not self._due:
            self._body = None
            body.feed_eof()
        return data[len(piece) :]

    def _parse(self, data: bytes) -> None:
        messages = self._messages
        before = len(messages)
        super().data_received(data)
        if not self._between:
            self._due -= len(data)
            self._between = self._due == 0
        elif data.startswith(b"POST "):
            end = data.find(b"\r\n\r\n") + 4
            message = messages[-1][0] if len(messages) == before + 1 else None
            self._between = False
            if end > 3 and isinstance(message, RawRequestMessage) and _plain(message) and not message.chunked:
                self._due = int(message.headers.get(LENGTH, 0)) - (len(data) - end)
                self._between = self._due == 0
                if self._request_count > 1 and message.path in self._place.posts:
                    self._known = remember(data[:end], message)
            else:
                self._due = -1
        else:
            self._between, self._due = False, -1

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._body is not None:
            self._body.set_exception(ConnectionResetError("the connection was lost"))
            self._body = None
        super().connection_lost(exc)

    async def start(self) -> None:
        """Requests on plain paths are answered here, in the connection's own task and without the request object,
        the second task and the router that aiohttp spends on each. The first request of any other kind hands the
        connection to aiohttp for good."""
        messages, place, posts, outbox = self._messages, self._place, self._place.posts, self._place.outbox
        while not self._force_close:
            if not messages and self._next is None:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            else:
                outbox.flush()  # the answer to the request before this one may be in there still
            if self._next is not None:
                request, self._next = self._next, None
            else:
                message, content = messages[0]
                # What the parser refused has another type here, and no path.
                if getattr(message, "path", "") not in posts or not _plain(cast(RawRequestMessage, message)):
                    self._known, self._between, self._due = None, False, -1  # no head is known from here on
                    await super().start()
                    return
                messages.popleft()
                request = Incoming(place, self, cast(RawRequestMessage, message), content, outbox=outbox)
                self._make_room()
            content = request.content
            self._request_in_progress = True
            try:
                reply = await posts[request.target](request)
                await reply.write_eof()
            except asyncio.CancelledError:
                self.force_close()
                raise
            except ConnectionError:
                break
            except Exception as error:
                self.log_exception(exc_info=error)
                break
            finally:
                self._request_in_progress = False
                if self._handler_waiter is not None:
                    self._handler_waiter.set_result(None)
            if not content.is_eof():
                await self._linger(content)
            if not reply.keep_alive or self._close or self._force_close or not content.is_eof():
                break
            self._rest()
        outbox.flush()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        self._place.outbox.flush()
        await super().shutdown(timeout)

    def _make_room(self) -> None:
        """The parser may go on to the next request in the pipeline."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _rest(self) -> None:
        """Until the next request, for the keep-alive time at most."""
        self._keepalive = True
        until = self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(until, self._process_keepalive)

    async def _linger(self, content: StreamReader) -> None:
        """Read on for a moment what nobody wants, or the caller may lose the answer with the reset connection."""
        try:
            async with asyncio.timeout(LINGER):
                while not self._force_close and not content.is_eof():
                    await content.readany()
        except (TimeoutError, ConnectionError):
            pass

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        error: HubError
        if isinstance(exc, LineTooLong):
            error = BadRequest("The request line or a header is too long.", status=431, code="headers_too_large")
        elif status == 400 or isinstance(exc, BadHttpMessage):
            error = BadRequest("The request is not valid HTTP.", code="invalid_http")
        else:
            log.error("a request failed outside of its handler: %s", type(exc).__name__)
            error = Internal("The hub failed; its log has the details.")
        response = web.Response(
            status=error.status,
            body=(
                b'{"error":{"message":"%b","type":"%b","param":null,"code":"%b","source":"gateway"}}'
                % (
                    error.message.encode(),
                    b"invalid_request_error" if error.status < 500 else b"api_error",
                    error.code.encode(),
                )
            ),
            content_type="application/json",
            headers={"server": "llm-hub"},
        )
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # The default logs the exception with its text, and the parser's texts hold what was sent.
        error = kw.get("exc_info")
        log.error("a connection failed: %s", type(error).__name__)


class _Server(web.Server):
    def __init__(self, place: Place, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._place = place

    def __call__(self) -> RequestHandler:
        return _Handler(self, self._place, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application with safe settings; `write_error` answers for what the application does not know."""

    def __init__(self, app: web.Application, place: Place, write_error: ErrorWriter) -> None:
        super().__init__(
            app,
            handle_signals=False,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            auto_decompress=False,
            shutdown_timeout=GOODBYE,
        )
        self._place = place
        self._write_error = write_error

    async def take_leave(self, grace: float) -> None:
        """Others answer from now on. Each answer is the last on its connection, and what is idle is left open for
        `grace` seconds: closing it at once would cut off requests that are on their way."""
        self._place.keeps = False
        until = time.monotonic() + grace
        while time.monotonic() < until and self.server is not None and self.server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _make_server(self) -> web.Server:
        await super()._make_server()  # starts and freezes the application
        app = self._app
        kwargs = {key: value for key, value in self._kwargs.items() if key != "access_log_class"}
        return _Server(
            self._place,
            front(app, self._place, self._write_error),
            request_factory=app._make_request,
            handler_cancellation=True,
            **kwargs,
        )


def front(app: web.Application, place: Place, write_error: ErrorWriter) -> Callable[[Any], Awaitable[Any]]:
    """Before and behind the application: odd targets and versions refused, aiohttp's own answers reworded."""
    handle = app._handle

    async def serve(request: web.Request) -> Any:
        message = request._message
        error: HubError
        if not message.path.startswith("/"):
            return await write_error(request, BadRequest("Ask for a path, not for an address.", code="invalid_http"))
        if message.version[0] != 1:
            return await write_error(request, BadRequest("Speak HTTP/1.1.", status=505, code="http_version"))
        try:
            response = await handle(request)
            if not place.keeps and isinstance(response, web.StreamResponse) and not response.prepared:
                response.force_close()
            return response
        except web.HTTPMethodNotAllowed as refusal:
            allowed = tuple(sorted(refusal.allowed_methods))
            error = MethodNotAllowed(f"Use {' or '.join(allowed)} here.", allow=allowed)
        except web.HTTPRequestEntityTooLarge:
            error = TooLarge("The body is larger than this hub accepts.")
        except web.HTTPNotFound:
            error = NotFound("There is nothing at this path; see the documentation for the paths that are served.")
        except web.HTTPException as other:
            if other.status < 400:
                raise
            error = BadRequest("The request could not be used as it is.", status=other.status, code="invalid_http")
        return await write_error(request, error)

    return serve

"""The HTTP server around the application: what aiohttp says by default that a gateway must not say.

Its own error texts repeat what the caller sent, credentials included, its log does the same, its errors are
plain text or HTML, and every answer names the versions it runs on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from multidict import istr

from llmhub_core.contracts.errors import BadRequest, HubError, Internal, MethodNotAllowed, NotFound, TooLarge
from llmhub_core.gateway.incoming import Incoming, Place

log = logging.getLogger("llmhub.server")

KEEP_ALIVE = 75.0
LINGER = 2.0

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

    async def start(self) -> None:
        """Requests on plain paths are answered here, in the connection's own task and without the request object,
        the second task and the router that aiohttp spends on each. The first request of any other kind hands the
        connection to aiohttp for good."""
        messages, place, posts = self._messages, self._place, self._place.posts
        while not self._force_close:
            if not messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            message, content = messages[0]
            # What the parser refused has another type here, and no path.
            handler = posts.get(getattr(message, "path", ""))
            if handler is not None and not _plain(cast(RawRequestMessage, message)):
                handler = None
            if handler is None:
                await super().start()
                return
            messages.popleft()
            self._make_room()
            self._request_in_progress = True
            try:
                reply = await handler(Incoming(place, self, cast(RawRequestMessage, message), content))
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
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

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
        )
        self._place = place
        self._write_error = write_error

    async def _make_server(self) -> web.Server:
        await super()._make_server()  # starts and freezes the application
        app = self._app
        kwargs = {key: value for key, value in self._kwargs.items() if key != "access_log_class"}
        return _Server(
            self._place,
            front(app, self._write_error),
            request_factory=app._make_request,
            handler_cancellation=True,
            **kwargs,
        )


def front(app: web.Application, write_error: ErrorWriter) -> Callable[[Any], Awaitable[Any]]:
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
            return await handle(request)
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

"""The HTTP server around the application: what aiohttp says by default that a gateway must not say.

Its own error texts repeat what the caller sent, credentials included, its log does the same, its errors are
plain text or HTML, and every answer names the versions it runs on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_urldispatcher import UrlMappingMatchInfo

from llmhub_core.contracts.errors import BadRequest, HubError, Internal, MethodNotAllowed, NotFound, TooLarge

log = logging.getLogger("llmhub.server")

KEEP_ALIVE = 75.0
LINGER = 2.0

EXPECT = "expect"

ErrorWriter = Callable[[web.BaseRequest, HubError], Awaitable[Any]]
"""Answers a request with an error in the dialect that its path or headers tell."""


class _Handler(RequestHandler):
    """One connection. Errors below the application get a fixed text, and none of it is logged."""

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
    def __call__(self) -> RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application with safe settings; `write_error` answers for what the application does not know."""

    def __init__(self, app: web.Application, write_error: ErrorWriter) -> None:
        super().__init__(
            app,
            handle_signals=False,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            auto_decompress=False,
        )
        self._write_error = write_error

    async def _make_server(self) -> web.Server:
        await super()._make_server()  # starts and freezes the application
        app = self._app
        kwargs = {key: value for key, value in self._kwargs.items() if key != "access_log_class"}
        return _Server(
            front(app, self._write_error), request_factory=app._make_request, handler_cancellation=True, **kwargs
        )


def front(app: web.Application, write_error: ErrorWriter) -> Callable[[Any], Awaitable[Any]]:
    """Before and behind the application: odd targets and versions refused, aiohttp's own answers reworded."""
    handle = app._handle
    direct = _plain_posts(app)

    async def serve(request: web.Request) -> Any:
        message = request._message
        error: HubError
        known = direct.get(message.path)
        if known is not None and message.method == "POST" and message.version[0] == 1 and EXPECT not in message.headers:
            request._match_info = known
            return await known.handler(request)
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


def _plain_posts(app: web.Application) -> dict[str, UrlMappingMatchInfo]:
    """The paths on which nearly all traffic comes, found by one look into a table: aiohttp's router parses the
    address and walks its resources, which costs more than authentication, routing and metering together."""
    found = {}
    for route in app.router.routes():
        if route.method == "POST" and isinstance(route.resource, web.PlainResource):
            match = UrlMappingMatchInfo({}, route)
            match.add_app(app)
            match.freeze()
            found[route.resource.canonical] = match
    return found

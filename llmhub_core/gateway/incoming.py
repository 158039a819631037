"""A caller's request as the chain sees it: aiohttp's parsed message, without the request object around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDictProxy
from yarl import URL

from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.gateway.known_head import KnownHead
from llmhub_core.gateway.outbox import Outbox
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.hub import Hub

NOTHING: Mapping[str, str] = {}


class Incoming:
    """`variables` are those of its path, `content` its body (perhaps still arriving), `known` its head if it came like
    this before, `outbox` what may send its answer, `exchange` what the chain's first step makes of it.

    aiohttp's own request costs as much to make as the whole chain takes to think.
    """

    __slots__ = (
        "chunked",
        "content",
        "exchange",
        "headers",
        "hub",
        "keep_alive",
        "known",
        "outbox",
        "protocol",
        "target",
        "upstream",
        "url",
        "variables",
    )

    exchange: Exchange

    def __init__(
        self,
        place: Place,
        protocol: BaseProtocol,
        message: RawRequestMessage,
        content: StreamReader,
        variables: Mapping[str, str] = NOTHING,
        known: KnownHead | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self.hub = place.hub
        self.upstream = place.upstream
        self.protocol = protocol
        self.headers: CIMultiDictProxy[str] = message.headers if known is None else known.headers
        self.known = known
        self.outbox = outbox
        self.content = content
        self.target = message.path
        self.url: URL = message.url
        self.keep_alive = place.keeps and not message.should_close
        self.chunked = message.version.minor >= 1
        self.variables = variables

    @property
    def query(self) -> Mapping[str, str]:
        return self.url.query if "?" in self.target else NOTHING

    @property
    def path(self) -> str:
        return self.url.path


class Ending(Protocol):
    """What a handler returns when the answer went out."""

    keep_alive: bool

    async def write_eof(self, data: bytes = b"") -> None: ...


class Place:
    """Where requests arrive: the hub that answers them, and its way to the providers. `posts` has the handlers of
    the plain paths, on which nearly all traffic comes; `barred` is told to every caller, where there is something."""

    def __init__(self, hub: Hub, upstream: Upstream) -> None:
        self.hub = hub
        self.upstream = upstream
        self.outbox = upstream.outbox
        self.posts: dict[str, Callable[[Incoming], Awaitable[Ending]]] = {}
        self.barred: HubError | None = None
        self.keeps = True
        """Whether connections stay open behind an answer."""

    def bar(self, error: HubError) -> None:
        """From now on all traffic is refused. The plain paths lose their short way, so that open ones need not ask."""
        self.barred = error
        self.posts.clear()

    def take(self, request: web.BaseRequest) -> Incoming:
        """A request that aiohttp's router brought."""
        variables = getattr(request, "_match_info", None) or NOTHING
        return Incoming(self, request.protocol, request._message, request.content, variables)

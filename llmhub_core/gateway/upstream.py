"""The only room that calls a provider: pooled, strict HTTP/1.1.

`Upstream.open` sends a Call and returns when the head of the answer is there; `fetch` returns small answers whole.
Redirects are never followed, cookies and proxies not known, identity coding is asked for, TLS is always verified.
All failures are UpstreamUnreachable (codes upstream_unreachable, upstream_dns, upstream_network, upstream_tls),
UpstreamTimeout and UpstreamGarbled; only a header that cannot be written at all is a BadRequest. No text of theirs
holds an address, a header value or a key. The wire itself is wire_http's.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from urllib.parse import urlsplit

from llmhub_core.contracts.errors import BadRequest, UpstreamError, UpstreamUnreachable
from llmhub_core.contracts.provider import Call
from llmhub_core.gateway.dialing import GONE, dial
from llmhub_core.gateway.outbox import Outbox
from llmhub_core.gateway.wire_answer import UpstreamResponse, timed_out
from llmhub_core.gateway.wire_http import Connection
from llmhub_core.hub.networks import EVERYWHERE, Networks

__all__ = ["Answer", "Upstream", "UpstreamResponse"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_TARGET = re.compile(r"[\x21-\x7e]+").fullmatch
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer"}
    | {"upgrade", "expect", "accept-encoding", "cookie"}
)
"""Headers that this room writes itself or never sends: a caller's own would break the framing."""
_REMEMBER = 4096
"""How many addresses, and how many header names, are kept ready."""

_ADDRESS = "The provider's address cannot be used; it must be http:// or https:// with a host and no credentials."
_STOPPED = "The hub is stopping; try again."


@dataclass(slots=True)
class Answer:
    """What `fetch` returns: a whole, decoded answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, frozen=True)
class _Target:
    """Where a URL leads: its host's pool, and what follows the method in the request's head."""

    host: _Host
    line: str


@functools.cache
def _trusting_as_the_system() -> ssl.SSLContext:
    """Made once: all certificates of the system are read for it."""
    return ssl.create_default_context()


class Upstream:
    """The pool of connections to all providers. Belongs to one event loop.

    per_host     connections to one scheme, host and port; further calls wait in line, within their connect limit
    idle         seconds that an unused connection is kept
    max_header   bytes that the head of an answer may have
    tls          for tests and private authorities; must verify. The default trusts what the system trusts
    networks     where providers may be
    outbox       by which calls go out; its own if there is none
    """

    def __init__(
        self,
        *,
        per_host: int = 1000,
        idle: float = 30.0,
        max_header: int = 65536,
        tls: ssl.SSLContext | None = None,
        networks: Networks = EVERYWHERE,
        outbox: Outbox | None = None,
    ) -> None:
        self.per_host = per_host
        self.networks = networks
        self.outbox = outbox or Outbox()
        self.idle = idle
        self.max_header = max_header
        self.tls = tls or _trusting_as_the_system()
        self.tls.set_alpn_protocols(["http/1.1"])
        self.stopped = False
        self.standing: set[Connection] = set()
        self.drained: asyncio.Event | None = None
        self._hosts: dict[tuple[str, str, int], _Host] = {}
        self._targets: dict[str, _Target] = {}
        self._names: dict[str, bool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def open_connections(self) -> int:
        """Connections that stand, in use or idle."""
        return len(self.standing)

    @property
    def idle_connections(self) -> int:
        """Connections that wait for a call."""
        return sum(len(host.idle) for host in self._hosts.values())

    async def open(self, call: Call) -> UpstreamResponse:
        """Send `call`; returns when the head of the answer is complete, whatever its status.

        Raises UpstreamUnreachable, UpstreamTimeout, UpstreamGarbled, and BadRequest (invalid_value) for a header that
        cannot be sent; and what the outbox says instead of sending. A pooled connection that turns out dead is replaced
        once, unseen. Cancelling closes at once.
        """
        return await self._open(call, self.outbox)

    async def _open(self, call: Call, outbox: Outbox | None) -> UpstreamResponse:
        if self.stopped:
            raise UpstreamUnreachable(_STOPPED)
        target = self._targets.get(call.url) or self._target(call.url)
        head = self._head(call, target.line)
        timeouts = call.timeouts
        loop = self._loop or self._bind()
        now = loop.time()
        ends_at = inf if timeouts.total is None else now + timeouts.total
        connect_by = ends_at if timeouts.connect is None else min(ends_at, now + timeouts.connect)
        headless = call.method == "HEAD"
        host = target.host
        conn = host.take() or await host.obtain(connect_by)
        resp = conn.send(head, call.body, headless, timeouts, ends_at, outbox)
        try:
            await resp.arrive()
        except BaseException:
            if resp.stale:  # cancelled just when it turned out dead
                conn.give_back()
            raise
        if resp.stale:
            conn.slot = False  # its place within the limit is the fresh one's
            spent = loop.time() - now
            conn = await host.obtain(min(ends_at, connect_by + spent), placed=True)
            resp = conn.send(head, call.body, headless, timeouts, ends_at, outbox)
            await resp.arrive()
        return resp

    async def fetch(self, call: Call, limit: int = 8 * 1024 * 1024) -> Answer:
        """`open` and the whole body, up to `limit` bytes; more is an UpstreamGarbled. Sent at once: what is fetched so
        is no caller's request, and waits for no journal."""
        resp = await self._open(call, None)
        try:
            return Answer(resp.status, resp.headers, await resp.read(limit))
        finally:
            resp.abort()

    async def stop(self) -> None:
        """Close everything at once; calls in flight end with UpstreamUnreachable. Returns when the sockets are shut."""
        self.stopped = True
        self.drained = asyncio.Event()
        for host in self._hosts.values():
            host.stop()
        for conn in list(self.standing):
            conn.fail(UpstreamUnreachable(_STOPPED))
        if self.standing:
            try:
                async with asyncio.timeout(1.0):
                    await self.drained.wait()
            except TimeoutError:
                pass

    def _bind(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _target(self, url: str) -> _Target:
        found = None
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            if _TARGET(url) and host and parts.scheme in ("http", "https") and "@" not in parts.netloc and port != 0:
                secure = parts.scheme == "https"
                key = (parts.scheme, host, port or (443 if secure else 80))
                name = f"[{host}]" if ":" in host else host
                if key[2] != (443 if secure else 80):
                    name += f":{port}"
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                pool = self._hosts.get(key)
                if pool is None:
                    pool = self._hosts[key] = _Host(self, host, key[2], self.tls if secure else None)
                found = _Target(pool, f" {path} HTTP/1.1\r\nHost: {name}\r\nAccept-Encoding: identity\r\n")
        except ValueError:
            pass
        if found is None:
            raise UpstreamUnreachable(_ADDRESS)
        if len(self._targets) >= _REMEMBER:
            self._targets.clear()
        self._targets[url] = found
        return found

    def _head(self, call: Call, line: str) -> bytes:
        method = call.method
        if not _TOKEN(method):
            raise BadRequest("The request's method cannot be sent to the provider.", code="invalid_value")
        lines = [method, line]
        names = self._names
        for name, value in call.headers.items():
            ours = names.get(name)
            if ours is None:
                ours = self._name(name)
            if ours:
                continue
            if not value.isascii() or not value.isprintable():
                self._check(name, value)
            lines.append(f"{name}: {value}\r\n")
        if call.body or method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(call.body)}\r\n\r\n")
        else:
            lines.append("\r\n")
        return "".join(lines).encode("utf-8", "surrogateescape")

    def _name(self, name: str) -> bool:
        """Whether a header is one of ours. Raises BadRequest if it cannot be one at all."""
        if not _TOKEN(name):
            raise BadRequest(
                "A header's name holds characters that cannot be sent; leave it out.", code="invalid_value"
            )
        ours = name.lower() in _OURS
        if len(self._names) < _REMEMBER:
            self._names[name] = ours
        return ours

    @staticmethod
    def _check(name: str, value: str) -> None:
        try:
            value.encode("utf-8", "surrogateescape")
            bad = _CONTROL(value) is not None
        except UnicodeEncodeError:
            bad = True
        if bad:
            raise BadRequest(
                f"The header {name[:64]} holds characters that cannot be sent; remove line breaks and control "
                "characters from its value.",
                code="invalid_value",
            )


class _Host:
    """Connections to one scheme, host and port.

    `count` are the places taken: connections in use, idle, being made, and those just promised to a waiting call.
    """

    def __init__(self, pool: Upstream, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.idle: list[Connection] = []  # the longest unused first
        self._count = 0
        self._pool = pool
        self._address = (host, port)
        self._tls = tls
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None

    def take(self) -> Connection | None:
        """The connection used last, if one is idle and sound."""
        while self.idle:
            conn = self.idle.pop()
            if conn.usable():
                return conn
            conn.close()
        return None

    async def obtain(self, by: float, placed: bool = False) -> Connection:
        """A connection: new, or the next that comes free if the host's limit is reached. `by` is loop time.

        With `placed` the caller brings a place within the limit; the connection is then new. Raises UpstreamTimeout
        and UpstreamUnreachable.
        """
        late = False
        try:
            async with asyncio.timeout_at(None if by == inf else by):
                if not placed:
                    if self._count < self._pool.per_host:
                        self._count += 1
                    elif (conn := await self._queue()) is not None:
                        if conn.usable():
                            return conn
                        conn.close(keep_slot=True)
                        conn.slot = False
                return await self._connect()
        except TimeoutError:
            late = True
        if late:
            raise timed_out()
        raise AssertionError("unreachable")

    async def _queue(self) -> Connection | None:
        """Wait in line; a connection, or None for the place to make one."""
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                conn = turn.result()  # promised to us just as we left: the next in line gets it
                if conn is None:
                    self.free()
                else:
                    conn.handed = False
                    if conn.closed:
                        conn.give_back()
                    else:
                        self.release(conn)
            elif turn in self._waiters:
                self._waiters.remove(turn)
            raise

    async def _connect(self) -> Connection:
        """A new connection on a place already taken, which is freed on any failure."""
        loop = asyncio.get_running_loop()
        conn = Connection(loop, self, self._pool.max_header)
        error: UpstreamError | None = None
        made = False
        try:
            if self._pool.stopped:
                error = UpstreamUnreachable(_STOPPED)
            else:
                error = await dial(conn, *self._address, self._tls, self._pool.networks)
                made = error is None and not conn.closed and not self._pool.stopped
        finally:
            if not made:
                conn.close()
                self.free()
        if not made:  # raised here, so that the cause with its address is not carried along
            raise error or UpstreamUnreachable(_STOPPED if self._pool.stopped else GONE)
        conn.slot = True
        self._pool.standing.add(conn)
        return conn

    def stop(self) -> None:
        """No more waiting; whoever waits finds the pool stopped."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._waiters:
            self._count += 1  # given back when connecting is refused
            turn = self._waiters.popleft()
            if turn.done():
                self._count -= 1
            else:
                turn.set_result(None)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = None
        until = loop.time() - self._pool.idle + 0.01
        for conn in [conn for conn in self.idle if conn.idle_since <= until]:
            conn.close()
        if self.idle:
            self._sweeper = loop.call_at(self.idle[0].idle_since + self._pool.idle, self._sweep)

    # wire_http.Owner

    def release(self, conn: Connection) -> None:
        conn.reused = True
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                conn.handed = True
                turn.set_result(conn)
                return
        conn.idle_since = conn.loop.time()
        self.idle.append(conn)
        if self._sweeper is None:
            self._sweeper = conn.loop.call_later(self._pool.idle, self._sweep)

    def free(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._count -= 1

    def lost(self, conn: Connection) -> None:
        if conn in self.idle:
            self.idle.remove(conn)

    def gone(self, conn: Connection) -> None:
        pool = self._pool
        pool.standing.discard(conn)
        if pool.drained is not None and not pool.standing:
            pool.drained.set()

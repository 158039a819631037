"""A provider's answer while it is read: what has arrived, what is awaited, within which limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol

from llmhub_core.contracts.errors import HubError, UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from llmhub_core.gateway.wire_inflate import Inflate

HIGH_WATER = 256 * 1024
"""Bytes that may wait unread before reading from the provider pauses."""

LONGEST_PING = 100
"""Bytes of a piece that may be pings and nothing else: longer ones are not looked at for that."""

DIED = "The provider closed the connection before it answered; try again."
_ABANDONED = "The call was given up before its answer was complete."


class Head:
    """The raw head of an answer, status line and line ends included. Most answers are passed on with a look at two or
    three of its lines: those are searched for, and the others taken apart when somebody asks."""

    __slots__ = ("_lower", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._lower = raw.lower()

    def get(self, name: str) -> str | None:
        """A header by its name in lower case, repeated ones joined with ", "; None if there is none."""
        lower, sought = self._lower, b"\r\n%b:" % name.encode()
        found: str | None = None
        at = lower.find(sought)
        while at >= 0:
            start = at + len(sought)
            value = self._raw[start : lower.find(b"\r\n", start)].decode("latin-1").strip(" \t")
            found = value if found is None else f"{found}, {value}"
            at = lower.find(sought, start)
        return found

    @property
    def has_length(self) -> bool:
        return self._lower.find(b"\r\ncontent-length:") >= 0

    def headers(self) -> dict[str, str]:
        """All of them: names in lower case, repeated ones joined with ", ", set-cookie dropped."""
        headers: dict[str, str] = {}
        for line in self._raw.split(b"\r\n")[1:-1]:
            name, _, value = line.decode("latin-1").partition(":")
            key, text = name.lower(), value.strip(" \t")
            if key in headers:
                headers[key] = f"{headers[key]}, {text}"
            elif key != "set-cookie":
                headers[key] = text
        return headers


class Line(Protocol):
    """The connection, as an answer sees it."""

    def arm(self, when: float) -> None:
        """Fail the exchange at loop time `when` if somebody waits then."""

    def resume(self) -> None:
        """Read on after a pause."""

    def fail(self, error: HubError) -> None:
        """End the exchange with `error` and close at once."""


def timed_out() -> UpstreamTimeout:
    """No answer in time."""
    return UpstreamTimeout("The provider did not answer in time; try again or allow more time.")


class UpstreamResponse:
    """A provider's answer: its head is there, its body comes. Read to the end or `abort`; else a connection is held.

    `status` is 200-599; `headers` have lower-case names, repeated ones joined with ", ", set-cookie dropped. The
    connection returns to the pool by itself at the clean end of the body.
    """

    __slots__ = (
        "_conn",
        "_decodes",
        "_due_at",
        "_ended",
        "_ends_at",
        "_error",
        "_first_at",
        "_head",
        "_headers",
        "_inflate",
        "_loop",
        "_parts",
        "_pinged",
        "_pings",
        "_sink",
        "_size",
        "_stall",
        "_stalls_at",
        "_thrown",
        "_waiter",
        "content_type",
        "stale",
        "status",
    )  # fmt: skip

    def __init__(
        self, conn: Line, loop: asyncio.AbstractEventLoop, first_at: float, stall: float, ends_at: float
    ) -> None:
        """`first_at` and `ends_at` are loop times, `stall` is in seconds; inf means without limit."""
        self.status = 0
        self.content_type = ""
        self._head: Head | None = None
        self._headers: dict[str, str] | None = None
        self.stale = False  # for the pool: the connection was dead already, nothing was answered, its place is kept
        self._conn: Line | None = conn
        self._loop = loop
        self._first_at = first_at  # inf once the body has begun
        self._stall = stall
        self._ends_at = ends_at
        self._due_at: float | None = None  # what `_ends_at` was, while the answer is in a hurry
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: HubError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._pings: Callable[[bytes], bool] | None = None
        self._pinged = False  # the last piece was a ping: what was due before is due still
        self._stalls_at = inf
        self._thrown: Exception | None = None
        self._inflate: Inflate | None = None
        self._decodes = False

    async def chunk(self) -> bytes:
        """What arrived since the last call, decoded; b"" at the clean end. Does not suspend if bytes wait already.

        Raises UpstreamTimeout (stall, first byte, total) and UpstreamGarbled (broke off, not HTTP, not decodable).
        Cancelling it closes the connection. One caller at a time.
        """
        if self._ends_at < inf and not self._ended and self._loop.time() > self._ends_at:
            self._fail(timed_out())
        if self._inflate is not None:
            return await self._decoded(self._inflate)
        if self._parts:
            return self._take()
        return await self._next()

    async def pump(self, take: Callable[[bytes], bool], pings: Callable[[bytes], bool] | None = None) -> bool:
        """Every piece to `take` as it arrives, in the very callback that brought it, so that no task is woken for an
        event. True at the clean end; False as soon as `take` returned False (its reader is slow, or something went
        wrong): call again for the rest, which waits. Raises as `chunk`, and what `take` raises.

        `pings` is asked of short pieces whether they only say that the provider is still there: such a one does not
        put off the end of a stall."""
        if self._inflate is not None:
            while data := await self.chunk():
                if not take(data):
                    return False
                self._pinged = pings is not None and len(data) <= LONGEST_PING and pings(data)
            return True
        while True:
            if self._parts and not take(self._take()):
                return False
            if self._error is not None:
                raise self._error
            conn = self._conn
            if conn is None:
                return True
            conn.resume()
            conn.arm(min(self._ends_at, self._first_at if self._first_at < inf else self._idle_until()))
            self._sink, self._pings, self._thrown = take, pings, None
            try:
                await self._wait()
                if not self._goes_on():
                    return False
            finally:
                self._sink = self._pings = self._thrown = None

    async def read(self, limit: int) -> bytes:
        """The whole body, up to `limit` bytes; more raises UpstreamGarbled. Otherwise as `chunk`."""
        if self._ended and self._inflate is None and self._error is None and self._size <= limit:
            return self._take()  # short answers come with their heads
        parts: list[bytes] = []
        size = 0
        while piece := await self.chunk():
            parts.append(piece)
            size += len(piece)
            if size > limit:
                self.abort()
                raise UpstreamGarbled("The provider's answer is larger than allowed; ask for less at once.")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def hurry(self, seconds: float) -> None:
        """From now on the answer has only so long, until `take_time`: its first words are due, and what came so far
        were none. For a reader that pumps."""
        self._due_at = self._ends_at
        self._ends_at = min(self._ends_at, self._loop.time() + seconds)

    def take_time(self) -> None:
        """The first words are here: what was allowed at first holds again."""
        if self._due_at is not None:
            self._ends_at, self._due_at = self._due_at, None

    def abort(self) -> None:
        """Close the connection at once; later reads raise. Idempotent; nothing happens after the clean end."""
        if self._conn is not None:
            self._fail(UpstreamUnreachable(_ABANDONED))

    async def arrive(self) -> None:
        """For the pool: wait for the head. Raises as `open` does; check `stale` first on return."""
        if self._conn is not None:
            self._conn.arm(self._first_at if self._first_at < self._ends_at else self._ends_at)
            await self._wait()
        if not self.status and not self.stale:
            raise self._error or UpstreamUnreachable(DIED)

    async def _next(self) -> bytes:
        while True:
            if self._parts:
                return self._take()
            if self._error is not None:
                raise self._error
            if self._conn is None:
                return b""
            # The stall limit counts only while somebody waits: a slow consumer is not the provider's fault.
            self._conn.arm(min(self._ends_at, self._first_at if self._first_at < inf else self._idle_until()))
            await self._wait()

    def _idle_until(self) -> float:
        if not self._pinged:
            self._stalls_at = self._loop.time() + self._stall
        return self._stalls_at

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("an answer can be read by one task only")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:  # cancelled: nobody will read the rest
            self.abort()
            raise
        finally:
            self._waiter = None

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        if self._conn is not None:
            self._conn.resume()
        return data

    async def _decoded(self, inflate: Inflate) -> bytes:
        try:
            while True:
                if piece := inflate.more():
                    return piece
                data = await self._next()
                if not data:
                    inflate.finish()
                    return b""
                inflate.feed(data)
        except UpstreamGarbled as error:
            self._fail(error)
            raise

    # What the connection tells:

    @property
    def headers(self) -> dict[str, str]:
        """Read when somebody asks: most answers are passed on without a look at their twenty headers."""
        headers = self._headers
        if headers is None:
            headers = self._headers = {} if self._head is None else self._head.headers()
            if headers.pop("content-encoding", None) is not None and self._decodes:
                headers.pop("content-length", None)  # it told the size before decoding
        return headers

    def begin(self, status: int, head: Head) -> None:
        """The head is complete. Raises UpstreamGarbled for a content coding that we cannot undo."""
        coding = head.get("content-encoding")
        if coding is not None:
            self._inflate = Inflate.of(coding)
            self._decodes = self._inflate is not None
        self.content_type = head.get("content-type") or ""
        self.status, self._head = status, head
        self._wake()

    def push(self, data: bytes) -> bool:
        """More body; True when enough waits unread and reading should pause."""
        self._first_at = inf
        sink = self._sink
        if sink is not None:
            return self._pour(sink, data)
        self._parts.append(data)
        self._size += len(data)
        self._wake()
        return self._size > HIGH_WATER

    def _goes_on(self) -> bool:
        """Whether the pump's reader wants more; raises what it raised."""
        if self._thrown is not None:
            raise self._thrown
        return self._sink is not None

    def _pour(self, sink: Callable[[bytes], bool], data: bytes) -> bool:
        """To whoever pumps; True if it had enough."""
        try:
            if sink(data):
                if (
                    self._conn is not None
                    and self._stall < inf
                    and (len(data) > LONGEST_PING or self._pings is None or not self._pings(data))
                ):
                    self._conn.arm(min(self._ends_at, self._loop.time() + self._stall))
                return False
        except Exception as error:  # raised where the pump is awaited
            self._thrown = error
        self._sink = None
        self._wake()
        return True

    def finish(self, error: HubError | None) -> None:
        """No more will come: the clean end, or an error that follows what has arrived."""
        if self._conn is not None:
            self._conn = None
            self._ended = error is None
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for the head or for more body."""
        return self._waiter is not None and not self._waiter.done()

    def _fail(self, error: HubError) -> None:
        if self._conn is not None:
            self._conn.fail(error)
        self._error = error
        self._inflate = None
        self._parts.clear()

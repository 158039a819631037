"""The only room that writes to a caller: one write for a whole answer, one for each piece of a stream.

aiohttp's own response objects cost more than everything else that the hub does to a request, so the head is
written by hand. aiohttp sees an object with the face of a response that has nothing left to do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp.helpers import rfc822_formatted_time

from llmhub_core.gateway.incoming import Incoming

SLOW_READER = 30.0
"""Seconds that a caller may leave a full buffer unread before the connection is given up."""

SHORT = 64 * 1024
"""Bytes up to which an answer is too small to fill a buffer that its reader is slow to empty."""

_UNSAFE = re.compile(r"[^\x20-\x7e]")
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}

Headers = Mapping[str, str]


class CallerGone(ConnectionError):
    """The caller hung up, or stopped reading for too long."""


class Reply:
    """One answer to one request. `started` tells whether its first byte went out; then nothing can be taken back."""

    def __init__(self, request: Incoming) -> None:
        self._protocol = request.protocol
        self._outbox = request.outbox
        self._chunked = request.chunked
        self.keep_alive = request.keep_alive
        self.started = False
        self.status = 0
        self._done = False

    async def send(self, status: int, content_type: str, body: bytes, headers: Headers) -> None:
        """A whole answer."""
        head = self._head(status, content_type, headers)
        self._write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body), whole=True)
        self._done = True
        if self._protocol._paused:
            await self.drain()

    def begin(self, content_type: str, headers: Headers, first: bytes) -> bool:
        """Begin a stream, its first piece in the same write. As `put` it tells whether the caller keeps up."""
        head = self._head(200, content_type, headers) + b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
        if self._chunked:
            self._write(b"%btransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (head, len(first), first))
        else:
            self.keep_alive = False  # HTTP/1.0 knows no other end of a stream than that of the connection
            self._write(b"%b\r\n%b" % (head, first))
        return not self._protocol._paused

    def put(self, piece: bytes) -> bool:
        """The next piece of a stream. False if the caller reads too slowly: then `drain` before the next one."""
        if piece:  # a chunk of no bytes would be the end of the stream
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        return not self._protocol._paused

    async def start(self, content_type: str, headers: Headers, first: bytes) -> None:
        """`begin`, and wait until the caller keeps up."""
        if not self.begin(content_type, headers, first):
            await self.drain()

    async def write(self, piece: bytes) -> None:
        """`put`, and wait until the caller keeps up."""
        if not self.put(piece):
            await self.drain()

    async def finish(self) -> None:
        """The stream is complete."""
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self._done = True
        if self._protocol._paused:
            await self.drain()

    def break_off(self) -> None:
        """End without an ending: what was written still arrives, and then the caller sees that more was due."""
        self.keep_alive = False
        self._done = True
        transport = self._protocol.transport
        if transport is not None:
            transport.close()

    def drop(self) -> None:
        """Give the connection up with everything that is still in its buffer."""
        self.keep_alive = False
        self._done = True
        transport = self._protocol.transport
        if transport is not None:
            transport.abort()

    def _head(self, status: int, content_type: str, headers: Headers) -> bytes:
        self.status = status
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\ncontent-type: {content_type}\r\n"
        values = "".join(headers.values())
        if not (values.isascii() and values.isprintable()):
            headers = {name: _UNSAFE.sub("?", value) for name, value in headers.items()}
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        head += f"date: {rfc822_formatted_time()}\r\n"
        if not self.keep_alive:
            head += "connection: close\r\n"
        return head.encode("ascii")

    def _write(self, data: bytes, whole: bool = False) -> None:
        """A `whole` answer may go with the others of this turn."""
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise CallerGone("the caller hung up")
        self.started = True
        if whole and self._outbox is not None and self.keep_alive and len(data) <= SHORT:
            self._outbox.answer(transport, data)
        else:
            transport.write(data)

    async def drain(self) -> None:
        """Wait until the caller has read enough; CallerGone if it does not."""
        try:
            async with asyncio.timeout(SLOW_READER):
                await self._protocol._drain_helper()
        except TimeoutError:
            self.drop()
            raise CallerGone("the caller stopped reading") from None

    # what aiohttp asks of a response

    async def prepare(self, request: object) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        if not self._done:  # a handler that began a stream and forgot its end: never a false end
            self.break_off()

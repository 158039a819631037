"""One connection to a provider: strict HTTP/1.1, client side, one exchange at a time.

What arrives is handed to the exchange's UpstreamResponse (wire_answer). llhttp (through httptools) parses in its
strict mode; what it lets through is refused here: other versions and protocols (RTSP, ICE), status codes outside
100-599, 101, transfer codings other than `chunked`, a body on 1xx, too large or too many headers, endless chunk
extensions and trailers. All failures are the UpstreamErrors of contracts.errors, and their texts never hold what the
provider sent.
"""

from __future__ import annotations

import asyncio
import select
from math import inf
from typing import Protocol, cast

import httptools

from llmhub_core.contracts.errors import HubError, UpstreamGarbled, UpstreamUnreachable
from llmhub_core.contracts.provider import Timeouts
from llmhub_core.gateway.outbox import Outbox
from llmhub_core.gateway.wire_answer import DIED, Head, UpstreamResponse, timed_out

MAX_HEADERS = 200
MAX_TRAILERS = 64
_TIMER_SLACK = 0.002  # seconds; the event loops' clocks are cached and rounded to milliseconds
_JOIN_BELOW = 16 * 1024  # bytes of body up to which copying it behind the head is cheaper than a gathered write
_VERSIONS = (b"HTTP/1.1 ", b"HTTP/1.0 ")

BROKE_OFF = "The provider's answer broke off before its end; try again."
_GARBLED = "The provider's answer is not valid HTTP; try again or use another provider."
_HEAD_TOO_LARGE = "The head of the provider's answer is too large; try again or use another provider."


class Owner(Protocol):
    """The pool of one host, as a connection sees it."""

    def release(self, conn: Connection) -> None:
        """The exchange ended well and the connection may serve another."""

    def free(self) -> None:
        """The place that a connection held within the host's limit is free."""

    def lost(self, conn: Connection) -> None:
        """The connection is closed; forget it."""

    def gone(self, conn: Connection) -> None:
        """Its transport has let go as well."""


class Connection(asyncio.Protocol):
    """A connection and the exchange on it. `slot` tells whether it holds a place within its host's limit.

    `reused` and `handed` are the pool's: it has served before; it was given to a waiting call that has not yet sent.
    `idle_since` is loop time.
    """

    __slots__ = (
        "_barren", "_chunked", "_deadline", "_done", "_early", "_fault", "_head", "_head_done", "_headless",
        "_interims", "_keep", "_made", "_max_header", "_owner", "_parser", "_paused", "_pieces", "_poll", "_raw",
        "_resp", "_seen", "_status", "_timer", "_timer_at", "_to_eof", "_touched", "_transport",
        "closed", "handed", "idle_since", "loop", "reused", "slot",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, max_header: int) -> None:
        self.loop = loop
        self._owner = owner
        self._max_header = max_header
        self._transport: asyncio.Transport  # from connection_made on
        self._made = False
        self._poll = select.poll()
        self._pieces: list[bytes] = []
        self._head: Head  # from on_headers_complete on
        self._resp: UpstreamResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = inf
        self._paused = False
        self.closed = self.reused = self.handed = self.slot = False
        self.idle_since = 0.0
        self._reset(False)
        self._parser = httptools.HttpResponseParser(self)

    def _reset(self, headless: bool) -> None:
        self._headless = headless  # the answer to HEAD has no body, whatever its head says
        self._touched = self._head_done = self._done = self._chunked = self._to_eof = self._keep = False
        self._fault = ""
        self._early = self._raw = b""
        self._seen = self._interims = self._barren = self._status = 0

    def usable(self) -> bool:
        """Whether it stands and is silent. Bytes or an end waiting in the kernel mean that it must not be used."""
        return not self.closed and not self._transport.is_closing() and not self._poll.poll(0)

    def send(
        self, head: bytes, body: bytes, headless: bool, timeouts: Timeouts, ends_at: float, outbox: Outbox | None
    ) -> UpstreamResponse:
        """Write a request, at once or with the `outbox`; the answer's limits begin now. `ends_at` is loop time."""
        loop = self.loop
        first = timeouts.first_token
        stall = timeouts.stall
        first_at = inf if first is None else loop.time() + first
        resp = UpstreamResponse(self, loop, first_at, inf if stall is None else stall, ends_at)
        self._reset(headless)
        self._resp = resp
        self.handed = False
        if self.closed:
            self._end(DIED)
            return resp
        if outbox is None:
            self.write(head, body)
        else:
            outbox.call(self, head, body)
        return resp

    def write(self, head: bytes, body: bytes) -> None:
        """For `send` and the outbox."""
        if len(body) <= _JOIN_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def arm(self, when: float) -> None:
        """Fail the exchange at loop time `when` if somebody waits then. A later deadline costs no new timer."""
        self._deadline = when
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(when, self._on_timer)
            self._timer_at = when

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = inf
        if self._resp is not None and self._resp.waiting:
            if self.loop.time() + _TIMER_SLACK >= self._deadline:
                self.fail(timed_out())
            else:
                self.arm(self._deadline)

    def resume(self) -> None:
        """Read on after a pause."""
        if self._paused:
            self._paused = False
            if not self.closed:
                self._transport.resume_reading()

    def fail(self, error: HubError) -> None:
        """End the exchange with `error` and close at once."""
        resp, self._resp = self._resp, None
        self.close()
        if resp is not None:
            resp.finish(error)

    def close(self, keep_slot: bool = False) -> None:
        """Close at once, without another word; the place in the pool is freed unless it is to be kept."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._made:
            self._transport.abort()
        self._owner.lost(self)
        if not keep_slot:
            self.give_back()

    def give_back(self) -> None:
        """Free the place within the host's limit, once."""
        if self.slot:
            self.slot = False
            self._owner.free()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._made = True
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        if self.closed:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("", reset=exc is not None)
        del self._parser  # the two hold each other
        self._owner.gone(self)

    def eof_received(self) -> None:
        self._end("")

    def _end(self, text: str, reset: bool = False) -> None:
        """The provider will send no more."""
        resp, self._resp = self._resp, None
        stale = resp is not None and self.reused and not self._touched and not self.closed
        self.close(keep_slot=stale or self.handed)
        if resp is None:
            return
        if stale:
            resp.stale = True
            resp.finish(UpstreamUnreachable(DIED))
        elif not self._head_done:
            resp.finish(UpstreamUnreachable(text or DIED))
        elif self._to_eof and (not reset or self._status >= 400):
            # A refusal sent before our body was read ends in a reset; it is complete as far as anybody can tell.
            resp.finish(None)
        else:
            resp.finish(UpstreamGarbled(BROKE_OFF))

    def data_received(self, data: bytes) -> None:
        resp = self._resp
        if self.closed:
            return
        if resp is None:  # it speaks unasked: from here on answers could be given to the wrong call
            self.close(keep_slot=self.handed)
            return
        had_head = self._head_done
        if not had_head:
            self._touched = True
            if not self._seen:
                if self._early:
                    data = self._early + data
                if not data.startswith(_VERSIONS):
                    if len(data) < 9 and (_VERSIONS[0].startswith(data) or _VERSIONS[1].startswith(data)):
                        self._early = data
                    else:
                        self.fail(UpstreamGarbled(_GARBLED))
                    return
            self._seen += len(data)
            raw = self._raw = self._raw + data if self._raw else data
            if self._seen > self._max_header:
                end = raw.find(b"\r\n\r\n")
                if end < 0 or self._seen - len(raw) + end > self._max_header:
                    self.fail(UpstreamGarbled(_HEAD_TOO_LARGE))
                    return
        fault = ""
        last = b""
        extra = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            extra = self._done  # a complete answer stands; what came behind it costs only the connection
            fault = "" if extra else self._fault or _GARBLED
        if not had_head and self._head_done:
            self._raw = b""
            try:
                resp.begin(self._status, self._head)
            except UpstreamGarbled as error:
                self.fail(error)
                return
        pieces = self._pieces
        if pieces:
            self._barren = 0
            last = pieces[-1]
            full = resp.push(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            pieces.clear()
            if full and not self._paused and not self._done:
                self._paused = True
                self._transport.pause_reading()
        elif had_head:
            self._barren += len(data)  # chunk extensions and trailers are nobody's body
            if self._barren > self._max_header and not self._done:
                fault = fault or _GARBLED
        if self._done and self._chunked and data.count(b"\n", data.rfind(last) + len(last)) > MAX_TRAILERS:
            fault = fault or _GARBLED
        if fault:
            self.fail(UpstreamGarbled(fault))
        elif self._done:
            if not extra:  # llhttp swallows line ends behind a message without a word
                if last and not self._chunked:
                    extra = not data.endswith(last)
                else:
                    extra = len(data) > 4 and not data[-5:].strip(b"\r\n")
            self._finish(extra)

    def _finish(self, extra: bool) -> None:
        resp, self._resp = self._resp, None
        if resp is not None:
            resp.finish(None)
        transport = self._transport
        # An early answer may come while our body is still being written: that connection cannot be used again.
        if self._keep and not extra and not transport.is_closing() and not transport.get_write_buffer_size():
            self.resume()
            self._owner.release(self)
        else:
            self.close()

    # httptools' callbacks; an exception stops the parser

    @property
    def on_body(self) -> object:
        """Pieces of body are collected without a Python call for each; httptools asks for this once."""
        return self._pieces.append

    def on_message_begin(self) -> None:
        if self._done:
            raise ValueError  # a second answer to one request

    def _take_head(self) -> Head:
        """The head that is complete now, as raw bytes: taking its twenty lines apart one by one, by callbacks, costs
        more than all the rest of reading an answer."""
        raw, end = self._raw, self._raw.find(b"\r\n\r\n")
        if end < 0 or raw.count(b"\n", 0, end) > MAX_HEADERS:
            self._fault = _HEAD_TOO_LARGE if end >= 0 else ""
            raise ValueError
        self._raw = raw[end + 4 :]
        return Head(raw[: end + 2])

    def on_headers_complete(self) -> None:
        parser = self._parser
        head = self._head = self._take_head()
        coding, sized = head.get("transfer-encoding"), head.has_length
        status = self._status = parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101 or coding is not None or sized:
                raise ValueError
            self._interims += 1
            return
        keep = parser.should_keep_alive()
        if status > 599 or (self._interims and parser.get_http_version() not in ("1.0", "1.1")):
            raise ValueError
        if coding is not None:
            if coding.lower() != "chunked" or parser.get_http_version() != "1.1":
                raise ValueError
            self._chunked = True
        self._head_done = True
        if self._headless:
            self._done = True
            raise ValueError  # llhttp cannot be told that no body follows; the connection is not used again
        if status == 204 or status == 304:
            keep = keep and coding is None and not sized
        elif coding is None and not sized:
            self._to_eof = True
            keep = False
        self._keep = keep

    def on_message_complete(self) -> None:
        if self._head_done:
            self._done = True

"""A head like the one before. An SDK sends the same head with every request of a connection, but for the body's length:
what the parser has read and checked once is known when its bytes come again, and only then."""

from __future__ import annotations

import re

from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy, istr

from llmhub_core.contracts.exchange import Caller
from llmhub_core.hub.tokens import ANYONE, Tokens

LENGTH = istr("content-length")
LONGEST = 8192
"""Bytes of a head that is remembered."""

_LENGTHS = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)


class KnownHead:
    """`message` without its content-length, for it is the last one's; `length` is what the head that matched says.

    `caller` is who sent it, as long as `tokens` are the ones that count: the same bytes hold the same token.
    """

    __slots__ = ("_after", "_before", "caller", "headers", "length", "message", "tokens")

    def __init__(self, before: bytes, after: bytes, message: RawRequestMessage) -> None:
        self._before = before
        self._after = after
        headers = CIMultiDict(message.headers)
        del headers[LENGTH]
        self.headers = CIMultiDictProxy(headers)
        self.message = message
        self.length = 0
        self.caller: Caller = ANYONE
        self.tokens: Tokens | None = None

    def body_at(self, data: bytes) -> int:
        """Where the body begins if `data` begins with this head, 0 if with anything else."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return 0
        start = len(before)
        end = data.find(b"\r", start, start + 10)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(after, end):
            return 0
        self.length = int(digits)
        return end + len(after)


def remember(head: bytes, message: RawRequestMessage) -> KnownHead | None:
    """The head of a plain request, up to and with its empty line; None if it is none to be remembered."""
    if len(head) > LONGEST or message.chunked or message.compression or message.should_close:
        return None
    found = _LENGTHS.search(head)
    if found is None or len(message.headers.getall(LENGTH, ())) != 1:
        return None
    return KnownHead(head[: found.start(1)], head[found.end(1) :], message)


class Whole:
    """A body that came with its head: what the chain needs of aiohttp's StreamReader, which costs more to make."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def is_eof(self) -> bool:
        return True

    def read_nowait(self, n: int = -1) -> bytes:
        body, self._body = self._body, b""
        return body

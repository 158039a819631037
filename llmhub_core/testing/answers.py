"""What a fake provider is asked and what it answers, with every way in which an answer can go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from llmhub_core.contracts import FrameSplitter


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """What arrived. `path` is as it was sent, still percent-encoded; header names are in lower case.

    `connection` counts the connections from 0, so that a test sees whether one was used again; `at` is the
    loop's time.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0
    at: float = 0.0

    @property
    def json(self) -> Any:
        """The body, parsed; ValueError if it is no JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer, and what goes wrong with it.

    status, headers   as they are; no length is added where `headers` has a content-length (a lie, perhaps)
    body              sent with its length; or until the connection closes, if `close_delimited`
    chunks            sent instead of `body` in chunked transfer, each in a write of its own
    raw               every byte of the answer, as it is: not even a status line is added
    piece             the byte stream, head and chunk marks included, is cut into writes of so many bytes
    delay_first       seconds before the first byte
    delay             seconds between writes
    cut_after         the connection breaks after so many bytes of the body (of `raw`); 0: right after the head
    reset             whether a cut is a TCP reset; else the connection is closed politely, only too early
    stall_after       nothing more after so many bytes of the body (of `raw`) until `resume` is set
    resume            ends a stall; None: it lasts until the client hangs up
    hang_up           after the answer the connection is closed, though nothing announced it
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[bytes] | None = None
    piece: int | None = None
    delay_first: float = 0.0
    delay: float = 0.0
    cut_after: int | None = None
    reset: bool = True
    stall_after: int | None = None
    resume: asyncio.Event | None = None
    close_delimited: bool = False
    hang_up: bool = False
    raw: bytes | None = None

    def writes(self) -> list[bytes]:
        """The whole answer as the bytes of one write after the other, faults left aside."""
        if self.raw is not None:
            parts = [self.raw]
        elif self.chunks is not None and not self.close_delimited:
            parts = [self._head(), *(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in self.chunks if chunk)]
            parts.append(b"0\r\n\r\n")
        elif self.chunks is not None:
            parts = [self._head(), *self.chunks]
        else:
            parts = [self._head() + self.body]
        if self.piece is not None:
            whole = b"".join(parts)
            parts = [whole[at : at + self.piece] for at in range(0, len(whole), self.piece)]
        return [part for part in parts if part]

    def offset(self, size: int) -> int:
        """Where in the byte stream the first `size` bytes of the body are over."""
        if self.raw is not None:
            return size
        offset = len(self._head())
        if self.chunks is None or self.close_delimited:
            return offset + size
        for chunk in self.chunks:
            if size <= 0:
                break
            marks = len(b"%x\r\n" % len(chunk))
            whole = size >= len(chunk)
            offset += marks + (len(chunk) + 2 if whole else size)
            size -= len(chunk)
        return offset

    def steps(self) -> Iterator[tuple[bytes, str]]:
        """The writes, split where a fault comes between their bytes; a cut ends them."""
        faults = [
            (self.offset(after), name)
            for name, after in (("stall", self.stall_after), ("cut", self.cut_after))
            if after is not None
        ]
        faults.sort(key=lambda fault: fault[0])
        sent = 0
        for part in (*self.writes(), b""):
            rest = part
            while faults and (faults[0][0] < sent + len(rest) or not part):
                at, name = faults.pop(0)
                if at > sent and rest:
                    yield rest[: at - sent], ""
                    rest, sent = rest[at - sent :], at
                yield b"", name
                if name == "cut":
                    return
            if rest:
                yield rest, ""
            sent += len(rest)

    def _head(self) -> bytes:
        headers = dict(self.headers)
        named = {name.lower() for name in headers}
        if self.close_delimited:
            headers["Connection"] = "close"
        elif self.chunks is not None:
            headers["Transfer-Encoding"] = "chunked"
        elif "content-length" not in named:
            headers["Content-Length"] = str(len(self.body))
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:  # 529 is real, but in no register
            phrase = ""
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None, **how: Any) -> Answer:
    """`value` as a JSON answer; `how` are the other fields of Answer."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, body, **how)


def sse_answer(
    frames: str | bytes | Iterable[str | bytes], status: int = 200, headers: Mapping[str, str] | None = None, **how: Any
) -> Answer:
    """A stream of server-sent events, each event a chunk of its own; `how` are the other fields of Answer.

    `frames` is the text of the whole stream, or its frames (each ends with a blank line).
    """
    if isinstance(frames, str | bytes):
        splitter = FrameSplitter()
        chunks = [*splitter.feed(_bytes(frames)), splitter.rest()]
    else:
        chunks = [_bytes(frame) for frame in frames]
    said = {"Content-Type": "text/event-stream; charset=utf-8", **(headers or {})}
    return Answer(status, said, chunks=[chunk for chunk in chunks if chunk], **how)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text

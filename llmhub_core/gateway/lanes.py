"""Verbatim or translated: a provider's bytes in, the caller's bytes out. No socket is known here.

    Verbatim     caller and provider speak the same dialect: bytes pass, usage is read in passing
    Translated   two dialects meet (or an interceptor looks on): bytes → events → bytes

A lane never leaves half an event on the caller's side, and never lets an answer look finished that is not:
`failed` tells what went wrong, and whoever drives the lane decides what that means for the caller.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llmhub_core.contracts.chat_request import RequestHead
from llmhub_core.contracts.chat_response import (
    ChatResponse,
    Event,
    Failed,
    Finished,
    Fold,
    PartDelta,
    PartStarted,
    Used,
    unfold,
)
from llmhub_core.contracts.dialect import Dialect, FrameInfo, ResponseDecoder, ResponseEncoder
from llmhub_core.contracts.errors import HubError, UpstreamGarbled
from llmhub_core.contracts.usage import Usage
from llmhub_core.contracts.wire import FrameSplitter, FrameTooLarge, is_json, read_frame

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"

_LINES = re.compile(rb"\r\n|\n|\r")
_OTHER_FIELDS = (b":", b"event", b"id", b"retry", b"data")


def _broke_off() -> UpstreamGarbled:
    return UpstreamGarbled("The provider's answer broke off before it was complete; try again.")


def _garbled() -> UpstreamGarbled:
    return UpstreamGarbled("The provider sent something that is not an answer; try again.")


class Lane(ABC):
    """`usage`, `finish` (the provider's word) and `output_bytes` are what was learned on the way; `error_shown`
    says that the provider's own error event is among what the caller got, so that no second one is due."""

    name: str
    content_type: str

    usage: Usage | None = None
    finish = ""
    output_bytes = 0
    failed: HubError | None = None
    error_shown = False

    @abstractmethod
    def feed(self, chunk: bytes) -> bytes:
        """What the caller gets for this much of the provider's answer; b"" while nothing is complete."""

    @abstractmethod
    def close(self) -> bytes:
        """What remains at the clean end of the provider's answer; sets `failed` if more was due."""

    def begun(self, out: bytes) -> bool:
        """Whether `out`, the latest that feed or close gave, has something of the answer itself. Asked until it has."""
        return True

    def whole(self, body: bytes) -> bytes:
        """The same for an answer that is here as a whole."""
        return self.feed(body) + self.close()

    def _saw_usage(self, usage: Usage) -> None:
        self.usage = usage if self.usage is None else self.usage.updated(usage)


class VerbatimStream(Lane):
    """Every complete event that is well-formed passes as it came; only those that may tell something are read."""

    name = "verbatim"
    content_type = SSE

    def __init__(self, dialect: Dialect[Any], head: RequestHead) -> None:
        self._dialect = dialect
        self._head = head
        self._tells = dialect.tells
        self._frames = FrameSplitter()
        self._complete = False

    def feed(self, chunk: bytes) -> bytes:
        try:
            frames = self._frames.feed(chunk)
        except FrameTooLarge:
            self.failed = _garbled()
            return b""
        return self._pass(frames) if frames else b""

    def begun(self, out: bytes) -> bool:
        if self.finish:
            return True
        begins = self._dialect.begins
        return any(begins(data) for frame in FrameSplitter().feed(out) if (data := read_frame(frame)[1]))

    def _pass(self, frames: Sequence[bytes]) -> bytes:
        shown: list[bytes] = []
        for frame in frames:
            if self._tells(frame):
                if not self._read(frame):
                    continue
            elif not _is_well_formed(frame):
                self.failed = _garbled()
            if self.failed is not None and not self.error_shown:
                break
            shown.append(frame)
        out = shown[0] if len(shown) == 1 else b"".join(shown)
        self.output_bytes += len(out)
        return out

    def _read(self, frame: bytes) -> bool:
        """Note what a frame tells; whether the caller gets it."""
        _, data = read_frame(frame)
        try:
            info = self._dialect.inspect_frame(data, self._head)
        except ValueError:
            self.failed = _garbled()
            return True
        self._note(info)
        return not info.hidden

    def _note(self, info: FrameInfo) -> None:
        if info.usage is not None:
            self._saw_usage(info.usage)
        if info.finish is not None:
            self.finish = info.finish
        if info.complete:
            self._complete = True
        if info.error is not None and self.failed is None:
            self.failed = info.error
            self.error_shown = True

    def close(self) -> bytes:
        out = b""
        if self._frames.pending and self.failed is None:
            # A last event without the blank line after it, or half of one. The line is added, for otherwise what
            # comes behind (the dialect's end, an error) would become part of the event. The name of an event that was
            # cut off before its data tells nothing, and SDKs stumble over it.
            rest = self._frames.rest() + b"\n\n"
            if read_frame(rest)[1]:
                out = self._pass([rest])
        if self.failed is not None:
            return out
        if not self._complete:
            if not self.finish:
                self.failed = _broke_off()
                return out
            out += self._dialect.stream_end()
        return out


def _is_well_formed(frame: bytes) -> bool:
    # The line ends behind the data are white space to JSON: in the ordinary case there is nothing to take apart.
    if frame.startswith(b"data: "):
        if is_json(frame[6:]):
            return True
    elif frame.startswith(b"event: "):
        start = frame.find(b"\ndata: ") + 7
        if start > 7 and frame.find(b"\n", start) == len(frame) - 2 and is_json(frame[start:]):
            return True
    _, data = read_frame(frame)
    if data:
        return is_json(data)
    return all(line.startswith(_OTHER_FIELDS) for line in _LINES.split(frame) if line)


class VerbatimWhole(Lane):
    """A whole answer, passed on as it came once it was seen to be one."""

    name = "verbatim"
    content_type = JSON

    def __init__(self, dialect: Dialect[Any], head: RequestHead) -> None:
        self._dialect = dialect
        self._head = head
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        self._pieces.append(chunk)
        return b""

    def close(self) -> bytes:
        return self.whole(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))

    def whole(self, body: bytes) -> bytes:
        try:
            info = self._dialect.inspect_answer(body, self._head)
        except ValueError:
            self.failed = _garbled()
            return b""
        self.failed = info.error
        self.usage = info.usage
        self.finish = info.finish or ""
        self.output_bytes = len(body)
        return body if info.instead is None else info.instead


class VerbatimBytes(Lane):
    """Bytes that nobody reads on the way: sound, as it is spoken. Its end is the end of the HTTP body."""

    name = "verbatim"
    content_type = "application/octet-stream"

    def feed(self, chunk: bytes) -> bytes:
        self.output_bytes += len(chunk)
        return chunk

    def close(self) -> bytes:
        return b""


_WORDS = {"text", "reasoning", "refusal"}

EventFilter = Callable[[Event], Iterable[Event]]


class Translated(Lane):
    """Through events. `filters` are interceptors' looks at each event; with `hold` nothing goes out before
    everything came, and `folded`/`write_out` let the whole answer be exchanged for another."""

    name = "translated"

    def __init__(
        self,
        decoder: ResponseDecoder,
        encoder: ResponseEncoder,
        filters: Sequence[EventFilter] = (),
        hold: bool = False,
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._filters = filters
        self._fold = Fold() if hold else None
        self._told = False  # it has something to say without a word: a tool call, or a provider's reason to end
        self.content_type = encoder.content_type

    def begun(self, out: bytes) -> bool:
        return self._told or self.output_bytes > 0

    def feed(self, chunk: bytes) -> bytes:
        return self._write(self._decoder.feed(chunk))

    def close(self) -> bytes:
        out = self._write(self._decoder.close())
        if self.failed is None and self._fold is None:
            out += self._encoder.close()
        return out

    def _write(self, events: Iterable[Event]) -> bytes:
        for look in self._filters:
            events = [changed for event in events for changed in look(event)]
        out: list[bytes] = []
        write = self._encoder.write
        for event in events:
            if isinstance(event, PartDelta):
                self.output_bytes += len(event.text)
            elif isinstance(event, Used):
                self._saw_usage(event.usage)
            elif isinstance(event, Finished):
                self.finish = event.native or event.reason
                if event.native or event.reason != "stop":  # a reader makes up no other
                    self._told = True
            elif isinstance(event, Failed):
                self.failed = event.error
                break
            elif isinstance(event, PartStarted) and event.kind not in _WORDS:
                self._told = True
            if self._fold is not None:
                self._fold.add(event)
            else:
                out.append(write(event))
        return b"".join(out)

    def folded(self) -> ChatResponse | None:
        """The whole answer, if the lane holds it; None if it went out already."""
        return None if self._fold is None else self._fold.response()

    def failure(self, error: HubError) -> bytes:
        """The end of a broken stream, in the framing that the stream has."""
        return self._encoder.write(Failed(error))

    def write_out(self, response: ChatResponse) -> bytes:
        return encode_whole(self._encoder, response)


def encode_whole(encoder: ResponseEncoder, response: ChatResponse) -> bytes:
    """A whole answer in the caller's dialect, as one value or as a stream that comes at once."""
    return b"".join([*(encoder.write(event) for event in unfold(response)), encoder.close()])

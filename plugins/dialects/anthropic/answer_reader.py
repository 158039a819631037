"""A provider's answer as events, streamed or whole; both ways go through the same blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from llmhub_plugins.dialects.anthropic.errors import decode_stream_error
from llmhub_plugins.dialects.anthropic.words import NAME, REASONS, read_usage

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    FrameSplitter,
    FrameTooLarge,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    ResponseDecoder,
    Started,
    UpstreamGarbled,
    Used,
    dump_json,
    load_json,
    read_frame,
)

Json = dict[str, Any]


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    citation: Json | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Frame(msgspec.Struct):
    type: str = ""
    delta: _Delta | None = None
    content_block: Json | None = None
    message: Json | None = None
    usage: Json | None = None


_decode = msgspec.json.Decoder(_Frame).decode


def _read(data: bytes) -> _Frame:
    """One event's data, whatever mistyped members it has; ValueError if it is not JSON."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = load_json(data)
    if not isinstance(said, dict):
        return _Frame()
    frame, delta = _Frame(), said.pop("delta", None)
    _fit(frame, said)
    if isinstance(delta, dict):
        frame.delta = _Delta()
        _fit(frame.delta, delta)
    return frame


def _fit(made: _Frame | _Delta, said: Json) -> None:
    """Set the members that came with the right type."""
    for name in made.__struct_fields__:
        value = said.get(name)
        if isinstance(value, str if name in _STRINGS else dict):
            setattr(made, name, value)


_STRINGS = ("type", "text", "partial_json", "thinking", "signature", "stop_reason", "stop_sequence")


class _Block:
    """The content block that is being received."""

    __slots__ = ("body", "citations", "index", "kind", "pieces", "signature", "wrote")

    def __init__(self, index: int, kind: PartKind, body: Json) -> None:
        self.index = index
        self.kind = kind
        self.body = body
        self.wrote = False
        self.signature = ""
        self.citations: list[Any] = []
        self.pieces: list[str] = []


_KINDS: dict[str, PartKind] = {
    "text": "text",
    "tool_use": "tool_call",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
}


class _Reader(ResponseDecoder):
    """What both ways share: blocks to parts, usage, the end. Events gather in `_events` until they are fetched."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._block: _Block | None = None
        self._parts = 0
        self._started = self._done = False
        self._usage: Json = {}
        self._stop_reason: str | None = None
        self._stop_text: str | None = None

    def _fetch(self) -> Sequence[Event]:
        events, self._events = self._events, []
        return events

    def _fail(self, what: str) -> None:
        if not self._done:
            self._end_block()
            self._events.append(Failed(UpstreamGarbled(what)))
            self._done = True

    def _refused(self, said: Any) -> None:
        self._end_block()
        self._events.append(Failed(decode_stream_error(said)))
        self._done = True

    def _start(self, message: Json) -> None:
        if self._started:
            return
        self._started = True
        rest = {name: value for name, value in message.items() if name not in _MESSAGE_FIELDS and value is not None}
        extras = {NAME: rest} if rest else {}
        self._events.append(Started(_text(message, "id"), _text(message, "model"), 0, extras))
        usage = message.get("usage")
        if isinstance(usage, dict):
            self._note_usage(usage)
            self._events.append(Used(read_usage(self._usage)))

    def _note_usage(self, said: Json) -> None:
        """Counts are cumulative, and what is left out still holds: the last word on each member counts."""
        self._usage.update((name, value) for name, value in said.items() if value is not None)

    def _start_block(self, body: Json) -> _Block:
        self._end_block()
        if not self._started:
            self._start({})
        type = _text(body, "type")
        block = self._block = _Block(self._parts, _KINDS.get(type, "opaque"), body)
        if block.kind == "opaque":
            return block  # known whole only at its end
        self._parts += 1
        known, id, name = _BLOCK_FIELDS[block.kind], "", ""
        if block.kind == "tool_call":
            id, name = _text(body, "id") or f"toolu_{uuid4().hex[:24]}", _text(body, "name")
        rest = {key: value for key, value in body.items() if key not in known and value is not None}
        if block.kind == "reasoning":
            rest["type"] = type  # marks whose thoughts these are, for the encoder of the same dialect
            block.signature = _text(body, "signature")
        citations = body.get("citations")
        block.citations = list(citations) if isinstance(citations, list) else []
        self._events.append(PartStarted(block.index, block.kind, id, name, 0, {NAME: rest} if rest else {}))
        self._write(block, _text(body, "text") or _text(body, "thinking"))
        return block

    def _write(self, block: _Block, text: str) -> None:
        if text:
            block.wrote = True
            self._events.append(PartDelta(block.index, text))

    def _end_block(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        if block.kind == "opaque":
            self._parts += 1
            self._events.append(PartStarted(block.index, "opaque", extras={NAME: _whole(block)}))
            self._events.append(PartEnded(block.index))
            return
        if block.kind == "tool_call" and not block.wrote:
            given = block.body.get("input")
            self._write(block, dump_json(given).decode() if isinstance(given, dict) else "{}")
        redacted = _text(block.body, "data") or None if block.kind == "reasoning" else None
        extras = {NAME: {"citations": block.citations}} if block.citations else {}
        self._events.append(PartEnded(block.index, block.signature or None, redacted, extras))

    def _finish(self) -> None:
        """The good end."""
        self._end_block()
        if self._usage:
            self._events.append(Used(read_usage(self._usage)))
        native = self._stop_reason or ""
        self._events.append(Finished(REASONS.get(native, "stop"), 0, native, self._stop_text))
        self._done = True


_MESSAGE_FIELDS = ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
_BLOCK_FIELDS: dict[PartKind, tuple[str, ...]] = {
    "text": ("type", "text", "citations"),
    "tool_call": ("type", "id", "name", "input"),
    "reasoning": ("type", "thinking", "signature", "data"),
}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _whole(block: _Block) -> Json:
    """A block that only this format knows, with what its deltas brought."""
    if not block.pieces:
        return block.body
    text = "".join(block.pieces)
    try:
        return {**block.body, "input": load_json(text)}
    except ValueError:
        return {**block.body, "input": {"INVALID_JSON": text}}


class StreamReader(_Reader):
    """Server-sent events of the Messages API."""

    def __init__(self) -> None:
        super().__init__()
        self._splitter = FrameSplitter()

    def feed(self, chunk: bytes) -> Sequence[Event]:
        try:
            frames = self._splitter.feed(chunk)
        except FrameTooLarge as error:
            self._fail(f"The provider's answer could not be understood: {error}.")
            return self._fetch()
        for raw in frames:
            self._take(raw)
        return self._fetch()

    def close(self) -> Sequence[Event]:
        rest = self._splitter.rest()
        if rest.strip():
            self._take(rest)
        if not self._done and self._stop_reason is not None:
            self._finish()
        self._fail("The provider's answer broke off before its end.")
        return self._fetch()

    def _take(self, raw: bytes) -> None:
        if self._done:
            return
        event, data = _split(raw)
        if not data:
            return
        try:
            frame = _read(data)
        except ValueError:
            self._fail("The provider's answer broke off or holds an event that is not JSON.")
            return
        self._on(frame, frame.type or event, data)

    def _on(self, frame: _Frame, type: str, data: bytes) -> None:
        if type == "content_block_delta":
            if frame.delta is not None:
                self._on_delta(frame.delta, data)
        elif type == "content_block_start":
            self._start_block(frame.content_block or {})
        elif type == "content_block_stop":
            self._end_block()
        elif type == "message_start":
            if self._parts or self._block:  # what came before may be half a tool call
                self._fail("The provider's answer began anew in its middle.")
            else:
                self._start(frame.message or {})
        elif type == "message_delta":
            if frame.usage is not None:
                self._note_usage(frame.usage)
            if frame.delta is not None and frame.delta.stop_reason is not None:
                self._end_block()  # at max_tokens its own end may be missing
                self._stop_reason, self._stop_text = frame.delta.stop_reason, frame.delta.stop_sequence
        elif type == "message_stop":
            if self._started:
                self._finish()
        elif type == "error":
            self._refused(load_json(data))

    def _on_delta(self, delta: _Delta, data: bytes) -> None:
        type, block = delta.type, self._block
        if type == "text_delta":
            if block is None or block.kind != "text":
                block = self._start_block({"type": "text"})
            self._write(block, delta.text)
        elif type == "thinking_delta":
            if block is None or block.kind != "reasoning":
                block = self._start_block({"type": "thinking"})
            self._write(block, delta.thinking)
        elif block is None:
            return
        elif type == "input_json_delta":
            if block.kind == "tool_call":
                self._write(block, delta.partial_json)
            elif block.kind == "opaque" and delta.partial_json:
                block.pieces.append(delta.partial_json)
        elif type == "signature_delta":
            block.signature = delta.signature
        elif type == "citations_delta":
            if delta.citation is not None:
                block.citations.append(delta.citation)
        elif block.kind == "opaque":  # compaction_delta and its like bring members of the block
            brought = load_json(data)["delta"]
            block.body = {**block.body, **{name: value for name, value in brought.items() if name != "type"}}


def _split(raw: bytes) -> tuple[str, bytes]:
    """read_frame, with a short way for the shape that nearly every frame has: one event line, one data line."""
    at = raw.find(b"\n") + 1
    if raw.startswith(b"data: ", at) and raw.startswith(b"event: ") and raw.find(b"\n", at) == len(raw) - 2:
        return "", raw[at + 6 : -2]
    return read_frame(raw)


class WholeReader(_Reader):
    """One JSON message."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._chunks.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        try:
            said = load_json(b"".join(self._chunks))
        except ValueError:
            said = None
        if isinstance(said, dict) and said.get("error"):
            self._refused(said)
        elif isinstance(said, dict) and isinstance(said.get("content"), list):
            self._start(said)
            for body in said["content"]:
                if isinstance(body, dict):
                    self._start_block(body)
            self._stop_reason = _text(said, "stop_reason")
            self._stop_text = _text(said, "stop_sequence") or None
            self._finish()
        else:
            self._fail("The provider's answer could not be understood: it is not a message.")
        return self._fetch()

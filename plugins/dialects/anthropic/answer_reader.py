"""A provider's answer as events, streamed or whole; both ways go through the same blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from llmhub_plugins.dialects.anthropic.errors import decode_stream_error
from llmhub_plugins.dialects.anthropic.frames import Delta, Frame, read_event, split_frame
from llmhub_plugins.dialects.anthropic.structured import ANSWER, WRAPPED_ANSWER, unwrapped
from llmhub_plugins.dialects.anthropic.words import NAME, REASONS, read_usage, usage_extras

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
)

Json = dict[str, Any]


class _Block:
    """The content block that is being received. `wrapped`: a tool call that holds the answer as one of its members."""

    __slots__ = ("body", "citations", "index", "kind", "pieces", "signature", "wrapped", "wrote")

    def __init__(self, index: int, kind: PartKind, body: Json) -> None:
        self.index = index
        self.kind = kind
        self.body = body
        self.wrote = self.wrapped = False
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
        self._called = self._emulated = False
        self._usage: Json = {}
        self._ending: Json = {}
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
        usage = message.get("usage")
        rest = _others(message, _MESSAGE_FIELDS)
        if isinstance(usage, dict) and (early := usage_extras(usage)[0]):
            rest["usage"] = early
        extras = {NAME: rest} if rest else {}
        self._events.append(Started(_text(message, "id"), _text(message, "model"), 0, extras))
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
        type, name = _text(body, "type"), _text(body, "name")
        kind = _KINDS.get(type, "opaque")
        if type == "tool_use" and name in (ANSWER, WRAPPED_ANSWER):
            return self._start_answer(body, name == WRAPPED_ANSWER)
        block = self._block = _Block(self._parts, kind, body)
        if kind == "opaque":
            return block  # known whole only at its end
        self._parts += 1
        id = ""
        if kind == "tool_call":
            id, self._called = _text(body, "id") or f"toolu_{uuid4().hex[:24]}", True
        elif kind == "reasoning":
            block.signature = _text(body, "signature")
        citations = body.get("citations")
        block.citations = list(citations) if isinstance(citations, list) else []
        rest = _others(body, _BLOCK_FIELDS[kind])
        self._events.append(
            PartStarted(
                block.index,
                kind,
                id,
                name if kind == "tool_call" else "",
                extras={NAME: rest} if rest else {},
                origin=NAME if kind == "reasoning" else "",
            )
        )
        self._write(block, _text(body, "text") or _text(body, "thinking"))
        return block

    def _start_answer(self, body: Json, wrapped: bool) -> _Block:
        """A call of the tool by which a format of the answer was emulated: the text that was asked for."""
        block = self._block = _Block(self._parts, "text", body)
        block.wrapped, self._emulated = wrapped, True
        self._parts += 1
        self._events.append(PartStarted(block.index, "text"))
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
        if block.wrapped:
            given = "".join(block.pieces) or dump_json(block.body.get("input")).decode()
            self._write(block, unwrapped(given))
        elif "input" in block.body and not block.wrote and block.kind in ("tool_call", "text"):
            given = block.body["input"]
            self._write(block, dump_json(given).decode() if isinstance(given, dict) else "{}")
        elif block.kind == "tool_call" and not block.wrote:
            self._write(block, "{}")
        redacted = _text(block.body, "data") or None if block.kind == "reasoning" else None
        extras = {NAME: {"citations": block.citations}} if block.citations else {}
        self._events.append(PartEnded(block.index, block.signature or None, redacted, extras))

    def _finish(self) -> None:
        """The good end."""
        self._end_block()
        if self._usage:
            self._events.append(Used(read_usage(self._usage)))
        native = self._stop_reason or ""
        reason = REASONS.get(native, "stop")
        if reason == "tool_calls" and self._emulated and not self._called:
            reason = "stop"
        if late := usage_extras(self._usage)[1]:
            self._ending["usage"] = late
        extras = {NAME: self._ending} if self._ending else {}
        self._events.append(Finished(reason, 0, native, self._stop_text, extras))
        self._done = True


ENDING = ("container", "stop_details", "context_management", "input_transformations")
"""Members of a message that are known at its end; they stay with Finished."""

_STOP_DETAILS = (
    "type",
    "category",
    "explanation",
    "recommended_model",
    "fallback_credit_token",
    "fallback_has_prefill_claim",
)
"""What the API says of a refusal."""

_MESSAGE_FIELDS = ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage", *ENDING)
_BLOCK_FIELDS: dict[PartKind, tuple[str, ...]] = {
    "text": ("type", "text", "citations"),
    "tool_call": ("type", "id", "name", "input"),
    "reasoning": ("type", "thinking", "signature", "data"),
}


def _ending(said: Mapping[str, Any]) -> Json:
    """Those members of a message, or of the event that ends it, that are known at the end."""
    found = {name: said[name] for name in ENDING if said.get(name) is not None}
    if isinstance(details := found.get("stop_details"), dict):
        found["stop_details"] = {name: details[name] for name in _STOP_DETAILS if name in details}
    return found


def _others(said: Mapping[str, Any], known: Sequence[str]) -> Json:
    return {name: value for name, value in said.items() if name not in known and value is not None}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _whole(block: _Block) -> Json:
    """A block that only this format knows, with what its deltas brought."""
    text = "".join(block.pieces)
    if not text:
        return block.body
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
        event, data = split_frame(raw)
        if not data:
            return
        try:
            frame = read_event(data)
        except ValueError:
            self._fail("The provider's answer broke off or holds an event that is not JSON.")
            return
        self._on(frame, frame.type or event, data)

    def _on(self, frame: Frame, type: str, data: bytes) -> None:
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
            self._note_ending(data)
            if frame.delta is not None and frame.delta.stop_reason is not None:
                self._end_block()  # at max_tokens its own end may be missing
                self._stop_reason, self._stop_text = frame.delta.stop_reason, frame.delta.stop_sequence
        elif type == "message_stop":
            if self._started:
                self._finish()
        elif type == "error":
            self._refused(load_json(data))

    def _note_ending(self, data: bytes) -> None:
        """Some members stand beside the delta and some in it; where they belong is known by their names."""
        said = load_json(data)
        for members in (said, said.get("delta")):
            if isinstance(members, dict):
                self._ending |= _ending(members)

    def _on_delta(self, delta: Delta, data: bytes) -> None:
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
            if block.kind == "opaque" or block.wrapped:
                block.pieces.append(delta.partial_json)
            elif block.kind != "reasoning":
                self._write(block, delta.partial_json)
        elif type == "signature_delta":
            block.signature = delta.signature
        elif type == "citations_delta":
            if delta.citation is not None:
                block.citations.append(delta.citation)
        elif block.kind == "opaque":  # compaction_delta and its like bring members of the block
            brought = load_json(data)["delta"]
            block.body = {**block.body, **{name: value for name, value in brought.items() if name != "type"}}


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
            self._ending = _ending(said)
            self._stop_reason = _text(said, "stop_reason")
            self._stop_text = _text(said, "stop_sequence") or None
            self._finish()
        else:
            self._fail("The provider's answer could not be understood: it is not a message.")
        return self._fetch()

"""A provider's text completion, whole or streamed, as events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from llmhub_plugins.dialects.openai.errors import stream_error
from llmhub_plugins.dialects.openai.finish import finish_reason
from llmhub_plugins.dialects.openai.usage import WireUsage, read_usage
from llmhub_plugins.dialects.openai_completions.words import NAME
from msgspec import Struct

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    FrameSplitter,
    FrameTooLarge,
    PartDelta,
    PartEnded,
    PartStarted,
    ResponseDecoder,
    Started,
    UpstreamError,
    UpstreamGarbled,
    Usage,
    Used,
    load_json,
    read_frame,
)

_BROKEN = "The provider's answer broke off before it was complete."
_GARBLED = "The provider's answer could not be understood."


class WireChoice(Struct):
    """One of an answer's texts, or more of it."""

    index: int = 0
    text: str | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class Chunk(Struct):
    """One event's data, or the body of a whole answer."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    system_fingerprint: str | None = None


_read = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """`data` as a Chunk; ValueError if it is no JSON object. Members of odd types count as absent."""
    try:
        return _read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = load_json(data)
    if isinstance(value, dict):
        return _leniently(value)
    raise ValueError("not a JSON object")


def _leniently(value: dict[str, Any]) -> Chunk:
    choices = value.get("choices")
    fields = {name: _as(kind, value.get(name)) for name, kind in _TYPES.items()}
    if isinstance(choices, list):
        fields["choices"] = [choice for each in choices if (choice := _as(WireChoice, each)) is not None]
    return Chunk(**fields, error=value.get("error"))


_TYPES: dict[str, Any] = {"id": str, "model": str, "created": int, "usage": WireUsage, "system_fingerprint": str}


def _as(kind: Any, value: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, ValueError):
        return None


class _Choice:
    """One text on its way. `notes` are its probabilities of tokens, which go out at its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.part = -1
        self.native: str | None = None
        self.notes: dict[str, list[Any]] = {}

    def note(self, logprobs: dict[str, Any]) -> None:
        for name, values in logprobs.items():
            if isinstance(values, list):
                self.notes.setdefault(name, []).extend(values)


class _Answer:
    """Chunks in, events out; a whole answer is a single chunk."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.choices: dict[int, _Choice] = {}
        self.over = False
        self._started = False
        self._parts = 0
        self._announced = False
        self._usage: Usage | None = None

    def flush(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def add(self, chunk: Chunk) -> None:
        self._usage = read_usage(chunk.usage) or self._usage
        if chunk.error:
            self.fail(stream_error(chunk.error))
            return
        if not self._started and (chunk.choices or chunk.id):
            self._started = True
            extras = {NAME: {"system_fingerprint": chunk.system_fingerprint}} if chunk.system_fingerprint else {}
            self.events.append(Started(chunk.id or "", chunk.model or "", max(0, chunk.created or 0), extras))
        for wire in chunk.choices or ():
            self._take(wire)

    def _take(self, wire: WireChoice) -> None:
        choice = self.choices.setdefault(wire.index, _Choice(wire.index))
        if choice.native is not None:
            return  # repeated or late: the first end counts
        if wire.text:
            if choice.part < 0:
                choice.part = self._begin(PartStarted(self._parts, "text", choice=choice.number))
            self.events.append(PartDelta(choice.part, wire.text))
        if wire.logprobs:
            choice.note(wire.logprobs)
        if wire.finish_reason:
            self._finish(choice, wire.finish_reason)

    def _begin(self, part: PartStarted) -> int:
        self._parts += 1
        self.events.append(part)
        return part.index

    def _finish(self, choice: _Choice, native: str) -> None:
        choice.native = native
        if choice.part >= 0:
            self.events.append(PartEnded(choice.part))
        if choice.notes:
            extras = {NAME: {"logprobs": choice.notes}}
            self.events.append(
                PartEnded(self._begin(PartStarted(self._parts, "opaque", choice=choice.number, extras=extras)))
            )

    def fail(self, error: UpstreamError) -> None:
        if not self.over:
            self.over = True
            self._tell_usage()
            self.events.append(Failed(error))

    def _tell_usage(self) -> None:
        if self._usage is not None:
            self.events.append(Used(self._usage))

    def end(self, complete: bool) -> None:
        """No more will come. `complete` is evidence that nothing is missing, even where no finish reason came."""
        if self.over:
            return
        unfinished = [choice for choice in self.choices.values() if choice.native is None]
        if not self._started or ((unfinished or not self.choices) and not complete):
            self.fail(UpstreamGarbled(_BROKEN))
            return
        self.over = True
        for choice in unfinished or ([] if self.choices else [self.choices.setdefault(0, _Choice(0))]):
            self._finish(choice, "")
        for choice in self.choices.values():
            native = choice.native or ""
            self.events.append(Finished(finish_reason(native, called=False), choice.number, native))
        self._tell_usage()


class StreamReader(ResponseDecoder):
    """Server-sent events."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._answer = _Answer()

    def feed(self, chunk: bytes) -> Sequence[Event]:
        answer = self._answer
        if answer.over:
            return ()
        try:
            for frame in self._splitter.feed(chunk):
                self._frame(read_frame(frame)[1])
        except FrameTooLarge:
            answer.fail(UpstreamGarbled(_GARBLED).said(detail="an event is larger than 8 MiB"))
        return answer.flush()

    def close(self) -> Sequence[Event]:
        rest = self._splitter.rest()
        if rest.strip():
            data = rest if rest.lstrip().startswith(b"{") else read_frame(rest)[1]
            with suppress(ValueError):  # the last frame, often without its blank line; half of one counts as not sent
                self._read(data)
        self._answer.end(complete=False)
        return self._answer.flush()

    def _frame(self, data: bytes) -> None:
        if not data or data.isspace():
            return
        try:
            self._read(data)
        except ValueError:
            self._answer.fail(UpstreamGarbled(_GARBLED).said(detail="an event that is not JSON"))

    def _read(self, data: bytes) -> None:
        answer = self._answer
        if data.startswith(b"[DONE]"):
            answer.end(complete=True)
        elif not answer.over:
            answer.add(read_chunk(data))


class WholeReader(ResponseDecoder):
    """One JSON value, read at the end."""

    def __init__(self) -> None:
        self._body: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._body.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        answer = _Answer()
        try:
            chunk = read_chunk(b"".join(self._body))
        except ValueError:
            chunk = Chunk()
        if not chunk.error and not chunk.choices:
            answer.fail(UpstreamGarbled(_GARBLED).said(detail="an answer without choices"))
            return answer.flush()
        answer.add(chunk)
        answer.end(complete=True)
        return answer.flush()

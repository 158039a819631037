"""A provider's answer, whole or streamed, as events; what happens within a choice is choice.Choice's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmhub_plugins.dialects.openai.errors import stream_error
from llmhub_plugins.dialects.openai.usage import read_usage
from llmhub_plugins.dialects.openai_chat.choice import GARBLED, Choice, Output
from llmhub_plugins.dialects.openai_chat.chunks import Chunk, WireChoice, read_chunk
from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    Event,
    Failed,
    FrameSplitter,
    FrameTooLarge,
    ResponseDecoder,
    Started,
    UpstreamError,
    UpstreamGarbled,
    Usage,
    Used,
    read_frame,
)

_BROKEN = "The provider's answer broke off before it was complete."


class _Answer:
    """Chunks in, events out; a whole answer is a single chunk."""

    def __init__(self) -> None:
        self.output = Output()
        self.choices: dict[int, Choice] = {}
        self.started = False
        self.failed = False
        self.over = False
        self._announced = 0
        self._usage: Usage | None = None
        self._told: Usage | None = None

    def flush(self) -> list[Event]:
        events, self.output.events = self.output.events, []
        return events

    def add(self, chunk: Chunk) -> None:
        usage = read_usage(chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None))
        if usage is not None:
            self._usage = usage
        if chunk.error:
            self.fail(stream_error(chunk.error))
            return
        choices = chunk.choices
        if not self.started and (choices or chunk.id):  # Azure begins with an empty chunk
            self.started = True
            self.output.events.append(
                Started(chunk.id or "", chunk.model or "", max(0, chunk.created or 0), _started_extras(chunk))
            )
        ended = False
        if choices:
            for choice in choices:
                self._take(choice)
            for choice in choices:
                if self.failed:
                    return
                if choice.finish_reason and self.choices[choice.index].native is None:
                    self.choices[choice.index].finish(choice.finish_reason)
                    ended = True
        if ended or usage is not None:
            self._announce()

    def _take(self, wire: WireChoice) -> None:
        choice = self.choices.get(wire.index)
        if choice is None:
            choice = self.choices[wire.index] = Choice(wire.index, self.output)
        # Perplexity repeats the whole message beside each delta.
        piece = wire.delta or (None if choice.seen else wire.message)
        if piece is not None:
            choice.seen = True
            choice.take(piece, wire.logprobs)
            if choice.fault is not None:
                self.fail(choice.fault)

    def _announce(self) -> None:
        """Ends and usage come after the last part: when no choice is open any more."""
        if self.failed or not self.choices or any(choice.native is None for choice in self.choices.values()):
            return
        for choice in list(self.choices.values())[self._announced :]:
            self.output.events.append(choice.finished())
        self._announced = len(self.choices)
        self._tell_usage()

    def _tell_usage(self) -> None:
        if self._usage is not None and self._usage != self._told:
            self._told = self._usage
            self.output.events.append(Used(self._usage))

    def fail(self, error: UpstreamError) -> None:
        if not self.failed:
            self.failed = True
            self._tell_usage()
            self.output.events.append(Failed(error))

    def end(self, complete: bool) -> None:
        """No more will come. `complete` is evidence that nothing is missing, even where no finish reason came."""
        if self.failed or self.over:
            return
        self.over = True
        unfinished = [choice for choice in self.choices.values() if choice.native is None]
        if not self.started or ((unfinished or not self.choices) and not complete):
            self.fail(UpstreamGarbled(_BROKEN))
            return
        for choice in unfinished:
            choice.finish("")
        if not self.choices:
            self.choices[0] = Choice(0, self.output)
            self.choices[0].finish("")
        self._announce()


def _started_extras(chunk: Chunk) -> dict[str, Any]:
    said = {"service_tier": chunk.service_tier, "system_fingerprint": chunk.system_fingerprint}
    known = {name: value for name, value in said.items() if value is not None}
    return {NAME: known} if known else {}


class StreamReader(ResponseDecoder):
    """Server-sent events. A whole answer in their place, from a provider that cannot stream, is read as well."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._answer = _Answer()

    def feed(self, chunk: bytes) -> Sequence[Event]:
        answer = self._answer
        if answer.failed or answer.over:
            return ()
        try:
            for frame in self._splitter.feed(chunk):
                self._frame(frame)
        except FrameTooLarge:
            answer.fail(UpstreamGarbled(GARBLED).said(detail="an event is larger than 8 MiB"))
        return answer.flush()

    def close(self) -> Sequence[Event]:
        answer = self._answer
        rest = self._splitter.rest()
        if rest.strip() and not (answer.failed or answer.over):
            self._rest(rest)
        answer.end(complete=False)
        return answer.flush()

    def _frame(self, frame: bytes) -> None:
        answer = self._answer
        event, data = read_frame(frame)
        if answer.failed or answer.over or not data or data.isspace():
            return
        if data.startswith(b"[DONE]"):
            answer.end(complete=True)
            return
        try:
            chunk = read_chunk(data)
        except ValueError:
            answer.fail(UpstreamGarbled(GARBLED).said(detail="an event that is not JSON"))
            return
        if event == "error" and not chunk.error:
            chunk.error = {"message": "the provider sent an error event without an error"}
        answer.add(chunk)

    def _rest(self, rest: bytes) -> None:
        """The last frame, often without its blank line, sometimes cut in half: then it counts as not sent."""
        data = rest if rest.lstrip().startswith(b"{") else read_frame(rest)[1]
        if data.startswith(b"[DONE]"):
            self._answer.end(complete=True)
            return
        try:
            self._answer.add(read_chunk(data))
        except ValueError:
            return


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
            answer.fail(UpstreamGarbled(GARBLED).said(detail="an answer that is not a JSON object"))
            return answer.flush()
        if not chunk.error and not chunk.choices:
            answer.fail(UpstreamGarbled(GARBLED).said(detail="an answer without choices"))
            return answer.flush()
        answer.add(chunk)
        answer.end(complete=True)
        return answer.flush()

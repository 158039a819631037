"""A provider's answer, whole or streamed, as events; what happens within an item is items.ItemReader's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from llmhub_plugins.dialects.openai_responses.frames import (
    Frame,
    error_in,
    failure,
    output_of,
    read_answer,
    read_event,
    usage_of,
)
from llmhub_plugins.dialects.openai_responses.item_reader import ItemReader, Parts
from llmhub_plugins.dialects.openai_responses.words import NAME, Json, finish

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    FrameSplitter,
    FrameTooLarge,
    ResponseDecoder,
    Started,
    UpstreamError,
    UpstreamGarbled,
    Used,
    read_frame,
)

_BROKEN = "The provider's answer broke off before it was complete."
_GARBLED = "The provider sent something that is not an answer."
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}
_NOT_ENDED = frozenset({"queued", "in_progress", "cancelled"})
_IN_THE_BACKGROUND = frozenset({"queued", "in_progress"})
_TOLD_APART = frozenset({"id", "object", "model", "created_at", "output", "usage", "status", "error", "input"})
_TOLD_LATE = ("service_tier", "completed_at")


class _Answer:
    """Events of the wire in, events out. Items that overlap are read one after the other."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._response: Json | None = None
        self._started = False
        self.over = False
        self._live: tuple[int, ItemReader] | None = None
        self._waiting: dict[int, list[Frame]] = {}
        self._read: set[int] = set()

    def flush(self) -> list[Event]:
        """What happened since the last call. The start is held back until there is something to show, for an
        answer that fails before it may still be asked of another provider."""
        events = self._parts.events
        if not events:
            return []
        self._parts.events = []
        if not self._started and not isinstance(events[0], Failed):
            self._started = True
            return [_started(self._response or {}), *events]
        return events

    def add(self, frame: Frame) -> None:
        kind = frame.type
        if kind in ("response.created", "response.queued", "response.in_progress"):
            self._response = self._response or frame.response
        elif kind in _ENDS:
            self.end(frame.response or {}, _ENDS[kind])
        elif kind == "response.failed":
            response = frame.response or {}
            self.fail(failure(response.get("error")), response)
        elif kind == "error" or (not kind and frame.error):
            self.fail(failure(frame.error or {"code": frame.code, "message": frame.message, "param": frame.param}))
        elif kind.startswith("response."):
            self._add_to_item(frame)

    def _add_to_item(self, frame: Frame) -> None:
        index = frame.output_index or 0
        live = self._live
        if live is None:
            if index in self._read:
                return
            live = self._live = (index, ItemReader(self._parts))
        if live[0] != index:
            if index not in self._read:
                self._waiting.setdefault(index, []).append(frame)
            return
        live[1].add(frame)
        if live[1].done:
            self._close_live()

    def _close_live(self) -> None:
        if self._live is not None:
            self._live[1].finish()
            self._read.add(self._live[0])
            self._live = None
        if self._waiting:
            index = min(self._waiting)
            for frame in self._waiting.pop(index):
                self._add_to_item(frame)

    def end(self, response: Json, status: str = "") -> None:
        """The answer is complete. Items that were not streamed are read from it."""
        while self._live is not None:
            self._close_live()
        for index, item in enumerate(output_of(response)):
            if index not in self._read:
                ItemReader(self._parts).whole(item)
        self._response = self._response or response
        said = response.get("status")
        reason, native = finish(
            said if isinstance(said, str) else status, response.get("incomplete_details"), self._parts.called
        )
        usage = usage_of(response)
        if usage is not None:
            self._parts.events.append(Used(usage))
        late = {name: response[name] for name in _TOLD_LATE if response.get(name) is not None}
        if _goes_on(response):
            late = {**late, "status": said, "completed_at": None}
        self._parts.events.append(Finished(reason, native=native, extras={NAME: late} if late else {}))
        self.over = True

    def fail(self, error: UpstreamError, response: Json | None = None) -> None:
        if self.over:
            return
        self.over = True
        usage = usage_of(response or {})
        if usage is not None:
            self._parts.events.append(Used(usage))
        self._parts.events.append(Failed(error))


def _goes_on(response: Json) -> bool:
    """Whether the caller asked for an answer that is made in the background, and gets told its id."""
    return response.get("background") is True and response.get("status") in _IN_THE_BACKGROUND


def _started(response: Json) -> Started:
    id, model, created = response.get("id"), response.get("model"), response.get("created_at")
    said = {name: value for name, value in response.items() if name not in _TOLD_APART}
    return Started(
        id if isinstance(id, str) else "",
        model if isinstance(model, str) else "",
        max(0, int(created)) if isinstance(created, int | float) else 0,
        extras={NAME: said} if said else {},
    )


class StreamReader(ResponseDecoder):
    """Server-sent events. A whole answer in their place, from a provider that cannot stream, is read as well."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._answer = _Answer()

    def feed(self, chunk: bytes) -> Sequence[Event]:
        answer = self._answer
        if answer.over:
            return ()
        try:
            for frame in self._splitter.feed(chunk):
                self._frame(frame)
        except FrameTooLarge:
            answer.fail(UpstreamGarbled(_GARBLED).said(detail="an event is larger than 8 MiB"))
        return answer.flush()

    def close(self) -> Sequence[Event]:
        answer, rest = self._answer, self._splitter.rest()
        if rest.strip() and not answer.over:
            if rest.lstrip().startswith(b"{"):
                return _whole(rest)
            with suppress(ValueError):  # often without its blank line, sometimes half an event
                answer.add(read_event(read_frame(rest)[1]))
        answer.fail(UpstreamGarbled(_BROKEN))
        return answer.flush()

    def _frame(self, frame: bytes) -> None:
        event, data = read_frame(frame)
        if self._answer.over or not data or data.isspace() or data.startswith(b"[DONE]"):
            return
        try:
            said = read_event(data)
        except ValueError:
            self._answer.fail(UpstreamGarbled(_GARBLED).said(detail="an event that is not a JSON object"))
            return
        said.type = said.type or event
        self._answer.add(said)


class WholeReader(ResponseDecoder):
    """One JSON value, read at the end."""

    def __init__(self) -> None:
        self._body: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._body.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        return _whole(b"".join(self._body))


def _whole(body: bytes) -> Sequence[Event]:
    answer = _Answer()
    try:
        response = read_answer(body)
    except ValueError:
        answer.fail(UpstreamGarbled(_GARBLED).said(detail="a body that is not an answer"))
        return answer.flush()
    error = error_in(response)
    if error is not None:
        answer.fail(error, response)
    elif response.get("status") in _NOT_ENDED and not _goes_on(response):
        answer.fail(UpstreamGarbled("The provider left the answer unfinished.").said(detail=str(response["status"])))
    else:
        answer.end(response)
    return answer.flush()

"""A provider's answer, whole or streamed, as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from llmhub_plugins.dialects.gemini.errors import error_in_answer
from llmhub_plugins.dialects.gemini.framing import EventSplitter, ObjectSplitter
from llmhub_plugins.dialects.gemini.logprobs import read_result
from llmhub_plugins.dialects.gemini.partial_args import PartialArguments
from llmhub_plugins.dialects.gemini.signatures import SIGNATURE
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    beside_content,
    finish_reason,
    invented_id,
    is_finish,
    own,
    tells_usage,
    usage_of,
)

from llmhub_core.contracts import (
    NO_EXTRAS,
    Event,
    Extras,
    Failed,
    Finished,
    FrameTooLarge,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    ResponseDecoder,
    Started,
    TokenLogprob,
    UpstreamError,
    UpstreamGarbled,
    Used,
    dump_json,
    load_json,
)

ANSWER_MEMBERS = frozenset({"candidates", "promptFeedback", "usageMetadata"})
"""An object with none of these is no answer, whatever its status said."""

_TOLD = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})
"""Members of an answer that have a place in the events; all others go with the first choice's end."""

_TEXTUAL = frozenset({"text", "thought", SIGNATURE})

_PIECEWISE = frozenset({"citationMetadata", "logprobsResult"})
"""Members of a candidate of which every chunk tells its own; of others the last word counts."""

_MAX_CHOICES = 1000
"""A higher `index` of a candidate is a mistake; its place counts then."""

_BROKE_OFF = "The provider's answer broke off before it was complete; try again."
_GARBLED = "The provider's answer could not be understood; try again."


class AnswerDecoder(ResponseDecoder):
    """Chunks of an answer to events; `close` says how it ended.

    The same object reads a whole document, server-sent events and a streamed array: each is a row of
    GenerateContentResponse objects. Finish and usage are told at the end only, because older models repeat
    both in every chunk.
    """

    def __init__(self, stream: bool) -> None:
        self._stream = stream
        self._split: ObjectSplitter | EventSplitter | None = None
        self._whole: list[bytes] = []
        self._answer = _Answer(whole=not stream)

    def feed(self, chunk: bytes) -> Sequence[Event]:
        if self._answer.failed:
            return ()
        if not self._stream:
            self._whole.append(chunk)
            return ()
        if self._split is None:
            # Space before the first frame decides nothing; the first byte of weight tells the framing.
            chunk = b"".join([*self._whole, chunk]).lstrip()
            self._whole = [chunk]
            if not chunk:
                return ()
            self._split = ObjectSplitter() if chunk[:1] in b"[{" else EventSplitter()
        try:
            return self._take(self._split.feed(chunk))
        except FrameTooLarge:
            return self._answer.fail(UpstreamGarbled(_GARBLED))

    def close(self) -> Sequence[Event]:
        if self._answer.failed:
            return ()
        events: list[Event] = []
        if not self._stream:
            events += self._take([b"".join(self._whole)])
        elif self._split is not None:
            events += self._take(self._split.rest())
        return events if self._answer.failed else [*events, *self._answer.close()]

    def _take(self, documents: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        for document in documents:
            try:
                value = load_json(document)
            except ValueError:
                return [*events, *self._answer.fail(UpstreamGarbled(_GARBLED))]
            if isinstance(value, list):
                self._answer.whole = False  # the chunks of a stream, whose last one tells that it is the last
            for chunk in value if isinstance(value, list) else (value,):
                events += self._answer.chunk(chunk)
                if self._answer.failed:
                    return events
        return events


class _Candidate:
    """What is known of one candidate (choice) so far.

    `open` is the index of its part that has not ended (-1 if none); a `sealed` one takes no more. It ends when the
    next one begins or the answer is over: what the candidate tells beside its content (sources, ratings) comes last,
    and goes with the last part.
    """

    __slots__ = ("arguments", "beside", "called", "finish", "kind", "notes", "open", "sealed", "signature")

    def __init__(self) -> None:
        self.open = -1
        self.kind: PartKind = "text"
        self.sealed = False
        self.signature: str | None = None
        self.notes: dict[str, Any] = {}
        self.arguments: PartialArguments | None = None
        self.called = False
        self.finish = ""
        self.beside: dict[str, Any] = {}


class _Answer:
    """GenerateContentResponse objects to events."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self._started = False
        self._parts = 0
        self._candidates: dict[int, _Candidate] = {}
        self._usage: dict[str, Any] = {}
        self._beside: dict[str, Any] = {}
        self._blocked = ""
        self.failed = False

    def chunk(self, chunk: object) -> list[Event]:
        if not isinstance(chunk, dict):
            return self.fail(UpstreamGarbled(_GARBLED))
        if chunk.get("error"):
            return self.fail(error_in_answer(chunk["error"]))
        if not self._started and not ANSWER_MEMBERS & chunk.keys():
            return self.fail(UpstreamGarbled(_GARBLED)) if self.whole else []
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(_started(chunk))
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._blocked = str(feedback["blockReason"])
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict) and tells_usage(usage):
            # Chunks count anew as a whole, and what is missing then is 0; one without the prompt only adds.
            self._usage = usage if "promptTokenCount" in usage else {**self._usage, **usage}
        self._beside |= {name: value for name, value in chunk.items() if name not in _TOLD and value is not None}
        candidates = chunk.get("candidates")
        if isinstance(candidates, list):
            for place, candidate in enumerate(candidates):
                if isinstance(candidate, dict):
                    self._candidate(candidate, place, events)
        return events

    def close(self) -> list[Event]:
        """The ends of all candidates; Failed if one of them has none."""
        known = self._candidates
        complete = known and all(candidate.finish for candidate in known.values())
        if not (complete or self._blocked or (self.whole and self._started)):
            return self.fail(UpstreamGarbled(_BROKE_OFF))
        told = {**self._beside, **({"usageMetadata": self._usage} if self._usage else {})}
        events: list[Event] = []
        ends: list[Event] = []
        for choice, candidate in known.items() if known else ((0, _Candidate()),):
            reason = finish_reason(candidate.finish, candidate.called)
            if self._blocked and not candidate.finish:
                reason, candidate.finish = "content_filter", self._blocked
            beside, told = beside_content(candidate.beside, told), {}  # the first one tells what all share
            if candidate.open >= 0:
                candidate.notes |= beside
                self._end(candidate, events, read_result(candidate.beside.get("logprobsResult")))
                beside = {}
            ends.append(Finished(reason, choice, candidate.finish, extras=own(beside)))
        return [*self._with_usage(events), *ends]

    def fail(self, error: UpstreamError) -> list[Event]:
        self.failed = True
        return [*self._with_usage([]), Failed(error)]

    def _with_usage(self, events: list[Event]) -> list[Event]:
        if self._usage:
            events.append(Used(usage_of(self._usage)))
        return events

    def _candidate(self, candidate: Mapping[str, Any], place: int, events: list[Event]) -> None:
        index = candidate.get("index", place)
        choice = index if type(index) is int and 0 <= index < _MAX_CHOICES else place
        known = self._candidates.get(choice)
        if known is None:
            known = self._candidates[choice] = _Candidate()
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, dict):
                    self._part(part, choice, known, events)
        if is_finish(candidate.get("finishReason")):
            known.finish = candidate["finishReason"]
        for name, value in candidate.items():
            if name not in ("content", "finishReason", "index") and value is not None:
                before = known.beside.get(name) if name in _PIECEWISE else None
                known.beside[name] = _joined(before, value) if before is not None else value

    def _part(self, part: dict[str, Any], choice: int, known: _Candidate, events: list[Event]) -> None:
        call, text = part.get("functionCall"), part.get("text")
        if isinstance(call, dict):
            self._call(call, part, choice, known, events)
        elif isinstance(text, str) or part.keys() <= _TEXTUAL:
            self._text(text if isinstance(text, str) else "", part, choice, known, events)
        else:
            self._begin("opaque", choice, known, events, extras=own(part))
            known.sealed, known.notes = True, part

    def _text(self, text: str, part: dict[str, Any], choice: int, known: _Candidate, events: list[Event]) -> None:
        """Texts of one kind flow together until one bears a signature, which ends its part."""
        kind: PartKind = "reasoning" if part.get("thought") is True else "text"
        rest = {name: value for name, value in part.items() if name not in ("text", "thought")}
        if not text and not rest:
            return
        if known.open < 0 or known.sealed or known.kind != kind:
            self._begin(kind, choice, known, events, origin=NAME if kind == "reasoning" else "")
        if text:
            events.append(PartDelta(known.open, text))
        if rest:
            known.sealed = True
            known.signature = _signature(rest) if kind == "reasoning" else None
            known.notes = rest

    def _call(
        self, call: dict[str, Any], part: dict[str, Any], choice: int, known: _Candidate, events: list[Event]
    ) -> None:
        """A call comes whole, or is opened with ``willContinue``, filled, and ended by one without it."""
        rest = {name: value for name, value in part.items() if name != "functionCall"}
        signature = _signature(rest)
        more = call.get("willContinue") is True
        if known.arguments is None or "name" in call:
            if not call:
                return
            call_id = str(call.get("id") or "") or invented_id()
            # Extras even if empty: they tell Gemini's own calls from those of others.
            self._begin(
                "tool_call",
                choice,
                known,
                events,
                call_id,
                str(call.get("name") or ""),
                {NAME: rest},
                NAME if signature else "",
            )
            known.called, known.notes = True, rest
            known.arguments = PartialArguments()
        known.signature = signature or known.signature
        arguments = known.arguments
        if isinstance(args := call.get("args"), dict):
            arguments.value.update(args)
        if isinstance(pieces := call.get("partialArgs"), list):
            for piece in pieces:
                if isinstance(piece, dict):
                    arguments.add(piece)
        if not more:
            _seal_call(known, events)

    def _begin(
        self,
        kind: PartKind,
        choice: int,
        known: _Candidate,
        events: list[Event],
        call_id: str = "",
        name: str = "",
        extras: Extras = NO_EXTRAS,
        origin: str = "",
    ) -> None:
        self._end(known, events)
        known.open, known.kind = self._parts, kind
        self._parts += 1
        events.append(PartStarted(known.open, kind, call_id, name, choice, extras, origin))

    def _end(self, known: _Candidate, events: list[Event], tokens: tuple[TokenLogprob, ...] = ()) -> None:
        if known.open < 0:
            return
        _seal_call(known, events)
        # Extras of a part's end replace those of its beginning, so these are said again.
        events.append(PartEnded(known.open, known.signature, extras=own(known.notes), logprobs=tokens))
        known.open, known.sealed, known.signature, known.notes = -1, False, None, {}


def _seal_call(known: _Candidate, events: list[Event]) -> None:
    """The arguments are complete; they are told at once, in one piece."""
    if known.arguments is not None:
        events.append(PartDelta(known.open, dump_json(known.arguments.value).decode()))
        known.arguments = None
        known.sealed = True


def _signature(rest: dict[str, Any]) -> str | None:
    """Taken out of what a part says beside its content."""
    signature = rest.pop(SIGNATURE, None)
    return signature if isinstance(signature, str) and signature else None


def _joined(before: Any, later: Any) -> Any:
    """Lists of one chunk after those of another."""
    if isinstance(before, dict) and isinstance(later, dict):
        return {**before, **{name: _joined(before.get(name), value) for name, value in later.items()}}
    if isinstance(before, list) and isinstance(later, list):
        return later if later[: len(before)] == before else [*before, *later]
    return later


def _started(chunk: Mapping[str, Any]) -> Started:
    return Started(
        str(chunk.get("responseId") or ""), str(chunk.get("modelVersion") or ""), _seconds(chunk.get("createTime"))
    )


def _seconds(moment: object) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp()) if isinstance(moment, str) else 0
    except (ValueError, OverflowError):
        return 0

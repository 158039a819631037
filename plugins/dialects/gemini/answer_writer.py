"""Events as an answer in the format: one document, server-sent events, or a streamed array."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from llmhub_plugins.dialects.gemini.errors import write_error
from llmhub_plugins.dialects.gemini.logprobs import write_result
from llmhub_plugins.dialects.gemini.signatures import SIGNATURE, SKIP_VALIDATION, sealed
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    finish_word,
    is_invented,
    own_extras,
    usage_metadata,
    usage_of,
    without_beside,
)

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    Extras,
    Failed,
    Finished,
    Fold,
    Framing,
    PartDelta,
    PartEnded,
    PartStarted,
    ResponseEncoder,
    ResponsePart,
    Started,
    TokenLogprob,
    Usage,
    Used,
    dump_json,
    load_json,
)


def answer_encoder(request: ChatRequest) -> ResponseEncoder:
    """The encoder for the way in which the caller reads."""
    if request.framing == "json":
        return WholeEncoder(request)
    return StreamEncoder(request, request.framing)


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as the object that the format requires. Text that is none stands under ``_raw``: the
    tool then sees, and can say, what was wrong with it."""
    if not text.strip():
        return {}
    try:
        value = load_json(text)
    except ValueError:
        return {"_raw": text}
    return value if isinstance(value, dict) else {"_raw": text}


def _written(part: ResponsePart, first_call: bool) -> dict[str, Any]:
    """A part of the answer; {} for what only another dialect knows. `first_call` of its choice."""
    notes = without_beside(own_extras(part.extras))
    if part.kind == "opaque":
        return notes
    if part.kind == "tool_call":
        written: dict[str, Any] = _call(part)
    else:
        written = {"text": part.text, **({"thought": True} if part.kind == "reasoning" else {})}
    signature = sealed(part.origin, part.signature, part.redacted)
    if signature is None and first_call and NAME not in part.extras:
        # The caller may go on with a Gemini model, which wants the first call of each turn signed.
        signature = SKIP_VALIDATION
    if signature is not None:
        written[SIGNATURE] = signature
    return {**written, **notes}


def _call(part: ResponsePart) -> dict[str, Any]:
    call: dict[str, Any] = {"name": part.name, "args": arguments_of(part.text)}
    if part.id and not is_invented(part.id):
        call["id"] = part.id
    return {"functionCall": call}


class _FirstCalls:
    """Which call of a choice is its first: of parallel calls that one alone is signed."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def take(self, part: ResponsePart) -> bool:
        if part.kind != "tool_call" or part.choice in self._seen:
            return False
        self._seen.add(part.choice)
        return True


class _Beside:
    """What stands beside the contents, noted of parts and ends: each candidate's own, and what all share."""

    def __init__(self) -> None:
        self._candidates: dict[int, Mapping[str, Any]] = {}
        self._tokens: dict[int, list[TokenLogprob]] = {}
        self._answer: dict[str, Any] = {}

    def note(self, choice: int, extras: Extras, tokens: Sequence[TokenLogprob] = ()) -> None:
        if tokens:
            self._tokens.setdefault(choice, []).extend(tokens)
        notes = own_extras(extras)
        if "candidate" in notes:
            self._candidates[choice] = notes["candidate"]
        self._answer |= notes.get("answer", {})

    def candidate(self, choice: int, finished: Finished | None) -> dict[str, Any]:
        reason = {} if finished is None else {"finishReason": finish_word(finished.reason, finished.native)}
        tokens = self._tokens.get(choice)
        weighed = write_result(tokens) if tokens else {}
        return {**reason, "index": choice, **weighed, **self._candidates.get(choice, {})}

    def answer(self, usage: Usage | None) -> dict[str, Any]:
        """The provider's own way of counting is kept as long as its sums hold."""
        told = dict(self._answer)
        counted = told.pop("usageMetadata", None)
        if usage is not None:
            told["usageMetadata"] = counted if counted and usage_of(counted) == usage else usage_metadata(usage)
        return told

    @property
    def blocked(self) -> bool:
        feedback = self._answer.get("promptFeedback")
        return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def _answer_id() -> str:
    return secrets.token_urlsafe(17)


class WholeEncoder(ResponseEncoder):
    """One GenerateContentResponse, given out by close()."""

    content_type = "application/json"

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._fold = Fold()

    def write(self, event: Event) -> bytes:
        self._fold.add(event)
        return b""

    def close(self) -> bytes:
        answer = self._fold.response()
        if answer.failed is not None:
            return write_error(answer.failed, "")
        parts: dict[int, list[dict[str, Any]]] = {}
        first, beside = _FirstCalls(), _Beside()
        for part in answer.parts:
            written = _written(part, first.take(part))
            parts.setdefault(part.choice, []).extend([written] if written else [])
            beside.note(part.choice, part.extras, part.logprobs)
        for choice, finished in answer.finished.items():
            beside.note(choice, finished.extras)
        document: dict[str, Any] = {}
        if answer.parts or not beside.blocked:
            document["candidates"] = [
                {
                    "content": {"parts": parts.get(choice, []), "role": "model"},
                    **beside.candidate(choice, answer.finished.get(choice)),
                }
                for choice in sorted({0, *parts, *answer.finished})
            ]
        document |= beside.answer(answer.usage)
        document["modelVersion"] = answer.model or self._request.model
        document["responseId"] = answer.id or _answer_id()
        return dump_json(document)


class _Open:
    """A part that has begun: what stands before and behind its texts, and the pieces of a call's arguments."""

    __slots__ = ("after", "before", "pieces", "started")

    def __init__(self, started: PartStarted, before: bytes, after: bytes) -> None:
        self.started = started
        self.before = before
        self.after = after
        self.pieces: list[str] = []

    def ended(self, event: PartEnded) -> ResponsePart:
        """The part, without the text that has gone out already."""
        begun = self.started
        return ResponsePart(
            begun.kind,
            "".join(self.pieces),
            begun.id,
            begun.name,
            begun.choice,
            event.signature,
            event.redacted,
            {**begun.extras, **event.extras},
            begun.origin,
        )


class StreamEncoder(ResponseEncoder):
    """A chunk for every text, a chunk for every whole call, and a last one with the finish and the usage."""

    def __init__(self, request: ChatRequest, framing: Framing) -> None:
        self._request = request
        self._array = framing == "json_array"
        self.content_type = "application/json" if self._array else "text/event-stream"
        self._tail = b""
        self._open: dict[int, _Open] = {}
        self._first = _FirstCalls()
        self._beside = _Beside()
        self._finished: list[Finished] = []
        self._usage: Usage | None = None
        self._said = False
        self._broken = False

    def write(self, event: Event) -> bytes:
        if self._broken:
            return b""
        if isinstance(event, PartDelta):
            part = self._open.get(event.index)
            if part is None:
                return b""
            if part.started.kind == "tool_call":
                part.pieces.append(event.text)
                return b""
            return self._framed(part.before + dump_json(event.text) + part.after)
        if isinstance(event, PartStarted):
            self._begin(event)
        elif isinstance(event, PartEnded):
            return self._end(event)
        elif isinstance(event, Started):
            self._start(event.id, event.model)
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Finished):
            self._finished.append(event)
            self._beside.note(event.choice, event.extras)
        elif isinstance(event, Failed):
            self._broken = True
            return self._framed(write_error(event.error, "")) + (b"]" if self._array else b"")
        return b""

    def close(self) -> bytes:
        if self._broken:
            return b""
        last = self._last()
        if not self._array:
            return last
        return last + (b"]" if self._said else b"[]")

    def _last(self) -> bytes:
        """The chunk that ends the answer. Its empty text is what the API sends too: SDKs expect a part."""
        chunk: dict[str, Any] = {}
        if self._finished and (self._said or not self._beside.blocked):
            chunk["candidates"] = [
                {
                    "content": {"parts": [{"text": ""}], "role": "model"},
                    **self._beside.candidate(finished.choice, finished),
                }
                for finished in self._finished
            ]
        chunk |= self._beside.answer(self._usage)
        if not chunk:
            return b""
        # All chunks end alike: the comma and brace behind the candidates are exchanged for these members.
        return self._framed(dump_json(chunk)[:-1] + self._ending())

    def _start(self, answer_id: str, model: str) -> None:
        named = {"modelVersion": model or self._request.model, "responseId": answer_id or _answer_id()}
        self._tail = b"," + dump_json(named)[1:]

    def _ending(self) -> bytes:
        if not self._tail:
            self._start("", "")
        return self._tail

    def _begin(self, event: PartStarted) -> None:
        before = b'{"candidates":[{"content":{"parts":[{"text":'
        thought = b',"thought":true' if event.kind == "reasoning" else b""
        self._open[event.index] = _Open(event, before, thought + b"}" + self._behind(event.choice))

    def _behind(self, choice: int) -> bytes:
        """Everything after the part itself."""
        return b'],"role":"model"},"index":%d}]' % choice + self._ending()

    def _end(self, event: PartEnded) -> bytes:
        """A whole call, or what came with the end of a text: a signature stands with an empty one, as the API
        streams it."""
        open_part = self._open.pop(event.index, None)
        if open_part is None:
            return b""
        part = open_part.ended(event)
        self._beside.note(part.choice, part.extras, event.logprobs)
        written = _written(part, self._first.take(part))
        if not written.keys() - {"text", "thought"}:
            return b""
        return self._framed(b'{"candidates":[{"content":{"parts":[' + dump_json(written) + self._behind(part.choice))

    def _framed(self, chunk: bytes) -> bytes:
        opening = b",\r\n" if self._said else b"["
        self._said = True
        return opening + chunk if self._array else b"data: " + chunk + b"\r\n\r\n"

"""Events as an answer in the format: one document, server-sent events, or a streamed array."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from llmhub_plugins.dialects.gemini.errors import write_error
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    finish_word,
    is_invented,
    own_extras,
    usage_metadata,
)

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    Failed,
    Finished,
    Fold,
    Framing,
    PartDelta,
    PartEnded,
    PartStarted,
    ResponseEncoder,
    Started,
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


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    call: dict[str, Any] = {"name": name, "args": arguments_of(arguments)}
    if call_id and not is_invented(call_id):
        call["id"] = call_id
    return {"functionCall": call}


def _signed(part: dict[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    """With what this dialect's reader noted of the part. Only such signatures are written: another family's
    would be refused when they come back."""
    return {**part, **{name: value for name, value in own_extras(extras).items() if name != "candidate"}}


def _answer_id() -> str:
    return secrets.token_urlsafe(17)


class WholeEncoder(ResponseEncoder):
    """One GenerateContentResponse, given out by close()."""

    content_type = "application/json"

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._fold = Fold()
        self._feedback: object = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Started):
            self._feedback = own_extras(event.extras).get("promptFeedback")
        self._fold.add(event)
        return b""

    def close(self) -> bytes:
        answer = self._fold.response()
        if answer.failed is not None:
            return write_error(answer.failed, "")
        parts: dict[int, list[dict[str, Any]]] = {}
        beside: dict[int, Mapping[str, Any]] = {}
        for part in answer.parts:
            written = parts.setdefault(part.choice, [])
            if part.kind == "opaque":
                if body := _signed({}, part.extras):
                    written.append(body)
            elif part.kind == "tool_call":
                written.append(_signed(_call(part.id, part.name, part.text), part.extras))
            else:
                thought = {"thought": True} if part.kind == "reasoning" else {}
                written.append(_signed({"text": part.text, **thought}, part.extras))
            beside[part.choice] = own_extras(part.extras).get("candidate", {})
        document: dict[str, Any] = {}
        if not (_blocked(self._feedback) and not answer.parts):
            document["candidates"] = [
                {
                    "content": {"parts": parts.get(choice, []), "role": "model"},
                    **_finish(answer.finished.get(choice)),
                    "index": choice,
                    **beside.get(choice, {}),
                }
                for choice in sorted({0, *parts, *answer.finished})
            ]
        if self._feedback is not None:
            document["promptFeedback"] = self._feedback
        if answer.usage is not None:
            document["usageMetadata"] = usage_metadata(answer.usage)
        document["modelVersion"] = answer.model or self._request.model
        document["responseId"] = answer.id or _answer_id()
        return dump_json(document)


def _blocked(feedback: object) -> bool:
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def _finish(finished: Finished | None) -> dict[str, str]:
    return {} if finished is None else {"finishReason": finish_word(finished.reason, finished.native)}


class _Open:
    """A part that has begun: what stands before and behind its texts, and the pieces of a call's arguments."""

    __slots__ = ("after", "before", "pieces", "started")

    def __init__(self, started: PartStarted, before: bytes, after: bytes) -> None:
        self.started = started
        self.before = before
        self.after = after
        self.pieces: list[str] = []


class StreamEncoder(ResponseEncoder):
    """A chunk for every text, a chunk for every whole call, and a last one with the finish and the usage."""

    def __init__(self, request: ChatRequest, framing: Framing) -> None:
        self._request = request
        self._array = framing == "json_array"
        self.content_type = "application/json" if self._array else "text/event-stream"
        self._tail = b""
        self._open: dict[int, _Open] = {}
        self._finished: list[Finished] = []
        self._beside: dict[int, Mapping[str, Any]] = {}
        self._feedback: object = None
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
            self._feedback = own_extras(event.extras).get("promptFeedback")
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Finished):
            self._finished.append(event)
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
        if _blocked(self._feedback) and not self._said:
            chunk["promptFeedback"] = self._feedback
        elif self._finished:
            chunk["candidates"] = [
                {
                    "content": {"parts": [{"text": ""}], "role": "model"},
                    **_finish(finished),
                    "index": finished.choice,
                    **self._beside.get(finished.choice, {}),
                }
                for finished in self._finished
            ]
        if self._usage is not None:
            chunk["usageMetadata"] = usage_metadata(self._usage)
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
        part = self._open.pop(event.index, None)
        if part is None:
            return b""
        started = part.started
        notes = own_extras(event.extras)
        if "candidate" in notes:
            self._beside[started.choice] = notes["candidate"]
        extras = {NAME: {**own_extras(started.extras), **notes}}
        if started.kind == "tool_call":
            written = _signed(_call(started.id, started.name, "".join(part.pieces)), extras)
        elif started.kind == "opaque":
            written = _signed({}, extras)
        else:
            # A signature comes with an empty text of its part's kind, as the API streams it.
            written = _signed({}, extras)
            if written:
                written = {"text": "", **({"thought": True} if started.kind == "reasoning" else {}), **written}
        if not written:
            return b""
        chunk = b'{"candidates":[{"content":{"parts":[' + dump_json(written) + self._behind(started.choice)
        return self._framed(chunk)

    def _framed(self, chunk: bytes) -> bytes:
        if not self._array:
            return b"data: " + chunk + b"\r\n\r\n"
        opening = b",\r\n" if self._said else b"["
        self._said = True
        return opening + chunk

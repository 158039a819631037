"""Events as a Chat answer: whole, or in chunks.

A streamed delta is the commonest thing that the hub writes, so all that is constant in a part's chunks is made once,
when the part begins; a delta is then one JSON string between two byte strings.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.openai.errors import encode_error, encode_stream_error
from llmhub_plugins.dialects.openai.finish import finish_word
from llmhub_plugins.dialects.openai.passing import DONE
from llmhub_plugins.dialects.openai.usage import usage_json
from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    FinishReason,
    HubError,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    ResponseEncoder,
    Started,
    Usage,
    Used,
    dump_json,
)


@dataclass(slots=True)
class _Shape:
    """What is the same for every answer to one request: the model's name in case the provider says none, whether the
    usage was asked for, and whether the caller knows `function_call` only."""

    model: str
    asked_usage: bool
    old_way: bool

    def header(self, started: Started | None, kind: str) -> dict[str, Any]:
        """The members of an answer that say which it is."""
        said = started or Started("", "")
        extras = said.extras.get(NAME, {})
        return {
            "id": said.id or "chatcmpl-" + secrets.token_hex(12),
            "object": kind,
            "created": said.created or int(time.time()),
            "model": said.model or self.model,
            **{name: extras[name] for name in ("service_tier", "system_fingerprint") if name in extras},
        }

    def finish(self, reason: FinishReason) -> str:
        word = finish_word(reason)
        return "function_call" if self.old_way and word == "tool_calls" else word


def response_encoder(model: str, stream: bool, asked_usage: bool, old_way: bool) -> ResponseEncoder:
    """A writer for one answer."""
    shape = _Shape(model, asked_usage, old_way)
    return StreamWriter(shape) if stream else WholeWriter(shape)


# In chunks.


@dataclass(slots=True)
class _Said:
    """One choice, as far as it was written."""

    calls: int = 0
    finished: bool = False
    parts: list[int] = field(default_factory=list)


class StreamWriter(ResponseEncoder):
    """Server-sent events."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, shape: _Shape) -> None:
        self._shape = shape
        self._head = b""
        self._tail = b',"usage":null}\n\n' if shape.asked_usage else b"}\n\n"
        self._choices: dict[int, _Said] = {}
        self._open: dict[int, tuple[bytes, bytes]] = {}
        self._silent_calls: set[int] = set()
        self._usage: Usage | None = None
        self._over = False

    def write(self, event: Event) -> bytes:
        if self._over:
            return b""
        if type(event) is PartDelta:
            around = self._open.get(event.index)
            if around is None or not event.text:
                return b""
            if self._silent_calls:
                self._silent_calls.discard(event.index)
            return around[0] + dump_json(event.text) + around[1]
        if isinstance(event, PartStarted):
            return self._begin(event)
        if isinstance(event, PartEnded):
            return self._end(event.index)
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Finished):
            return self._finish(event.choice, event.reason)
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._over = True
            return encode_stream_error(event.error)
        return b""

    def close(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        ends = b"".join(
            self._finish(number, "tool_calls" if said.calls else "stop")
            for number, said in (self._choices or {0: _Said()}).items()
        )
        return ends + self._usage_chunk() + DONE

    def _start(self, event: Started | None) -> None:
        if not self._head:
            header = dump_json(self._shape.header(event, "chat.completion.chunk"))
            self._head = b"data: " + header[:-1] + b',"choices":['

    def _chunk(self, choice: int, delta: bytes, finish: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        if not self._head:
            self._start(None)
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._head,
            choice,
            delta,
            logprobs,
            finish,
            self._tail,
        )

    def _around(self, choice: int, delta: bytes) -> tuple[bytes, bytes]:
        """What stands before and after the text in the chunks of a part; `delta` has a mark in the text's place."""
        before, _, after = self._chunk(choice, delta).partition(_MARK)
        return before, after

    def _begin(self, part: PartStarted) -> bytes:
        said = self._choices.get(part.choice)
        first: dict[str, Any] = {}
        if said is None:
            said = self._choices[part.choice] = _Said()
            first = _first_delta(part.kind)
        if said.finished:
            return b""
        if part.kind == "opaque":
            return self._opaque(part, said, first)
        said.parts.append(part.index)
        if part.kind == "tool_call":
            return self._begin_call(part, said, first)
        self._open[part.index] = self._around(part.choice, _DELTAS[part.kind])
        return self._chunk(part.choice, dump_json(first)) if first else b""

    def _begin_call(self, part: PartStarted, said: _Said, first: dict[str, Any]) -> bytes:
        place, said.calls = said.calls, said.calls + 1
        self._silent_calls.add(part.index)
        function = {"name": part.name, "arguments": ""}
        if self._shape.old_way:
            if place:
                return b""  # the old way has room for one
            first |= {"function_call": function}
            more = _FUNCTION_DELTA
        else:
            call = {"index": place, "id": part.id, "type": "function", "function": function}
            first |= {"tool_calls": [call]}
            more = _CALL_DELTA % place
        self._open[part.index] = self._around(part.choice, more)
        return self._chunk(part.choice, dump_json(first))

    def _opaque(self, part: PartStarted, said: _Said, first: dict[str, Any]) -> bytes:
        body = dict(part.extras.get(NAME, {}))
        call = body.pop("tool_call", None)
        logprobs = body.pop("logprobs", None)
        if call is not None:
            body["tool_calls"] = [{"index": said.calls, **call}]
            said.calls += 1
        delta = {**first, **body}
        if not delta and logprobs is None:
            return b""
        return self._chunk(part.choice, dump_json(delta), logprobs=_logprobs(logprobs))

    def _end(self, index: int) -> bytes:
        around = self._open.pop(index, None)
        if around is None or index not in self._silent_calls:
            return b""
        self._silent_calls.discard(index)
        return around[0] + b'"{}"' + around[1]  # clients parse the arguments, and nothing is no JSON

    def _finish(self, choice: int, reason: FinishReason) -> bytes:
        said = self._choices.get(choice)
        first = b""
        if said is None:
            said = self._choices[choice] = _Said()
            first = self._chunk(choice, dump_json(_first_delta("text")))
        if said.finished:
            return b""
        said.finished = True
        first += b"".join([self._end(index) for index in said.parts])
        return first + self._chunk(choice, b"{}", b'"%b"' % self._shape.finish(reason).encode())

    def _usage_chunk(self) -> bytes:
        if self._usage is None or not self._shape.asked_usage:
            return b""
        return self._head + b'],"usage":' + dump_json(usage_json(self._usage)) + b"}\n\n"


_MARK = b"\0"
_DELTAS: dict[PartKind, bytes] = {
    "text": b'{"content":\0}',
    "reasoning": b'{"reasoning_content":\0}',
    "refusal": b'{"refusal":\0}',
}
_CALL_DELTA = b'{"tool_calls":[{"index":%d,"function":{"arguments":\0}}]}'
_FUNCTION_DELTA = b'{"function_call":{"arguments":\0}}'


def _first_delta(kind: PartKind) -> dict[str, Any]:
    """What the first chunk of a choice says, by what begins it, as OpenAI does."""
    if kind == "refusal":
        return {"role": "assistant", "content": None, "refusal": ""}
    return {"role": "assistant", "content": None if kind == "tool_call" else "", "refusal": None}


def _logprobs(logprobs: dict[str, Any] | None) -> bytes:
    return b"null" if logprobs is None else dump_json({"content": None, "refusal": None, **logprobs})


# Whole.


@dataclass(slots=True)
class _Message:
    """One choice of a whole answer in the making."""

    texts: dict[PartKind, list[str]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)
    finish: FinishReason | None = None

    def text(self, kind: PartKind) -> str | None:
        texts = self.texts.get(kind)
        return None if texts is None else "".join(texts)


class WholeWriter(ResponseEncoder):
    """One JSON object, returned by close()."""

    content_type = "application/json"

    def __init__(self, shape: _Shape) -> None:
        self._shape = shape
        self._started: Started | None = None
        self._messages: dict[int, _Message] = {}
        self._open: dict[int, list[str]] = {}
        self._usage: Usage | None = None
        self._error: HubError | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, PartDelta):
            if event.index in self._open:
                self._open[event.index].append(event.text)
        elif isinstance(event, PartStarted):
            self._begin(event)
        elif isinstance(event, PartEnded):
            self._open.pop(event.index, None)
        elif isinstance(event, Started):
            self._started = self._started or event
        elif isinstance(event, Finished):
            message = self._message(event.choice)
            message.finish = message.finish or event.reason
            for index in message.parts:
                self._open.pop(index, None)
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._error = self._error or event.error
        return b""

    def close(self) -> bytes:
        if self._error is not None:
            return encode_error(self._error)
        if not self._messages:
            self._message(0)
        answer = self._shape.header(self._started, "chat.completion")
        answer["choices"] = [self._choice(number, self._messages[number]) for number in sorted(self._messages)]
        if self._usage is not None:
            answer["usage"] = usage_json(self._usage)
        return dump_json(answer)

    def _message(self, choice: int) -> _Message:
        return self._messages.setdefault(choice, _Message())

    def _begin(self, part: PartStarted) -> None:
        message = self._message(part.choice)
        if message.finish is not None:
            return
        message.parts.append(part.index)
        if part.kind == "opaque":
            body = dict(part.extras.get(NAME, {}))
            call = body.pop("tool_call", None)
            if call is not None:
                message.calls.append(call)
            message.more.update(body)
        elif part.kind == "tool_call":
            arguments: list[str] = []
            self._open[part.index] = arguments
            function = {"name": part.name, "arguments": arguments}
            message.calls.append({"id": part.id, "type": "function", "function": function})
        else:
            self._open[part.index] = message.texts.setdefault(part.kind, [])

    def _choice(self, number: int, message: _Message) -> dict[str, Any]:
        calls = [_joined(call) for call in message.calls]
        content, refusal, thoughts = message.text("text"), message.text("refusal"), message.text("reasoning")
        said: dict[str, Any] = {
            "role": "assistant",
            "content": "" if content is None and refusal is None and not calls else content,
            "refusal": refusal,
            "annotations": [],
        }
        if thoughts is not None:
            said["reasoning_content"] = thoughts
        if calls and self._shape.old_way:
            said["function_call"] = calls[0].get("function")
        elif calls:
            said["tool_calls"] = calls
        logprobs = message.more.pop("logprobs", None)
        reason = message.finish or ("tool_calls" if calls else "stop")
        return {
            "index": number,
            "message": {**said, **message.more},
            "logprobs": None if logprobs is None else {"content": None, "refusal": None, **logprobs},
            "finish_reason": self._shape.finish(reason),
        }


def _joined(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if function is None:
        return call
    # Clients parse the arguments, and nothing is no JSON.
    return {**call, "function": {"name": function["name"], "arguments": "".join(function["arguments"]) or "{}"}}

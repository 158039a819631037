"""Events as a Chat answer in chunks.

A streamed delta is the commonest thing that the hub writes, so all that is constant in a part's chunks is made once,
when the part begins; a delta is then one JSON string between two byte strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.openai.errors import encode_stream_error
from llmhub_plugins.dialects.openai.logprobs import write_tokens
from llmhub_plugins.dialects.openai.passing import DONE
from llmhub_plugins.dialects.openai.usage import usage_json
from llmhub_plugins.dialects.openai_chat.sealing import Sealer, is_foreign
from llmhub_plugins.dialects.openai_chat.shape import Shape, beside, thought_name
from llmhub_plugins.dialects.openai_chat.signatures import details_of
from llmhub_plugins.dialects.openai_chat.whole_writer import WholeWriter
from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    Failed,
    Finished,
    FinishReason,
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


def response_encoder(request: ChatRequest) -> ResponseEncoder:
    """A writer for one answer."""
    shape = Shape.of(request)
    return StreamWriter(shape) if request.stream else WholeWriter(shape)


@dataclass(slots=True)
class _Said:
    """One choice, as far as it was written."""

    calls: int = 0
    finished: bool = False
    parts: list[int] = field(default_factory=list)
    sealer: Sealer = field(default_factory=Sealer)
    sealing: bool = False


@dataclass(slots=True)
class _Call:
    """An open call. One whose id must wait for its signature is `held`: it goes out whole, at its end."""

    part: PartStarted
    place: int
    held: list[str] | None
    silent: bool = True


class StreamWriter(ResponseEncoder):
    """Server-sent events."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._head = b""
        self._tail = b',"usage":null}\n\n' if shape.asked_usage else b"}\n\n"
        self._choices: dict[int, _Said] = {}
        self._open: dict[int, tuple[bytes, bytes]] = {}
        self._calls: dict[int, _Call] = {}
        self._heard: dict[int, tuple[PartStarted, list[str]]] = {}
        self._usage: Usage | None = None
        self._over = False

    def write(self, event: Event) -> bytes:
        if self._over:
            return b""
        if type(event) is PartDelta:
            around = self._open.get(event.index)
            if self._calls or self._heard:
                self._hear(event)
            if around is None or not event.text:
                return b""
            return around[0] + dump_json(event.text) + around[1]
        if isinstance(event, PartStarted):
            return self._begin(event)
        if isinstance(event, PartEnded):
            return self._end(event)
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

    # chunks

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

    # parts

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
        said.sealing |= part.kind == "reasoning" and is_foreign(part)
        if part.kind == "reasoning" or said.sealing:  # text before the first sealed thought need not be counted
            self._heard[part.index] = (part, [])
        delta = _DELTAS[part.kind] if part.kind != "reasoning" else b'{"%b":\0}' % thought_name(part).encode()
        self._open[part.index] = self._around(part.choice, delta)
        return self._chunk(part.choice, dump_json(first)) if first else b""

    def _begin_call(self, part: PartStarted, said: _Said, first: dict[str, Any]) -> bytes:
        place, said.calls = said.calls, said.calls + 1
        if self._shape.old_way:
            return self._begin_function(part, place, first)
        held: list[str] | None = [] if part.origin or part.name in self._shape.custom else None
        call = self._calls[part.index] = _Call(part, place, held)
        if call.held is not None:
            return self._chunk(part.choice, dump_json(first)) if first else b""
        id = said.sealer.id_of(part, None)
        function = {"name": part.name, "arguments": ""}
        self._open[part.index] = self._around(part.choice, _CALL_DELTA % place)
        return self._chunk(
            part.choice,
            dump_json({**first, "tool_calls": [{"index": place, "id": id, "type": "function", "function": function}]}),
        )

    def _begin_function(self, part: PartStarted, place: int, first: dict[str, Any]) -> bytes:
        """The old way has room for one call, and none for an id with a seal behind it."""
        if place:
            return b""
        self._calls[part.index] = _Call(part, place, None)
        self._open[part.index] = self._around(part.choice, _FUNCTION_DELTA)
        return self._chunk(part.choice, dump_json({**first, "function_call": {"name": part.name, "arguments": ""}}))

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

    def _hear(self, event: PartDelta) -> None:
        """Note what has to be known of a part at its end."""
        call = self._calls.get(event.index)
        if call is not None and event.text:
            call.silent = False
            if call.held is not None:
                call.held.append(event.text)
        heard = self._heard.get(event.index)
        if heard is not None:
            heard[1].append(event.text)

    def _end(self, event: PartEnded) -> bytes:
        around = self._open.pop(event.index, None)
        heard = self._heard.pop(event.index, None)
        if event.logprobs and around is not None:
            # The text went out as it came, and its tokens are known at its end: clients string them together.
            out = self._weighed(event, around)
            return out if heard is None else out + self._end_heard(heard[0], "".join(heard[1]), event)
        if heard is not None:
            return self._end_heard(heard[0], "".join(heard[1]), event)
        call = self._calls.pop(event.index, None)
        if call is None:
            return b""
        part = call.part
        if call.held is not None:
            id = self._choices[part.choice].sealer.id_of(part, event.signature if is_foreign(part) else None)
            whole = {"index": call.place, **self._shape.call(part, id, "".join(call.held), event)}
            return self._chunk(part.choice, dump_json({"tool_calls": [whole]}))
        out = b""
        if call.silent and around is not None:
            out = around[0] + b'"{}"' + around[1]  # clients parse the arguments, and nothing is no JSON
        more = {} if self._shape.old_way else beside(part, event)
        if more:
            out += self._chunk(part.choice, dump_json({"tool_calls": [{"index": call.place, **more}]}))
        return out

    @staticmethod
    def _weighed(event: PartEnded, around: tuple[bytes, bytes]) -> bytes:
        logprobs = b'"logprobs":' + _logprobs({"content": write_tokens(event.logprobs)})
        return around[0] + b'""' + around[1].replace(b'"logprobs":null', logprobs, 1)

    def _end_heard(self, part: PartStarted, text: str, event: PartEnded) -> bytes:
        sealer = self._choices[part.choice].sealer
        if part.kind != "reasoning":
            sealer.said += len(text) if part.kind == "text" else 0
        elif not is_foreign(part):
            details = details_of(event.signature)
            return self._chunk(part.choice, dump_json({"reasoning_details": details})) if details else b""
        elif event.signature or event.redacted:
            sealer.think(part, text, event)
        return b""

    def _finish(self, choice: int, reason: FinishReason) -> bytes:
        said = self._choices.get(choice)
        first = b""
        if said is None:
            said = self._choices[choice] = _Said()
            first = self._chunk(choice, dump_json(_first_delta("text")))
        if said.finished:
            return b""
        first += b"".join([self._end(PartEnded(index)) for index in said.parts])
        said.finished = True
        return first + self._chunk(choice, b"{}", b'"%b"' % self._shape.finish(reason).encode())

    def _usage_chunk(self) -> bytes:
        if self._usage is None or not self._shape.asked_usage:
            return b""
        return self._head + b'],"usage":' + dump_json(usage_json(self._usage)) + b"}\n\n"


_MARK = b"\0"
_DELTAS: dict[PartKind, bytes] = {"text": b'{"content":\0}', "refusal": b'{"refusal":\0}'}
_CALL_DELTA = b'{"tool_calls":[{"index":%d,"function":{"arguments":\0}}]}'
_FUNCTION_DELTA = b'{"function_call":{"arguments":\0}}'


def _first_delta(kind: PartKind) -> dict[str, Any]:
    """What the first chunk of a choice says, by what begins it, as OpenAI does."""
    if kind == "refusal":
        return {"role": "assistant", "content": None, "refusal": ""}
    return {"role": "assistant", "content": None if kind == "tool_call" else "", "refusal": None}


def _logprobs(logprobs: dict[str, Any] | None) -> bytes:
    return b"null" if logprobs is None else dump_json({"content": None, "refusal": None, **logprobs})

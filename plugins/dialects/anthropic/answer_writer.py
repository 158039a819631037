"""Events as an answer for a caller of this format, streamed or whole.

The caller's SDK finds blocks by their place and takes a signature whole, so blocks are numbered without gaps,
never overlap, and a signature goes out right before its block ends. One answer (choice 0) can be said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from llmhub_plugins.dialects.anthropic.errors import encode_error, encode_stream_error
from llmhub_plugins.dialects.anthropic.sealing import is_foreign, sealed_id, sealed_thoughts
from llmhub_plugins.dialects.anthropic.words import NAME, input_usage, output_usage, stop_reason

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    Failed,
    Finished,
    Fold,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    ResponseEncoder,
    ResponsePart,
    Started,
    Usage,
    Used,
    dump_json,
    load_json,
)

Json = dict[str, Any]

MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_DELTAS: dict[PartKind, bytes] = {
    "text": b'{"type":"text_delta","text":',
    "refusal": b'{"type":"text_delta","text":',
    "reasoning": b'{"type":"thinking_delta","thinking":',
    "tool_call": b'{"type":"input_json_delta","partial_json":',
}


def _frame(event: str, data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), dump_json({"type": event, **data}))


def _message(started: Started | None, request: ChatRequest, usage: Json) -> Json:
    """A message with nothing in it yet."""
    own = dict(started.extras.get(NAME, {})) if started else {}
    return {
        "id": (started and started.id) or f"msg_{uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": (started and started.model) or request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage | own.pop("usage", {}),
        **own,
    }


def _end(finished: Finished | None, refused: bool) -> Json:
    """`stop_reason` and `stop_sequence`."""
    if finished is None:
        return {"stop_reason": None, "stop_sequence": None}
    reason = stop_reason(finished.reason, finished.native)
    if refused and reason == "end_turn":
        reason = "refusal"
    return {"stop_reason": reason, "stop_sequence": finished.stop_text if reason == "stop_sequence" else None}


def _ending(finished: Finished | None) -> tuple[Json, Json]:
    """What else a provider of this format said at the end: members of the message, and of its usage."""
    own = dict(finished.extras.get(NAME, {})) if finished else {}
    return own, own.pop("usage", {})


def _thought(part: PartStarted | ResponsePart, ended: PartEnded | ResponsePart) -> tuple[str | None, str | None]:
    """Signature and encrypted thoughts of a reasoning part. Those of another family go into one sealed signature, and
    so do thoughts that nobody signed, which would be refused when they come back."""
    signature, redacted = ended.signature, ended.redacted
    if part.origin == NAME:
        return signature, redacted
    return sealed_thoughts(part.origin, signature, redacted), None


class StreamWriter(ResponseEncoder):
    """Server-sent events of the Messages API."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._started: Started | None = None
        self._usage = Usage()
        self._finished: Finished | None = None
        self._refused = self._begun = self._over = False
        self._part: PartStarted | None = None
        self._blocks = 0
        self._head: bytes | None = None  # how a delta of the open block begins; None before its block began
        self._wrote = False
        self._held: list[str] = []  # arguments of a call whose id waits for its signature

    def write(self, event: Event) -> bytes:
        if isinstance(event, PartDelta):
            part = self._part
            if part is None or event.index != part.index or not event.text:
                return b""
            self._wrote = True
            head = self._head
            if head is None:
                if part.kind == "opaque":
                    return b""
                if part.kind == "tool_call":
                    self._held.append(event.text)
                    return b""
                begin, head = self._begin_block(self._skeleton(part))
                return begin + head + dump_json(event.text) + b"}}\n\n"
            return head + dump_json(event.text) + b"}}\n\n"
        if self._over:
            return b""
        match event:
            case Started():
                self._started = self._started or event
            case Used(usage):
                self._usage = usage
            case PartStarted(choice=0):
                return self._begin() + self._end_part(None) + self._begin_part(event)
            case PartEnded(index) if self._part is not None and index == self._part.index:
                return self._end_part(event)
            case Finished(choice=0):
                self._finished = self._finished or event
            case Failed(error):
                self._over, self._part = True, None
                return encode_stream_error(error, "")
        return b""

    def close(self) -> bytes:
        if self._over or self._finished is None:
            return b""
        self._over = True  # said all; nothing may follow
        usage = input_usage(self._usage) | output_usage(self._usage)
        del usage["cache_creation"]
        members, more_usage = _ending(self._finished)
        inner = {name: members.pop(name) for name in ("container", "stop_details") if name in members}
        delta = {"delta": _end(self._finished, self._refused) | inner, **members, "usage": usage | more_usage}
        return self._begin() + self._end_part(None) + _frame("message_delta", delta) + MESSAGE_STOP

    def _begin(self) -> bytes:
        """message_start, once; it waits for the first part so that an early Used can tell the input side."""
        if self._begun:
            return b""
        self._begun = True
        usage = input_usage(self._usage) | {"output_tokens": self._usage.output_tokens}
        return _frame("message_start", {"message": _message(self._started, self._request, usage)})

    def _begin_part(self, part: PartStarted) -> bytes:
        self._part, self._head, self._wrote = part, None, False
        if part.kind == "refusal":
            self._refused = True
        self._held = []
        if part.kind in ("reasoning", "opaque") or _is_held(part):
            return b""  # what they are is known later
        return self._begin_block(self._skeleton(part))[0]

    def _skeleton(self, part: PartStarted) -> Json:
        own = part.extras.get(NAME, {})
        if part.kind == "tool_call":
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}, **own}
        if part.kind == "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        return {"type": "text", "text": "", **own}

    def _begin_block(self, block: Json) -> tuple[bytes, bytes]:
        """The block's start, and how each of its deltas begins."""
        index = self._blocks
        self._blocks += 1
        self._head = b""
        if self._part is not None and self._part.kind in _DELTAS:
            self._head = self._delta(index, _DELTAS[self._part.kind])
        return _frame("content_block_start", {"index": index, "content_block": block}), self._head

    @staticmethod
    def _delta(index: int, begin: bytes) -> bytes:
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index + begin

    def _end_part(self, ended: PartEnded | None) -> bytes:
        """The rest of the open part; its own PartEnded may be missing."""
        part, self._part = self._part, None
        if part is None:
            return b""
        ended = ended or PartEnded(part.index)
        extras = {**part.extras, **ended.extras}
        if part.kind == "opaque":
            return self._whole_block(extras[NAME]) if NAME in extras else b""
        if part.kind == "reasoning":
            return self._end_reasoning(part, ended)
        out = b""
        if _is_held(part):
            part = replace(part, id=sealed_id(part.id, part.origin, ended.signature))
            self._part = part
            out, head = self._begin_block(self._skeleton(part))
            self._part = None
            if self._held:
                out += head + dump_json("".join(self._held)) + b"}}\n\n"
        if part.kind == "tool_call" and not self._wrote:
            out += (self._head or b"") + b'"{}"}}\n\n'
        for citation in ended.extras.get(NAME, {}).get("citations", ()):
            out += self._block_delta({"type": "citations_delta", "citation": citation})
        return out + self._stop()

    def _end_reasoning(self, part: PartStarted, ended: PartEnded) -> bytes:
        signature, redacted = _thought(part, ended)
        if not (self._wrote or ended.signature or ended.redacted):
            return b""  # nobody thought anything
        out = b""
        if signature and self._head is None:
            self._part = part
            out += self._begin_block(self._skeleton(part))[0]
            self._part = None
        if signature:
            out += self._block_delta({"type": "signature_delta", "signature": signature})
        if self._head is not None:
            out += self._stop()
        if redacted:
            out += self._whole_block({"type": "redacted_thinking", "data": redacted})
        return out

    def _whole_block(self, block: Json) -> bytes:
        """A block at once; what the SDK looks for in a delta (a server tool's input, a summary) goes into one."""
        delta: Json = {}
        if block.get("type") == "compaction":
            members: Json = {name: block[name] for name in ("content", "encrypted_content") if name in block}
            block, delta = {**block, **dict.fromkeys(members)}, {"type": "compaction_delta", **members}
        elif isinstance(given := block.get("input"), dict):
            block, delta = (
                {**block, "input": {}},
                {"type": "input_json_delta", "partial_json": dump_json(given).decode()},
            )
        out = self._begin_block(block)[0]
        return out + (self._block_delta(delta) if delta else b"") + self._stop()

    def _block_delta(self, delta: Json) -> bytes:
        return _frame("content_block_delta", {"index": self._blocks - 1, "delta": delta})

    def _stop(self) -> bytes:
        self._head = None
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % (self._blocks - 1)


class WholeWriter(ResponseEncoder):
    """One JSON message, at the end."""

    content_type = "application/json"

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._started: Started | None = None
        self._fold = Fold()

    def write(self, event: Event) -> bytes:
        if isinstance(event, Started):
            self._started = event
        self._fold.add(event)
        return b""

    def close(self) -> bytes:
        response = self._fold.response()
        if response.failed is not None:
            return encode_error(response.failed, "")
        usage = response.usage or Usage()
        message = _message(self._started, self._request, input_usage(usage) | output_usage(usage))
        members, more_usage = _ending(response.finished.get(0))
        message |= members
        message["usage"] |= more_usage
        parts = [part for part in response.parts if part.choice == 0]
        message["content"] = [block for part in parts for block in _blocks(part)]
        refused = any(part.kind == "refusal" for part in parts)
        return dump_json(message | _end(response.finished.get(0), refused))


def _blocks(part: ResponsePart) -> list[Json]:
    own = part.extras.get(NAME, {})
    if part.kind == "opaque":
        return [dict(own)] if own else []
    if part.kind == "tool_call":
        id = sealed_id(part.id, part.origin, part.signature)
        return [{"type": "tool_use", "id": id, "name": part.name, "input": _input(part.text), **own}]
    if part.kind != "reasoning":
        return [{"type": "text", "text": part.text, **own}]
    blocks: list[Json] = []
    if not (part.text or part.signature or part.redacted):
        return blocks
    signature, redacted = _thought(part, part)
    if part.text or signature:
        blocks.append({"type": "thinking", "thinking": part.text, "signature": signature or ""})
    if redacted:
        blocks.append({"type": "redacted_thinking", "data": redacted})
    return blocks


def _is_held(part: PartStarted) -> bool:
    """Whether a call's id can be told only when its signature is known."""
    return part.kind == "tool_call" and is_foreign(part.origin)


def _input(arguments: str) -> Json:
    """Arguments as the object that they must be here; what is none is shown as it is, so that no tool runs on it."""
    try:
        value = load_json(arguments) if arguments.strip() else {}
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}

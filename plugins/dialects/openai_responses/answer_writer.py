"""Events as an answer of the Responses API: streamed, or whole.

Both are written by the same hand: a whole answer is the object that a stream ends with.
"""

from __future__ import annotations

import time
from typing import Any

from llmhub_plugins.dialects.openai.errors import encode_error, error_type
from llmhub_plugins.dialects.openai_responses.item_writer import (
    CallItem,
    CustomCallItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
    Teller,
    own_of,
)
from llmhub_plugins.dialects.openai_responses.request_writer import (
    is_custom,
    quiet_of,
    reasoning_json,
    text_json,
    tool_choice_json,
    tools_json,
)
from llmhub_plugins.dialects.openai_responses.words import NAME, Json, incomplete_reason, made_id, usage_json

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    Failed,
    Finished,
    HubError,
    PartDelta,
    PartEnded,
    PartStarted,
    ResponseEncoder,
    Started,
    Usage,
    Used,
    dump_json,
)


class AnswerWriter(ResponseEncoder):
    """One answer. Only one choice (0) can be said."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._stream = request.stream
        self.content_type = "text/event-stream; charset=utf-8" if self._stream else "application/json"
        self._teller = Teller(self._stream)
        self._custom = {tool.name for tool in request.tools if is_custom(tool)}  # type: ignore[union-attr]
        self._base: Json | None = None
        self._items: list[Json] = []
        self._item: Item | None = None
        self._part: PartStarted | None = None
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._error: HubError | None = None
        self._over = False

    def write(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            part, item = self._part, self._item
            if part is None or item is None or event.index != part.index or not event.text:
                return b""
            return item.delta(event.text)
        if self._over:
            return b""
        if isinstance(event, PartStarted):
            return self._begin_part(event) if event.choice == 0 else b""
        if isinstance(event, PartEnded):
            return self._end_part(event) if self._part is not None and event.index == self._part.index else b""
        if isinstance(event, Started):
            return self._begin(event)
        if isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Finished):
            if event.choice == 0:
                self._finished = self._finished or event
        elif isinstance(event, Failed):
            return self._fail(event.error)
        return b""

    def close(self) -> bytes:
        if self._over:
            return b"" if self._stream or self._error is None else encode_error(self._error)
        self._over = True
        reason = None if self._finished is None else incomplete_reason(self._finished.reason)
        status = "incomplete" if reason else "completed"
        out = self._begin(None) + self._end_item(status)
        details = {"reason": reason} if reason else None
        response = self._response(status, incomplete_details=details)
        if self._finished is not None:
            response.update(own_of(self._finished.extras))
        if not self._stream:
            return dump_json(response)
        return out + self._teller.say(f"response.{status}", {"response": response})

    # the answer as a whole

    def _begin(self, started: Started | None) -> bytes:
        if self._base is not None:
            return b""
        self._base = _base(self._request, started or Started("", ""))
        response = self._response("in_progress")
        return self._teller.say("response.created", {"response": response}) + self._teller.say(
            "response.in_progress", {"response": response}
        )

    def _response(self, status: str, **more: Any) -> Json:
        assert self._base is not None  # noqa: S101 — _begin went before
        ended = status in ("completed", "incomplete")
        return {
            **self._base,
            "status": status,
            "output": self._items,
            "completed_at": int(time.time()) if status == "completed" else None,
            "usage": usage_json(self._usage) if self._usage is not None and (ended or status == "failed") else None,
            **more,
        }

    def _fail(self, error: HubError) -> bytes:
        """What makes clients raise, and the object that the others wait for."""
        self._over, self._error, self._part = True, error, None
        if not self._stream:
            return b""
        out = self._begin(None)
        out += self._teller.say("error", error_fields(error))
        failed = {"code": failure_code(error), "message": error.message}
        return out + self._teller.say("response.failed", {"response": self._response("failed", error=failed)})

    # items

    def _begin_part(self, part: PartStarted) -> bytes:
        out = self._begin(None)
        if self._part is not None:
            out += self._end_part(PartEnded(self._part.index))
        if part.kind == "opaque":
            return out + self._opaque(own_of(part.extras))
        if not (isinstance(self._item, MessageItem) and self._item.takes(part)):
            out += self._end_item("completed")
            self._item = self._made_item(part)
            out += self._item.begin()
        self._part = part
        assert self._item is not None  # noqa: S101 — made above
        return out + self._item.part(part)

    def _made_item(self, part: PartStarted) -> Item:
        index = len(self._items)
        if part.kind == "reasoning":
            return ReasoningItem(self._teller, index, part)
        if part.kind == "tool_call":
            custom = part.name in self._custom or "custom" in own_of(part.extras)
            return (CustomCallItem if custom else CallItem)(self._teller, index, part)
        return MessageItem(self._teller, index, part)

    def _opaque(self, body: Json) -> bytes:
        if "type" not in body:
            return b""  # another dialect's
        if body.get("type") == "message":
            out, item = b"", self._item
            if not isinstance(item, MessageItem) or item.body["id"] != body.get("id"):
                out = self._end_item("completed")
                same = {name: body[name] for name in ("id", "phase") if name in body}
                item = MessageItem(self._teller, len(self._items), PartStarted(0, "text", extras={NAME: same}))
                self._item = item
                out += item.begin()
            return out + item.add_whole(body.get("content", []))
        out = self._end_item("completed")
        self._item = OpaqueItem(self._teller, len(self._items), body)
        return out + self._item.begin()

    def _end_part(self, ended: PartEnded) -> bytes:
        self._part = None
        return b"" if self._item is None else self._item.part_ended(ended)

    def _end_item(self, status: str) -> bytes:
        out = b""
        if self._part is not None:
            out = self._end_part(PartEnded(self._part.index))
        if self._item is not None:
            out += self._item.end(status)
            self._items = [*self._items, self._item.body]
            self._item = None
        return out


def _base(request: ChatRequest, started: Started) -> Json:
    """What an answer repeats of its request, and what the provider said of it at the start."""
    sampling, said = request.sampling, quiet_of(request)
    extras = request.extras
    base: Json = {
        "id": started.id or made_id("resp"),
        "object": "response",
        "created_at": started.created or int(time.time()),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": _instructions(request),
        "max_output_tokens": sampling.max_output,
        "max_tool_calls": extras.get("max_tool_calls"),
        "model": started.model or request.model,
        "output": [],
        "parallel_tool_calls": sampling.parallel_tools is not False,
        "previous_response_id": None,
        "prompt_cache_key": extras.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **reasoning_json(request)},
        "safety_identifier": sampling.user if "user" in said else None,
        "service_tier": said.get("service_tier", "default"),
        "store": False,
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "text": {"format": {"type": "text"}, **text_json(request, [])},
        "tool_choice": tool_choice_json(request) or "auto",
        "tools": tools_json(request, []),
        "top_logprobs": sampling.top_logprobs or 0,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "truncation": extras.get("truncation", "disabled"),
        "usage": None,
        "metadata": dict(said.get("metadata", {})),
    }
    if sampling.user is not None and "user" not in said:
        base["user"] = sampling.user
    for tool in base["tools"]:
        if tool["type"] == "function":
            tool.setdefault("parameters", None)
            tool.setdefault("strict", True)
    return {**base, **own_of(started.extras)}


def _instructions(request: ChatRequest) -> str | None:
    if "instructions" not in quiet_of(request) or not request.messages:
        return None
    return "".join(getattr(part, "text", "") for part in request.messages[0].content)


# Errors in a stream.

_FAILURES = frozenset({"rate_limit_exceeded", "invalid_prompt", "server_error", "insufficient_quota"})


def failure_code(error: HubError) -> str:
    """`response.error.code`: one of the few words that the format has for it."""
    if error.code in _FAILURES:
        return error.code
    if error.status == 429:
        return "rate_limit_exceeded"
    return "server_error" if error.status >= 500 else "invalid_prompt"


def error_fields(error: HubError) -> Json:
    """The members of an ``error`` event: OpenAI documents them flat and sends them within `error`, at which its SDKs
    raise; so both."""
    said = {"code": error.code, "message": error.message, "param": error.param}
    return {**said, "error": {"type": error_type(error), **said, "source": error.source}}

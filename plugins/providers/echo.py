"""A model without a network: it says back what it was told. For first steps and for tests."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmhub_core.contracts import (
    Call,
    Fetch,
    Provider,
    ProviderAnswer,
    UpstreamGarbled,
    dump_json,
    hookimpl,
    load_json,
)

_WORD = re.compile(r"\S+\s*")
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSettings:
    """The table of a provider of kind ``echo``."""

    delay: float = field(default=0.0, metadata={"help": "Seconds between two words of a streamed answer."})


class EchoAnswer:
    """Pieces that are ready, given out one by one with `delay` seconds between them."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: Iterable[bytes], delay: float = 0.0) -> None:
        self.status = status
        self.headers = headers
        self._pieces = deque(pieces)
        self._delay = delay
        self._begun = False

    async def chunk(self) -> bytes:
        """The next piece; b"" after the last one and after abort()."""
        if self._begun and self._delay and self._pieces:
            await asyncio.sleep(self._delay)
        self._begun = True
        return self._pieces.popleft() if self._pieces else b""

    async def read(self, limit: int) -> bytes:
        """The whole body; UpstreamGarbled if it is larger than `limit` bytes."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        if len(body) > limit:
            raise UpstreamGarbled("The provider's answer is too large.")
        return body

    def abort(self) -> None:
        self._pieces.clear()


class Echo(Provider):
    """Answers in this process, in Chat Completions; a token is a word."""

    name = "echo"
    Settings = EchoSettings
    speaks = ("openai_chat",)
    base_url = "echo:"

    def __init__(self, settings: EchoSettings) -> None:
        super().__init__(settings)
        self._delay = settings.delay

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call.url = self.base_url + call.url
        return call

    async def serve(self, call: Call) -> ProviderAnswer | None:
        if call.method == "GET":
            return EchoAnswer(200, _JSON, [_models()])
        try:
            request = load_json(call.body)
        except ValueError:
            return _refusal("The body is not valid JSON.", "invalid_json")
        messages = request.get("messages") if isinstance(request, dict) else None
        if not isinstance(messages, list) or not messages:
            return _refusal("`messages` must be a list with at least one message.", "invalid_body")
        reply = _Reply(request, messages)
        if request.get("stream") is True:
            return EchoAnswer(200, _EVENTS, reply.events(), self._delay)
        return EchoAnswer(200, _JSON, [reply.whole()])

    def models_call(self) -> Call | None:
        return Call("/models", {}, b"", method="GET")


class _Reply:
    """What is said to one request, whole or as events."""

    def __init__(self, request: Mapping[str, Any], messages: Sequence[object]) -> None:
        said = [_text(message) for message in messages]
        last = next(
            (text for message, text in zip(reversed(messages), reversed(said), strict=True) if _is_user(message)), ""
        )
        words = _WORD.findall(f"You said: {last}" if last else "You said nothing.")
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        self._words = words[:limit] if isinstance(limit, int) and limit > 0 else words
        self._finish = "stop" if len(self._words) == len(words) else "length"
        read = sum(len(text.split()) for text in said)
        self._usage = {
            "prompt_tokens": read,
            "completion_tokens": len(self._words),
            "total_tokens": read + len(self._words),
        }
        options = request.get("stream_options")
        self._asked_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._about = {
            "id": f"chatcmpl-{uuid.uuid4().hex[:24]}",
            "created": int(time.time()),
            "model": request.get("model") or Echo.name,
        }

    def whole(self) -> bytes:
        message = {"role": "assistant", "content": "".join(self._words), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return dump_json({**self._about, "object": "chat.completion", "choices": [choice], "usage": self._usage})

    def events(self) -> Iterable[bytes]:
        yield self._event({"role": "assistant", "content": "", "refusal": None})
        for word in self._words:
            yield self._event({"content": word})
        yield self._event({}, self._finish)
        if self._asked_usage:
            yield self._chunk([], self._usage)
        yield b"data: [DONE]\n\n"

    def _event(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], None)

    def _chunk(self, choices: Sequence[Any], usage: object) -> bytes:
        chunk = {**self._about, "object": "chat.completion.chunk", "choices": choices}
        if self._asked_usage:
            chunk["usage"] = usage
        return b"data: " + dump_json(chunk) + b"\n\n"


def _is_user(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _text(message: object) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return " ".join(text for text in texts if isinstance(text, str))


def _models() -> bytes:
    model = {"id": Echo.name, "object": "model", "created": 0, "owned_by": "llm-hub"}
    return dump_json({"object": "list", "data": [model]})


def _refusal(message: str, code: str) -> EchoAnswer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return EchoAnswer(400, _JSON, [dump_json({"error": error})])


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (Echo,)

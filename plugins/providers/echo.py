"""A model without a network: it says back what it was told, embeds, moderates and counts. For first steps and tests."""

from __future__ import annotations

import asyncio
import hashlib
import math
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
        self.content_type = headers.get("content-type", "")
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
    """Answers in this process; a token is a word."""

    name = "echo"
    title = "Echo (a model without a network, for tests)"
    Settings = EchoSettings
    speaks = ("openai_chat", "openai_embeddings", "openai_moderations", "anthropic_count_tokens")
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
        if not isinstance(request, dict):
            return _refusal("The body must be a JSON object.", "invalid_body")
        path = call.url.removeprefix(self.base_url)
        if path == "/embeddings":
            return _answer(_embeddings(request), "input")
        if path == "/moderations":
            return _answer(_moderation(request), "input")
        if path == "/v1/messages/count_tokens":
            return _answer(_token_count(request), "messages")
        return self._said_back(request)

    def _said_back(self, request: Mapping[str, Any]) -> EchoAnswer:
        messages = request.get("messages")
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


# Other operations than chat.

DIMENSIONS = 64
_LONGEST_VECTOR = 4096


def _embeddings(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Vectors, always as numbers: the wire format packs them where that was asked for."""
    inputs = _inputs(request)
    wish = request.get("dimensions")
    length = min(wish, _LONGEST_VECTOR) if isinstance(wish, int) and wish > 0 else DIMENSIONS
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(words, length)}
        for index, words in enumerate(inputs)
    ]
    read = sum(map(len, inputs))
    usage = {"prompt_tokens": read, "total_tokens": read}
    model = request.get("model") or Echo.name
    return {"object": "list", "data": data, "model": model, "usage": usage} if inputs else None


def _vector(words: Sequence[str], length: int) -> list[float]:
    """Each word leans to a few directions, always the same: texts with words in common lie near each other."""
    vector = [0.0] * length
    for word in words:
        drawn = hashlib.blake2b(word.lower().encode("utf-8", "replace"), digest_size=16).digest()
        for at in range(0, len(drawn), 4):
            number = int.from_bytes(drawn[at : at + 4], "big")
            vector[(number >> 1) % length] += 1.0 if number & 1 else -1.0
    norm = math.hypot(*vector)
    if not norm:
        return [1.0, *vector[1:]]
    return [value / norm for value in vector]


_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def _moderation(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """A verdict on each input: a category applies where its name is among the words."""
    inputs = _inputs(request)
    results = [_verdict({word.lower() for word in words}) for words in inputs]
    model = request.get("model") or Echo.name
    return {"id": f"modr-{uuid.uuid4().hex[:24]}", "model": model, "results": results} if inputs else None


def _verdict(words: set[str]) -> dict[str, Any]:
    found = {name: name in words for name in _CATEGORIES}
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: float(applies) for name, applies in found.items()},
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }


def _token_count(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The words of the system prompt and of all messages, as Anthropic's format has them."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    said = ({"content": request.get("system")}, *messages)
    return {"input_tokens": sum(len(_text(message).split()) for message in said)}


def _inputs(request: Mapping[str, Any]) -> list[Sequence[str]]:
    """The words of each input, or the numbers of its tokens; empty if there is none."""
    given = request.get("input")
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    inputs: list[Sequence[str]] = []
    for item in given if isinstance(given, list) else ():
        if isinstance(item, list):
            inputs.append([str(token) for token in item])
        else:
            inputs.append((item if isinstance(item, str) else _text({"content": [item]})).split())
    return inputs


def _answer(said: Mapping[str, Any] | None, asked_in: str) -> EchoAnswer:
    if said is None:
        return _refusal(f"`{asked_in}` must hold something.", "invalid_body")
    return EchoAnswer(200, _JSON, [dump_json(said)])


def _models() -> bytes:
    model = {"id": Echo.name, "object": "model", "created": 0, "owned_by": "llm-hub"}
    return dump_json({"object": "list", "data": [model]})


def _refusal(message: str, code: str) -> EchoAnswer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return EchoAnswer(400, _JSON, [dump_json({"error": error})])


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (Echo,)

"""An answer as providers write it, whole or in chunks: typed for speed, read leniently where the types do not fit.

Members that nobody reads (`obfuscation`, `p`, `provider`, timings…) are left out and so skipped by the parser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from llmhub_plugins.dialects.openai.usage import WireUsage
from msgspec import Struct

from llmhub_core.contracts import dump_json, load_json

_T = TypeVar("_T")


class FunctionPiece(Struct):
    name: str | None = None
    arguments: str | None = None


class CustomPiece(Struct):
    name: str | None = None
    input: str | None = None


class CallPiece(Struct):
    """A tool call or more of one; `index` tells which, except in whole answers and at careless providers."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None
    custom: CustomPiece | None = None
    extra_content: dict[str, Any] | None = None


class Piece(Struct):
    """A message or a delta. `content` is a list at Mistral's reasoning models."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None
    function_call: FunctionPiece | None = None
    reasoning_details: list[Any] | None = None
    annotations: list[Any] | None = None
    images: list[Any] | None = None
    audio: dict[str, Any] | None = None
    extra_content: dict[str, Any] | None = None


class WireChoice(Struct):
    index: int = 0
    delta: Piece | None = None
    message: Piece | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _GroqNotes(Struct):
    usage: WireUsage | None = None


class Chunk(Struct):
    """One event's data, or the body of a whole answer."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    x_groq: _GroqNotes | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_read = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """`data` as a Chunk; ValueError if it is no JSON object."""
    try:
        return _read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = load_json(data)
    if isinstance(value, dict):
        return _chunk(value)
    raise ValueError("not a JSON object")


# The lenient reading: what has another type than agreed counts as absent, and what is left is used.


def _chunk(value: dict[str, Any]) -> Chunk:
    groq = value.get("x_groq")
    return Chunk(
        id=_as(str, value.get("id")),
        model=_as(str, value.get("model")),
        created=_number(value.get("created")),
        choices=_each(_choice, value.get("choices")),
        usage=_usage(value.get("usage")),
        error=value.get("error"),
        x_groq=_GroqNotes(_usage(groq.get("usage"))) if isinstance(groq, dict) else None,
        service_tier=_as(str, value.get("service_tier")),
        system_fingerprint=_as(str, value.get("system_fingerprint")),
    )


def _choice(value: dict[str, Any]) -> WireChoice:
    return WireChoice(
        index=_number(value.get("index")) or 0,
        delta=_piece(value.get("delta")),
        message=_piece(value.get("message")),
        finish_reason=_text(value.get("finish_reason")),
        logprobs=_as(dict, value.get("logprobs")),
    )


def _piece(value: Any) -> Piece | None:
    if not isinstance(value, dict):
        return None
    content = value.get("content")
    return Piece(
        content=content if isinstance(content, list) else _text(content),
        refusal=_as(str, value.get("refusal")),
        reasoning_content=_as(str, value.get("reasoning_content")),
        reasoning=_as(str, value.get("reasoning")),
        tool_calls=_each(_call, value.get("tool_calls")),
        function_call=_function(value.get("function_call")),
        reasoning_details=_as(list, value.get("reasoning_details")),
        annotations=_as(list, value.get("annotations")),
        images=_as(list, value.get("images")),
        audio=_as(dict, value.get("audio")),
        extra_content=_as(dict, value.get("extra_content")),
    )


def _call(value: dict[str, Any]) -> CallPiece:
    custom = value.get("custom")
    return CallPiece(
        index=_number(value.get("index")),
        id=_text(value.get("id")),
        function=_function(value.get("function")),
        custom=CustomPiece(_text(custom.get("name")), _text(custom.get("input"))) if isinstance(custom, dict) else None,
        extra_content=_as(dict, value.get("extra_content")),
    )


def _function(value: Any) -> FunctionPiece | None:
    if not isinstance(value, dict):
        return None
    return FunctionPiece(_text(value.get("name")), _text(value.get("arguments")))


def _usage(value: Any) -> WireUsage | None:
    if not isinstance(value, dict):
        return None
    try:
        return msgspec.convert(value, WireUsage, strict=False)
    except (msgspec.ValidationError, ValueError):
        # Its totals may still be numbers where a detail is not.
        return WireUsage(
            prompt_tokens=_number(value.get("prompt_tokens")),
            completion_tokens=_number(value.get("completion_tokens")),
            total_tokens=_number(value.get("total_tokens")),
        )


def _as(kind: type[_T], value: Any) -> _T | None:
    return value if isinstance(value, kind) else None


def _each(read: Callable[[dict[str, Any]], _T], values: Any) -> list[_T] | None:
    return [read(value) for value in values if isinstance(value, dict)] if isinstance(values, list) else None


def _number(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    """Strings as they are, anything else as its JSON (arguments that came as an object)."""
    return value if value is None or isinstance(value, str) else dump_json(value).decode()

"""What the chain has to know of every request, read without taking the contents apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
from llmhub_plugins.dialects.gemini.words import camel

from llmhub_core.contracts import BadRequest, RequestHead, Where, load_json

ROLES = frozenset({"", "user", "model", "function"})
"""`function` is how older clients send results; a missing role means the user."""


_NULL = msgspec.Raw(b"null")


class _Content(msgspec.Struct):
    role: str | None = None
    parts: msgspec.Raw = _NULL


class _Body(msgspec.Struct):
    contents: list[_Content] | _Content | None = None
    generationConfig: msgspec.Raw = _NULL  # noqa: N815 (both spellings are names of the format)
    generation_config: msgspec.Raw = _NULL


_read_body = msgspec.json.Decoder(_Body, strict=False).decode
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_read_integer = msgspec.json.Decoder(int | None, strict=False).decode
_read_number = msgspec.json.Decoder(float | None, strict=False).decode

_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (0, float("inf")),
}

_AT = re.compile(r" - at `\$\.?([^`]*)`")


def read_head(body: bytes, where: Where) -> RequestHead:
    """Check the body and read the head. The model and the verb stand in the path, the framing in ``?alt=``.

    Raises BadRequest with `param`; ``invalid_json`` if the body is no JSON.
    """
    try:
        found = _read_body(body)
        _check_contents(found.contents)
        config = _config(found)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _plain(body)
        if text == body:
            raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
        return read_head(text, where)
    stream = where.path.get("verb") == "streamGenerateContent"
    return RequestHead(
        model=where.path.get("model", "").removeprefix("models/"),
        stream=stream,
        framing=("sse" if where.query.get("alt") == "sse" else "json_array") if stream else "json",
        max_output=_integer(config, "maxOutputTokens", 0),
        n=_integer(config, "candidateCount", 1) or 1,
    )


def _plain(body: bytes) -> bytes:
    """JSON that only the lenient parser reads (half a surrogate pair), as every parser reads it."""
    try:
        return json.dumps(load_json(body), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body


def _config(found: _Body) -> dict[str, Any]:
    raw = found.generationConfig if found.generationConfig != _NULL else found.generation_config
    try:
        config = camel(_read_members(raw) or {})
    except msgspec.ValidationError as error:
        raise _wrong(error, "generationConfig") from None
    for name, (low, high) in _RANGES.items():
        _within(name, _value(config, name, _read_number), low, high)
    return config


def _integer(config: dict[str, Any], name: str, low: int) -> int | None:
    value: int | None = _value(config, name, _read_integer)
    _within(name, value, low, 2**31)
    return value


def _value(config: dict[str, Any], name: str, read: Callable[[bytes], Any]) -> Any:
    raw = config.get(name)
    try:
        return None if raw is None else read(raw)
    except msgspec.ValidationError as error:
        raise _wrong(error, f"generationConfig.{name}") from None


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        param = f"generationConfig.{name}"
        bounds = f"at least {low}" if high in (float("inf"), 2**31) else f"between {low} and {high}"
        raise BadRequest(f"`{param}` must be {bounds}.", param=param)


def _check_contents(contents: list[_Content] | _Content | None) -> None:
    if not contents:
        raise BadRequest("`contents` is missing or empty; send at least one turn.", param="contents")
    for number, content in enumerate(contents if isinstance(contents, list) else [contents]):
        if content.role and content.role not in ROLES:
            param = f"contents[{number}].role"
            raise BadRequest(f"`{param}` must be `user` or `model`.", param=param)


def _wrong(error: msgspec.ValidationError, prefix: str = "") -> BadRequest:
    text = str(error)
    at = _AT.search(text)
    path = at[1].replace("[...]", "[]") if at else ""
    param = ".".join(part for part in (prefix, path) if part)
    reason = _AT.sub("", text)
    return BadRequest(f"`{param or 'body'}` is of the wrong type: {reason}.", param=param or None)

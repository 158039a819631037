"""What the chain has to know of every request, read without taking the contents apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from llmhub_plugins.dialects.gemini.words import camel

from llmhub_core.contracts import BadRequest, RequestHead, Where, is_json

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
    # Fields by which other gateways let a caller choose where a request (and its key) goes.
    api_base: msgspec.Raw = _NULL
    base_url: msgspec.Raw = _NULL
    api_key: msgspec.Raw = _NULL
    extra_headers: msgspec.Raw = _NULL
    headers: msgspec.Raw = _NULL
    proxy: msgspec.Raw = _NULL
    user_config: msgspec.Raw = _NULL


_STEERING = ("api_base", "base_url", "api_key", "extra_headers", "headers", "proxy", "user_config")
_read_body = msgspec.json.Decoder(_Body, strict=False).decode
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_read_integer = msgspec.json.Decoder(int | None, strict=False).decode
_read_number = msgspec.json.Decoder(float | None, strict=False).decode

_INT32 = 2**31 - 1
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (0, float("inf")),
}

_AT = re.compile(r" - at `\$\.?([^`]*)`")
_TYPES = re.compile(r"Expected `([^`]*)`, got ")
_JSON_NAMES = {"str": "a string", "int": "an integer", "float": "a number"}


def read_head(body: bytes, where: Where) -> RequestHead:
    """Check the body and read the head. The model and the verb stand in the path, the framing in ``?alt=``.

    Raises BadRequest with `param` for what is missing, of the wrong type or out of range.
    """
    found = _parse(body)
    for name in _STEERING:
        if getattr(found, name) is not _NULL:
            raise BadRequest(f"`{name}` is not a field of this API; remove it.", code="unknown_field", param=name)
    _check_contents(found.contents)
    config = _config(found)
    stream = where.path.get("verb") == "streamGenerateContent"
    return RequestHead(
        model=where.path.get("model", "").removeprefix("models/"),
        stream=stream,
        framing=("sse" if where.query.get("alt") == "sse" else "json_array") if stream else "json",
        max_output=_integer(config, "maxOutputTokens", 0),
        n=_integer(config, "candidateCount", 1) or 1,
    )


def _parse(body: bytes) -> _Body:
    try:
        if not body.isascii():
            body.decode()
        return _read_body(body)
    except msgspec.ValidationError as error:
        # A wrong type is met before the rest is read, which may show that this is no JSON at all.
        raise _wrong(error) if is_json(body) else _malformed(body) from None
    except UnicodeDecodeError:
        raise BadRequest("The body is not valid UTF-8.", code="invalid_encoding") from None
    except (msgspec.DecodeError, RecursionError):
        raise _malformed(body) from None


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _malformed(body: bytes) -> BadRequest:
    """Half a surrogate pair is all that the lenient parser reads and the strict one does not."""
    if _SURROGATE.search(body) and is_json(body):
        return BadRequest("The body holds half of a surrogate pair, which is no character.", code="invalid_encoding")
    return BadRequest("The body is not valid JSON.", code="invalid_json")


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
    _within(name, value, low, _INT32)
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
        bounds = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise BadRequest(f"`{param}` must be {bounds}.", code="invalid_value", param=param)


def _check_contents(contents: list[_Content] | _Content | None) -> None:
    if contents is None:
        raise BadRequest("`contents` is required.", code="missing_field", param="contents")
    if contents == []:
        raise BadRequest("`contents` must have at least one turn.", code="invalid_value", param="contents")
    for number, content in enumerate(contents if isinstance(contents, list) else [contents]):
        if content.role and content.role not in ROLES:
            param = f"contents[{number}].role"
            raise BadRequest(f"`{param}` must be `user` or `model`.", code="invalid_value", param=param)


def _wrong(error: msgspec.ValidationError, prefix: str = "") -> BadRequest:
    """The type checker's finding as a sentence; it names types and places, nothing that the caller wrote."""
    text = str(error)
    at = _AT.search(text)
    param = ".".join(part for part in (prefix, at[1] if at else "") if part)
    if not param:
        return BadRequest("The body must be a JSON object.", code="invalid_body")
    found = _TYPES.search(text)
    if found is None:
        return BadRequest(f"`{param}` has a value that is not possible.", code="invalid_value", param=param)
    wanted = " or ".join(_JSON_NAMES.get(name, f"an {name}") for name in found[1].split(" | ") if name != "null")
    return BadRequest(f"`{param}` must be {wanted}.", code="invalid_type", param=param)

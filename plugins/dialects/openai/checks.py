"""What every JSON body of OpenAI's formats is checked for, and how a refusal is worded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from llmhub_core.contracts import LONG_STRING, BadRequest, find_value, is_json, skim

_T = TypeVar("_T")

ABSENT = Raw()
Words = Annotated[str, Meta(min_length=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)] | None
Tokens = Annotated[int, Meta(ge=1, le=100_000_000)] | None
Stop = Words | Annotated[list[Words], Meta(max_length=16)] | None


class StreamOptions(Struct):
    """`stream_options`, as far as the hub has to know it."""

    include_usage: bool | None = None


class Steered(Struct, kw_only=True):
    """Fields by which other gateways let callers choose the address or the key: never ours to pass on."""

    api_base: Raw = ABSENT
    base_url: Raw = ABSENT
    api_key: Raw = ABSENT
    user_config: Raw = ABSENT
    extra_headers: Raw = ABSENT
    headers: Raw = ABSENT
    proxy: Raw = ABSENT
    timeout: Raw = ABSENT


STEERING = Steered.__struct_fields__

_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
# Half a surrogate pair, written as an escape: no UTF-8 text has it, and readers differ in what they make of it.
_HALF_PAIR = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F]..(?<!\\u[dD][89abAB]..\\u[dD]...))", re.DOTALL
).finditer


def parse(body: bytes, decode: Callable[[bytes], _T]) -> _T:
    """`body` by a typed decoder; BadRequest in our words for what it complains of."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise BadRequest("The body must be UTF-8.", code="invalid_encoding") from None
    # One backslash is found far faster than any two bytes, and most bodies have few; and `find` far faster than `in`,
    # which asks first whether the bytes are a number.
    if (
        body.find(b"\\") >= 0
        and (b"\\ud" in body or b"\\uD" in body)
        and any(_is_escape(body, found.start()) for found in _HALF_PAIR(body))
    ):
        raise BadRequest("The body holds half of a surrogate pair, which is no character.", code="invalid_encoding")
    try:
        asked = decode(body)
    except msgspec.ValidationError as error:
        if is_json(body):
            raise _explained(str(error)) from None
        # A wrong type was met before the place that shows that this is no JSON at all.
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None
    words = body if len(body) < LONG_STRING else skim(body)
    if words.count(b'"model"') > 1:
        find_value(body, "model")  # refuses a key that stands twice
    if words.count(b'"stream"') > 1:
        find_value(body, "stream")
    return asked


def _is_escape(body: bytes, at: int) -> bool:
    """Whether the backslash at `at` begins an escape, and is not itself escaped."""
    before = body[max(0, at - 64) : at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0


def check_model(model: str) -> None:
    """Refuse what cannot be a model's name."""
    if not 0 < len(model) <= 256 or _CONTROL(model):
        refuse("model", "must be a name of 1 to 256 characters without control characters")


def check_user(user: str | None) -> None:
    """Refuse a `user` that would break the lines of a log."""
    if user is not None and _CONTROL(user):
        refuse("user", "must not hold control characters")


def check_steering(asked: Steered) -> None:
    """Refuse fields that would steer the gateway itself."""
    if not (
        asked.api_base is asked.base_url is asked.api_key is asked.user_config is ABSENT
        and asked.extra_headers is asked.headers is asked.proxy is asked.timeout is ABSENT
    ):
        _unknown(next(name for name in STEERING if getattr(asked, name) is not ABSENT))


_LARGEST_METADATA = 64 * 1024


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Refuse `metadata` that is too large, or that would steer other gateways."""
    if sum(len(key) + len(str(value)) for key, value in metadata.items()) > _LARGEST_METADATA:
        refuse("metadata", "must be smaller than 64 KiB")
    for name in STEERING:
        if name in metadata:
            _unknown(f"metadata.{name}")


# Refusals.


def missing(path: str) -> NoReturn:
    raise BadRequest(f"`{path}` is required.", code="missing_field", param=path)


def refuse(path: str, rule: str) -> NoReturn:
    raise BadRequest(f"`{path}` {rule}.", code="invalid_value", param=path)


def _unknown(path: str) -> NoReturn:
    raise BadRequest(f"`{path}` cannot be set by a request; leave it out.", code="unknown_field", param=path)


_SAID = re.compile(r"(?P<fault>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_MISTYPED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_LIMIT = re.compile(r"Expected `(.*)")
_JSON_WORDS = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


def _explained(said: str) -> BadRequest:
    """The parser's complaint in our words; nothing of the caller's text is repeated."""
    found = _SAID.fullmatch(said)
    fault, path = (found["fault"], found["path"] or "") if found else (said, "")
    if absent := _MISSING.match(fault):
        path = f"{path}.{absent[1]}".lstrip(".")
        return BadRequest(f"`{path}` is required.", code="missing_field", param=path)
    if mistyped := _MISTYPED.match(fault):
        wanted = " or ".join(_JSON_WORDS.get(word, word) for word in mistyped[1].split(" | "))
        if not path:
            return BadRequest("The body must be a JSON object.", code="invalid_body")
        got = _JSON_WORDS.get(mistyped[2], mistyped[2])
        return BadRequest(f"`{path}` must be {wanted}, not {got}.", code="invalid_type", param=path)
    if "out of range" in fault:
        return BadRequest(f"`{path}` is a number that no one can hold.", code="invalid_json", param=path or None)
    if limit := _LIMIT.match(fault):
        rule = limit[1].replace("`", "")
        if rule.endswith("of length >= 1"):
            return BadRequest(f"`{path}` must not be empty.", code="invalid_value", param=path)
        return BadRequest(f"`{path}` must be {rule}.", code="invalid_value", param=path)
    return BadRequest(f"`{path}` has a value that is not known.", code="invalid_value", param=path or None)

"""What the chain must know of every request: one typed pass over the body that builds no messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from llmhub_core.contracts import COUNT_TOKENS, BadRequest, RequestHead, is_json

_Share = Annotated[float, Meta(ge=0, le=1)]
_Line = r"^[^\x00-\x1f\x7f]+$"


class _Block(msgspec.Struct):
    type: str


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: Annotated[str, Meta(max_length=256, pattern=r"^[^\s\x00-\x1f\x7f]+$")] | None = None


class _Metadata(msgspec.Struct):
    user_id: Annotated[str, Meta(max_length=1024, pattern=_Line)] | None = None


class _Thread(msgspec.Struct):
    type: str = ""


class _Question(msgspec.Struct, kw_only=True):
    model: Annotated[str, Meta(max_length=256, pattern=_Line)]
    messages: Annotated[list[_Turn], Meta(max_length=100_000)]
    thread: _Thread | None = None
    system: str | list[_Block] | None = None
    stream: bool | None = None
    temperature: _Share | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    stop_sequences: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=8192)] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=4096)] | None = None
    metadata: _Metadata | None = None
    # Fields by which other gateways let a caller choose where a request (and its key) goes.
    api_base: Raw | UnsetType = UNSET
    base_url: Raw | UnsetType = UNSET
    api_key: Raw | UnsetType = UNSET
    extra_headers: Raw | UnsetType = UNSET
    headers: Raw | UnsetType = UNSET
    proxy: Raw | UnsetType = UNSET
    user_config: Raw | UnsetType = UNSET


class _Body(_Question, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)]  # 0 writes the prompt to the cache and answers nothing


_HIJACKS = ("api_base", "base_url", "api_key", "extra_headers", "headers", "proxy", "user_config")
_decode = msgspec.json.Decoder(_Body).decode
_decode_question = msgspec.json.Decoder(_Question).decode


def read_head(body: bytes) -> RequestHead:
    """Check a body of POST /v1/messages; BadRequest with `param` for what is missing, mistyped or out of range."""
    said = _checked(body, _decode)
    stream = said.stream is True
    return RequestHead(said.model, stream, "sse" if stream else "json", said.max_tokens)


def read_count_head(body: bytes) -> RequestHead:
    """The same for POST /v1/messages/count_tokens, which has no `max_tokens` and no streams."""
    return RequestHead(_checked(body, _decode_question).model, operation=COUNT_TOKENS)


_QuestionT = TypeVar("_QuestionT", bound=_Question)


def _checked(body: bytes, decode: Callable[[bytes], _QuestionT]) -> _QuestionT:
    try:
        if not body.isascii():
            body.decode()
        said = decode(body)
    except msgspec.ValidationError as error:
        # A wrong type is met before the rest is read, which may show that this is no JSON at all.
        raise _invalid(str(error)) if is_json(body) else _malformed(body) from None
    except UnicodeDecodeError:
        raise BadRequest("The body is not valid UTF-8.", code="invalid_encoding") from None
    except (msgspec.DecodeError, RecursionError):
        raise _malformed(body) from None
    if not said.messages and (said.thread is None or said.thread.type != "continue"):
        raise BadRequest("messages must have a length of at least 1.", code="invalid_value", param="messages")
    for name in _HIJACKS:
        if getattr(said, name) is not UNSET:
            raise BadRequest(f'"{name}" is not a field of this API; remove it.', code="unknown_field", param=name)
    return said


_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(\w+)`")
_TYPES = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_BOUND = re.compile(r"Expected `([^`]*)` (of length )?([<>]=) (\S+)")
_JSON_NAMES = {"str": "a string", "int": "an integer", "float": "a number", "bool": "a boolean", "array": "a list"}


def _invalid(found: str) -> BadRequest:
    """The type checker's finding as a sentence for the caller, who is never shown more than names of ours."""
    where = _WHERE.match(found)
    what, path = (where["what"], where["path"] or "") if where else (found, "")
    if missing := _MISSING.search(what):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return BadRequest(f"{path} is required.", code="missing_field", param=path)
    if types := _TYPES.search(what):
        if not path:
            return BadRequest("The body must be a JSON object.", code="invalid_body")
        wanted = " or ".join(_JSON_NAMES.get(name, f"an {name}") for name in types[1].split(" | ") if name != "null")
        return BadRequest(f"{path} must be {wanted}, not {types[2]}.", code="invalid_type", param=path)
    if bound := _BOUND.search(what):
        size = "have a length of " if bound[2] else "be "
        side = "at least" if bound[3] == ">=" else "at most"
        return BadRequest(f"{path} must {size}{side} {bound[4]}.", code="invalid_value", param=path or None)
    if what.startswith("Invalid enum value"):
        return BadRequest(f"{path} must be user, assistant or system.", code="invalid_value", param=path)
    return BadRequest(f"{path} is empty or has characters that are not allowed.", code="invalid_value", param=path)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _malformed(body: bytes) -> BadRequest:
    if _SURROGATE.search(body):
        return BadRequest("The body is not valid JSON, or half of a surrogate pair is in it.", code="invalid_encoding")
    return BadRequest("The body is not valid JSON.", code="invalid_json")

"""The cheap look at every request: checked by one typed decode, read as far as the chain has to know it.

Nothing is refused here that a provider might understand: unknown fields pass. What is refused is what no Chat
server takes, what would let a caller steer the gateway itself, and what a lenient server would read differently
than we do.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from llmhub_plugins.dialects.openai.media import fault_of
from llmhub_plugins.dialects.openai_chat.words import CONTENT_KINDS
from msgspec import Meta, Raw, Struct

from llmhub_core.contracts import BadRequest, RequestHead, Where, find_value, is_json

_ABSENT = Raw()
_Words = Annotated[str, Meta(min_length=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)] | None
_Tokens = Annotated[int, Meta(ge=1, le=100_000_000)] | None


class _ImageUrl(Struct):
    url: str


class _Part(Struct):
    type: str
    image_url: _ImageUrl | str | None = None


class _CalledFunction(Struct):
    name: str
    arguments: str | None = None


class _Call(Struct):
    id: str | None = None
    type: str | None = None
    function: _CalledFunction | None = None


class _Message(Struct):
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _CalledFunction | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = _ABSENT
    strict: bool | None = None


class _Tool(Struct):
    type: str = "function"
    function: _Function | None = None


class _Named(Struct):
    name: str


class _Choice(Struct):
    type: str = "function"
    function: _Named | None = None


class _Schema(Struct):
    name: str | None = None
    description: str | None = None
    schema: dict[str, Raw] | None = None
    strict: bool | None = None


class _Format(Struct):
    # `grammar`, `regex` and `structural_tag` are other servers'; they are passed on.
    type: Literal["text", "json_object", "json_schema", "grammar", "regex", "structural_tag"]
    json_schema: _Schema | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Body(Struct):
    model: str
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Tokens = None
    max_completion_tokens: _Tokens = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    stop: _Words | Annotated[list[_Words], Meta(max_length=16)] | None = None
    seed: int | None = None
    presence_penalty: _Penalty = None
    frequency_penalty: _Penalty = None
    logprobs: bool | int | None = None  # a number at Together
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=1024)] | None = None
    tool_choice: Literal["none", "auto", "required", "any"] | _Choice | None = None
    functions: Annotated[list[_Function], Meta(max_length=1024)] | None = None
    function_call: Literal["none", "auto"] | _Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    user: Annotated[str, Meta(max_length=1024)] | None = None
    metadata: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=64)] | None = None
    # Fields by which other gateways let callers choose the address or the key: never ours to pass on.
    api_base: Raw = _ABSENT
    base_url: Raw = _ABSENT
    api_key: Raw = _ABSENT
    user_config: Raw = _ABSENT
    extra_headers: Raw = _ABSENT
    headers: Raw = _ABSENT
    proxy: Raw = _ABSENT
    timeout: Raw = _ABSENT


_STEERING = ("api_base", "base_url", "api_key", "user_config", "extra_headers", "headers", "proxy", "timeout")
_LARGEST_SCHEMA = 512 * 1024
_LARGEST_METADATA = 64 * 1024

_decode = msgspec.json.Decoder(_Body).decode
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_TOOL_NAME = re.compile(r"[^\s\x00-\x1f\x7f\"'<>]{1,128}").fullmatch
# Half a surrogate pair, written as an escape: no UTF-8 text has it, and readers differ in what they make of it.
_HALF_PAIR = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F]..(?<!\\u[dD][89abAB]..\\u[dD]...))", re.DOTALL
).finditer


def read_head(body: bytes, where: Where) -> RequestHead:
    """Check `body` and read its head; BadRequest with `param` for what cannot be used."""
    asked = _parse(body)
    for key in ("model", "stream"):
        if body.count(b'"' + key.encode() + b'"') > 1:
            find_value(body, key)  # refuses a key that stands twice
    model = asked.model
    if not 0 < len(model) <= 256 or _CONTROL(model):
        _refuse("model", "must be a name of 1 to 256 characters without control characters")
    _check_fields(asked)
    for index, message in enumerate(asked.messages):
        if type(message.content) is not str or message.role == "tool":
            _check_message(message, index)
    stream = asked.stream or False
    options = asked.stream_options
    return RequestHead(
        model=model,
        stream=stream,
        framing="sse" if stream else "json",
        max_output=asked.max_completion_tokens or asked.max_tokens,
        asked_usage=not stream or (options is not None and options.include_usage is True),
        n=asked.n or 1,
    )


def _parse(body: bytes) -> _Body:
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise BadRequest("The body must be UTF-8.", code="invalid_encoding") from None
    # One backslash is found far faster than any two bytes, and most bodies have few.
    if (
        b"\\" in body
        and (b"\\ud" in body or b"\\uD" in body)
        and any(_is_escape(body, found.start()) for found in _HALF_PAIR(body))
    ):
        raise BadRequest("The body holds half of a surrogate pair, which is no character.", code="invalid_encoding")
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        if is_json(body):
            raise _explained(str(error)) from None
        # A wrong type was met before the place that shows that this is no JSON at all.
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from None


def _is_escape(body: bytes, at: int) -> bool:
    """Whether the backslash at `at` begins an escape, and is not itself escaped."""
    before = body[max(0, at - 64) : at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0


def _check_fields(asked: _Body) -> None:
    if not (
        asked.api_base is asked.base_url is asked.api_key is asked.user_config is _ABSENT
        and asked.extra_headers is asked.headers is asked.proxy is asked.timeout is _ABSENT
    ):
        _unknown(next(name for name in _STEERING if getattr(asked, name) is not _ABSENT))
    if asked.metadata is not None:
        _check_metadata(asked.metadata)
    if asked.user is not None and _CONTROL(asked.user):
        _refuse("user", "must not hold control characters")
    for index, tool in enumerate(asked.tools or ()):
        if tool.function is not None:
            _check_function(tool.function, f"tools[{index}].function")
        elif tool.type == "function":
            _missing(f"tools[{index}].function")
    for index, function in enumerate(asked.functions or ()):
        _check_function(function, f"functions[{index}]")
    choice, format = asked.tool_choice, asked.response_format
    if isinstance(choice, _Choice) and choice.type == "function" and choice.function is None:
        _missing("tool_choice.function")
    if format is not None and format.type == "json_schema" and format.json_schema is None:
        _missing("response_format.json_schema")


def _check_metadata(metadata: dict[str, Any]) -> None:
    if sum(len(key) + len(str(value)) for key, value in metadata.items()) > _LARGEST_METADATA:
        _refuse("metadata", "must be smaller than 64 KiB")
    for name in _STEERING:
        if name in metadata:
            _unknown(f"metadata.{name}")


def _check_function(function: _Function, path: str) -> None:
    if not _TOOL_NAME(function.name):
        _refuse(f"{path}.name", "must be 1 to 128 characters without spaces or quotes")
    if function.parameters is not _ABSENT:
        raw = bytes(function.parameters)
        if not raw.startswith((b"{", b"null")):
            raise BadRequest(
                f"`{path}.parameters` must be a JSON Schema object.", code="invalid_type", param=f"{path}.parameters"
            )
        if len(raw) > _LARGEST_SCHEMA:
            _refuse(f"{path}.parameters", "must be smaller than 512 KiB")


def _check_message(message: _Message, index: int) -> None:
    content = message.content
    if content is None:
        if message.role in ("user", "system", "developer"):
            _missing(f"messages[{index}].content")
    elif type(content) is list:
        for place, part in enumerate(content):
            if part.type not in CONTENT_KINDS:
                _refuse(f"messages[{index}].content[{place}].type", "is not a known kind of content")
            if part.image_url is not None:
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                fault = fault_of(url)
                if fault is not None:
                    _refuse(f"messages[{index}].content[{place}].image_url.url", fault)
    if message.role == "tool" and not message.tool_call_id:
        _missing(f"messages[{index}].tool_call_id")


# Refusals.


def _missing(path: str) -> NoReturn:
    raise BadRequest(f"`{path}` is required.", code="missing_field", param=path)


def _refuse(path: str, rule: str) -> NoReturn:
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
    if missing := _MISSING.match(fault):
        path = f"{path}.{missing[1]}".lstrip(".")
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

"""The cheap look at every request: checked by one typed decode, read as far as the chain has to know it.

Nothing is refused here that a provider might understand: unknown fields pass. What is refused is what no Chat
server takes, what would let a caller steer the gateway itself, and what a lenient server would read differently
than we do.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from llmhub_plugins.dialects.openai.checks import (
    ABSENT,
    Penalty,
    Steered,
    Stop,
    StreamOptions,
    Tokens,
    check_metadata,
    check_model,
    check_steering,
    check_user,
    missing,
    parse,
    refuse,
)
from llmhub_plugins.dialects.openai.media import fault_of
from llmhub_plugins.dialects.openai_chat.words import CONTENT_KINDS
from msgspec import Meta, Raw, Struct

from llmhub_core.contracts import BadRequest, RequestHead, Where


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
    parameters: Raw = ABSENT
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


class _Body(Steered, kw_only=True):
    model: str
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens = None
    max_completion_tokens: Tokens = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    stop: Stop = None
    seed: int | None = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
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


_LARGEST_SCHEMA = 512 * 1024

_decode = msgspec.json.Decoder(_Body).decode
_TOOL_NAME = re.compile(r"[^\s\x00-\x1f\x7f\"'<>]{1,128}").fullmatch


def read_head(body: bytes, where: Where) -> RequestHead:
    """Check `body` and read its head; BadRequest with `param` for what cannot be used."""
    asked = parse(body, _decode)
    check_model(asked.model)
    _check_fields(asked)
    for index, message in enumerate(asked.messages):
        if type(message.content) is not str or message.role == "tool":
            _check_message(message, index)
    stream = asked.stream or False
    options = asked.stream_options
    return RequestHead(
        model=asked.model,
        stream=stream,
        framing="sse" if stream else "json",
        max_output=asked.max_completion_tokens or asked.max_tokens,
        asked_usage=not stream or (options is not None and options.include_usage is True),
        n=asked.n or 1,
    )


def _check_fields(asked: _Body) -> None:
    check_steering(asked)
    if asked.metadata is not None:
        check_metadata(asked.metadata)
    check_user(asked.user)
    for index, tool in enumerate(asked.tools or ()):
        if tool.function is not None:
            _check_function(tool.function, f"tools[{index}].function")
        elif tool.type == "function":
            missing(f"tools[{index}].function")
    for index, function in enumerate(asked.functions or ()):
        _check_function(function, f"functions[{index}]")
    choice, format = asked.tool_choice, asked.response_format
    if isinstance(choice, _Choice) and choice.type == "function" and choice.function is None:
        missing("tool_choice.function")
    if format is not None and format.type == "json_schema" and format.json_schema is None:
        missing("response_format.json_schema")


def _check_function(function: _Function, path: str) -> None:
    if not _TOOL_NAME(function.name):
        refuse(f"{path}.name", "must be 1 to 128 characters without spaces or quotes")
    if function.parameters is not ABSENT:
        raw = bytes(function.parameters)
        if not raw.startswith((b"{", b"null")):
            raise BadRequest(
                f"`{path}.parameters` must be a JSON Schema object.", code="invalid_type", param=f"{path}.parameters"
            )
        if len(raw) > _LARGEST_SCHEMA:
            refuse(f"{path}.parameters", "must be smaller than 512 KiB")


def _check_message(message: _Message, index: int) -> None:
    content = message.content
    if content is None:
        if message.role in ("user", "system", "developer"):
            missing(f"messages[{index}].content")
    elif type(content) is list:
        for place, part in enumerate(content):
            if part.type not in CONTENT_KINDS:
                refuse(f"messages[{index}].content[{place}].type", "is not a known kind of content")
            if part.image_url is not None:
                url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
                fault = fault_of(url)
                if fault is not None:
                    refuse(f"messages[{index}].content[{place}].image_url.url", fault)
    if message.role == "tool" and not message.tool_call_id:
        missing(f"messages[{index}].tool_call_id")

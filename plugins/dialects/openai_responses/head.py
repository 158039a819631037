"""The cheap look at every request: checked by one typed decode, read as far as the chain has to know it.

Nothing is refused here that a provider might understand: unknown fields, kinds of items and kinds of content pass.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from llmhub_plugins.dialects.openai.checks import (
    ABSENT,
    Steered,
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
from msgspec import Meta, Raw, Struct

from llmhub_core.contracts import CHAT, COUNT_TOKENS, BadRequest, RequestHead


class _Part(Struct):
    type: str
    image_url: str | None = None
    file_url: str | None = None


class _Item(Struct):
    type: str | None = None
    role: str | None = None
    content: Raw = ABSENT
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    output: Raw = ABSENT


class _Tool(Struct):
    type: str
    name: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class _Choice(Struct):
    type: str
    name: str | None = None


class _Format(Struct):
    type: str
    name: str | None = None
    schema: dict[str, Raw] | None = None
    strict: bool | None = None


class _Text(Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(Struct):
    effort: str | None = None


class _Body(Steered, kw_only=True):
    model: str
    input: str | Annotated[list[_Item], Meta(min_length=1, max_length=10_000)] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Tokens = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=1024)] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Choice | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    store: bool | None = None
    background: bool | None = None
    user: Annotated[str, Meta(max_length=1024)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=1024)] | None = None
    metadata: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=64)] | None = None
    stream_options: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Raw] | None = None
    prompt: dict[str, Raw] | None = None


_LARGEST_SCHEMA = 512 * 1024
_ROLES = frozenset({"user", "assistant", "system", "developer"})
_MESSAGES = (None, "message")

_decode = msgspec.json.Decoder(_Body).decode
_decode_parts = msgspec.json.Decoder(list[_Part]).decode
_TOOL_NAME = re.compile(r"[^\s\x00-\x1f\x7f\"'<>]{1,128}").fullmatch


def read_head(body: bytes, counting: bool = False) -> RequestHead:
    """Check `body` and read its head; BadRequest with `param` for what cannot be used."""
    asked = parse(body, _decode)
    check_model(asked.model)
    _check_fields(asked)
    if asked.input is None:
        if not (asked.prompt or asked.previous_response_id or asked.conversation):
            missing("input")
    elif not isinstance(asked.input, str):
        for index, item in enumerate(asked.input):
            _check_item(item, f"input[{index}]")
    stream = bool(asked.stream) and not counting
    return RequestHead(
        model=asked.model,
        stream=stream,
        framing="sse" if stream else "json",
        max_output=asked.max_output_tokens,
        operation=COUNT_TOKENS if counting else CHAT,
    )


def _check_fields(asked: _Body) -> None:
    check_steering(asked)
    if asked.metadata is not None:
        check_metadata(asked.metadata)
    check_user(asked.user)
    for index, tool in enumerate(asked.tools or ()):
        if tool.type in ("function", "custom"):
            _check_tool(tool, f"tools[{index}]")
    choice, format = asked.tool_choice, asked.text.format if asked.text else None
    if isinstance(choice, _Choice) and choice.type in ("function", "custom") and not choice.name:
        missing("tool_choice.name")
    if format is not None and format.type == "json_schema" and format.schema is None:
        missing("text.format.schema")


def _check_tool(tool: _Tool, path: str) -> None:
    if tool.name is None:
        missing(f"{path}.name")
    if not _TOOL_NAME(tool.name):
        refuse(f"{path}.name", "must be 1 to 128 characters without spaces or quotes")
    if tool.parameters is not ABSENT:
        raw = bytes(tool.parameters)
        if not raw.startswith((b"{", b"null")):
            _mistyped(f"{path}.parameters", "a JSON Schema object")
        if len(raw) > _LARGEST_SCHEMA:
            refuse(f"{path}.parameters", "must be smaller than 512 KiB")


def _check_item(item: _Item, path: str) -> None:
    kind = item.type
    if kind in _MESSAGES:
        if item.role is None:
            missing(f"{path}.type" if kind is None else f"{path}.role")
        if item.role not in _ROLES:
            refuse(f"{path}.role", "must be user, assistant, system or developer")
        _check_content(item.content, f"{path}.content")
    elif kind in ("function_call", "custom_tool_call"):
        if not item.call_id:
            missing(f"{path}.call_id")
        if not item.name:
            missing(f"{path}.name")
    elif kind in ("function_call_output", "custom_tool_call_output"):
        if not item.call_id:
            missing(f"{path}.call_id")
        if item.output is ABSENT:
            missing(f"{path}.output")


def _check_content(content: Raw, path: str) -> None:
    if content is ABSENT:
        missing(path)
    raw = bytes(content)
    if raw.startswith(b'"'):
        return
    if not raw.startswith(b"["):
        _mistyped(path, "a string or a list of parts")
    try:
        parts = _decode_parts(raw)
    except msgspec.ValidationError:
        _mistyped(path, "a list of parts, each an object with a type")
    for index, part in enumerate(parts):
        for name, url in (("image_url", part.image_url), ("file_url", part.file_url)):
            fault = fault_of(url) if url is not None else None
            if fault is not None:
                refuse(f"{path}[{index}].{name}", fault)


def _mistyped(path: str, wanted: str) -> NoReturn:
    raise BadRequest(f"`{path}` must be {wanted}.", code="invalid_type", param=path)

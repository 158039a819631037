"""A caller's body as a ChatRequest. What only this format knows stays beside each value, under its name."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from itertools import groupby
from typing import Any

from llmhub_plugins.dialects.anthropic.sealing import open_id, open_thoughts
from llmhub_plugins.dialects.anthropic.threads import thread_needs
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    ContentPart,
    Effort,
    File,
    Image,
    Inline,
    Link,
    MediaSource,
    Message,
    Opaque,
    OpaqueTool,
    Reasoning,
    RequestHead,
    Role,
    Sampling,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    dump_json,
    load_json,
)

Json = dict[str, Any]


def read_request(body: bytes, head: RequestHead) -> ChatRequest:
    """The whole request of a body that `read_head` has passed; BadRequest with `param` for malformed blocks."""
    try:
        said: Json = load_json(body)
    except ValueError:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    said = {name: value for name, value in said.items() if value is not None}
    said.pop("model"), said.pop("stream", None)
    messages = []
    if system := _content(said.pop("system", ""), "system"):
        messages.append(Message("system", system))
    for at, turn in enumerate(said.pop("messages")):
        messages += _messages(turn, f"messages[{at}]")
    tools = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(said.pop("tools", ())))
    sampling = _sampling(said)
    return ChatRequest(
        NAME,
        head.model,
        tuple(messages),
        tools,
        sampling,
        head.stream,
        head.framing,
        extras=said,
        needs=thread_needs(said),
    )


# Messages.


def _messages(turn: Json, param: str) -> list[Message]:
    """One turn; a user's turn that brings results of tools becomes one message a kind, in the same order."""
    role: Role = turn["role"]
    extras = _extras(turn, "role", "content")
    parts = _content(turn["content"], f"{param}.content")
    runs = groupby(parts, key=lambda part: isinstance(part, ToolResult)) if role == "user" else [(False, parts)]
    messages = [Message("tool" if results else role, tuple(run)) for results, run in runs] or [Message(role, ())]
    if extras:
        messages[0] = Message(messages[0].role, messages[0].content, extras=extras)
    return messages


def _content(content: Any, param: str) -> tuple[ContentPart, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise BadRequest(f"{param} must be a string or a list of blocks.", code="invalid_type", param=param)
    return tuple(_part(block, f"{param}[{at}]") for at, block in enumerate(content))


def _part(block: Any, param: str) -> ContentPart:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise BadRequest(f'{param} must be an object with a "type".', code="invalid_type", param=param)
    read = _PARTS.get(block["type"])
    return read(block, param) if read else Opaque(NAME, block["type"], block)


def _text(block: Json, param: str) -> ContentPart:
    return Text(_string(block, "text", param), _extras(block, "type", "text"))


def _image(block: Json, param: str) -> ContentPart:
    source = _source(block, param)
    return Image(source, extras=_extras(block, "type", "source")) if source else Opaque(NAME, "image", block)


def _document(block: Json, param: str) -> ContentPart:
    source = _source(block, param)
    if source is None:
        return Opaque(NAME, "document", block)
    title = block.get("title")
    return File(source, title if isinstance(title, str) else None, _extras(block, "type", "source", "title"))


def _source(block: Json, param: str) -> MediaSource | None:
    """Where the bytes are; None for kinds of sources that only this format knows."""
    match block.get("source"):
        case {"type": "base64", "media_type": str(media_type), "data": str(data), **rest} if not rest:
            return Inline(media_type, data)
        case {"type": "text", "media_type": str(media_type), "data": str(text), **rest} if not rest:
            return Inline(media_type, b64encode(text.encode("utf-8", "replace")).decode())
        case {"type": "file", "file_id": str(id), **rest} if not rest:
            return Stored(id)
        case {"type": "url", "url": str(url), **rest} if not rest:
            if not url.startswith(("https://", "http://")):
                where = f"{param}.source.url"
                raise BadRequest(f"{where} must be an http or https address.", code="invalid_value", param=where)
            return Link(url)
        case {"type": str()}:
            return None
    raise BadRequest(f'{param}.source must be an object with a "type".', code="invalid_type", param=f"{param}.source")


def _thinking(block: Json, param: str) -> ContentPart:
    secret = open_thoughts("" if block.get("signature") is None else _string(block, "signature", param))
    extras = _extras(block, "type", "thinking", "signature")
    return Reasoning(_string(block, "thinking", param), secret.signature, secret.redacted, secret.origin, extras)


def _redacted_thinking(block: Json, param: str) -> ContentPart:
    return Reasoning("", None, _string(block, "data", param), NAME, _extras(block, "type", "data"))


def _tool_use(block: Json, param: str) -> ContentPart:
    if not isinstance(block.get("input"), dict):
        raise BadRequest(f"{param}.input must be an object.", code="invalid_type", param=f"{param}.input")
    id, secret = open_id(_string(block, "id", param))
    name, arguments = _string(block, "name", param), dump_json(block["input"]).decode()
    extras = _extras(block, "type", "id", "name", "input")
    if secret is None:
        return ToolCall(id, name, arguments, extras)
    return ToolCall(id, name, arguments, extras, secret.signature, secret.origin)


def _tool_result(block: Json, param: str) -> ContentPart:
    content = block.get("content")
    parts = _content("" if content is None else content, f"{param}.content")
    extras = _extras(block, "type", "tool_use_id", "content", "is_error")
    call_id, _ = open_id(_string(block, "tool_use_id", param))
    return ToolResult(call_id, parts, block.get("is_error") is True, None, extras)


_PARTS: dict[str, Callable[[Json, str], ContentPart]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def _string(block: Json, name: str, param: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        code = "missing_field" if value is None else "invalid_type"
        raise BadRequest(f"{param}.{name} must be a string.", code=code, param=f"{param}.{name}")
    return value


def _extras(block: Json, *known: str) -> Json:
    rest = {name: value for name, value in block.items() if name not in known and value is not None}
    return {NAME: rest} if rest else {}


# Tools.


def _tool(tool: Any, param: str) -> Tool | OpaqueTool:
    kind = tool.get("type") or "custom"
    if kind != "custom":
        return OpaqueTool(NAME, str(kind), tool)
    parameters, description, strict = tool.get("input_schema"), tool.get("description"), tool.get("strict")
    if not isinstance(parameters, dict | None):
        raise BadRequest(f"{param}.input_schema must be an object.", code="invalid_type", param=f"{param}.input_schema")
    extras = _extras(tool, "type", "name", "description", "input_schema", "strict")
    return Tool(_string(tool, "name", param), description, parameters, strict, extras)


# How to answer. Each reader takes from `said` what the other formats can say as well and puts the rest back, so
# that a request can be written back whole: `thinking` keeps its `display`, `output_config` an effort of its own.


def _sampling(said: Json) -> Sampling:
    choice, parallel = _tool_choice(said)
    effort, answer_format = _output_config(said)
    return Sampling(
        max_output=said.pop("max_tokens", None),
        temperature=said.pop("temperature", None),
        top_p=said.pop("top_p", None),
        top_k=said.pop("top_k", None),
        stop=tuple(said.pop("stop_sequences", ())),
        effort=effort,
        reasoning_tokens=_thinking_budget(said),
        answer_format=answer_format,
        tool_choice=choice,
        parallel_tools=parallel,
        user=_user(said),
    )


def _take(said: Json, name: str) -> Json:
    value = said.pop(name, {})
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object.", code="invalid_type", param=name)
    return {key: inner for key, inner in value.items() if inner is not None}


def _put_back(said: Json, name: str, rest: Json) -> None:
    if rest:
        said[name] = rest


_CHOICES = {"auto": ToolChoice("auto"), "any": ToolChoice("required"), "none": ToolChoice("none")}


def _tool_choice(said: Json) -> tuple[ToolChoice | None, bool | None]:
    rest = _take(said, "tool_choice")
    choice = parallel = None
    match rest:
        case {"type": "auto" | "any" | "none" as kind}:
            choice = _CHOICES[kind]
            del rest["type"]
        case {"type": "tool", "name": str(name)}:
            choice = ToolChoice("named", name)
            del rest["type"], rest["name"]
    if isinstance(rest.get("disable_parallel_tool_use"), bool):
        parallel = not rest.pop("disable_parallel_tool_use")
    _put_back(said, "tool_choice", rest)
    return choice, parallel


def _thinking_budget(said: Json) -> int | None:
    rest = _take(said, "thinking")
    budget: int | None = None
    match rest:
        case {"type": "enabled", "budget_tokens": int(tokens)} if tokens > 0:
            budget = tokens
            del rest["budget_tokens"], rest["type"]
        case {"type": "adaptive" | "disabled" as kind}:
            budget = -1 if kind == "adaptive" else 0
            del rest["type"]
    _put_back(said, "thinking", rest)
    return budget


def _output_config(said: Json) -> tuple[Effort | None, AnswerFormat | None]:
    rest = _take(said, "output_config")
    # `output_format` is the older name of output_config.format; the API documents them as one and takes both.
    old_format = _take(said, "output_format")
    if old_format:
        rest.setdefault("format", old_format)
    answer_format = None
    match rest.get("format"):
        case {"type": "json_schema", "schema": dict(schema), **more} if not more:
            answer_format = AnswerFormat("json_schema", schema)
            del rest["format"]
    effort: Effort | None = None
    said_effort = rest.get("effort")
    if said_effort in ("low", "medium", "high", "xhigh"):
        effort = rest.pop("effort")
    elif said_effort == "max":
        effort = "xhigh"  # the nearest that others know; "max" itself stays among the leftovers
    _put_back(said, "output_config", rest)
    return effort, answer_format


def _user(said: Json) -> str | None:
    rest = _take(said, "metadata")
    user: str | None = rest.pop("user_id", None)
    _put_back(said, "metadata", rest)
    return user

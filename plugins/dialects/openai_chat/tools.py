"""Tools, the choice among them, and calls: as Chat says them, both ways.

Two things of Chat's own are said to other dialects in their words, and come back as they were: a tool of free text
(`custom`) is a function of one string, `input`; `allowed_tools` are all that other providers get to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llmhub_plugins.dialects.openai_chat.signatures import take_signature, with_signature
from llmhub_plugins.dialects.openai_chat.words import FUNCTION, NAME, as_extras

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    ContentPart,
    Extras,
    Opaque,
    OpaqueTool,
    Tool,
    ToolCall,
    ToolChoice,
    dump_json,
    load_json,
    unseal_id,
)

Json = dict[str, Any]
_TOOL_FIELDS = frozenset({"name", "description", "parameters", "strict"})


# Reading.


def read_tools(fields: Json) -> tuple[Tool | OpaqueTool, ...]:
    """Takes `tools` and `functions` out of `fields`. Of `allowed_tools`, the others go into `tool_choice`."""
    raw_tools = fields.pop("tools", [])
    allowed = _allowed(fields.get("tool_choice"))
    tools, others = [], []
    for index, raw in enumerate(raw_tools):
        if allowed is not None and _name_of(raw) not in allowed:
            others.append([index, raw])
        else:
            tools.append(_read_tool(raw))
    if others:
        fields["tool_choice"] = {**fields["tool_choice"], "others": others}
    tools += [_function(function, FUNCTION) for function in fields.pop("functions", ())]
    return tuple(tools)


def _allowed(choice: Any) -> frozenset[str] | None:
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return None
    allowed = choice.get("allowed_tools")
    named = allowed.get("tools") if isinstance(allowed, dict) else None
    return frozenset(_name_of(tool) for tool in named or () if isinstance(tool, dict)) or None


def _name_of(tool: Json) -> str:
    inner = tool.get(str(tool.get("type", "function")))
    return str(inner.get("name", "")) if isinstance(inner, dict) else ""


def _read_tool(raw: Json) -> Tool | OpaqueTool:
    kind, custom, function = raw.get("type", "function"), raw.get("custom"), raw.get("function")
    if kind == "custom" and isinstance(custom, dict) and isinstance(custom.get("name"), str):
        return Tool(custom["name"], custom.get("description"), _of_one_text(custom), extras=as_extras(raw, "type"))
    if function is None or kind != "function":
        return OpaqueTool(NAME, kind, raw)
    inner = {key: value for key, value in function.items() if key not in _TOOL_FIELDS}
    rest = {key: value for key, value in raw.items() if key not in ("type", "function")}
    return _function(function, as_extras({**rest, "function": inner} if inner else rest))


def _function(function: Json, extras: Extras) -> Tool:
    return Tool(
        function["name"],
        description=function.get("description"),
        parameters=function.get("parameters"),
        strict=function.get("strict"),
        extras=extras,
    )


def _of_one_text(custom: Json) -> Json:
    format = custom.get("format")
    grammar = format.get("grammar") if isinstance(format, dict) else None
    text = {"type": "string"}
    if isinstance(grammar, dict):
        text["description"] = f"Text by this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}"
    return {"type": "object", "properties": {"input": text}, "required": ["input"], "additionalProperties": False}


def read_choice(fields: Json) -> ToolChoice | None:
    """Takes `tool_choice` or `function_call` out of `fields`; `allowed_tools` also stays, as an extra."""
    raw = fields.get("tool_choice")
    if raw is None:
        function = fields.pop("function_call", None)
        if function is None:
            return None
        return ToolChoice(cast(Any, function)) if isinstance(function, str) else ToolChoice("named", function["name"])
    if isinstance(raw, str):
        del fields["tool_choice"]
        return ToolChoice("required") if raw == "any" else ToolChoice(cast(Any, raw))
    kind = raw.get("type", "function")
    if kind == "allowed_tools":
        allowed = raw.get("allowed_tools")
        required = isinstance(allowed, dict) and allowed.get("mode") == "required"
        return ToolChoice("required" if required else "auto")
    inner = raw.get(kind)
    if kind not in ("function", "custom") or not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return None
    del fields["tool_choice"]
    return ToolChoice("named", inner["name"])


def read_call(fields: Json, path: str) -> ContentPart:
    """One of a message's `tool_calls`, its id as the caller has it."""
    function, custom, kind = fields.get("function"), fields.get("custom"), fields.get("type")
    if function is None and kind in (None, "function"):
        raise BadRequest(f"`{path}.function` is required.", code="missing_field", param=f"{path}.function")
    id = fields.get("id")
    if not id:
        raise BadRequest(f"`{path}.id` is required.", code="missing_field", param=f"{path}.id")
    if kind == "custom" and isinstance(custom, dict) and isinstance(custom.get("input"), str):
        arguments = dump_json({"input": custom["input"]}).decode()
        return ToolCall(id, str(custom.get("name", "")), arguments, extras=as_extras(fields, "id", "custom"))
    if function is None:
        return Opaque(NAME, str(kind), {**fields, "id": unseal_id(id)[0]})
    rest = {name: value for name, value in fields.items() if name not in ("id", "type", "function")}
    signature = None
    if isinstance(rest.get("extra_content"), dict):
        signature, extra = take_signature(rest.pop("extra_content"))
        rest = {**rest, "extra_content": extra} if extra else rest
    return ToolCall(
        id,
        function["name"],
        function.get("arguments") or "",
        extras=as_extras(rest),
        signature=signature,
        origin=NAME if signature else None,
    )


# Writing.


def custom_tools(request: ChatRequest) -> frozenset[str]:
    """The names of the tools that the caller declared to take free text."""
    return frozenset(tool.name for tool in request.tools if isinstance(tool, Tool) and "custom" in own(tool.extras))


def own(extras: Extras) -> Json:
    """What this dialect alone knows of a value."""
    known: Json = extras.get(NAME) or {}
    return known


def write_tool(tool: Tool, strict: bool | None) -> Json:
    """A member of `tools`."""
    more = dict(own(tool.extras))
    if "custom" in more:
        return {"type": "custom", **more}
    function = {**write_function(tool, strict), **more.pop("function", {})}
    return {"type": "function", "function": function, **more}


def write_function(tool: Tool, strict: bool | None) -> Json:
    """A member of `functions`, or the inside of one of `tools`."""
    said = {"description": tool.description, "parameters": tool.parameters, "strict": strict}
    return {"name": tool.name, **{name: value for name, value in said.items() if value is not None}}


def write_choice(choice: ToolChoice, custom: frozenset[str], old_way: bool) -> Any:
    """The value of `tool_choice`, or of `function_call` the old way."""
    if choice.mode != "named":
        return choice.mode
    named = {"name": choice.name or ""}
    if old_way:
        return named
    kind = "custom" if choice.name in custom else "function"
    return {"type": kind, kind: named}


def with_others(choice: Mapping[str, Any], tools: list[Json]) -> tuple[Json, list[Json]]:
    """`allowed_tools` and all tools again, those that may not be called in their old places."""
    said = dict(choice)
    for index, raw in said.pop("others", ()):
        tools.insert(index, raw)
    return said, tools


def write_call(call: ToolCall, id: str, arguments: str, signature: str | None) -> Json:
    """A member of a message's `tool_calls`."""
    more = dict(own(call.extras))
    if more.get("type") == "custom":
        return {"id": id, **more, "custom": {"name": call.name, "input": free_text(arguments)}}
    extra = with_signature(more.pop("extra_content", {}), signature)
    if extra:
        more["extra_content"] = extra
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}, **more}


def free_text(arguments: str) -> str:
    """What a model wrote for a tool of free text that it was shown as a function of one string, `input`."""
    try:
        value = load_json(arguments)
    except ValueError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments

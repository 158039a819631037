"""The tools of a ChatRequest and the choice among them, as this format's `tools` and `tool_choice`."""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.anthropic.models import Abilities
from llmhub_plugins.dialects.anthropic.schema import reduce_schema, tool_schema
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import BadRequest, ChatRequest, OpaqueTool, Sampling, Tool

Json = dict[str, Any]


def write_tools(request: ChatRequest, able: Abilities, adapted: list[str]) -> list[Json]:
    """The `tools` list; what other dialects noted beside a tool is dropped and listed."""
    native = request.dialect == NAME
    written = []
    for at, tool in enumerate(request.tools):
        param = f"tools[{at}]"
        if isinstance(tool, OpaqueTool):
            written.append(_opaque(tool, param))
        else:
            body = _native_tool(tool) if native else _foreign_tool(tool, able, param, adapted)
            written.append(with_extras(body, tool.extras, param, adapted))
    return written


def _opaque(tool: OpaqueTool, param: str) -> Json:
    if tool.origin == NAME:
        return dict(tool.body)
    raise BadRequest(
        f"{param} ({tool.kind}) is a tool that only the {tool.origin} API has; Anthropic models cannot be given it. "
        "Remove it, or ask a model that has it.",
        code="unsupported_content",
        param=param,
    )


def _named(tool: Tool) -> Json:
    return {"name": tool.name} if tool.description is None else {"name": tool.name, "description": tool.description}


def _native_tool(tool: Tool) -> Json:
    """As its caller said it."""
    written = _named(tool) | {"input_schema": {"type": "object", **(tool.parameters or {"properties": {}})}}
    return written if tool.strict is None else {**written, "strict": tool.strict}


def _foreign_tool(tool: Tool, able: Abilities, param: str, adapted: list[str]) -> Json:
    written = _named(tool)
    schema, lost = tool_schema(tool.parameters)
    if tool.strict:
        reduced = reduce_schema(schema) if able.json_schema else None
        if reduced is None:
            adapted.append(f"{param}.strict=dropped")
        else:
            schema, lost = reduced[0], lost or reduced[1]
            written["strict"] = True
    if lost:
        adapted.append(f"{param}.parameters=reduced")
    return {**written, "input_schema": schema}


def with_extras(written: Json, extras: Any, param: str, adapted: list[str]) -> Json:
    """`written` with this dialect's extras; other dialects' are listed as dropped."""
    for dialect, own in extras.items():
        if dialect == NAME:
            written.update(own)
        else:
            adapted += [f"{param}.{name}=dropped" for name in (own if isinstance(own, dict) else (dialect,))]
    return written


def write_tool_choice(sampling: Sampling) -> Json:
    """The `tool_choice` object, empty where the caller said nothing."""
    choice = sampling.tool_choice
    modes = {"auto": "auto", "required": "any", "named": "tool", "none": "none"}
    written: Json = {"type": modes[choice.mode]} if choice else {}
    if choice and choice.mode == "named":
        written["name"] = choice.name
    if sampling.parallel_tools is not None and written.get("type") != "none":
        written = {"type": "auto", **written, "disable_parallel_tool_use": not sampling.parallel_tools}
    return written


def is_forced(sampling: Sampling) -> bool:
    """Whether the caller insists on a tool call."""
    return sampling.tool_choice is not None and sampling.tool_choice.mode in ("required", "named")

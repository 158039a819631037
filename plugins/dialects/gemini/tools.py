"""`tools` and `toolConfig`: functions and how they are called, and what Google runs itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmhub_plugins.dialects.gemini.models import takes_json_schema, validates_calls
from llmhub_plugins.dialects.gemini.part_writer import unsupported
from llmhub_plugins.dialects.gemini.schema import Reduction, is_more_than_json_schema, json_schema
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    PARAMETERS_ORDER,
    as_list,
    as_object,
    as_object_untouched,
    as_text,
    beneath,
    foreign_extras,
    own,
    own_extras,
)

from llmhub_core.contracts import BadRequest, ChatRequest, OpaqueTool, Tool, ToolChoice

# Reading.


def read_tools(value: object) -> list[Tool | OpaqueTool]:
    """`tools`: functions, and what Google runs itself."""
    tools: list[Tool | OpaqueTool] = []
    for number, entry in enumerate(as_list(value, "tools")):
        where = f"tools[{number}]"
        for kind, body in as_object(entry, where).items():
            if kind != "functionDeclarations":
                tools.append(OpaqueTool(NAME, kind, {kind: body}))
                continue
            for place, declaration in enumerate(as_list(body, f"{where}.{kind}")):
                inside = f"{where}.{kind}[{place}]"
                tools.append(_tool(as_object(declaration, inside), inside))
    return tools


def _tool(declaration: dict[str, Any], where: str) -> Tool:
    """The function; its schema in the format's own language as JSON Schema."""
    if "name" not in declaration:
        raise BadRequest(f"`{where}.name` is required.", code="missing_field", param=f"{where}.name")
    name = as_text(declaration.pop("name"), f"{where}.name")
    description = declaration.pop("description", None)
    if description is not None:
        as_text(description, f"{where}.description")
    schema: dict[str, Any] | None = None
    if "parametersJsonSchema" in declaration:
        schema = as_object_untouched(declaration.pop("parametersJsonSchema"), f"{where}.parametersJsonSchema")
    elif "parameters" in declaration:
        original = as_object_untouched(declaration.pop("parameters"), f"{where}.parameters")
        schema = json_schema(original)
        if is_more_than_json_schema(original):
            declaration[PARAMETERS_ORDER] = original
    return Tool(name, description, schema, extras=own(declaration))


def read_tool_choice(tool_config: dict[str, Any]) -> tuple[ToolChoice | None, dict[str, Any]]:
    """What `toolConfig` says of calls, and the rest of it."""
    value = tool_config.pop("functionCallingConfig", None)
    if value is None:
        return None, tool_config
    calling = as_object(value, "toolConfig.functionCallingConfig")
    mode = as_text(calling.pop("mode", "AUTO"), "toolConfig.functionCallingConfig.mode").upper()
    names = calling.get("allowedFunctionNames")
    choice = ToolChoice("auto")
    if mode == "NONE":
        choice = ToolChoice("none")
    elif mode == "ANY" and isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
        choice = ToolChoice("named", names[0])
        del calling["allowedFunctionNames"]
    elif mode == "ANY":
        choice = ToolChoice("required")
    elif mode != "AUTO":
        calling["mode"] = mode
    return choice, {**tool_config, **beneath("functionCallingConfig", calling)}


# Writing.


def write_tools(tools: Sequence[Tool | OpaqueTool], model: str, adapted: list[str]) -> list[dict[str, Any]]:
    """`tools`; all functions in one entry. BadRequest for a tool that another provider runs."""
    declarations: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if isinstance(tool, Tool):
            adapted += foreign_extras(tool.extras, where)
            if tool.strict and not validates_calls(model):
                adapted.append(f"{where}.strict=dropped")
            declarations.append(_declaration(tool, model, where, adapted))
            if len(declarations) == 1:
                written.append({"functionDeclarations": declarations})
        elif tool.origin == NAME:
            written.append(dict(tool.body))
        else:
            raise unsupported(where, f"Gemini has no tool `{tool.kind}`; leave it out or ask a model that has it")
    return written


def _declaration(tool: Tool, model: str, where: str, adapted: list[str]) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    rest = dict(own_extras(tool.extras))
    ordered = rest.pop(PARAMETERS_ORDER, None)
    if isinstance(ordered, dict) and json_schema(ordered) == tool.parameters:
        declaration["parameters"] = ordered
    elif tool.parameters is not None and takes_json_schema(model):
        declaration["parametersJsonSchema"] = tool.parameters
    elif tool.parameters is not None:
        reduction = Reduction(tool.parameters)
        adapted += [f"{where}.parameters=reduced"] if reduction.lossy else []
        if reduction.schema.get("properties"):  # an object without properties is refused
            declaration["parameters"] = reduction.schema
    return {**declaration, **rest}


def write_tool_config(request: ChatRequest, model: str) -> dict[str, Any]:
    """`toolConfig`. A choice without functions to choose from is an error to the API, and means nothing."""
    choice = request.sampling.tool_choice
    functions = [tool for tool in request.tools if isinstance(tool, Tool)]
    if request.dialect != NAME and not functions:
        return {}
    mode = None if choice is None else {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}[choice.mode]
    if mode in (None, "AUTO") and validates_calls(model) and any(tool.strict for tool in functions):
        mode = "VALIDATED"  # calls that are forced are held to their schema anyway
    if mode is None:
        return {}
    calling: dict[str, Any] = {"mode": mode}
    if choice is not None and choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    return {"functionCallingConfig": calling}

"""JSON Schemas as OpenAI's strict mode takes them.

Source: https://platform.openai.com/docs/guides/structured-outputs (every object closed, every property required, no
composition but ``anyOf``). Only in strict mode does the provider hold the model to the schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmhub_core.contracts import AnswerFormat, Tool

_NOT_TAKEN = frozenset(
    {"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    | {"default", "propertyNames", "unevaluatedProperties", "contains"}
)
_OF_SCHEMAS = ("properties", "$defs", "definitions")


_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def foreign_format(format: AnswerFormat, adapted: list[str]) -> AnswerFormat:
    """A schema for the answer, of another format's caller: its provider would hold the model to it without being asked
    to be strict, so OpenAI is asked wherever it can; where it cannot, `adapted` says so."""
    format = replace(format, name=_NO_NAME.sub("_", format.name or "answer")[:64])
    if format.strict is False:
        return format
    closed = strict_schema(format.schema)
    if closed is None:
        adapted.append("answer_format=relaxed")
        return replace(format, strict=None)
    return replace(format, strict=True, schema=closed)


def foreign_tool(tool: Tool, path: str, adapted: list[str]) -> Tool:
    """Another format's tool: its parameters an object, for OpenAI refuses any other, and strict where strict mode takes
    them; where it does not, `adapted` says so."""
    if tool.parameters is not None and "type" not in tool.parameters:
        tool = replace(tool, parameters={"type": "object", **tool.parameters})
    if not tool.strict or strict_schema(tool.parameters) == tool.parameters:
        return tool
    adapted.append(f"{path}.strict=dropped")
    return replace(tool, strict=None)


def strict_schema(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`schema` for strict mode, objects closed that did not say; None if strict mode would refuse it or if it would
    mean another thing there (a property that may be left out)."""
    if schema is None or schema.get("type") != "object":
        return None
    try:
        closed: dict[str, Any] = _closed(schema)
        return closed
    except _Refused:
        return None


class _Refused(Exception):
    """Strict mode does not take it."""


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    if not _NOT_TAKEN.isdisjoint(schema):
        raise _Refused
    closed: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _OF_SCHEMAS and isinstance(value, Mapping):
            closed[name] = {key: _closed(inner) for key, inner in value.items()}
        elif name == "anyOf" and isinstance(value, list):
            closed[name] = [_closed(inner) for inner in value]
        elif name == "items":
            closed[name] = _closed(value)
        else:
            closed[name] = value
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema:
        if schema.get("additionalProperties", False) is not False or not _all_required(schema):
            raise _Refused
        closed["additionalProperties"] = False
        closed["required"] = schema.get("required") or []
        closed["properties"] = closed.get("properties") or {}
    return closed


def _all_required(schema: Mapping[str, Any]) -> bool:
    """Whether no property may be left out; odd values (callers write anything) are none of strict mode's."""
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return False
    return all(isinstance(name, str) for name in required) and set(required) == set(properties)

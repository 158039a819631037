"""JSON Schemas as OpenAI's strict mode takes them.

Source: https://platform.openai.com/docs/guides/structured-outputs (every object closed, every property required, no
composition but ``anyOf``). Only in strict mode does the provider hold the model to the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_TAKEN = frozenset(
    {"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    | {"default", "propertyNames", "unevaluatedProperties", "contains"}
)
_OF_SCHEMAS = ("properties", "$defs", "definitions")


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

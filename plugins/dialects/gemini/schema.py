"""The format's own schema language (OpenAPI-like, upper-case types) as JSON Schema, which models from 2.0 on take
as well: there is no way back, and none is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmhub_plugins.dialects.gemini.words import camel

_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`parameters` or `responseSchema` as a JSON Schema: lower-case types, ``nullable`` as a type of its own,
    64-bit counts (strings in this format) as numbers. What JSON Schema does not know is left out."""
    members = camel(schema)
    nullable = members.pop("nullable", False)
    members.pop("propertyOrdering", None)
    result: dict[str, Any] = {}
    for name, value in members.items():
        if name == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                result["type"] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            result["properties"] = {key: _inner(entry) for key, entry in value.items()}
        elif name == "defs" and isinstance(value, dict):
            result["$defs"] = {key: _inner(entry) for key, entry in value.items()}
        elif name == "ref":
            result["$ref"] = value
        elif name in ("items", "additionalProperties"):
            result[name] = _inner(value)
        elif name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            result[name] = [_inner(entry) for entry in value]
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            result[name] = int(value)
        else:
            result[name] = value
    return _with_null(result) if nullable is True else result


def _inner(value: Any) -> Any:
    return json_schema(value) if isinstance(value, dict) else value


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list):
            schema["enum"] = [*schema["enum"], None]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return schema


def is_more_than_json_schema(schema: Any) -> bool:
    """Whether `schema` says what JSON Schema cannot: the order in which properties are to be written."""
    if isinstance(schema, dict):
        inner = schema.get("properties")
        return (
            any(name in schema for name in ("propertyOrdering", "property_ordering"))
            or any(map(is_more_than_json_schema, inner.values() if isinstance(inner, dict) else ()))
            or any(is_more_than_json_schema(value) for name, value in schema.items() if name != "properties")
        )
    return isinstance(schema, list) and any(map(is_more_than_json_schema, schema))

"""The format's own schema language (OpenAPI-like, upper-case types) and JSON Schema.

Models from 2.0 on take JSON Schema. For older ones it is reduced to the format's own.
"""

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


# JSON Schema, reduced.

_KEPT = frozenset(
    {"title", "description", "nullable", "required", "pattern", "example", "default", "minimum", "maximum", *_COUNTS}
)
_MEANINGLESS = frozenset({"$schema", "$id", "$comment", "$defs", "definitions", "examples", "deprecated"})
"""Nothing is lost with these: they say nothing of values, or are written where they are referred to."""

_FORMATS = frozenset({"date-time", "enum", "float", "double", "int32", "int64"})


class Reduction:
    """One JSON Schema on its way into the format's own language (the `Schema` object of the API description).

    `lossy` says whether anything that limits values had to be left out.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self._within: list[str] = []
        self.lossy = False
        self.schema = self._reduced(schema)

    def _reduced(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, Mapping):
            self.lossy = self.lossy or schema is not True
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference, {name: value for name, value in schema.items() if name != "$ref"})
        result: dict[str, Any] = {}
        for name, value in schema.items():
            if name in _KEPT:
                result[name] = value
            elif name == "type":
                self._type(value, result)
            elif name == "properties" and isinstance(value, Mapping):
                result[name] = {key: self._reduced(entry) for key, entry in value.items()}
            elif name == "items":
                result[name] = self._reduced(value)
            elif name in ("anyOf", "oneOf") and isinstance(value, list):
                self.lossy = self.lossy or name == "oneOf"
                self._any_of(value, result)
            elif name == "allOf" and isinstance(value, list) and len(value) == 1:
                result |= self._reduced(value[0])
            elif name in ("enum", "const"):
                self._enum(value if name == "enum" and isinstance(value, list) else [value], result)
            elif name == "format" and isinstance(value, str) and value in _FORMATS:
                result[name] = value
            elif name not in _MEANINGLESS:
                self.lossy = True
        return result

    def _type(self, value: object, result: dict[str, Any]) -> None:
        kinds = [kind for kind in (value if isinstance(value, list) else [value]) if isinstance(kind, str)]
        if "null" in kinds and len(kinds) > 1:
            result["nullable"] = True
        others = [kind for kind in kinds if kind != "null"] or kinds
        if len(others) == 1:
            result["type"] = others[0].upper()
        elif others:
            result["anyOf"] = [{"type": kind.upper()} for kind in others]

    def _any_of(self, entries: list[Any], result: dict[str, Any]) -> None:
        choices = [entry for entry in entries if entry != {"type": "null"}]
        if len(choices) < len(entries):
            result["nullable"] = True
        if len(choices) == 1:
            result |= self._reduced(choices[0])
        elif choices:
            result["anyOf"] = [self._reduced(entry) for entry in choices]

    def _enum(self, values: list[Any], result: dict[str, Any]) -> None:
        """Only texts can be listed."""
        texts = [value for value in values if isinstance(value, str)]
        if None in values:
            result["nullable"] = True
        if len(texts) == len([value for value in values if value is not None]) and texts:
            result["type"], result["format"], result["enum"] = "STRING", "enum", texts
        elif any(value is not None for value in values):
            self.lossy = True

    def _referred(self, reference: str, beside: dict[str, Any]) -> dict[str, Any]:
        """What `reference` points at, written in its place; a schema that contains itself ends there."""
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping) or reference in self._within:
            self.lossy = True
            return {"type": "OBJECT"}
        self._within.append(reference)
        result = self._reduced({**found, **beside})
        self._within.pop()
        return result

"""JSON Schemas as Claude models take them: whole for ordinary tools, reduced where the answer is bound to them.

What strict tools and `output_config.format` take is documented on Anthropic's page "Structured outputs" and shown by
the helper of its SDKs: types, enums, `anyOf`, `$defs` and closed objects. Limits of numbers, lengths and the like are
not enforced; they are told to the model in the description, where it may heed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
Schema = Mapping[str, Any]

_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
_NOTES = {"$schema", "$id", "$comment", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"}
"""Members that bind nothing: leaving them out loses nothing."""

_DEPTH = 100


class _Unbound(Exception):
    """The schema allows what no closed grammar can: anything at all, or itself."""


def reduce_schema(schema: Schema) -> tuple[Json, bool] | None:
    """`schema` as strict tools take it, and whether some of it is no longer enforced; None if its meaning would be
    lost: recursion, objects with any members."""
    reducer = _Reducer()
    try:
        reduced = reducer.node(schema, 0)
        _refuse_recursion(reduced)
    except _Unbound:
        return None
    return reduced, reducer.lost


class _Reducer:
    def __init__(self) -> None:
        self.lost = False

    def node(self, schema: Any, depth: int) -> Json:
        if not isinstance(schema, Mapping) or depth > _DEPTH:
            raise _Unbound
        left = {name: value for name, value in schema.items() if name not in _NOTES and not name.startswith("x-")}
        made: Json = {}
        for name in ("$defs", "definitions"):
            if isinstance(inner := left.pop(name, None), Mapping):
                made[name] = {key: self.node(value, depth + 1) for key, value in inner.items()}
        if "$ref" in left:
            return made | self._reference(left)
        self._shape(left, made, depth)
        for name in ("title", "description"):
            if isinstance(text := left.pop(name, None), str):
                made[name] = text
        if left:
            self.lost = True
            told = ", ".join(f"{name}: {value}" for name, value in left.items())
            made["description"] = f"{made['description']} ({told})" if "description" in made else f"({told})"
        return made

    @staticmethod
    def _reference(left: Json) -> Json:
        if not str(left["$ref"]).startswith(("#/$defs/", "#/definitions/")):
            raise _Unbound
        return {"$ref": left["$ref"]}  # nothing may stand beside it

    def _shape(self, left: Json, made: Json, depth: int) -> None:
        """Move from `left` to `made` what says which values are meant."""
        kind = left.pop("type", None)
        if left.pop("nullable", None) is True and isinstance(kind, str):
            kind = [kind, "null"]
        for name, written in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
            if isinstance(left.get(name), list) and left[name]:
                made[written] = [self.node(inner, depth + 1) for inner in left.pop(name)]
                break
        else:
            self._plain_shape(kind, left, made, depth)

    def _plain_shape(self, kind: Any, left: Json, made: Json, depth: int) -> None:
        if isinstance(left.get("enum"), list) and all(map(_is_plain, left["enum"])):
            made |= {"type": kind} if isinstance(kind, str) else {}
            made["enum"] = left.pop("enum")
        elif "const" in left and _is_plain(left["const"]):
            made["const"] = left.pop("const")
        elif isinstance(kind, list) and kind and _TYPES.issuperset(kind):
            # Each type takes the members that are about it; the words stay with the whole.
            words: Json = {name: left.pop(name) for name in ("title", "description") if name in left}
            made["anyOf"] = [self.node({"type": one, **_about(one, left)}, depth + 1) for one in kind]
            left.clear()
            left.update(words)
        elif isinstance(kind, str) and kind in _TYPES:
            made["type"] = kind
            self._members(kind, left, made, depth)
        else:
            raise _Unbound

    def _members(self, kind: str, left: Json, made: Json, depth: int) -> None:
        if kind == "object":
            members = left.pop("properties", None)
            if left.pop("additionalProperties", False) not in (False, None) or not isinstance(members, Mapping):
                raise _Unbound
            made["properties"] = {name: self.node(value, depth + 1) for name, value in members.items()}
            made["additionalProperties"] = False
            if isinstance(required := left.pop("required", None), list):
                made["required"] = required
        elif kind == "array":
            if "items" in left:
                made["items"] = self.node(left.pop("items"), depth + 1)
            if left.get("minItems") in (0, 1):
                made["minItems"] = left.pop("minItems")
        elif kind == "string" and left.get("format") in _FORMATS:
            made["format"] = left.pop("format")


_ABOUT = {
    "object": {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
    "array": {"items", "minItems", "maxItems", "uniqueItems", "prefixItems"},
    "string": {"format", "pattern", "minLength", "maxLength"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_ABOUT["integer"] = _ABOUT["number"]


def _about(kind: str, members: Json) -> Json:
    return {name: value for name, value in members.items() if name in _ABOUT.get(kind, ())}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _refuse_recursion(schema: Json) -> None:
    """_Unbound if a definition needs itself, or one that is not there."""
    known = {f"#/{place}/{name}": body for place in ("$defs", "definitions") for name, body in _defs(schema, place)}
    open_now: set[str] = set()
    closed: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                visit(reference)
            for name, inner in value.items():
                if name not in ("$defs", "definitions"):
                    walk(inner)

    def visit(reference: str) -> None:
        if reference in open_now or reference not in known:
            raise _Unbound
        if reference not in closed:
            open_now.add(reference)
            walk(known[reference])
            open_now.remove(reference)
            closed.add(reference)

    walk(schema)


def _defs(schema: Json, place: str) -> list[tuple[str, Any]]:
    return list(schema.get(place, {}).items())


def tool_schema(schema: Schema | None) -> tuple[Json, bool]:
    """The `input_schema` of an ordinary tool, and whether it says less than `schema`: the API wants an object at the
    top and refuses combinations of schemas there, so theirs are laid together."""
    said = dict(schema or {"properties": {}})
    said["type"] = "object"
    variants: list[Schema] = []
    closed = True
    for name in ("allOf", "anyOf", "oneOf"):
        if isinstance(inner := said.get(name), list):
            del said[name]
            variants += [variant for variant in inner if isinstance(variant, Mapping)]
            closed = closed and name == "allOf"
    if not variants:
        return said, False
    properties = [variant.get("properties") for variant in variants]
    joined = {name: value for each in properties if isinstance(each, Mapping) for name, value in each.items()}
    said["properties"] = {**joined, **(said.get("properties") or {})}
    required = [set(variant.get("required") or ()) for variant in variants]
    needed = set.union(*required) if closed else set.intersection(*required)
    if needed := needed | set(said.get("required") or ()):
        said["required"] = sorted(needed)
    return said, True

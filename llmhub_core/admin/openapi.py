"""The OpenAPI 3.1 document, made from the table of calls and their types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from llmhub_core import __version__

if TYPE_CHECKING:
    from llmhub_core.admin.calls import Endpoint

REF = "#/components/schemas/{name}"

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "advice", "source"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "advice", "source")},
        }
    },
}


def document(endpoints: Sequence[Endpoint], root: str) -> dict[str, Any]:
    types = [each.answer for each in endpoints if each.answer is not None]
    types += [each.sent for each in endpoints if each.sent is not None]
    shown, components = msgspec.json.schema_components(types, ref_template=REF)
    schemas = dict(zip(map(str, types), shown, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(root + each.path, {})[each.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "llm-hub admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR},
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "llmhub"},
                "token": {"type": "http", "scheme": "bearer", "description": "An admin token: lha-…"},
            },
        },
    }


def _operation(each: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    words = [re.sub(r"\W", "_", word.strip("{}")) for word in each.path.strip("/").split("/")]
    operation: dict[str, Any] = {
        "operationId": "_".join([each.method.lower(), *words]),
        "summary": each.help,
        "description": f"Needs the role {each.role}." if each.role else "For anybody.",
        "security": [{"session": []}, {"token": []}] if each.role else [],
        "parameters": [*_in_path(each), *_in_query(each), *_in_header(each)],
        "responses": {
            "200": {"description": "Done.", "content": _content(each, schemas)},
            "default": {
                "description": "Refused; the code is for programs, the advice for people.",
                "content": {"application/json": {"schema": {"$ref": REF.format(name="Error")}}},
            },
        },
    }
    if each.sent is not None:
        body = {"application/json": {"schema": schemas[str(each.sent)]}}
        operation["requestBody"] = {"required": not each.may_be_empty, "content": body}
    return operation


def _content(each: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    if each.answer is None:
        return {"text/event-stream": {"schema": {"type": "string"}}}
    content = {"application/json": {"schema": schemas[str(each.answer)]}}
    if "format" in each.asked.__struct_fields__:
        content["text/csv"] = {"schema": {"type": "string"}}
    return content


def _in_path(each: Endpoint) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", each.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(each: Endpoint) -> list[dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([each.asked], ref_template=REF)
    whole = components[each.asked.__name__] if "$ref" in schema else schema
    required = whole.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": shape}
        for name, shape in whole.get("properties", {}).items()
    ]


def _in_header(each: Endpoint) -> list[dict[str, Any]]:
    if each.method == "GET" or each.role is None:
        return []
    note = "`csrf` of GET session; not needed with an admin token."
    schema: dict[str, Any] = {"type": "string"}
    headers = [{"name": "x-csrf-token", "in": "header", "required": False, "schema": schema, "description": note}]
    if each.repeatable:
        note = "Sent again with the same body within a day, the act is not done again and the answer is the same."
        key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        headers.append(
            {"name": "idempotency-key", "in": "header", "required": False, "schema": key, "description": note}
        )
    return headers

"""Answers in a JSON Schema at places that do not take one: the JSON mode with the schema among the instructions, or a
function that the model must call and whose arguments are the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmhub_plugins.providers.openai_compatible.body import Body
from llmhub_plugins.providers.openai_compatible.preset import Quirks, Structured

from llmhub_core.contracts import BadRequest, dump_json

ANSWER = "llmhub_answer"
"""The function whose arguments are the answer."""

EMULATED = "response_format=emulated"


def words(quirks: Quirks) -> Iterator[str]:
    """What a body must hold if something is to be done here."""
    if quirks.structured != "native" or quirks.schema_models or quirks.schema_without:
        yield "json_schema"
    if not quirks.json_object:
        yield "json_object"


def apply(quirks: Quirks, body: Body) -> None:
    """Put the wish for a schema as the place takes it."""
    format = body.get("response_format")
    if not isinstance(format, dict):
        return
    if format.get("type") == "json_object" and not quirks.json_object:
        body.set("response_format", {"type": "json_schema", "json_schema": _any_object()})
    elif format.get("type") == "json_schema":
        schema = format.get("json_schema")
        _schema(_way(quirks, body), schema if isinstance(schema, dict) else {}, body)


def _any_object() -> dict[str, Any]:
    return {"name": "answer", "schema": {"type": "object"}}


def _way(quirks: Quirks, body: Body) -> Structured:
    if quirks.structured != "native":
        return quirks.structured
    if quirks.schema_models and re.search(quirks.schema_models, str(body.get("model"))) is None:
        return quirks.otherwise
    return quirks.otherwise if any(body.get(name) for name in quirks.schema_without) else "native"


def _schema(way: Structured, asked: dict[str, Any], body: Body) -> None:
    if way == "refuse":
        raise BadRequest(
            "`response_format`: the provider of this model takes no JSON Schema; leave it out or use another model.",
            code="unsupported_content",
            param="response_format",
        )
    if way == "json_object":
        body.set("response_format", {"type": "json_object"})
        _instruct(asked, body)
        body.adapted.append(EMULATED)
    elif way == "forced_tool":
        _force(asked, body)


def _instruct(asked: dict[str, Any], body: Body) -> None:
    """The schema as the last words of the system message; DeepSeek and others want the word JSON to be there."""
    text = "Answer with a JSON value only, one that is valid against this JSON Schema: "
    text += dump_json(asked.get("schema") or {"type": "object"}).decode()
    about = asked.get("description")
    if isinstance(about, str) and about:
        text += f"\nWhat it is for: {about}"
    messages = body.get("messages") or []
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    if first.get("role") not in ("system", "developer"):
        messages.insert(0, {"role": "system", "content": text})
    elif isinstance(first.get("content"), list):
        first["content"].append({"type": "text", "text": text})
    else:
        first["content"] = f"{first.get('content') or ''}\n\n{text}".lstrip()
    body.set("messages", messages)


def _force(asked: dict[str, Any], body: Body) -> None:
    body.pop("response_format")
    choice = body.get("tool_choice")
    tools = body.get("tools") or []
    if tools and choice not in (None, "auto", "none"):
        # The caller wants a call of its own first: there is no answer yet whose form could matter.
        body.adapted.append("response_format=dropped")
        return
    if choice == "none":
        tools = []
    function = {
        "name": ANSWER,
        "description": str(asked.get("description") or "Gives the answer. Call it once, when the answer is known."),
        "parameters": asked.get("schema") or {"type": "object"},
    }
    body.set("tools", [*tools, {"type": "function", "function": function}])
    named = {"type": "function", "function": {"name": ANSWER}}
    body.set("tool_choice", "required" if tools else named)
    body.adapted.append(EMULATED)

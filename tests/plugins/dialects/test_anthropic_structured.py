"""The anthropic dialect: answers bound to a schema, native, reduced, emulated and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings
from llmhub_plugins.dialects.anthropic.schema import reduce_schema, tool_schema
from llmhub_plugins.dialects.anthropic.structured import ANSWER, WRAPPED_ANSWER

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    ChatResponse,
    Effort,
    Message,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    fold,
)

Json = dict[str, Any]
USER = Message("user", (Text("hi"),))
TOOL = Tool("f", None, {"type": "object", "properties": {}})
SKY = {"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"], "additionalProperties": False}
OPEN = {"type": "object", "additionalProperties": {"type": "integer"}}
OLD, NATIVE, NEWEST = "claude-opus-4-1", "claude-sonnet-4-5", "claude-opus-5-5"


def write(
    model: str,
    schema: Any = None,
    kind: Any = "json_schema",
    tools: tuple[Tool, ...] = (),
    setting: Any = "auto",
    description: str | None = None,
    **sampling: Any,
) -> tuple[Json, tuple[str, ...]]:
    wanted = AnswerFormat(kind, schema, "n", description, strict=True)
    request = ChatRequest("openai_chat", "public", (USER,), tools, Sampling(answer_format=wanted, **sampling))
    dialect = Anthropic(AnthropicSettings(structured_output=setting))
    written = dialect.encode_request(request, model)
    return json.loads(written.body), written.adapted


def test_a_model_that_knows_schemas_is_told_natively() -> None:
    body, adapted = write(NATIVE, SKY)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SKY}}
    assert ("tools" in body, "tool_choice" in body, adapted) == (False, False, ())
    body, adapted = write("claude-opus-5", SKY, effort="low", tools=(TOOL,))
    assert body["output_config"]["effort"] == "low"
    assert body["output_config"]["format"]["schema"] == SKY
    assert adapted == ()


def test_what_is_not_enforced_is_told_and_listed() -> None:
    schema = {**SKY, "properties": {"sky": {"type": "string", "minLength": 3, "description": "Colour."}}}
    body, adapted = write(NATIVE, schema)
    told = body["output_config"]["format"]["schema"]["properties"]["sky"]
    assert told == {"type": "string", "description": "Colour. (minLength: 3)"}
    assert adapted == ("response_format=reduced",)


@pytest.mark.parametrize(
    ("model", "schema", "kind", "setting"),
    [
        (OLD, SKY, "json_schema", "auto"),
        (NATIVE, SKY, "json_schema", "tool"),
        (NATIVE, OPEN, "json_schema", "auto"),
        (NATIVE, None, "json_object", "auto"),
        ("kimi-k2", SKY, "json_schema", "auto"),
    ],
)
def test_else_a_tool_is_forced(model: str, schema: Any, kind: Any, setting: Any) -> None:
    body, adapted = write(model, schema, kind, setting=setting, effort="low", description="The weather.")
    (tool,) = body["tools"]
    assert tool["name"] == ANSWER
    assert tool["input_schema"] == (schema or {"type": "object"})
    assert "The weather." in tool["description"]
    assert body["tool_choice"] == {"type": "tool", "name": ANSWER, "disable_parallel_tool_use": True}
    # A forced tool excludes thinking, and the format is what the caller's program relies on.
    assert "thinking" not in body
    assert set(adapted) == {"response_format=emulated", "effort=dropped"}
    with pytest.raises(BadRequest) as refused:
        write(OLD, schema, kind, setting="refuse")
    assert (refused.value.code, refused.value.param) == ("unsupported_content", "response_format")


def test_a_caller_who_offers_tools_may_still_have_them_called() -> None:
    body, adapted = write(OLD, SKY, tools=(TOOL,))
    assert [tool["name"] for tool in body["tools"]] == ["f", ANSWER]
    assert body["tool_choice"] == {"type": "any"}
    assert write(OLD, SKY, tools=(TOOL,), parallel_tools=False)[0]["tool_choice"] == {
        "type": "any",
        "disable_parallel_tool_use": True,
    }
    body, _ = write(OLD, SKY, tools=(TOOL,), tool_choice=ToolChoice("none"))
    assert body["tool_choice"]["name"] == ANSWER
    body, adapted = write(OLD, SKY, tools=(TOOL,), tool_choice=ToolChoice("named", "f"))
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    assert adapted == ("response_format=dropped",)


@pytest.mark.parametrize("effort", [None, "low"])
def test_a_model_that_cannot_be_forced_is_instructed(effort: Effort | None) -> None:
    body, adapted = write(NEWEST, None, "json_object", effort=effort)
    assert (body["tools"][0]["name"], "tool_choice" in body) == (ANSWER, False)
    assert ANSWER in body["system"]
    assert ("thinking" in body) is (effort is not None)
    assert adapted == ("response_format=emulated",)


def test_a_schema_of_something_else_than_an_object_is_wrapped() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "integer"}}}
    body, _ = write(OLD, schema)
    (tool,) = body["tools"]
    assert (tool["name"], body["tool_choice"]["name"]) == (WRAPPED_ANSWER, WRAPPED_ANSWER)
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"answer": {"type": "array", "items": {"$ref": "#/$defs/x"}}},
        "required": ["answer"],
        "$defs": {"x": {"type": "integer"}},
    }


@pytest.mark.parametrize("dialect", ["anthropic", "openai_chat"])
@pytest.mark.parametrize("name", [ANSWER, WRAPPED_ANSWER])
def test_no_caller_can_have_a_tool_of_that_name(dialect: str, name: str) -> None:
    request = ChatRequest(dialect, "public", (USER,), (TOOL, Tool(name)), Sampling(max_output=5))
    with pytest.raises(BadRequest) as refused:
        Anthropic(AnthropicSettings()).encode_request(request, OLD)
    assert refused.value.param == "tools[1].name"


# The answer.


def answers(content: list[Json], stop: str = "tool_use") -> list[ChatResponse]:
    """What is read of a message: whole, streamed, and streamed byte by byte."""
    dialect = Anthropic(AnthropicSettings())
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "model": "c", "content": content, "stop_reason": stop, "usage": usage}
    whole = dialect.response_decoder(False)
    whole.feed(json.dumps(message).encode())
    frames: list[Json] = [{"type": "message_start", "message": {**message, "content": []}}]
    for index, block in enumerate(content):
        given = block.get("input")
        frames.append({"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}})
        if block["type"] == "tool_use":
            text = given if isinstance(given, str) else json.dumps(given)
            pieces = ["", text[:3], text[3:]]
            frames += [
                {
                    "type": "content_block_delta",
                    "index": index,
                    "delta": {"type": "input_json_delta", "partial_json": piece},
                }
                for piece in pieces
            ]
        frames.append({"type": "content_block_stop", "index": index})
    frames += [{"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}, {"type": "message_stop"}]
    data = b"".join(f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode() for frame in frames)
    found = [fold(whole.close())]
    for size in (len(data), 1):
        decoder = dialect.response_decoder(True)
        events = [event for at in range(0, len(data), size) for event in decoder.feed(data[at : at + size])]
        found.append(fold([*events, *decoder.close()]))
    return found


def call(name: str, given: Any) -> Json:
    return {"type": "tool_use", "id": "t", "name": name, "input": given}


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        (ANSWER, {"sky": "blue"}, {"sky": "blue"}),
        (ANSWER, {}, {}),
        (WRAPPED_ANSWER, {"answer": [1, 2]}, [1, 2]),
        (WRAPPED_ANSWER, {"answer": "x"}, "x"),
        (WRAPPED_ANSWER, {"other": 1}, {"other": 1}),
    ],
)
def test_the_call_is_turned_back_into_text(name: str, given: Any, text: Any) -> None:
    for answer in answers([call(name, given)]):
        assert [part.kind for part in answer.parts] == ["text"]
        assert json.loads(answer.text) == text
        assert (answer.finished[0].reason, answer.finished[0].native) == ("stop", "tool_use")


def test_calls_of_the_callers_own_tools_stay_calls() -> None:
    for answer in answers([call("f", {"a": 1})]):
        assert [part.kind for part in answer.parts] == ["tool_call"]
        assert answer.finished[0].reason == "tool_calls"
    for answer in answers([call("f", {"a": 1}), call(ANSWER, {"sky": "x"})]):
        assert [part.kind for part in answer.parts] == ["tool_call", "text"]
        assert answer.finished[0].reason == "tool_calls"


@pytest.mark.parametrize("name", [ANSWER, WRAPPED_ANSWER])
def test_an_answer_that_was_cut_off_is_shown_as_far_as_it_came(name: str) -> None:
    _, streamed, in_bytes = answers([call(name, '{"answer": [1, 2')], "max_tokens")
    for answer in (streamed, in_bytes):
        assert answer.text == '{"answer": [1, 2'
        assert answer.finished[0].reason == "length"


# Schemas.

INTEGER = {"type": "integer"}


def closed(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "reduced", "lost"),
    [
        (closed(a=INTEGER), closed(a=INTEGER), False),
        ({"type": "object", "properties": {"a": INTEGER}}, closed(a=INTEGER), False),
        (closed(a={"type": "integer", "default": 3, "x-order": 1, "examples": [1]}), closed(a=INTEGER), False),
        (
            closed(a={"type": "integer", "minimum": 1}),
            closed(a={"type": "integer", "description": "(minimum: 1)"}),
            True,
        ),
        (
            closed(a={"type": ["string", "null"], "format": "date", "title": "T"}),
            closed(a={"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "title": "T"}),
            False,
        ),
        (
            closed(a={"type": "string", "nullable": True}),
            closed(a={"anyOf": [{"type": "string"}, {"type": "null"}]}),
            False,
        ),
        (closed(a={"type": "string", "enum": ["x", "y"]}), closed(a={"type": "string", "enum": ["x", "y"]}), False),
        (closed(a={"const": 5}), closed(a={"const": 5}), False),
        (closed(a={"oneOf": [INTEGER, {"type": "null"}]}), closed(a={"anyOf": [INTEGER, {"type": "null"}]}), False),
        (
            {"$defs": {"x": closed(a=INTEGER)}, "$ref": "#/$defs/x", "description": "d"},
            {"$defs": {"x": closed(a=INTEGER)}, "$ref": "#/$defs/x"},
            False,
        ),
        (
            {"type": "array", "items": INTEGER, "minItems": 2},
            {"type": "array", "items": INTEGER, "description": "(minItems: 2)"},
            True,
        ),
        (
            {"type": "array", "items": INTEGER, "minItems": 1},
            {"type": "array", "items": INTEGER, "minItems": 1},
            False,
        ),
        (
            {"type": "string", "format": "phone"},
            {"type": "string", "description": "(format: phone)"},
            True,
        ),
    ],
)
def test_schemas_are_reduced_to_what_is_enforced(schema: Any, reduced: Any, lost: bool) -> None:
    assert reduce_schema(schema) == (reduced, lost)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        OPEN,
        {"type": "object", "properties": {}, "additionalProperties": True},
        closed(a=True),
        closed(a={"description": "anything"}),
        closed(a={"$ref": "https://example.com/schema"}),
        closed(a={"$ref": "#/$defs/missing"}),
        {"$defs": {"x": closed(a={"$ref": "#/$defs/x"})}, "$ref": "#/$defs/x"},
        {"$defs": {"x": closed(a={"$ref": "#/$defs/y"}), "y": {"anyOf": [{"$ref": "#/$defs/x"}]}}, "$ref": "#/$defs/x"},
    ],
)
def test_schemas_that_allow_too_much_are_not_reduced(schema: Any) -> None:
    assert reduce_schema(schema) is None


def test_a_schema_nested_without_end_is_not_followed() -> None:
    schema: Json = {"type": "integer"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    assert reduce_schema(schema) is None


@pytest.mark.parametrize(
    ("schema", "written", "lost"),
    [
        (None, {"type": "object", "properties": {}}, False),
        ({}, {"type": "object", "properties": {}}, False),
        (OPEN, OPEN, False),
        (
            {"anyOf": [{"properties": {"a": INTEGER}, "required": ["a"]}, {"properties": {"b": INTEGER}}]},
            {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}},
            True,
        ),
        (
            {
                "type": "object",
                "allOf": [{"properties": {"a": INTEGER}, "required": ["a"]}],
                "properties": {"c": INTEGER},
                "required": ["c"],
            },
            {"type": "object", "properties": {"a": INTEGER, "c": INTEGER}, "required": ["a", "c"]},
            True,
        ),
    ],
)
def test_schemas_of_tools_have_an_object_at_the_top(schema: Any, written: Any, lost: bool) -> None:
    assert tool_schema(schema) == (written, lost)


@pytest.mark.parametrize(
    ("model", "parameters", "strict", "adapted"),
    [
        (NATIVE, SKY, True, ()),
        (NATIVE, {**SKY, "properties": {"sky": {"type": "string", "maxLength": 4}}}, True, ("parameters=reduced",)),
        (NATIVE, OPEN, False, ("strict=dropped",)),
        (OLD, SKY, False, ("strict=dropped",)),
        (OLD, {"oneOf": [SKY]}, False, ("strict=dropped", "parameters=reduced")),
    ],
)
def test_strict_tools(model: str, parameters: Any, strict: bool, adapted: tuple[str, ...]) -> None:
    tool = Tool("f", None, parameters, strict=True)
    request = ChatRequest("openai_chat", "public", (USER,), (tool,))
    written = Anthropic(AnthropicSettings()).encode_request(request, model)
    (said,) = json.loads(written.body)["tools"]
    assert said.get("strict", False) is strict
    assert written.adapted == tuple(f"tools[0].{loss}" for loss in adapted)

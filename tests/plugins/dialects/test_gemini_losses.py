"""What Gemini's models cannot be told is named, setting by setting and extra by extra; what they can is written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from llmhub_plugins.dialects.gemini.schema import Reduction
from speaking_gemini import dialect, foreign, user

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    File,
    Image,
    Inline,
    Message,
    OpaqueTool,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

OLD, MIDDLE, NEW = "gemini-1.5-flash", "gemini-2.5-flash", "gemini-3-flash"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
F = Tool("f", parameters=SCHEMA)


def told(request: ChatRequest, model: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = dialect.encode_request(request, model)
    return json.loads(encoded.body), encoded.adapted


def budget(tokens: int) -> dict[str, Any]:
    return {"thinkingConfig": {"thinkingBudget": tokens, "includeThoughts": True}}


def level(word: str, shown: bool = True) -> dict[str, Any]:
    return {"thinkingConfig": {"thinkingLevel": word, "includeThoughts": shown}}


Row = tuple[str, Any, str, dict[str, Any], str | None]
"""Attribute of Sampling, value, model, what stands in `generationConfig`, what is named as lost."""

SETTINGS: list[Row] = [
    ("max_output", 9, NEW, {"maxOutputTokens": 9}, None),
    ("temperature", 1.5, NEW, {"temperature": 1.5}, None),
    ("temperature", 3.0, NEW, {"temperature": 2.0}, "temperature=clamped"),
    ("top_p", 0.5, NEW, {"topP": 0.5}, None),
    ("top_k", 4, NEW, {"topK": 4}, None),
    ("stop", ("a",), NEW, {"stopSequences": ["a"]}, None),
    ("stop", tuple("abcdef"), NEW, {"stopSequences": list("abcde")}, "stop=clamped"),
    ("seed", 7, NEW, {"seed": 7}, None),
    ("seed", 2**31, NEW, {"seed": 0}, "seed=clamped"),
    ("presence_penalty", 0.5, "gemini-2.0-flash", {"presencePenalty": 0.5}, None),
    ("presence_penalty", 0.5, MIDDLE, {}, "presence_penalty=dropped"),
    ("presence_penalty", 0.0, MIDDLE, {}, None),
    ("frequency_penalty", 0.5, "gemini-2.0-flash", {"frequencyPenalty": 0.5}, None),
    ("frequency_penalty", -0.5, NEW, {}, "frequency_penalty=dropped"),
    ("n", 2, MIDDLE, {"candidateCount": 2}, None),
    ("logprobs", True, NEW, {}, "logprobs=dropped"),
    ("logprobs", False, NEW, {}, None),
    ("top_logprobs", 3, NEW, {}, "top_logprobs=dropped"),
    ("user", "me", NEW, {}, "user=dropped"),
    ("parallel_tools", False, NEW, {}, "parallel_tools=dropped"),
    ("parallel_tools", True, NEW, {}, None),
    ("tool_choice", ToolChoice("auto"), NEW, {}, None),
    ("effort", "low", OLD, {}, "effort=dropped"),
    ("effort", "low", MIDDLE, budget(1024), "effort=renamed"),
    ("effort", "none", "gemini-2.5-pro", budget(128), "effort=clamped"),
    ("effort", "none", MIDDLE, {"thinkingConfig": {"thinkingBudget": 0}}, "effort=renamed"),
    ("effort", "minimal", NEW, level("MINIMAL"), None),
    ("effort", "minimal", "gemini-3.8-flash", level("LOW"), "effort=clamped"),
    ("effort", "minimal", "gemini-flash-latest", level("LOW"), "effort=clamped"),
    ("effort", "minimal", "gemini-3.5-flash-lite", level("MINIMAL"), None),
    ("effort", "xhigh", NEW, level("HIGH"), "effort=clamped"),
    ("reasoning_tokens", 500, OLD, {}, "reasoning_tokens=dropped"),
    ("reasoning_tokens", 500, MIDDLE, budget(500), None),
    ("reasoning_tokens", -1, MIDDLE, budget(-1), None),
    ("reasoning_tokens", 64000, MIDDLE, budget(24576), "reasoning_tokens=clamped"),
    ("reasoning_tokens", 64000, "gemini-2.5-pro", budget(32768), "reasoning_tokens=clamped"),
    ("reasoning_tokens", 100, "gemini-2.5-flash-lite", budget(512), "reasoning_tokens=clamped"),
    ("reasoning_tokens", 0, "gemini-2.5-flash-lite", {"thinkingConfig": {"thinkingBudget": 0}}, None),
    ("reasoning_tokens", 0, "gemini-3.1-pro", level("LOW", False), "reasoning_tokens=clamped"),
    ("reasoning_tokens", 4096, NEW, budget(4096), None),
    ("answer_format", AnswerFormat("text"), NEW, {}, None),
    ("answer_format", AnswerFormat("json_object"), NEW, {"responseMimeType": "application/json"}, None),
    (
        "answer_format",
        AnswerFormat("json_schema", SCHEMA, "n", "What.", True),
        NEW,
        {"responseMimeType": "application/json", "responseJsonSchema": {"description": "What.", **SCHEMA}},
        None,
    ),
    (
        "answer_format",
        AnswerFormat("json_schema", {**SCHEMA, "additionalProperties": False}),
        OLD,
        {
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}},
        },
        "response_format=reduced",
    ),
]


@pytest.mark.parametrize(("name", "value", "model", "config", "lost"), SETTINGS)
def test_every_setting_is_written_or_named(
    name: str, value: Any, model: str, config: dict[str, Any], lost: str | None
) -> None:
    body, adapted = told(foreign(user(), sampling=replace(Sampling(), **{name: value})), model)
    assert body.get("generationConfig", {}) == config
    assert adapted == ((lost,) if lost else ())


def test_no_setting_is_forgotten_here() -> None:
    assert {row[0] for row in SETTINGS} == {field.name for field in fields(Sampling)}


def extras(name: str) -> dict[str, Any]:
    return {"anthropic": {name: 1}}


@pytest.mark.parametrize(
    ("request_", "lost"),
    [
        (foreign(user(), extras={"store": True, "metadata": {}}), ["store=dropped", "metadata=dropped"]),
        (foreign(Message("user", (Text("a"),), extras=extras("x"))), ["messages[0].x=dropped"]),
        (foreign(Message("user", (Text("a"),), name="me")), ["messages[0].name=dropped"]),
        (foreign(user(), Message("system", (Text("b"),))), ["messages[1].role=hoisted"]),
        (foreign(Message("user", (Text("a", extras("cache")),))), ["messages[0].content[0].cache=dropped"]),
        (foreign(Message("assistant", (Refusal("a", extras("x")),))), ["messages[0].content[0].x=dropped"]),
        (
            foreign(Message("user", (Image(Inline("image/png", ""), "high", extras("x")),))),
            ["messages[0].content[0].detail=dropped", "messages[0].content[0].x=dropped"],
        ),
        (
            foreign(Message("user", (File(Inline("application/pdf", ""), "a.pdf", extras("x")),))),
            ["messages[0].content[0].name=dropped", "messages[0].content[0].x=dropped"],
        ),
        (
            foreign(
                Message("assistant", (ToolCall("c", "f", "{}", extras("x")),)),
                Message("tool", (ToolResult("c", (Text("", extras("z")),), extras=extras("y")),)),
            ),
            [
                "messages[0].content[0].x=dropped",
                "messages[1].content[0].content[0].z=dropped",
                "messages[1].content[0].y=dropped",
            ],
        ),
        (
            foreign(user(), Message("assistant", (Reasoning("a", "s", origin="anthropic"), Reasoning("b"), Text("c")))),
            ["reasoning=dropped"],
        ),
        (
            foreign(user(), Message("assistant", (ToolCall("c", "f", "{}", signature="s", origin="anthropic"),))),
            ["reasoning=dropped"],
        ),
        (foreign(user(), tools=(replace(F, extras=extras("defer")),)), ["tools[0].defer=dropped"]),
        (foreign(user(), tools=(replace(F, strict=True),)), []),
    ],
)
def test_every_foreign_extra_is_named(request_: ChatRequest, lost: list[str]) -> None:
    assert list(told(request_, MIDDLE)[1]) == lost


# Tools.


@pytest.mark.parametrize(
    ("choice", "mode"),
    [
        (None, "VALIDATED"),
        (ToolChoice("auto"), "VALIDATED"),
        (ToolChoice("none"), "NONE"),
        (ToolChoice("required"), "ANY"),
    ],
)
def test_strict_functions_are_held_to_their_schema(choice: ToolChoice | None, mode: str) -> None:
    request = foreign(user(), tools=(F, replace(F, name="g", strict=True)), sampling=Sampling(tool_choice=choice))
    body, adapted = told(request, NEW)
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": mode}}
    assert adapted == ()
    assert told(request, "gemini-2.0-flash")[1] == ("tools[1].strict=dropped",)


def test_parameters_are_reduced_for_models_that_know_no_json_schema() -> None:
    closed = {**SCHEMA, "additionalProperties": False}
    request = foreign(user(), tools=(F, replace(F, parameters=closed), Tool("g", parameters={"type": "object"})))
    body, adapted = told(request, OLD)
    declared = body["tools"][0]["functionDeclarations"]
    schema = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}
    assert [one.get("parameters") for one in declared] == [schema, schema, None]
    assert not any("parametersJsonSchema" in one for one in declared)
    assert adapted == ("tools[1].parameters=reduced",)
    assert told(request, NEW)[1] == ()


@pytest.mark.parametrize(
    ("model", "changes", "param"),
    [
        (NEW, {"sampling": Sampling(n=2)}, "n"),
        (MIDDLE, {"tools": (F,), "sampling": Sampling(answer_format=AnswerFormat("json_object"))}, "response_format"),
        (NEW, {"tools": (OpaqueTool("anthropic", "bash", {}),)}, "tools[0]"),
    ],
)
def test_what_a_model_refuses_for_good_another_may_take(model: str, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        told(foreign(user(), **changes), model)
    assert (caught.value.code, caught.value.param) == ("unsupported_content", param)


def test_newer_models_take_a_format_beside_tools() -> None:
    request = foreign(user(), tools=(F,), sampling=Sampling(answer_format=AnswerFormat("json_schema", SCHEMA)))
    body, adapted = told(request, NEW)
    assert body["generationConfig"]["responseJsonSchema"] == SCHEMA
    assert adapted == ()


# Schemas.


@pytest.mark.parametrize(
    ("schema", "reduced", "lossy"),
    [
        ({"type": "string", "$schema": "x", "title": "T"}, {"type": "STRING", "title": "T"}, False),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}, False),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}, False),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "STRING", "nullable": True}, False),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
            True,
        ),
        ({"allOf": [{"type": "string"}]}, {"type": "STRING"}, False),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, {}, True),
        ({"enum": ["a", "b"]}, {"type": "STRING", "format": "enum", "enum": ["a", "b"]}, False),
        ({"enum": ["a", None]}, {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True}, False),
        ({"type": "integer", "enum": [1, 2]}, {"type": "INTEGER"}, True),
        ({"const": "a"}, {"type": "STRING", "format": "enum", "enum": ["a"]}, False),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}, False),
        ({"type": "string", "format": "email"}, {"type": "STRING"}, True),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 1},
            False,
        ),
        ({"type": "array", "uniqueItems": True}, {"type": "ARRAY"}, True),
        (
            {
                "type": "object",
                "properties": {"type": {"$ref": "#/$defs/K", "description": "D"}},
                "required": ["type"],
                "$defs": {"K": {"type": "string"}},
            },
            {
                "type": "OBJECT",
                "properties": {"type": {"type": "STRING", "description": "D"}},
                "required": ["type"],
            },
            False,
        ),
        (
            {"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}},
            {"type": "OBJECT", "properties": {"n": {"type": "OBJECT"}}},
            True,
        ),
        ({"type": "object", "properties": {"a": True}}, {"type": "OBJECT", "properties": {"a": {}}}, False),
        ({"type": "object", "properties": {"a": False}}, {"type": "OBJECT", "properties": {"a": {}}}, True),
        ({"$ref": "https://a.b/c"}, {"type": "OBJECT"}, True),
    ],
)
def test_reduction(schema: dict[str, Any], reduced: dict[str, Any], lossy: bool) -> None:
    before = json.dumps(schema)
    found = Reduction(schema)
    assert (found.schema, found.lossy) == (reduced, lossy)
    assert json.dumps(schema) == before

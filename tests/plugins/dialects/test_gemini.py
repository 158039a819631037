"""The wire format ``gemini``: heads and requests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from speaking_gemini import (
    dialect,
    normal,
    read,
    said,
    turn,
    where,
    written,
)

from llmhub_core.contracts import (
    AnswerFormat,
    Audio,
    BadRequest,
    File,
    Image,
    Inline,
    Link,
    Opaque,
    OpaqueTool,
    Reasoning,
    RequestHead,
    Sampling,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

# The head.

_COUNT = "generationConfig.candidateCount"
_SCHEMA = "generationConfig.response"
_JSON = {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("stream", "query", "framing"),
    [(False, {}, "json"), (True, {"alt": "sse"}, "sse"), (True, {}, "json_array"), (False, {"alt": "sse"}, "json")],
)
def test_head_takes_model_and_framing_from_the_address(stream: bool, query: dict[str, str], framing: str) -> None:
    body = {**said("Hi"), "generation_config": {"max_output_tokens": 7, "candidateCount": "2"}}
    head = dialect.read_head(json.dumps(body).encode(), where(stream, "models/a/b.c", **query))
    assert head == RequestHead("a/b.c", stream, framing, max_output=7, n=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ("[3]", "invalid_body", None),
        ("{}", "missing_field", "contents"),
        ('{"contents": null}', "missing_field", "contents"),
        ('{"contents": []}', "invalid_value", "contents"),
        ('{"contents": "Hi"}', "invalid_type", "contents"),
        ('{"contents": [{"parts": []}, {"role": "assistant", "parts": []}]}', "invalid_value", "contents[1].role"),
        ('{"contents": [{"role": 3}]}', "invalid_type", "contents[0].role"),
        ('{"contents": [{}], "generationConfig": 3}', "invalid_type", "generationConfig"),
        ('{"contents": [{}], "generationConfig": {"temperature": 3}}', "invalid_value", "generationConfig.temperature"),
        ('{"contents": [{}], "generation_config": {"top_p": "much"}}', "invalid_type", "generationConfig.topP"),
        ('{"contents": [{}], "generationConfig": {"candidateCount": 0}}', "invalid_value", _COUNT),
        ('{"contents": [{}], "generationConfig": {"candidateCount": 4294967296}}', "invalid_value", _COUNT),
        ('{"contents": [{}], "base_url": "https://a.b"}', "unknown_field", "base_url"),
    ],
)
def test_head_names_what_is_wrong(body: str, code: str, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        dialect.read_head(body.encode(), where())
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"contents": [', "invalid_json"),
        (b'{"contents": "a wrong type before", "a": [[[', "invalid_json"),
        (b'{"contents": ' + b"[" * 100_000, "invalid_json"),
        (b'{"contents": [{"parts": [{"text": "\\ud800"}]}]}', "invalid_encoding"),
        (b'{"contents": [{"parts": [{"text": "\xff"}]}]}', "invalid_encoding"),
    ],
)
def test_head_refuses_what_is_no_json(body: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        dialect.read_head(body, where())
    assert (caught.value.code, caught.value.param) == (code, None)


def test_head_reads_whole_surrogate_pairs() -> None:
    body = b'{"contents": [{"parts": [{"text": "\\ud83d\\ude00"}]}]}'
    assert dialect.read_head(body, where()).model == "gemini-2.5-flash"


# Requests read.


@pytest.mark.parametrize(
    ("part", "neutral"),
    [
        ({"text": "Hi"}, Text("Hi")),
        ({"text": "", "thought_signature": "s"}, Text("", {"gemini": {"thoughtSignature": "s"}})),
        ({"text": "Hm", "thought": True, "thoughtSignature": "s"}, Reasoning("Hm", "s", origin="gemini")),
        ({"inline_data": {"mime_type": "image/png", "data": "eA=="}}, Image(Inline("image/png", "eA=="))),
        ({"inlineData": {"mimeType": "audio/wav", "data": "eA=="}}, Audio(Inline("audio/wav", "eA=="))),
        ({"inlineData": {"mimeType": "application/pdf", "data": ""}}, File(Inline("application/pdf", ""))),
        (
            {"inlineData": {"mimeType": "video/mp4", "data": ""}, "videoMetadata": {"fps": 2}},
            File(Inline("video/mp4", ""), extras={"gemini": {"videoMetadata": {"fps": 2}}}),
        ),
        ({"fileData": {"fileUri": "https://a.b/c"}}, File(Link("https://a.b/c"))),
        (
            {"file_data": {"file_uri": "gs://b/i.jpg", "mime_type": "image/jpeg"}},
            Image(Stored("gs://b/i.jpg", "image/jpeg")),
        ),
        (
            {"functionCall": {"id": "c1", "name": "add", "args": {"a_b": 1}}, "thoughtSignature": "s"},
            ToolCall("c1", "add", '{"a_b":1}', signature="s", origin="gemini"),
        ),
        (
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            Opaque("gemini", "executableCode", {"executableCode": {"language": "PYTHON", "code": "1"}}),
        ),
    ],
)
def test_parts_are_read_in_either_spelling_and_written_back(part: dict[str, Any], neutral: Any) -> None:
    request = turn(part, role="model")
    assert request.messages[0].content == (neutral,)
    assert normal(written(request)["contents"][0]["parts"][0]) == normal(part)


def test_results_stand_in_messages_of_their_own_and_go_back_into_one_turn() -> None:
    contents = [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f"}}]},
        {
            "role": "function",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"result": "one"}}},
                {"functionResponse": {"name": "f", "response": {"error": "no"}}},
                {"text": "go on"},
            ],
        },
        {"parts": [{"text": "and on"}]},
    ]
    request = read({"contents": contents})
    assert [message.role for message in request.messages] == ["assistant", "tool", "user", "user"]
    first, second = request.messages[0].content
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id
    assert request.messages[1].content == (
        ToolResult(first.id, (Text("one"),), name="f"),
        ToolResult(second.id, (Text("no"),), True, "f"),
    )
    assert read({"contents": contents}) == request, "invented ids must not change from turn to turn"
    assert normal(written(request)["contents"]) == normal(contents)


def test_tools_and_choice() -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {"type": {"type": "STRING", "nullable": True}, "many": {"type": "ARRAY", "maxItems": "3"}},
        "property_ordering": ["many", "type"],
    }
    body = {
        **said("Hi"),
        "tools": [
            {"function_declarations": [{"name": "a", "description": "A.", "parameters": parameters}]},
            {"googleSearch": {}, "functionDeclarations": [{"name": "b", "parametersJsonSchema": {"type": "object"}}]},
        ],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["a"]}},
    }
    request = read(body)
    a, search, b = request.tools
    assert isinstance(a, Tool)
    assert a.parameters == {
        "type": "object",
        "properties": {"type": {"type": ["string", "null"]}, "many": {"type": "array", "maxItems": 3}},
    }
    assert search == OpaqueTool("gemini", "googleSearch", {"googleSearch": {}})
    assert b == Tool("b", parameters={"type": "object"})
    assert request.sampling.tool_choice == ToolChoice("named", "a")
    assert normal(written(request)) == normal(body)
    plain = read({**said("Hi"), "tools": [{"functionDeclarations": [{"name": "c", "parameters": {"type": "OBJECT"}}]}]})
    assert plain.tools == (Tool("c", parameters={"type": "object"}),), "nothing is lost, so nothing is kept twice"
    changed = replace(request, tools=(replace(a, parameters={"type": "object"}),))
    assert written(changed)["tools"] == [
        {"functionDeclarations": [{"name": "a", "description": "A.", "parametersJsonSchema": {"type": "object"}}]}
    ]


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "none"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, ToolChoice("required")),
        ({"mode": "VALIDATED"}, ToolChoice("auto")),
        ({"mode": "AUTO", "streamFunctionCallArguments": True}, ToolChoice("auto")),
    ],
)
def test_every_mode_of_calling_survives(calling: dict[str, Any], choice: ToolChoice) -> None:
    body = {**said("Hi"), "toolConfig": {"functionCallingConfig": calling, "retrievalConfig": {"languageCode": "de"}}}
    request = read(body)
    assert request.sampling.tool_choice == choice
    assert normal(written(request)) == normal(body)


def test_generation_config_survives_and_is_understood() -> None:
    config = {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40.0,
        "maxOutputTokens": "100",
        "stopSequences": ["END"],
        "candidateCount": 2,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.1,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "propertyOrdering": ["a"]},
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": -1},
        "responseModalities": ["TEXT"],
    }
    body = {**said("Hi"), "generationConfig": config, "safetySettings": [{"category": "x"}], "cachedContent": "c/1"}
    request = read(body)
    assert request.sampling == Sampling(
        max_output=100,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("END",),
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        n=2,
        logprobs=True,
        top_logprobs=3,
        reasoning_tokens=-1,
        answer_format=AnswerFormat("json_schema", {"type": "object", "properties": {"a": {"type": "integer"}}}),
    )
    assert request.extras["safetySettings"] == [{"category": "x"}]
    assert normal(written(request)) == normal({**body, "generationConfig": {**config, "maxOutputTokens": 100}})
    levels = read({**said("Hi"), "generationConfig": {"thinking_config": {"thinking_level": "high"}}})
    assert levels.sampling.effort == "high"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"contents": [{"parts": [3]}]}, "invalid_type", "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 3}]}]}, "invalid_type", "contents[0].parts[0].text"),
        (
            {"contents": [{"parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]},
            "invalid_type",
            "contents[0].parts[0].functionCall.args",
        ),
        ({**said("Hi"), "tools": [3]}, "invalid_type", "tools[0]"),
        (
            {**said("Hi"), "tools": [{"functionDeclarations": [{}]}]},
            "missing_field",
            "tools[0].functionDeclarations[0].name",
        ),
        ({**said("Hi"), "generationConfig": {"stopSequences": [1]}}, "invalid_type", "generationConfig.stopSequences"),
        (
            {**said("Hi"), "generationConfig": {"responseLogprobs": 1}},
            "invalid_type",
            "generationConfig.responseLogprobs",
        ),
        ({**said("Hi"), "generationConfig": {**_JSON, "responseSchema": "x"}}, "invalid_type", f"{_SCHEMA}Schema"),
        (
            {**said("Hi"), "generationConfig": {**_JSON, "responseJsonSchema": [1]}},
            "invalid_type",
            f"{_SCHEMA}JsonSchema",
        ),
        (
            {**said("Hi"), "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": True}]}]},
            "invalid_type",
            "tools[0].functionDeclarations[0].parametersJsonSchema",
        ),
        (
            {"contents": [{"parts": [{"text": "", "thought": True, "thoughtSignature": 3}]}]},
            "invalid_type",
            "contents[0].parts[0].thoughtSignature",
        ),
    ],
)
def test_what_is_malformed_is_named(body: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_callers_are_recognised() -> None:
    assert dialect.credentials({"x-goog-api-key": "a"}, {"key": "b"}) == "a"
    assert dialect.credentials({}, {"key": "b"}) == "b"
    assert dialect.credentials({}, {}) is None
    assert dialect.claims({"x-goog-api-client": "genai"}, "/v1/models")
    assert dialect.claims({}, "/v1beta/nothing")
    assert not dialect.claims({"authorization": "x"}, "/v1/models")

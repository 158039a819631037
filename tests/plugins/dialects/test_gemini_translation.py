"""Requests of other dialects, written for Gemini, and the other way round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import register_dialects as anthropic
from llmhub_plugins.dialects.openai_chat import register_dialects as openai_chat
from speaking_gemini import (
    dialect,
    foreign,
    read,
    said,
    user,
    written,
)

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    File,
    Image,
    Inline,
    Link,
    Message,
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


def test_a_conversation_of_another_dialect() -> None:
    request = foreign(
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Add."), Image(Link("https://a.b/c.PNG?x=1"), detail="high"))),
        Message("assistant", (Reasoning("hm", "sig", origin="anthropic"), ToolCall("t1", "add", '{"a":1}'))),
        Message("assistant", (ToolCall("t2", "add", ""),)),
        Message("tool", (ToolResult("t2", (Text("[3]"),)),)),
        Message("tool", (ToolResult("t1", (Text('{"sum":3}'), Image(Inline("image/png", "eA=="))), is_error=False),)),
        Message("developer", (Text("Be kind."),), name="boss"),
        Message("user", (Text(""), Text("Thanks"))),
        sampling=Sampling(seed=2**40, user="me", parallel_tools=False, logprobs=True),
        extras={"store": True},
    )
    encoded = dialect.encode_request(request, "gemini-2.5-flash")
    assert json.loads(encoded.body) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "Add."},
                    {"fileData": {"fileUri": "https://a.b/c.PNG?x=1", "mimeType": "image/png"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "add", "args": {"a": 1}, "id": "t1"}},
                    {"functionCall": {"name": "add", "args": {}, "id": "t2"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "add", "response": {"result": "[3]"}, "id": "t2"}},
                    {"functionResponse": {"name": "add", "response": {"sum": 3}, "id": "t1"}},
                    {"inlineData": {"mimeType": "image/png", "data": "eA=="}},
                    {"text": "Thanks"},
                ],
            },
        ],
        "generationConfig": {"seed": 0},
    }
    assert sorted(encoded.adapted) == [
        "logprobs=dropped",
        "messages[1].content[1].detail=dropped",
        "messages[6].name=dropped",
        "messages[6].role=hoisted",
        "parallel_tools=dropped",
        "reasoning=dropped",
        "seed=clamped",
        "store=dropped",
        "user=dropped",
    ]


def test_calls_without_ids_lose_the_invented_ones_and_keep_their_order() -> None:
    one, two = "call_" + "a" * 24, "call_" + "b" * 24
    request = foreign(
        Message("assistant", (ToolCall(one, "f", "{}"), ToolCall(two, "f", "{}"))),
        Message("tool", (ToolResult(two, (Text("2"),)),)),
        Message("tool", (ToolResult(one, (Text("1"),)),)),
    )
    call, result = written(request)["contents"]
    assert call["parts"] == [{"functionCall": {"name": "f", "args": {}}}] * 2
    assert result["parts"] == [{"functionResponse": {"name": "f", "response": {"result": word}}} for word in "12"]


def test_gemini_3_takes_media_inside_results_and_a_pass_for_foreign_calls() -> None:
    result = ToolResult("t1", (Text("see"), Image(Inline("image/png", "eA=="))), name="f")
    request = foreign(
        user(), Message("assistant", (ToolCall("t1", "f", "{}"), ToolCall("t2", "f", "{}"))), Message("tool", (result,))
    )
    _, calls, results = written(request, "gemini-3-pro-preview")["contents"]
    assert [part.get("thoughtSignature") for part in calls["parts"]] == ["skip_thought_signature_validator", None]
    media = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    assert results["parts"][0]["functionResponse"]["parts"] == [media]
    assert "thoughtSignature" not in json.dumps(written(request, "gemini-2.5-pro"))


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (Message("user", (Image(Stored("file-1")),)), "messages[0].content[0]"),
        (Message("user", (Image(Link("https://a.b/c")),)), "messages[0].content[0]"),
        (Message("user", (Opaque("anthropic", "search", {}),)), "messages[0].content[0]"),
        (Message("system", (Image(Inline("image/png", "")),)), "messages[0].content[0]"),
        (Message("tool", (ToolResult("t9", (Text(""),)),)), "messages[0].content[0]"),
        (Message("assistant", (ToolCall("t1", "f", "{broken"),)), "messages[0].content[0]"),
        (Message("assistant", (ToolCall("t1", "f", "[1]"),)), "messages[0].content[0]"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(message: Message, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        dialect.encode_request(foreign(message), "gemini-2.5-flash")
    assert caught.value.param == param


def test_foreign_tools_settings_and_lone_system_prompts() -> None:
    request = foreign(
        Message("system", (Text("Hello"),)),
        tools=(Tool("f", "F.", {"type": "object"}, strict=True),),
        sampling=Sampling(
            tool_choice=ToolChoice("named", "f"),
            answer_format=AnswerFormat("json_schema", {"type": "object"}, name="x"),
            stop=tuple("abcdef"),
            n=3,
        ),
    )
    encoded = dialect.encode_request(request, "tunedModels/ours")
    assert json.loads(encoded.body) == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "tools": [
            {"functionDeclarations": [{"name": "f", "description": "F.", "parametersJsonSchema": {"type": "object"}}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "stopSequences": list("abcde"),
            "candidateCount": 3,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
        },
    }
    assert encoded.adapted == ("messages[0].role=user", "tools[0].strict=dropped", "stop=clamped")
    with pytest.raises(BadRequest) as caught:
        dialect.encode_request(foreign(user(), tools=(OpaqueTool("anthropic", "bash", {}),)), "m")
    assert caught.value.param == "tools[0]"
    assert "toolConfig" not in written(foreign(user(), sampling=Sampling(tool_choice=ToolChoice("auto"))))


@pytest.mark.parametrize(
    ("model", "sampling", "thinking", "adapted"),
    [
        (
            "gemini-2.5-flash",
            Sampling(effort="low"),
            {"thinkingBudget": 1024, "includeThoughts": True},
            "effort=renamed",
        ),
        ("gemini-2.5-flash", Sampling(effort="none"), {"thinkingBudget": 0}, "effort=renamed"),
        ("gemini-3-flash", Sampling(effort="medium"), {"thinkingLevel": "MEDIUM", "includeThoughts": True}, None),
        (
            "gemini-3-pro",
            Sampling(effort="medium"),
            {"thinkingLevel": "HIGH", "includeThoughts": True},
            "effort=clamped",
        ),
        (
            "gemini-3.1-pro",
            Sampling(effort="none"),
            {"thinkingLevel": "LOW", "includeThoughts": False},
            "effort=clamped",
        ),
        ("gemini-3-flash", Sampling(reasoning_tokens=500), {"thinkingBudget": 500, "includeThoughts": True}, None),
        ("gemini-2.0-flash", Sampling(effort="high"), None, "effort=dropped"),
    ],
)
def test_effort_becomes_what_the_model_takes(
    model: str, sampling: Sampling, thinking: dict[str, Any] | None, adapted: str | None
) -> None:
    encoded = dialect.encode_request(foreign(user(), sampling=sampling), model)
    assert json.loads(encoded.body).get("generationConfig", {}).get("thinkingConfig") == thinking
    assert encoded.adapted == ((adapted,) if adapted else ())


@pytest.mark.parametrize(
    ("sent", "standard"), [("-_8-", "+/8+"), ("_w==", "/w=="), ("_w", "/w=="), ("+/8+", "+/8+"), ("", "")]
)
def test_bytes_in_the_alphabet_of_googles_sdks_are_read_by_the_others(sent: str, standard: str) -> None:
    part = {"inlineData": {"mimeType": "application/pdf", "data": sent}}
    request = read({"contents": [{"role": "user", "parts": [part]}]})
    (file,) = request.messages[0].content
    assert isinstance(file, File)
    assert file.source == Inline("application/pdf", standard)


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "application/pdf", "data": "eA==", "displayName": "charts.pdf"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.b/c.pdf", "displayName": "charts.pdf"}},
    ],
    ids=["inline", "link"],
)
def test_a_files_name_is_known_to_the_others_and_comes_back(part: Mapping[str, Any]) -> None:
    request = read({"contents": [{"role": "user", "parts": [part]}]})
    (file,) = request.messages[0].content
    assert isinstance(file, File)
    assert file.name == "charts.pdf"
    encoded = dialect.encode_request(request, "gemini-3-flash")
    assert json.loads(encoded.body)["contents"][0]["parts"] == [part]
    assert encoded.adapted == ()


def test_the_path_of_a_model() -> None:
    whole, stream = RequestHead("x"), RequestHead("x", True, "json_array")
    assert dialect.path(whole, "gemini-2.5-flash") == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert dialect.path(stream, "tunedModels/a b?") == "/v1beta/tunedModels/a%20b%3F:streamGenerateContent?alt=sse"
    with pytest.raises(BadRequest):
        dialect.path(whole, "../files/x")


@pytest.mark.parametrize("others", [anthropic, openai_chat])
def test_what_is_lost_behind_is_named_to_the_point(others: Any) -> None:
    """Only what only this format has: schemas, results and turns are written, and not said to be lost."""
    ordered = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "propertyOrdering": ["a"]}
    call = {"functionCall": {"id": "c1", "name": "f", "args": {"a": "x"}, "willContinue": False}}
    result = {"functionResponse": {"id": "c1", "name": "f", "response": {"result": "ok"}, "scheduling": "SILENT"}}
    picture = {"inlineData": {"mimeType": "image/png", "data": "eA==", "displayName": "x"}}
    body: dict[str, Any] = {
        "contents": [
            *said("Hi")["contents"],
            {"role": "model", "parts": [call]},
            {"role": "user", "parts": [result, {"text": "Go on"}, picture]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": ordered, "behavior": "BLOCKING"}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {"languageCode": "de"}},
        "generationConfig": {
            "thinkingConfig": {"includeThoughts": True},
            "responseMimeType": "application/json",
            "responseSchema": ordered,
            "mediaResolution": "LOW",
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }
    request = read(body)
    assert written(request)["tools"][0]["functionDeclarations"] == body["tools"][0]["functionDeclarations"]
    assert written(request)["generationConfig"] == body["generationConfig"]
    assert written(request)["toolConfig"] == body["toolConfig"]
    assert written(request)["contents"] == body["contents"]
    (kind,) = others()
    other = kind(kind.Settings())
    encoded = other.encode_request(request, "claude-sonnet-4-5" if other.name == "anthropic" else "gpt-5")
    assert b'"a":{"type":"string"}' in encoded.body
    # How strictly a schema is kept is the other format's own matter.
    assert sorted(set(encoded.adapted) - {"answer_format=relaxed"}) == [
        "generationConfig.mediaResolution=dropped",
        "generationConfig.responseSchema.propertyOrdering=dropped",
        "generationConfig.thinkingConfig.includeThoughts=dropped",
        "messages[1].content[0].functionCall.willContinue=dropped",
        "messages[2].content[0].functionResponse.scheduling=dropped",
        "messages[3].content[1].inlineData.displayName=dropped",
        "safetySettings=dropped",
        "toolConfig.functionCallingConfig.mode=dropped",
        "toolConfig.retrievalConfig=dropped",
        "tools[0].behavior=dropped",
        "tools[0].parameters.propertyOrdering=dropped",
    ]

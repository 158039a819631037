"""What of a request reaches a Chat provider, and what is reported as lost: a row for every setting and every kind of
extra, from callers of another dialect and of this one."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from llmhub_plugins.dialects.openai_chat import OpenAIChat

from llmhub_core.contracts import (
    AnswerFormat,
    Audio,
    BadRequest,
    ChatRequest,
    File,
    Inline,
    Message,
    Reasoning,
    Sampling,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Where,
)

CHAT = OpenAIChat(OpenAIChat.Settings())
HELLO = (Message("user", (Text("Hi, in JSON"),)),)
TOOLS = (Tool("f", parameters={"type": "object"}),)
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}


def encoded(request: ChatRequest, model: str) -> tuple[dict[str, Any], set[str]]:
    """The body without what every one has, and the losses."""
    written = CHAT.encode_request(request, model)
    body = json.loads(written.body)
    for name in ("model", "messages", "tools"):
        body.pop(name, None)
    return body, set(written.adapted)


def schema_format(schema: Any, strict: bool | None = None, name: str = "x") -> dict[str, Any]:
    inner = {"name": name, "schema": schema, **({} if strict is None else {"strict": strict})}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


NAMED = {"tool_choice": {"type": "function", "function": {"name": "f"}}}

# the setting, the model, what goes out, what is reported; all from a caller of another dialect
FOREIGN: list[tuple[dict[str, Any], str, dict[str, Any], set[str]]] = [
    ({"max_output": 9}, "gpt-4o", {"max_tokens": 9}, set()),
    ({"max_output": 9}, "gpt-5.1", {"max_completion_tokens": 9}, set()),
    ({"temperature": 0.5}, "gpt-4o", {"temperature": 0.5}, set()),
    ({"temperature": 0.5}, "gpt-5.1", {}, {"temperature=dropped"}),
    ({"top_p": 0.5}, "gpt-4o", {"top_p": 0.5}, set()),
    ({"top_p": 0.5}, "o3", {}, {"top_p=dropped"}),
    ({"top_k": 5}, "gpt-4o", {}, {"top_k=dropped"}),
    ({"stop": ("a", "b")}, "gpt-4o", {"stop": ["a", "b"]}, set()),
    ({"stop": tuple("abcde")}, "gpt-4o", {"stop": list("abcd")}, {"stop=clamped"}),
    ({"stop": ("a",)}, "o3", {}, {"stop=dropped"}),
    ({"seed": 7}, "gpt-5.1", {"seed": 7}, set()),
    ({"presence_penalty": 1.0}, "gpt-4o", {"presence_penalty": 1.0}, set()),
    ({"presence_penalty": 1.0}, "o3", {}, {"presence_penalty=dropped"}),
    ({"frequency_penalty": 1.0}, "gpt-4o", {"frequency_penalty": 1.0}, set()),
    ({"frequency_penalty": 1.0}, "o3", {}, {"frequency_penalty=dropped"}),
    ({"n": 3}, "gpt-4o", {"n": 3}, set()),
    ({"logprobs": True}, "gpt-4o", {"logprobs": True}, set()),
    ({"logprobs": True}, "o3", {}, {"logprobs=dropped"}),
    ({"top_logprobs": 4}, "gpt-4o", {"top_logprobs": 4}, set()),
    ({"top_logprobs": 4}, "o3", {}, {"top_logprobs=dropped"}),
    ({"effort": "high"}, "some-server-model", {"reasoning_effort": "high"}, set()),
    ({"effort": "xhigh"}, "some-server-model", {"reasoning_effort": "xhigh"}, set()),
    ({"effort": "high"}, "gpt-4o", {}, {"effort=dropped"}),
    ({"effort": "none"}, "o3", {"reasoning_effort": "low"}, {"effort=clamped"}),
    ({"effort": "xhigh"}, "o4-mini", {"reasoning_effort": "high"}, {"effort=clamped"}),
    ({"effort": "minimal"}, "gpt-5-mini", {"reasoning_effort": "minimal"}, set()),
    ({"effort": "none"}, "gpt-5", {"reasoning_effort": "minimal"}, {"effort=clamped"}),
    ({"effort": "none"}, "gpt-5.1", {"reasoning_effort": "none"}, set()),
    ({"effort": "minimal"}, "gpt-5.1", {"reasoning_effort": "low"}, {"effort=clamped"}),
    ({"effort": "xhigh"}, "gpt-5.1", {"reasoning_effort": "high"}, {"effort=clamped"}),
    ({"effort": "xhigh"}, "gpt-5.1-codex-max", {"reasoning_effort": "xhigh"}, set()),
    ({"effort": "xhigh"}, "openai/gpt-5.4", {"reasoning_effort": "xhigh"}, set()),
    ({"effort": "low"}, "gpt-5-pro", {"reasoning_effort": "high"}, {"effort=clamped"}),
    ({"effort": "minimal"}, "gpt-5-codex", {"reasoning_effort": "low"}, {"effort=clamped"}),
    ({"reasoning_tokens": 1024}, "o3", {"reasoning_effort": "low"}, {"reasoning_tokens=renamed"}),
    ({"reasoning_tokens": 9000}, "gpt-5", {"reasoning_effort": "medium"}, {"reasoning_tokens=renamed"}),
    ({"reasoning_tokens": 32000}, "gpt-5.1", {"reasoning_effort": "high"}, {"reasoning_tokens=renamed"}),
    ({"reasoning_tokens": 0}, "gpt-5.1", {"reasoning_effort": "none"}, {"reasoning_tokens=renamed"}),
    ({"reasoning_tokens": 0}, "gpt-5", {"reasoning_effort": "minimal"}, {"reasoning_tokens=renamed"}),
    ({"reasoning_tokens": 0}, "gpt-4o", {}, set()),
    ({"reasoning_tokens": -1}, "gpt-5", {}, set()),
    ({"reasoning_tokens": 1024}, "some-server-model", {}, {"reasoning_tokens=dropped"}),
    ({"answer_format": AnswerFormat("text")}, "gpt-4o", {"response_format": {"type": "text"}}, set()),
    ({"answer_format": AnswerFormat("json_object")}, "gpt-4o", {"response_format": {"type": "json_object"}}, set()),
    ({"answer_format": AnswerFormat("json_schema", CLOSED, "x")}, "gpt-4o", schema_format(CLOSED, True), set()),
    (
        {"answer_format": AnswerFormat("json_schema", {**CLOSED, "additionalProperties": False}, "a b")},
        "gpt-4o",
        schema_format(CLOSED, True, "a_b"),
        set(),
    ),
    (
        {"answer_format": AnswerFormat("json_schema", OPEN, "x")},
        "gpt-4o",
        schema_format(OPEN),
        {"answer_format=relaxed"},
    ),
    (
        {"answer_format": AnswerFormat("json_schema", OPEN, "x", strict=False)},
        "gpt-4o",
        schema_format(OPEN, False),
        set(),
    ),
    ({"answer_format": AnswerFormat("json_schema")}, "gpt-4o", {"response_format": {"type": "json_object"}}, set()),
    ({"tool_choice": ToolChoice("auto")}, "gpt-4o", {"tool_choice": "auto"}, set()),
    ({"tool_choice": ToolChoice("none")}, "gpt-4o", {"tool_choice": "none"}, set()),
    ({"tool_choice": ToolChoice("required")}, "gpt-4o", {"tool_choice": "required"}, set()),
    ({"tool_choice": ToolChoice("named", "f")}, "gpt-4o", NAMED, set()),
    ({"parallel_tools": False}, "gpt-4o", {"parallel_tool_calls": False}, set()),
    ({"parallel_tools": False}, "o3-mini", {}, {"parallel_tools=dropped"}),
    ({"user": "u"}, "gpt-5.1", {"user": "u"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("said", "model", "sent", "lost"), FOREIGN, ids=lambda value: str(value)[:40])
def test_a_setting_of_another_dialects_caller(
    said: dict[str, Any], model: str, sent: dict[str, Any], lost: set[str]
) -> None:
    request = ChatRequest("anthropic", "m", HELLO, TOOLS, Sampling(**said))
    assert encoded(request, model) == (sent, lost)


def test_every_setting_has_a_row() -> None:
    assert {name for said, *_ in FOREIGN for name in said} == {field.name for field in fields(Sampling)}


@pytest.mark.parametrize("model", ["gpt-4o", "o3", "gpt-5.1", "some-server-model"])
def test_a_caller_of_this_dialect_loses_nothing_and_is_not_corrected(model: str) -> None:
    said: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "stop": list("abcde"),
        "seed": 7,
        "presence_penalty": 1,
        "frequency_penalty": 1,
        "n": 3,
        "logprobs": True,
        "top_logprobs": 4,
        "reasoning_effort": "minimal",
        "response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": OPEN, "strict": True}},
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "user": "u",
        **dict(EXTRAS),
    }
    assert encoded(own(said), model) == (said, set())


def own(said: dict[str, Any]) -> ChatRequest:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **said}).encode()
    return CHAT.decode_request(body, CHAT.read_head(body, Where({}, {})), Where({}, {}))


EXTRAS: list[tuple[str, Any]] = [
    ("logit_bias", {"5": 1}),
    ("metadata", {"a": "b"}),
    ("store", True),
    ("service_tier", "flex"),
    ("verbosity", "low"),
    ("modalities", ["text", "audio"]),
    ("audio", {"voice": "alloy", "format": "wav"}),
    ("prediction", {"type": "content", "content": "x"}),
    ("prompt_cache_key", "k"),
    ("prompt_cache_retention", "24h"),
    ("prompt_cache_options", {"ttl": "1h"}),
    ("safety_identifier", "s"),
    ("web_search_options", {"search_context_size": "low"}),
    ("moderation", {"model": "omni-moderation-latest"}),
    ("from_the_future", {"a": [1, None]}),
]


@pytest.mark.parametrize(("name", "value"), EXTRAS)
def test_an_extra_is_written_back_and_lost_elsewhere_by_its_name(name: str, value: Any) -> None:
    request = own({name: value})
    assert request.extras == {name: value}
    assert encoded(request, "gpt-4o") == ({name: value}, set())
    foreign = ChatRequest("gemini", "m", HELLO, extras={name: value})
    assert encoded(foreign, "gpt-4o") == ({}, {f"{name}=dropped"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("logit_bias", {}), ("metadata", {}), ("modalities", ["text"]), ("service_tier", "auto"), ("user", None)],
)
def test_what_says_nothing_is_no_extra(name: str, value: Any) -> None:
    assert own({name: value}).extras == {}


def test_the_greatest_effort_reaches_its_own_server_and_others_nearly() -> None:
    request = own({"reasoning_effort": "max"})
    assert request.sampling.effort == "xhigh"
    assert encoded(request, "gpt-5.6") == ({"reasoning_effort": "max"}, set())
    unknown = own({"reasoning_effort": "turbo"})
    assert (unknown.sampling.effort, unknown.extras) == (None, {"reasoning_effort": "turbo"})


def test_a_choice_without_tools_is_not_sent() -> None:
    sampling = Sampling(tool_choice=ToolChoice("auto"), parallel_tools=True)
    assert encoded(ChatRequest("gemini", "m", HELLO, (), sampling), "gpt-4o") == ({}, set())


def test_json_is_asked_for_in_words_where_no_message_speaks_of_it() -> None:
    request = ChatRequest(
        "gemini", "m", (Message("user", (Text("Hi"),)),), (), Sampling(answer_format=AnswerFormat("json_object"))
    )
    written = CHAT.encode_request(request, "gpt-4o")
    assert written.adapted == ("answer_format=emulated",)
    assert json.loads(written.body)["messages"][0] == {"role": "system", "content": "Answer in JSON."}


# The parts of a conversation.

GEMINI = {"gemini": {"x": 1}, "anthropic": {"cache_control": {}}}


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        (Message("user", (Text("a", GEMINI),)), {"messages[0].content[0].x", "messages[0].content[0].cache_control"}),
        (Message("user", (Text("a"),), extras={"gemini": {"x": 1}}), {"messages[0].x"}),
        (Message("assistant", (ToolCall("c", "f", "{}", {"gemini": {"x": 1}}),)), {"messages[0].content[0].x"}),
        (Message("assistant", (Reasoning("hm", origin="gemini"), Text("a"))), {"reasoning"}),
        (Message("assistant", (ToolCall("c", "f", "{}", {}, "sig", "gemini"),)), {"reasoning"}),
        (Message("tool", (ToolResult("c", (Text("a"),), is_error=True),)), {"messages[0].content[0].is_error"}),
        (Message("tool", (ToolResult("c", (), extras={"gemini": {"x": 1}}),)), {"messages[0].content[0].x"}),
    ],
)
def test_what_a_message_loses_is_named(message: Message, lost: set[str]) -> None:
    written = CHAT.encode_request(ChatRequest("gemini", "m", (message,)), "gpt-4o")
    assert set(written.adapted) == {f"{name}=dropped" for name in lost}


def test_a_text_document_is_text_for_servers_that_read_no_documents() -> None:
    document = File(Inline("text/plain", "SMOpbGxv"), "a.txt")
    request = ChatRequest("anthropic", "m", (Message("user", (document, Text("?"))),))
    written = CHAT.encode_request(request, "gpt-4o")
    assert written.adapted == ("messages[0].content[0]=inlined",)
    assert json.loads(written.body)["messages"][0]["content"] == [
        {"type": "text", "text": "a.txt:\nHéllo"},
        {"type": "text", "text": "?"},
    ]
    odd = File(Inline("text/plain", "/////w=="))  # no UTF-8
    written = CHAT.encode_request(ChatRequest("anthropic", "m", (Message("user", (odd,)),)), "gpt-4o")
    assert json.loads(written.body)["messages"][0]["content"][0]["type"] == "file"


def test_the_sound_of_an_earlier_answer_goes_back_by_its_id_and_to_nobody_else() -> None:
    body = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "audio": {"id": "audio_1"}}],
        }
    ).encode()
    request = CHAT.decode_request(body, CHAT.read_head(body, Where({}, {})), Where({}, {}))
    assert request.messages[1].content == (Audio(Stored("audio_1")),)
    said = json.loads(CHAT.encode_request(request, "m").body)["messages"][1]
    assert said == {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    with pytest.raises(BadRequest) as caught:
        CHAT.encode_request(ChatRequest("gemini", "m", request.messages), "m")
    assert caught.value.param == "messages[1].content[0]"


@pytest.mark.parametrize(
    ("parameters", "strict", "sent", "lost"),
    [
        (CLOSED, True, {"parameters": CLOSED, "strict": True}, set()),
        (OPEN, True, {"parameters": OPEN}, {"tools[0].strict=dropped"}),
        (OPEN, None, {"parameters": OPEN}, set()),
        ({"properties": {}}, None, {"parameters": {"type": "object", "properties": {}}}, set()),
        (None, None, {}, set()),
    ],
)
def test_tools_of_others_are_such_as_openai_takes(parameters: Any, strict: Any, sent: Any, lost: set[str]) -> None:
    tool = Tool("f", parameters=parameters, strict=strict)
    written = CHAT.encode_request(ChatRequest("anthropic", "m", HELLO, (tool,)), "gpt-4o")
    assert json.loads(written.body)["tools"] == [{"type": "function", "function": {"name": "f", **sent}}]
    assert set(written.adapted) == lost


def test_extras_of_a_tool_are_named() -> None:
    tool = Tool("f", extras={"anthropic": {"cache_control": {}}})
    written = CHAT.encode_request(ChatRequest("anthropic", "m", HELLO, (tool,)), "gpt-4o")
    assert written.adapted == ("tools[0].cache_control=dropped",)


CLOSED_BUT_FOR_A_WORD = {"type": "object", "properties": {"d": {"type": "string"}}, "required": ["d"]}
NESTED = {
    "type": "object",
    "properties": {
        "a": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
        "b": {"$ref": "#/$defs/c"},
    },
    "required": ["a", "b"],
    "$defs": {"c": {"type": "array", "items": CLOSED_BUT_FOR_A_WORD}},
}


def test_schemas_are_closed_for_strictness_wherever_they_were_not() -> None:
    request = ChatRequest("gemini", "m", HELLO, (), Sampling(answer_format=AnswerFormat("json_schema", NESTED)))
    body, lost = encoded(request, "gpt-4o")
    said = body["response_format"]["json_schema"]
    assert (said["strict"], lost) == (True, set())
    assert json.dumps(said["schema"]).count('"additionalProperties": false') == 3
    odd: list[dict[str, Any]] = [{"required": value} for value in (3, "x", [[3]], ["b"], {"b": 1})]
    odd += [{"properties": value} for value in (3, ["x"])]
    for broken in ({"oneOf": []}, {"additionalProperties": True}, {"patternProperties": {}}, *odd):
        inner = {"type": "object", "properties": {}, "required": [], **broken}
        outer = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
        request = ChatRequest("gemini", "m", HELLO, (), Sampling(answer_format=AnswerFormat("json_schema", outer)))
        body, lost = encoded(request, "gpt-4o")
        assert ("strict" in body["response_format"]["json_schema"], lost) == (False, {"answer_format=relaxed"})

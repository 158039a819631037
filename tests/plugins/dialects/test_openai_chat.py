"""The Chat dialect's requests: what is refused, what is understood, what is written for a provider; its errors too."""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random
from time import process_time
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from llmhub_plugins.dialects.openai_chat import OpenAIChat, register_dialects

from llmhub_core.contracts import (
    AnswerFormat,
    Audio,
    BadRequest,
    ChatRequest,
    Failed,
    File,
    Forbidden,
    HubError,
    Image,
    Inline,
    Internal,
    Link,
    Message,
    ModelCard,
    NoCandidateLeft,
    Opaque,
    OpaqueTool,
    QuotaExceeded,
    Reasoning,
    Refusal,
    RequestHead,
    Sampling,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRefused,
    Where,
    duration,
)

CHAT = OpenAIChat(OpenAIChat.Settings())
HERE = Where({}, {})
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def body(**fields: Any) -> bytes:
    return json.dumps({**ASK, **fields}).encode()


def read(**fields: Any) -> ChatRequest:
    raw = body(**fields)
    return CHAT.decode_request(raw, CHAT.read_head(raw, HERE), HERE)


def write(request: ChatRequest, model: str = "gpt-4o") -> dict[str, Any]:
    written: dict[str, Any] = json.loads(CHAT.encode_request(request, model).body)
    return written


def foreign(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("anthropic", "m", messages or (Message("user", (Text("Hi"),)),), **fields)


# Refusals of read_head.


def said(content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content}]}


def pictured(url: str) -> dict[str, Any]:
    return said([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}])


def function(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **fields}}]}


URL = "messages[0].content[1].image_url.url"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": None}, "invalid_type", "model"),
        ({"model": 5}, "invalid_type", "model"),
        ({"model": ""}, "invalid_value", "model"),
        ({"model": "x" * 10_240}, "invalid_value", "model"),
        ({"model": "a\nb"}, "invalid_value", "model"),
        ({"model": "a\0b"}, "invalid_value", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": {}}, "invalid_type", "messages"),
        ({"messages": ASK["messages"] * 100_000}, "invalid_value", "messages"),
        ({"messages": [{"content": "Hi"}]}, "missing_field", "messages[0].role"),
        ({"messages": [*ASK["messages"], {"role": "robot", "content": "Hi"}]}, "invalid_value", "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "missing_field", "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "missing_field", "messages[0].tool_call_id"),
        (said(5), "invalid_type", "messages[0].content"),
        (said([5]), "invalid_type", "messages[0].content[0]"),
        (said([{"type": "hologram"}]), "invalid_value", "messages[0].content[0].type"),
        (said([{"text": "Hi"}]), "missing_field", "messages[0].content[0].type"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"stream": 1}, "invalid_type", "stream"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"max_tokens": 1.5}, "invalid_type", "max_tokens"),
        ({"max_tokens": True}, "invalid_type", "max_tokens"),
        ({"max_tokens": "5"}, "invalid_type", "max_tokens"),
        ({"max_completion_tokens": 10**12}, "invalid_value", "max_completion_tokens"),
        ({"temperature": -1}, "invalid_value", "temperature"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"top_p": 1.5}, "invalid_value", "top_p"),
        ({"presence_penalty": -3}, "invalid_value", "presence_penalty"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 129, "stream": True}, "invalid_value", "n"),
        ({"stop": ["x"] * 100}, "invalid_value", "stop"),
        ({"stop": ""}, "invalid_value", "stop"),
        ({"stop": ["a", ""]}, "invalid_value", "stop[1]"),
        ({"tools": function()["tools"] * 10_000}, "invalid_value", "tools"),
        ({"tools": [{"type": "function"}]}, "missing_field", "tools[0].function"),
        (function(name="two words"), "invalid_value", "tools[0].function.name"),
        (function(name="a\0"), "invalid_value", "tools[0].function.name"),
        (function(parameters=[]), "invalid_type", "tools[0].function.parameters"),
        (function(parameters={"description": "x" * 2**20}), "invalid_value", "tools[0].function.parameters"),
        ({"tool_choice": "perhaps"}, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "missing_field", "tool_choice.function"),
        ({"response_format": {"type": "poem"}}, "invalid_value", "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "missing_field", "response_format.json_schema"),
        (pictured("file:///etc/passwd"), "invalid_value", URL),
        (pictured("http://169.254.169.254/latest"), "invalid_value", URL),
        (pictured("javascript:alert(1)"), "invalid_value", URL),
        (pictured("data:image/png;base64,!!"), "invalid_value", URL),
        (pictured("data:image/png,plain"), "invalid_value", URL),
        *[({name: "x"}, "unknown_field", name) for name in ("api_base", "base_url", "api_key", "user_config")],
        *[({name: {}}, "unknown_field", name) for name in ("extra_headers", "headers", "proxy", "timeout")],
        ({"api_base": None}, "unknown_field", "api_base"),
        ({"metadata": {"api_base": "x"}}, "unknown_field", "metadata.api_base"),
        ({"metadata": {"a": "x" * 2**20}}, "invalid_value", "metadata"),
        ({"metadata": {"a": {"b": {}}}}, "invalid_type", "metadata[...]"),
        ({"user": "x" * 10_240}, "invalid_value", "user"),
        ({"user": "a\r\nb"}, "invalid_value", "user"),
    ],
)
def test_a_body_that_no_server_takes_is_refused_by_field(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.read_head(body(**fields), HERE)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)
    assert "robot" not in caught.value.message  # nothing of the caller's is repeated
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b" \n", "invalid_json"),
        (b"null", "invalid_body"),
        (b"[]", "invalid_body"),
        (b'"x"', "invalid_body"),
        (b"42", "invalid_body"),
        (body() + b" x", "invalid_json"),
        (body() + body(), "invalid_json"),
        (b"/* */" + body(), "invalid_json"),
        (b"{'model':'m'}", "invalid_json"),
        (b"\xef\xbb\xbf" + body(), "invalid_json"),
        (body().replace(b"Hi", b"\xff"), "invalid_encoding"),
        (body().decode().encode("utf-16"), "invalid_encoding"),
        (body().replace(b"Hi", b"\\ud800"), "invalid_encoding"),
        (body().replace(b"Hi", b"a \\udc00 b"), "invalid_encoding"),
        (body(x="y").replace(b'"y"', b"[" * 100_000), "invalid_json"),
        (body(x="y").replace(b'"y"', b'{"a":' * 2_000), "invalid_json"),
        (b'{"messages":"a wrong type before","x":[[[', "invalid_json"),
        (body(x="y").replace(b'"y"', b"NaN"), "invalid_json"),
        (body(temperature=1).replace(b": 1}", b": Infinity}"), "invalid_json"),
        (body(temperature=1).replace(b": 1}", b": 1e999}"), "invalid_json"),
        (body(seed=1).replace(b": 1}", b": " + b"9" * 5000 + b"}"), "invalid_json"),
        (b'{"model":"a",' + body()[1:], "invalid_json"),
        (b'{"stream":true,"stream":false,' + body()[1:], "invalid_json"),
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.read_head(raw, HERE)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_the_head_tells_what_the_chain_must_know() -> None:
    assert CHAT.read_head(body(), HERE) == RequestHead("m")
    asked = body(stream=True, stream_options={"include_usage": True}, max_tokens=5, max_completion_tokens=7, n=2)
    assert CHAT.read_head(asked, HERE) == RequestHead("m", True, "sse", 7, True, 2)
    assert CHAT.read_head(body(stream=True), HERE).asked_usage is False
    assert CHAT.read_head(body(stream=None), HERE).stream is False
    # A pair of surrogates, and a backslash that only looks like half of one, are ordinary text.
    for text in (b"\\ud83d\\ude00", b"\\\\ud83d", b"\\n\\uD83D\\uDE00"):
        CHAT.read_head(body().replace(b"Hi", text), HERE)


def test_a_picture_that_never_begins_costs_no_more_than_its_length() -> None:
    for url in ("data:" + "a" * 2_000_000, "data:" + ";a" * 1_000_000, "http://" + "a" * 2_000_000):
        raw = body(**pictured(url))
        began = process_time()
        with suppress(BadRequest):
            CHAT.read_head(raw, HERE)
        assert process_time() - began < 0.5


def test_unknown_fields_pass_and_odd_keys_harm_nobody() -> None:
    request = read(new_setting={"a": 1}, __proto__={"x": 1}, verbosity="low")
    assert request.extras == {"new_setting": {"a": 1}, "__proto__": {"x": 1}, "verbosity": "low"}
    assert write(request)["new_setting"] == {"a": 1}


# Reading.


def test_settings_are_read_into_the_neutral_words_and_written_back() -> None:
    fields: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop": ["a", "b"],
        "seed": 7,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 4,
        "reasoning_effort": "high",
        "parallel_tool_calls": False,
        "user": "u",
        "max_tokens": 9,
        "logit_bias": {"1": 2},
        "service_tier": "flex",
        **function(description="d", parameters={"type": "object"}, strict=True),
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": True}},
    }
    request = read(**fields)
    assert request.sampling == Sampling(
        max_output=9,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop=("a", "b"),
        seed=7,
        presence_penalty=1,
        frequency_penalty=-1,
        n=2,
        logprobs=True,
        top_logprobs=4,
        effort="high",
        answer_format=AnswerFormat("json_schema", {}, "x", strict=True),
        tool_choice=ToolChoice("named", "f"),
        parallel_tools=False,
        user="u",
    )
    assert request.tools == (Tool("f", "d", {"type": "object"}, True),)
    assert request.extras == {"logit_bias": {"1": 2}, "service_tier": "flex"}
    assert write(request) == {**ASK, **fields, "model": "gpt-4o"}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}, None),
        ({"type": "image_url", "image_url": {"url": PIXEL}}, Image(Inline("image/png", "iVBORw0KGgo="))),
        (
            {"type": "image_url", "image_url": {"url": "https://a.b/c.png", "detail": "low"}},
            Image(Link("https://a.b/c.png"), "low"),
        ),
        ({"type": "image_url", "image_url": "https://a.b/c.png"}, None),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            Audio(Inline("audio/mpeg", "AAAA")),
        ),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, Audio(Inline("audio/wav", "AAAA"))),
        ({"type": "file", "file": {"file_id": "file-1"}}, File(Stored("file-1"))),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            File(Inline("application/pdf", "AAAA"), "a.pdf"),
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://a.b/c.pdf"}},
            File(Link("https://a.b/c.pdf"), "a.pdf"),
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://a.b/c.mp4"}},
            Opaque("openai_chat", "video_url", {"type": "video_url", "video_url": {"url": "https://a.b/c.mp4"}}),
        ),
    ],
)
def test_parts_are_read_and_written_back(part: dict[str, Any], value: Any) -> None:
    request = read(**said([{"type": "text", "text": "?"}, part]))
    if value is not None:
        assert request.messages[0].content[1] == value
    assert write(request)["messages"][0]["content"][1] == part


def test_bare_base64_is_a_document_of_the_type_that_its_name_tells() -> None:
    request = read(**said([{"type": "file", "file": {"filename": "a.txt", "file_data": "AAAA"}}]))
    assert request.messages[0].content == (File(Inline("text/plain", "AAAA"), "a.txt"),)


def test_a_conversation_with_calls_is_read() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    request = read(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi", "name": "Ann"},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm", "refusal": None},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "1"}]},
            {"role": "assistant", "content": "", "refusal": "No."},
        ]
    )
    assert request.messages == (
        Message("developer", (Text("Be brief."),)),
        Message("user", (Text("Hi"),), name="Ann"),
        Message("assistant", (Reasoning("hm", origin="openai_chat"), ToolCall("call_1", "f", '{"a":1}'))),
        Message("tool", (ToolResult("call_1", (Text("1"),)),)),
        Message("assistant", (Text(""), Refusal("No."))),
    )


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "missing_field", "messages[1].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
            "missing_field",
            "messages[1].tool_calls[0].id",
        ),
        ({"role": "function", "name": "f", "content": "1"}, "invalid_value", "messages[1].name"),
        ({"role": "user", "content": [{"type": "text"}]}, "missing_field", "messages[1].content[0].text"),
    ],
)
def test_malformed_calls_are_refused_when_the_request_is_taken_apart(
    message: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        read(messages=[*ASK["messages"], message])
    assert (caught.value.code, caught.value.param) == (code, param)


def test_the_old_functions_become_tools_and_go_back_as_they_came() -> None:
    fields: dict[str, Any] = {
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
        ],
    }
    request = read(**fields)
    [tool] = request.tools
    assert isinstance(tool, Tool)
    assert tool.name == "f"
    assert request.sampling.tool_choice == ToolChoice("named", "f")
    assert request.sampling.parallel_tools is False
    [call], [result] = request.messages[1].content, request.messages[2].content
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.id == result.call_id != ""
    assert write(request) == {**fields, "model": "gpt-4o"}


def test_what_only_chat_has_goes_back_whole_and_nowhere_else() -> None:
    custom = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
    call = {"id": "call_1", "type": "custom", "custom": {"name": "c", "input": "x"}}
    odd = {"type": "from_the_future", "from_the_future": {"a": 1}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}
    fields: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}],
        "tools": [custom, odd],
        "tool_choice": allowed,
    }
    request = read(**fields)
    assert request.tools[1] == OpaqueTool("openai_chat", "from_the_future", odd)
    assert request.sampling.tool_choice == ToolChoice("required")
    assert write(request) == {**fields, "model": "gpt-4o"}
    unknown = {"id": "call_1", "type": "from_the_future", "from_the_future": 1}
    later = read(messages=[{"role": "assistant", "content": None, "tool_calls": [unknown]}])
    assert later.messages[0].content == (Opaque("openai_chat", "from_the_future", unknown),)
    assert write(later)["messages"][0]["tool_calls"] == [unknown]


def test_a_tool_of_free_text_is_a_function_of_one_string_to_others() -> None:
    custom = {"name": "c", "description": "d", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}
    call = {"id": "call_1", "type": "custom", "custom": {"name": "c", "input": 'say "so"'}}
    fields: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}],
        "tools": [{"type": "custom", "custom": custom}],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}},
    }
    request = read(**fields)
    [tool] = request.tools
    assert isinstance(tool, Tool)
    assert (tool.name, tool.description, tool.extras) == ("c", "d", {"openai_chat": {"custom": custom}})
    assert tool.parameters is not None
    assert (tool.parameters["required"], "lark" in str(tool.parameters)) == (["input"], True)
    assert request.sampling.tool_choice == ToolChoice("named", "c")
    [said] = request.messages[1].content
    assert isinstance(said, ToolCall)
    assert (said.id, said.name, json.loads(said.arguments)) == ("call_1", "c", {"input": 'say "so"'})
    assert write(request) == {**fields, "model": "gpt-4o"}


def test_of_allowed_tools_others_see_only_those() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    tools.append({"type": "custom", "custom": {"name": "d"}})
    may = [{"type": "function", "function": {"name": "b"}}, {"type": "custom", "custom": {"name": "d"}}]
    fields: dict[str, Any] = {
        "tools": tools,
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": may}},
    }
    request = read(**fields)
    assert [tool.name for tool in request.tools if isinstance(tool, Tool)] == ["b", "d"]
    assert request.sampling.tool_choice == ToolChoice("auto")
    for _ in range(2):  # nothing of the request is used up
        assert write(request) == {**ASK, **fields, "model": "gpt-4o"}


def test_thoughts_go_back_under_the_name_they_came_in() -> None:
    messages = [
        {"role": "assistant", "content": "1", "reasoning": "a", "reasoning_details": [{"type": "x"}]},
        {"role": "assistant", "content": "1", "reasoning_content": "b"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "c"}], "closed": True},
                {"type": "text", "text": "1"},
            ],
        },
    ]
    request = read(messages=messages)
    thoughts = [message.content[0] for message in request.messages]
    assert [part.text for part in thoughts if isinstance(part, Reasoning)] == ["a", "b", "c"]
    assert write(request)["messages"] == messages


# Writing for a provider what came in another dialect.


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("o1", "max_completion_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("o4-mini-2025-04-16", "max_completion_tokens"),
        ("gpt-5.1", "max_completion_tokens"),
        ("openai/gpt-5-mini", "max_completion_tokens"),
        ("olmo-2", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
    ],
)
def test_the_limit_is_named_as_the_model_takes_it(model: str, field: str) -> None:
    assert write(foreign(sampling=Sampling(max_output=5)), model)[field] == 5


def test_a_stream_always_asks_for_its_usage() -> None:
    assert write(foreign(stream=True, asked_usage=False))["stream_options"] == {"include_usage": True}
    own = read(stream=True, stream_options={"include_obfuscation": False})
    assert write(own)["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_settings_that_a_model_lacks_are_dropped_and_listed() -> None:
    sampling = Sampling(temperature=0.5, top_k=3, stop=("a",), reasoning_tokens=10_000)
    request = foreign(sampling=sampling, extras={"service_tier": "auto"})
    written = CHAT.encode_request(request, "o3")
    assert set(written.adapted) == {
        "temperature=dropped",
        "top_k=dropped",
        "stop=dropped",
        "reasoning_tokens=renamed",
        "service_tier=dropped",
    }
    assert json.loads(written.body) == {"model": "o3", "messages": ASK["messages"], "reasoning_effort": "medium"}
    plain = CHAT.encode_request(foreign(sampling=Sampling(effort="low", stop=tuple("abcdef"))), "gpt-4o")
    assert set(plain.adapted) == {"effort=dropped", "stop=clamped"}
    assert json.loads(plain.body)["stop"] == ["a", "b", "c", "d"]


def test_a_foreign_conversation_is_written_for_any_chat_server() -> None:
    picture = Image(Inline("image/png", "AAAA"))
    long_id = "toolu_" + "x" * 60
    request = foreign(
        Message("system", (Text("A", {"anthropic": {"cache_control": {}}}), Text("B"))),
        Message("developer", (Text("C"),)),
        Message("user", (Text("?"), picture)),
        Message("assistant", (Reasoning("hm", "sig", origin="anthropic"), Text("So"), ToolCall(long_id, "f", ""))),
        Message("tool", (ToolResult(long_id, (Text("1"), picture), is_error=True),)),
        Message("user", (Text("Go on"),)),
        tools=(Tool("f", parameters={"type": "object"}),),
        sampling=Sampling(tool_choice=ToolChoice("required"), parallel_tools=False),
    )
    written = CHAT.encode_request(request, "gpt-4o")
    said = json.loads(written.body)
    system, developer, user, assistant, tool, attached, last = said["messages"]
    assert system == {"role": "system", "content": "A\n\nB"}
    assert developer == {"role": "system", "content": "C"}
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    [call] = assistant["tool_calls"]
    assert assistant["content"] == "So"
    assert call["function"] == {"name": "f", "arguments": "{}"}
    assert len(call["id"]) <= 40
    assert tool == {"role": "tool", "tool_call_id": call["id"], "content": "1"}
    assert attached["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert last == {"role": "user", "content": "Go on"}
    assert (said["tool_choice"], said["parallel_tool_calls"]) == ("required", False)
    assert set(written.adapted) == {
        "messages[0].content[0].cache_control=dropped",
        "reasoning=dropped",
        "messages[4].content[0].content=moved",
        "messages[4].content[0].is_error=dropped",
    }


def test_ids_are_kept_where_legal_and_exchanged_alike_where_not() -> None:
    messages = (
        Message("assistant", (ToolCall("toolu_1", "f", "{}"), ToolCall("toolu_2", "f", "{}"))),
        Message("tool", (ToolResult("toolu_1", (Text("1"),)), ToolResult("toolu_2", (Text("2"),)))),
    )
    kept = write(foreign(*messages))["messages"]
    assert [call["id"] for call in kept[0]["tool_calls"]] == ["toolu_1", "toolu_2"]
    strict = write(foreign(*messages), "mistral-large-latest")["messages"]
    ids = [call["id"] for call in strict[0]["tool_calls"]]
    assert all(len(id) == 9 and id.isalnum() for id in ids)
    assert [message["tool_call_id"] for message in strict[1:]] == ids
    assert write(foreign(*messages), "mistral-large-latest")["messages"] == strict


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (Message("user", (Text("?"), Image(Stored("f1")))), "messages[0].content[1]"),
        (Message("user", (File(Stored("f1")),)), "messages[0].content[0]"),
        (Message("user", (File(Link("https://a.b/c.pdf")),)), "messages[0].content[0]"),
        (Message("user", (Audio(Link("https://a.b/c.mp3")),)), "messages[0].content[0]"),
        (Message("user", (Opaque("anthropic", "search_result", {}),)), "messages[0].content[0]"),
        (Message("assistant", (Image(Inline("image/png", "AAAA")),)), "messages[0].content[0]"),
    ],
)
def test_content_that_chat_cannot_say_is_refused_by_name(message: Message, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.encode_request(foreign(message), "gpt-4o")
    assert (caught.value.code, caught.value.param) == ("unsupported_content", param)


def test_foreign_server_tools_are_refused_by_name() -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.encode_request(foreign(tools=(OpaqueTool("anthropic", "web_search", {}),)), "gpt-4o")
    assert (caught.value.code, caught.value.param) == ("unsupported_content", "tools[0]")


# The verbatim lane's way out.

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=12)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "stream_options", "a"]) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
others = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ("model", "stream", "stream_options", "messages")),
    values,
    max_size=4,
)
booleans = st.booleans()
options = st.none() | st.just("absent") | st.dictionaries(st.sampled_from(["include_obfuscation", "x"]), values)


@given(
    others, options, st.booleans(), st.booleans(), st.sampled_from([None, 1, "\t"]), st.text(min_size=1), st.randoms()
)
@example({"a": {"model": "m"}}, {"x": 1}, True, True, None, 'new "name"', Random(0))
def test_the_outgoing_body_differs_in_model_and_usage_alone(
    rest: dict[str, Any], asked: Any, stream: bool, ascii: bool, indent: Any, model: str, draw: Any
) -> None:
    fields = {**rest, "model": "public/name", "stream": stream, "messages": [{"role": "user", "content": "model"}]}
    if asked != "absent":
        fields["stream_options"] = asked
    names = list(fields)
    draw.shuffle(names)
    raw = json.dumps({name: fields[name] for name in names}, ensure_ascii=ascii, indent=indent).encode()
    head = RequestHead("public/name", stream, asked_usage=not stream)
    sent = json.loads(CHAT.outgoing_body(raw, head, model))
    wanted = {**fields, "model": model}
    if stream:
        wanted["stream_options"] = {**(asked if isinstance(asked, dict) else {}), "include_usage": True}
    assert sent == wanted


def test_a_body_that_needs_no_change_but_the_name_keeps_its_bytes() -> None:
    raw = b'{ "temperature" : 1e-7, "model":"a" , "stream":true, "stream_options":{"include_usage":true} }'
    head = RequestHead("a", True, asked_usage=True)
    assert CHAT.outgoing_body(raw, head, "b") == raw.replace(b'"a"', b'"b"')


# Errors.


def error(status: int, said: Any, **headers: str) -> UpstreamError:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return CHAT.decode_error(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def openai(message: str, code: str | None = None, type: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "said", "kind", "code"),
    [
        (401, openai("Incorrect API key provided: sk-abc123456", "invalid_api_key"), UpstreamDenied, None),
        (403, openai("Country not supported", "unsupported_country_region_territory"), UpstreamDenied, None),
        (400, {"code": "x", "error": "Incorrect API key provided: xa***. Get one at"}, UpstreamDenied, None),
        (401, {"detail": "Invalid API Key"}, UpstreamDenied, None),
        (404, openai("The model `x` does not exist", "model_not_found"), UpstreamModelMissing, "model_not_found"),
        (400, openai("no such model", "model_not_found", param="model"), UpstreamModelMissing, "model_not_found"),
        (403, openai("Project does not have access", "model_not_found"), UpstreamModelMissing, "model_not_found"),
        (404, {"error": {"code": "DeploymentNotFound", "message": "…"}}, UpstreamModelMissing, "model_not_found"),
        (404, b"<html>Not Found</html>", UpstreamModelMissing, "model_not_found"),
        (400, openai("Too long", "context_length_exceeded"), UpstreamRefused, "context_length_exceeded"),
        (400, openai("prompt too long; exceeded max context length"), UpstreamRefused, "context_length_exceeded"),
        (
            400,
            {"error": {"code": "content_filter", "message": "The response was filtered", "status": 400}},
            UpstreamRefused,
            "content_policy_violation",
        ),
        (403, {"error": {"code": 403, "message": "Input was flagged by moderation"}}, UpstreamRefused, None),
        (400, openai("Bad", "unsupported_parameter", param="max_tokens"), UpstreamRefused, "unsupported_parameter"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, UpstreamRefused, "upstream_rejected"),
        (400, {"object": "error", "message": "Nope", "code": 40001}, UpstreamRefused, "upstream_rejected"),
        (400, [openai("Nope")], UpstreamRefused, "upstream_rejected"),
        (402, {"error": {"message": "Insufficient Balance", "code": "x"}}, UpstreamLimited, "insufficient_quota"),
        (429, openai("You exceeded your current quota", "insufficient_quota"), UpstreamLimited, "insufficient_quota"),
        (429, {"error": {"code": "RateLimitReached", "message": "…"}}, UpstreamLimited, "rate_limit_exceeded"),
        (500, b"", UpstreamOverloaded, "overloaded"),
        (502, b"<html>Bad Gateway</html>", UpstreamOverloaded, "overloaded"),
        (503, b"upstream connect error", UpstreamOverloaded, "overloaded"),
    ],
)
def test_error_answers_become_the_right_kind(
    status: int, said: Any, kind: type[UpstreamError], code: str | None
) -> None:
    found = error(status, said, x_request_id="req-7")
    assert type(found) is kind
    assert code is None or found.code == code
    assert (found.provider_status, found.provider_request_id) == (status, "req-7")
    assert "sk-abc" not in found.detail + found.message


def test_a_refusal_keeps_the_providers_words_and_field() -> None:
    found = error(400, openai("Unsupported parameter", "unsupported_parameter", param="max_tokens"))
    assert (found.status, found.message, found.param) == (400, "Unsupported parameter", "max_tokens")


def limited(found: UpstreamError) -> UpstreamLimited:
    assert isinstance(found, UpstreamLimited)
    return found


def test_limits_say_for_how_long_and_whose_they_are() -> None:
    org = "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 3. Please try again in "
    assert limited(error(429, openai("", "rate_limit_exceeded"), retry_after="7")).retry_after == 7
    azure = limited(error(429, openai("", "RateLimitReached"), retry_after="1", retry_after_ms="0"))
    assert azure.retry_after == 1
    openai_says = limited(error(429, openai(org + "18.642s.", "rate_limit_exceeded")))
    assert (openai_says.retry_after, openai_says.scope, openai_says.exhausted) == (18.642, "group", False)
    assert limited(error(429, openai(org + "6m0s.", "rate_limit_exceeded"))).retry_after == 360
    headers = {"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "1m2.5s"}
    assert limited(error(429, openai("", "rate_limit_exceeded"), **headers)).retry_after == 62.5
    daily = limited(error(429, openai("Limit 100 on tokens per day (TPD)", "rate_limit_exceeded")))
    assert daily.exhausted
    large = limited(error(429, openai("Request too large for gpt-4o", "rate_limit_exceeded")))
    assert (large.oversized, large.exhausted) == (True, False)
    assert limited(error(413, openai("Request too large for model", "rate_limit_exceeded"))).oversized
    spent = limited(error(429, openai("", "insufficient_quota", "insufficient_quota")))
    assert (spent.exhausted, spent.scope) == (True, "group")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("8.64s", 8.64),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("20 seconds", 20),
        ("5", 5),
        ("", None),
        ("nan", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("raised", "type", "code"),
    [
        (BadRequest("x", param="model"), "invalid_request_error", "invalid_body"),
        (Unauthenticated("x"), "invalid_request_error", "invalid_api_key"),
        (Forbidden("x"), "permission_error", "forbidden"),
        (UnknownModel("x"), "invalid_request_error", "model_not_found"),
        (QuotaExceeded("The limit of 5 requests is reached."), "requests", "rate_limit_exceeded"),
        (QuotaExceeded("The limit of 5 tokens is reached."), "tokens", "rate_limit_exceeded"),
        (UpstreamLimited("x", code="insufficient_quota"), "insufficient_quota", "insufficient_quota"),
        (Internal("x"), "server_error", "internal_error"),
        (Unavailable("x"), "server_error", "overloaded"),
        (NoCandidateLeft("x"), "server_error", "no_upstream_available"),
    ],
)
def test_errors_are_written_as_openais_clients_match_them(raised: HubError, type: str, code: str) -> None:
    said = json.loads(CHAT.encode_error(raised, "req"))["error"]
    assert said == {
        "message": raised.message,
        "type": type,
        "param": raised.param,
        "code": code,
        "source": raised.source,
    }
    event = CHAT.encode_stream_error(raised, "req")
    assert event == b"data: " + CHAT.encode_error(raised, "req") + b"\n\n"
    [read_back] = [found for found in CHAT.response_decoder(True).feed(event) if isinstance(found, Failed)]
    assert read_back.error.status >= 400


# The rest.


def test_models_are_listed_as_openai_does() -> None:
    cards = [ModelCard("a/b:c", 5, "llm-hub"), ModelCard("d", 6, "openai")]
    listed = json.loads(CHAT.encode_models(cards))
    assert listed["object"] == "list"
    assert listed["data"][0] == {"id": "a/b:c", "object": "model", "created": 5, "owned_by": "llm-hub"}
    assert json.loads(CHAT.encode_model(cards[1])) == listed["data"][1]
    jsonschema.validate(listed["data"][0], {"required": ["id", "object", "created", "owned_by"]})


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer lh-1", "lh-1"), ("bearer  lh-1 ", "lh-1"), ("Basic eDp5", None), ("Bearer", None), ("Bearer a b", None)],
)
def test_the_token_is_a_bearers(header: str, token: str | None) -> None:
    assert CHAT.credentials({"authorization": header}, {}) == token
    assert CHAT.credentials({}, {}) is None


def test_paths_and_claims() -> None:
    assert CHAT.path(RequestHead("m"), "x") == "/chat/completions"
    assert CHAT.path(RequestHead("m", operation="embeddings"), "x") == "/embeddings"
    assert CHAT.claims({"user-agent": "OpenAI/Python 3.54.0"}, "/v1/models")
    assert not CHAT.claims({"user-agent": "Anthropic/Python 2.12.0"}, "/v1/models")
    assert CHAT.stream_end() == b"data: [DONE]\n\n"
    assert list(register_dialects()) == [OpenAIChat]

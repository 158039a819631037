"""The anthropic dialect: heads, requests of callers, errors, and what is read in passing."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings, register_dialects

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    File,
    Image,
    Inline,
    Link,
    ModelCard,
    Opaque,
    OpaqueTool,
    Reasoning,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    UpstreamLimited,
    UpstreamOverloaded,
    Usage,
    Where,
)

DIALECT = Anthropic(AnthropicSettings())
NOWHERE = Where({}, {})
USER = {"role": "user", "content": "hi"}
SMALLEST: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [USER]}


def head(**fields: Any) -> Any:
    return DIALECT.read_head(json.dumps({**SMALLEST, **fields}).encode(), NOWHERE)


def read(**fields: Any) -> ChatRequest:
    body = json.dumps({**SMALLEST, **fields}).encode()
    return DIALECT.decode_request(body, DIALECT.read_head(body, NOWHERE), NOWHERE)


def block(value: Any, role: str = "user") -> Any:
    """The one part that a message of one block is read as."""
    request = read(messages=[{"role": role, "content": [value]}])
    (part,) = request.messages[0].content
    return part


def written_back(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(DIALECT.encode_request(request, request.model).body)
    return body


# Heads.


def test_a_head_tells_what_the_chain_needs() -> None:
    told = head(model="claude/x:1", max_tokens=77, stream=True)
    assert (told.model, told.stream, told.framing, told.max_output) == ("claude/x:1", True, "sse", 77)
    assert (head(stream=None).stream, head().framing) == (False, "json")
    assert head(max_tokens=0).max_output == 0  # the prompt goes into the cache and nothing is answered
    assert written_back(read(max_tokens=0))["max_tokens"] == 0
    assert head(something_new={"a": 1}, temperature=1, top_p=0, top_k=0, messages=[{"role": "system", "content": []}])


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": None}, "invalid_type", "model"),
        ({"model": 5}, "invalid_type", "model"),
        ({"model": ""}, "invalid_value", "model"),
        ({"model": "x" * 300}, "invalid_value", "model"),
        ({"model": "a\nb"}, "invalid_value", "model"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"max_tokens": 1.5}, "invalid_type", "max_tokens"),
        ({"max_tokens": True}, "invalid_type", "max_tokens"),
        ({"max_tokens": "5"}, "invalid_type", "max_tokens"),
        ({"max_tokens": 10**12}, "invalid_value", "max_tokens"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": {}}, "invalid_type", "messages"),
        ({"messages": [{"content": "x"}]}, "missing_field", "messages[0].role"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "invalid_value", "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "missing_field", "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "invalid_type", "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "missing_field", "messages[0].content[0].type"),
        ({"system": 5}, "invalid_type", "system"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"temperature": 1.1}, "invalid_value", "temperature"),
        ({"temperature": -0.1}, "invalid_value", "temperature"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"top_p": 2}, "invalid_value", "top_p"),
        ({"top_k": -1}, "invalid_value", "top_k"),
        ({"stop_sequences": "x"}, "invalid_type", "stop_sequences"),
        ({"stop_sequences": [""]}, "invalid_value", "stop_sequences[0]"),
        ({"tools": [{"name": "a b"}]}, "invalid_value", "tools[0].name"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"metadata": {"user_id": "a\u0000"}}, "invalid_value", "metadata.user_id"),
        *[
            ({name: "http://169.254.169.254"}, "unknown_field", name)
            for name in ("api_base", "base_url", "api_key", "extra_headers", "headers", "proxy", "user_config")
        ],
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        head(**fields)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert param in refused.value.message
    assert "169.254" not in refused.value.message


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
def test_required_fields_are_required(name: str) -> None:
    body = json.dumps({key: value for key, value in SMALLEST.items() if key != name}).encode()
    with pytest.raises(BadRequest) as refused:
        DIALECT.read_head(body, NOWHERE)
    assert (refused.value.code, refused.value.param) == ("missing_field", name)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"  ", "invalid_json"),
        (b"null", "invalid_body"),
        (b"[]", "invalid_body"),
        (b'"x"', "invalid_body"),
        (json.dumps(SMALLEST).encode() + b" {}", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
        (b'{"messages":"a wrong type before","a":[[[', "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":"\xff"}', "invalid_encoding"),
        (json.dumps(SMALLEST).replace("hi", "\\ud83d").encode(), "invalid_encoding"),
        (json.dumps(SMALLEST).encode("utf-16"), "invalid_encoding"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        DIALECT.read_head(body, NOWHERE)
    assert refused.value.code == code


# Requests.


def test_blocks_are_read_for_what_they_mean() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    assert block({"type": "text", "text": "a", **mark}) == Text("a", {"anthropic": mark})
    assert block({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}) == Image(
        Inline("image/png", "AA==")
    )
    assert block({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}) == Image(
        Link("https://x/y.png")
    )
    assert block({"type": "image", "source": {"type": "file", "file_id": "f"}}) == Image(Stored("f"))
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AA=="}
    extras = {"citations": {"enabled": True}, "context": "c"}
    assert block({"type": "document", "source": pdf, "title": "t", **extras}) == File(
        Inline("application/pdf", "AA=="), "t", {"anthropic": extras}
    )
    text = {"type": "text", "media_type": "text/plain", "data": "naïve"}
    assert block({"type": "document", "source": text}) == File(
        Inline("text/plain", b64encode("naïve".encode()).decode())
    )
    inner = {"type": "document", "source": {"type": "content", "content": "x"}}
    assert block(inner) == Opaque("anthropic", "document", inner)
    call = block({"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}, "caller": {"type": "direct"}})
    assert call == ToolCall("t", "f", '{"a":[1]}', {"anthropic": {"caller": {"type": "direct"}}})
    thought = block({"type": "thinking", "thinking": "hm", "signature": "s"}, "assistant")
    assert thought == Reasoning("hm", "s", None, "anthropic")
    assert block({"type": "redacted_thinking", "data": "d"}) == Reasoning("", None, "d", "anthropic")
    other = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    assert block(other) == Opaque("anthropic", "server_tool_use", other)


def test_results_of_tools_become_messages_of_their_own() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "http://x"}}
    results = [
        {"type": "tool_result", "tool_use_id": "1", "content": [picture], "is_error": True},
        {"type": "tool_result", "tool_use_id": "2", "content": "two"},
        {"type": "tool_result", "tool_use_id": "3"},
        {"type": "text", "text": "go on"},
    ]
    request = read(messages=[{"role": "user", "content": results, "tag": 1}])
    results_message, text = request.messages
    assert results_message.role == "tool"
    assert results_message.extras == {"anthropic": {"tag": 1}}
    assert results_message.content == (
        ToolResult("1", (Image(Link("http://x")),), is_error=True),
        ToolResult("2", (Text("two"),)),
        ToolResult("3", ()),
    )
    assert (text.role, text.content) == ("user", (Text("go on"),))
    (again,) = written_back(request)["messages"]
    assert again["content"][1:] == results[1:]
    assert again["tag"] == 1


def test_settings_are_read_and_the_rest_is_kept() -> None:
    fields = {
        "system": [{"type": "text", "text": "s"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "stop_sequences": ["a"],
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u", "more": 1},
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": True, "defer_loading": True}],
        "service_tier": "auto",
        "container": None,
    }
    request = read(**fields)
    sampling = request.sampling
    assert request.messages[0].role == "system"
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.stop) == (0.5, 0.9, 4, ("a",))
    assert (sampling.effort, sampling.reasoning_tokens, sampling.user) == ("xhigh", 2000, "u")
    assert sampling.answer_format == AnswerFormat("json_schema", {"type": "object"})
    assert (sampling.tool_choice, sampling.parallel_tools) == (ToolChoice("named", "f"), False)
    assert request.tools == (
        Tool("f", None, {"type": "object"}, strict=True, extras={"anthropic": {"defer_loading": True}}),
    )
    assert request.extras == {
        "thinking": {"display": "omitted"},
        "output_config": {"effort": "max"},
        "metadata": {"more": 1},
        "service_tier": "auto",
    }
    again = written_back(request)
    del fields["container"]
    assert again == {**SMALLEST, **fields, "system": "s"}


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "adaptive"}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        {"output_config": {"effort": "high", "task_budget": {"total": 5}}},
        {"output_config": {"format": {"type": "regex", "pattern": "a"}}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "any"}},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "none"}},
        {"tool_choice": {"type": "new", "disable_parallel_tool_use": False}},
        {"tool_choice": {"type": ["auto"]}, "output_config": {"effort": ["low"]}},
        {"mcp_servers": [{"type": "url"}], "cache_control": {"type": "ephemeral"}},
        {"messages": [USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "later"}, USER]},
    ],
)
def test_fields_of_this_format_survive(fields: dict[str, Any]) -> None:
    assert written_back(read(**fields)) == {**SMALLEST, **fields}


def test_server_tools_are_opaque() -> None:
    tool = {"type": "computer_20250124", "name": "computer", "display_width_px": 1}
    assert read(tools=[tool]).tools == (OpaqueTool("anthropic", "computer_20250124", tool),)
    assert isinstance(read(tools=[{"type": "custom", "name": "f", "input_schema": {}}]).tools[0], Tool)


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"type": "text"}, ".text"),
        ({"type": "text", "text": 5}, ".text"),
        ({"type": "image"}, ".source"),
        ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, ".source.url"),
        ({"type": "tool_use", "id": "a", "name": "b", "input": "{}"}, ".input"),
        ({"type": "tool_use", "name": "b", "input": {}}, ".id"),
        ({"type": "thinking", "thinking": "x", "signature": []}, ".signature"),
        ({"type": "tool_result", "content": "x"}, ".tool_use_id"),
        ({"type": "tool_result", "tool_use_id": "1", "content": 5}, ".content"),
        ({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text"}]}, ".content[0].text"),
    ],
)
def test_a_malformed_block_is_named(value: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        block(value)
    assert refused.value.param == f"messages[0].content[0]{param}"


@pytest.mark.parametrize("name", ["thinking", "tool_choice", "output_config"])
def test_a_setting_of_the_wrong_type_is_named(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(**{name: "high"})
    assert (refused.value.code, refused.value.param) == ("invalid_type", name)


# The rest.


def test_callers_are_recognised_by_their_headers() -> None:
    assert DIALECT.claims({"anthropic-version": "2023-06-01"}, "/v1/models")
    assert DIALECT.claims({"x-api-key": "k", "user-agent": "Anthropic/Python 2.12.0"}, "/v1/models")
    assert not DIALECT.claims({"x-api-key": "k", "user-agent": "curl"}, "/v1/models")
    assert not DIALECT.claims({"user-agent": "Anthropic/Python"}, "/v1/models")
    assert DIALECT.credentials({"x-api-key": "a", "authorization": "Bearer b"}, {}) == "a"
    assert DIALECT.credentials({"authorization": "bearer b"}, {}) == "b"
    assert DIALECT.credentials({"authorization": "Basic b"}, {}) is None
    assert DIALECT.credentials({"authorization": "Bearer "}, {}) is None
    assert DIALECT.credentials({}, {}) is None


def test_models_are_listed_as_the_sdk_expects() -> None:
    cards = [ModelCard("a", 0, "x"), ModelCard("b", 1_700_000_000, "x")]
    listed = json.loads(DIALECT.encode_models(cards))
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("a", "b", False)
    assert listed["data"][1] == json.loads(DIALECT.encode_model(cards[1]))
    assert listed["data"][1]["created_at"] == "2023-11-14T22:13:20Z"
    assert {"type": "model", "id": "b", "display_name": "b"}.items() <= listed["data"][1].items()
    assert json.loads(DIALECT.encode_models([])) == {"data": [], "first_id": None, "last_id": None, "has_more": False}


def test_the_provider_is_called_as_documented() -> None:
    assert list(register_dialects()) == [Anthropic]
    assert DIALECT.path(head(), "m") == "/v1/messages"
    assert DIALECT.request_headers({})["anthropic-version"] == "2023-06-01"
    forwarded = {"anthropic-version": "2099-01-01", "anthropic-beta": "b,a"}
    assert DIALECT.request_headers(forwarded) == {"content-type": "application/json", **forwarded}
    body = b'{ "model" : "public", "metadata": {"model": "keep"}, "max_tokens":1e0 }'
    assert DIALECT.outgoing_body(body, head(), "real") == body.replace(b'"public"', b'"real"')


def test_a_frame_tells_what_it_alone_knows() -> None:
    def told(data: Any) -> Any:
        return DIALECT.inspect_frame(json.dumps(data).encode(), head())

    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation": {"ephemeral_1h_input_tokens": 2}}
    start = told({"type": "message_start", "message": {"usage": {**usage, "output_tokens": 1}}})
    assert start.usage == Usage(10, 1, cached_tokens=3, cache_write_tokens=2, cache_write_1h_tokens=2)
    delta = told({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}})
    assert (delta.usage, delta.finish, delta.complete) == (Usage(output_tokens=9), "end_turn", False)
    assert start.usage.updated(delta.usage).input_tokens == 10
    assert told({"type": "message_stop"}).complete
    assert told({"type": "ping"}).usage is None
    error = told({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}).error
    assert isinstance(error, UpstreamLimited)
    for broken in (b'{"type":"mess', b"[]", b'{"type":5}'):
        with pytest.raises(ValueError):
            DIALECT.inspect_frame(broken, head())


@pytest.mark.parametrize(
    ("frame", "tells"),
    [
        (b'data: {"type":"message_start"}', True),
        (b'data: {"type" : "message_delta"}', True),
        (b'data: {"error":{},"type":"error"}', True),
        (
            b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"{\\"type\\":\\"error\\"}"}}',
            False,
        ),
        (b'data: {"type":"content_block_start","content_block":{"type":"web_fetch_tool_result_error"}}', False),
    ],
)
def test_only_telling_frames_are_read(frame: bytes, tells: bool) -> None:
    assert bool(DIALECT.telling.search(frame)) is tells


def test_an_answer_tells_usage_and_finish_or_is_none() -> None:
    message = {"content": [], "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}}
    info = DIALECT.inspect_answer(json.dumps(message).encode(), head())
    assert (info.usage, info.finish, info.complete) == (Usage(1, 2), "tool_use", True)
    failed = DIALECT.inspect_answer(b'{"type":"error","error":{"type":"overloaded_error"}}', head())
    assert isinstance(failed.error, UpstreamOverloaded)
    for none in (b"", b"<html>", b"[]", b"{}", b'{"choices":[]}'):
        with pytest.raises(ValueError):
            DIALECT.inspect_answer(none, head())

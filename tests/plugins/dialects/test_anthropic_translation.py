"""The anthropic dialect: requests of other formats' callers, written for a provider of this one."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings

from llmhub_core.contracts import (
    AnswerFormat,
    Audio,
    BadRequest,
    ChatRequest,
    ContentPart,
    File,
    Image,
    Inline,
    Link,
    Message,
    Opaque,
    OpaqueTool,
    Reasoning,
    Refusal,
    Sampling,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

DIALECT = Anthropic(AnthropicSettings(max_tokens=5000))
USER = Message("user", (Text("hi"),))
TOOL = Tool("f", "does f", {"type": "object", "properties": {}})
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "additionalProperties": False,
    "required": ["a"],
}
OLD, NEW = "claude-sonnet-4-5-20250929", "claude-opus-4-8"


def write(
    *messages: Message, model: str = OLD, tools: tuple[Any, ...] = (), extras: Any = None, **sampling: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(
        "openai_chat", "public", messages or (USER,), tools, Sampling(**sampling), extras=extras or {}
    )
    written = DIALECT.encode_request(request, model)
    return json.loads(written.body), written.adapted


def refused(part: ContentPart, role: Any = "user") -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        write(USER, Message(role, (Text("look"), part)))
    assert raised.value.code == "unsupported_content"
    assert raised.value.param == "messages[1].content[1]"
    return raised.value


def test_the_smallest_request() -> None:
    body, adapted = write()
    assert body == {"model": OLD, "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}]}
    assert adapted == ()
    assert write(max_output=7)[0]["max_tokens"] == 7


def test_system_prompts_are_hoisted_and_later_ones_listed() -> None:
    body, adapted = write(
        Message("system", (Text("one"),)),
        Message("developer", (Text("two"),)),
        USER,
        Message("system", (Text("three"),)),
        Message("user", (Text("more"),), name="bob"),
    )
    assert [part["text"] for part in body["system"]] == ["one", "two", "three"]
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "more"}]}
    ]
    assert adapted == ("messages[3]=hoisted", "messages[4].name=dropped")
    with pytest.raises(BadRequest) as raised:
        write(Message("system", (Image(Link("https://x")),)), USER)
    assert raised.value.param == "messages[0].content[0]"


def test_a_tool_loop() -> None:
    body, adapted = write(
        USER,
        Message("assistant", (Text(""), ToolCall("call_1", "f", ""), ToolCall("functions.f:0", "f", '{"a": 1}'))),
        Message("user", (Text("and hurry"),)),
        Message("tool", (ToolResult("call_1", (Text("ok"),)),)),
        Message("tool", (ToolResult("functions.f:0", (), is_error=True, name="f"),)),
        tools=(TOOL,),
    )
    call, result = body["messages"][1], body["messages"][2]
    assert call["role"] == "assistant"
    assert call["content"][0] == {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
    assert call["content"][1]["input"] == {"a": 1}
    odd = call["content"][1]["id"]
    assert odd.startswith("functions_f_0_")
    assert odd.replace("_", "").isalnum()
    assert result == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "ok"},
            {"type": "tool_result", "tool_use_id": odd, "is_error": True},
            {"type": "text", "text": "and hurry"},
        ],
    }
    assert body["tools"] == [{"name": "f", "description": "does f", "input_schema": TOOL.parameters}]
    assert adapted == ()


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "null"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    assert "arguments" in refused(ToolCall("c", "f", arguments), "assistant").message


def test_empty_texts_and_turns_are_left_out() -> None:
    body, _ = write(Message("assistant", (Text("  "),)), USER, Message("user", ()), Message("user", (Text("x"),)))
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    with pytest.raises(BadRequest) as raised:
        write(Message("system", (Text("only"),)), Message("user", (Text(""),)))
    assert raised.value.param == "messages"


def test_pictures_and_documents() -> None:
    data = b64encode("töxt".encode()).decode()
    body, adapted = write(
        Message(
            "user",
            (
                Image(Inline("image/jpg", "AA=="), detail="high"),
                Image(Link("https://x/y"), detail="auto"),
                File(Inline("application/pdf", "AA=="), "a.pdf"),
                File(Inline("text/markdown", data)),
                File(Link("https://x/y.pdf", "application/pdf")),
            ),
        )
    )
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "töxt"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
    ]
    assert adapted == ("messages[0].content[0].detail=dropped",)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Audio(Inline("audio/wav", "AA==")), "audio"),
        (Image(Stored("file-1")), "file store"),
        (Image(Inline("image/svg+xml", "AA==")), "image/svg+xml"),
        (File(Stored("file-1")), "file store"),
        (File(Inline("application/zip", "AA==")), "neither PDF nor text"),
        (File(Link("https://x", "video/mp4")), "neither PDF nor text"),
        (Opaque("gemini", "executableCode", {}), "gemini executableCode"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(part: ContentPart, word: str) -> None:
    assert word in refused(part).message


def test_foreign_tools_and_several_answers_are_refused() -> None:
    with pytest.raises(BadRequest) as raised:
        write(tools=(TOOL, OpaqueTool("gemini", "googleSearch", {})))
    assert (raised.value.code, raised.value.param) == ("unsupported_content", "tools[1]")
    with pytest.raises(BadRequest) as raised:
        write(n=2)
    assert (raised.value.code, raised.value.param) == ("unsupported_content", "n")


def test_tools_always_have_a_schema_of_an_object() -> None:
    body, _ = write(
        tools=(
            Tool("a"),
            Tool("b", parameters={}, strict=False),
            Tool("c", parameters={"properties": {"n": {"type": "integer"}}}, strict=True),
        )
    )
    assert body["tools"] == [
        {"name": "a", "input_schema": {"type": "object", "properties": {}}},
        {"name": "b", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "c",
            "input_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "additionalProperties": False,
            },
            "strict": True,
        },
    ]


@pytest.mark.parametrize(
    ("sampling", "choice"),
    [
        ({}, None),
        ({"tool_choice": ToolChoice("auto")}, {"type": "auto"}),
        ({"tool_choice": ToolChoice("none"), "parallel_tools": False}, {"type": "none"}),
        ({"tool_choice": ToolChoice("required")}, {"type": "any"}),
        ({"parallel_tools": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": ToolChoice("named", "f"), "parallel_tools": False},
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(sampling: dict[str, Any], choice: Any) -> None:
    assert write(tools=(TOOL,), **sampling)[0].get("tool_choice") == choice
    assert "tool_choice" not in write(**sampling)[0]  # refused where there are no tools


@pytest.mark.parametrize(
    ("sampling", "fields", "adapted"),
    [
        ({"temperature": 1.7}, {"temperature": 1.0}, ("temperature=clamped",)),
        ({"temperature": 0.3, "top_p": 1.0}, {"temperature": 0.3}, ()),
        ({"temperature": 0.3, "top_p": 0.5}, {"temperature": 0.3}, ("top_p=dropped",)),
        ({"top_p": 0.5, "top_k": 3}, {"top_p": 0.5, "top_k": 3}, ()),
        ({"stop": ("\n", "END")}, {"stop_sequences": ["END"]}, ("stop=dropped",)),
        ({"seed": 0, "logprobs": True}, {}, ("seed=dropped", "logprobs=dropped")),
        ({"presence_penalty": 0.0, "frequency_penalty": 1.0, "logprobs": False}, {}, ("frequency_penalty=dropped",)),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}, ()),
        ({"answer_format": AnswerFormat("text")}, {}, ()),
        (
            {"answer_format": AnswerFormat("json_schema", CLOSED, "n", strict=True)},
            {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}},
            (),
        ),
    ],
)
def test_settings(sampling: dict[str, Any], fields: dict[str, Any], adapted: tuple[str, ...]) -> None:
    body, listed = write(**sampling)
    assert {name: body[name] for name in body if name not in ("model", "max_tokens", "messages")} == fields
    assert listed == adapted


def test_temperature_and_top_p_go_together_only_to_models_that_take_both() -> None:
    body, adapted = write(model="claude-sonnet-4-20250514", temperature=0.3, top_p=0.5)
    assert (body["temperature"], body["top_p"], adapted) == (0.3, 0.5, ())
    body, adapted = write(model="claude-opus-4-1", temperature=0.3, top_p=0.5)
    assert (body["temperature"], "top_p" in body, adapted) == (0.3, False, ("top_p=dropped",))


def thinking(budget: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def adaptive(effort: str | None) -> dict[str, Any]:
    shown = {"thinking": {"type": "adaptive", "display": "summarized"}}
    return shown if effort is None else {**shown, "output_config": {"effort": effort}}


@pytest.mark.parametrize(
    ("model", "sampling", "fields", "adapted"),
    [
        (OLD, {"effort": "low"}, {"max_tokens": 5000, **thinking(1024)}, ()),
        (OLD, {"effort": "minimal", "max_output": 100}, {"max_tokens": 1124, **thinking(1024)}, ()),
        (OLD, {"effort": "medium"}, {"max_tokens": 5000, **thinking(4096)}, ()),
        (OLD, {"effort": "high"}, {"max_tokens": 21384, **thinking(16384)}, ()),
        (OLD, {"effort": "xhigh"}, {"max_tokens": 37768, **thinking(32768)}, ()),
        (OLD, {"effort": "none"}, {"max_tokens": 5000, "thinking": {"type": "disabled"}}, ()),
        (OLD, {"reasoning_tokens": 0}, {"max_tokens": 5000, "thinking": {"type": "disabled"}}, ()),
        (OLD, {"reasoning_tokens": 3000}, {"max_tokens": 5000, **thinking(3000)}, ()),
        (OLD, {"reasoning_tokens": 5}, {"max_tokens": 5000, **thinking(1024)}, ("reasoning_tokens=clamped",)),
        (OLD, {"reasoning_tokens": -1}, {"max_tokens": 5000, **thinking(4096)}, ("reasoning_tokens=renamed",)),
        (
            OLD,
            {"effort": "low", "temperature": 0.2, "top_k": 4, "top_p": 0.5},
            {"max_tokens": 5000, **thinking(1024)},
            ("temperature=dropped", "top_p=dropped", "top_k=dropped"),
        ),
        (OLD, {"effort": "low", "temperature": 1.0}, {"max_tokens": 5000, **thinking(1024)}, ()),
        (NEW, {"effort": "high"}, {"max_tokens": 5000, **adaptive("high")}, ()),
        (NEW, {"effort": "minimal"}, {"max_tokens": 5000, **adaptive("low")}, ("effort=clamped",)),
        (NEW, {"reasoning_tokens": -1}, {"max_tokens": 5000, **adaptive(None)}, ()),
        (NEW, {"reasoning_tokens": 9000}, {"max_tokens": 5000, **adaptive("high")}, ("reasoning_tokens=renamed",)),
        (NEW, {"temperature": 0.2, "top_k": 4}, {"max_tokens": 5000}, ("temperature=dropped", "top_k=dropped")),
        (NEW, {"effort": "none"}, {"max_tokens": 5000, "thinking": {"type": "disabled"}}, ()),
        ("claude-sonnet-4-6", {"effort": "xhigh"}, {"max_tokens": 5000, **adaptive("high")}, ("effort=clamped",)),
        ("claude-sonnet-4-6", {"temperature": 0.2}, {"max_tokens": 5000, "temperature": 0.2}, ()),
        ("claude-fable-5", {"effort": "none"}, {"max_tokens": 5000}, ("effort=dropped",)),
        ("claude-sonnet-4-20250514", {"effort": "low"}, {"max_tokens": 5000, **thinking(1024)}, ()),
        ("claude-3-7-sonnet-latest", {"effort": "low"}, {"max_tokens": 5000, **thinking(1024)}, ()),
        ("anthropic.claude-opus-5-v1:0", {"effort": "low"}, {"max_tokens": 5000, **adaptive("low")}, ()),
        ("kimi-k2", {"effort": "low"}, {"max_tokens": 5000, **thinking(1024)}, ()),
    ],
)
def test_thinking_is_asked_for_as_the_models_generation_knows_it(
    model: str, sampling: dict[str, Any], fields: dict[str, Any], adapted: tuple[str, ...]
) -> None:
    body, listed = write(model=model, **sampling)
    assert body == {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    assert listed == adapted


@pytest.mark.parametrize(
    ("model", "messages", "sampling", "on"),
    [
        (OLD, (USER,), {"tool_choice": ToolChoice("required")}, False),
        (NEW, (USER,), {"tool_choice": ToolChoice("named", "f")}, False),
        (OLD, (USER,), {"tool_choice": ToolChoice("auto")}, True),
        (OLD, (USER, Message("assistant", (Text("It is"),))), {}, False),
        (
            OLD,
            (USER, Message("assistant", (ToolCall("c", "f", "{}"),)), Message("tool", (ToolResult("c", ()),))),
            {},
            False,
        ),
        (
            NEW,
            (USER, Message("assistant", (ToolCall("c", "f", "{}"),)), Message("tool", (ToolResult("c", ()),))),
            {},
            True,
        ),
        (
            OLD,
            (
                USER,
                Message("assistant", (Reasoning("hm", "sig", None, "anthropic"), ToolCall("c", "f", "{}"))),
                Message("tool", (ToolResult("c", ()),)),
            ),
            {},
            True,
        ),
        (
            OLD,
            (USER, Message("assistant", (ToolCall("c", "f", "{}"),)), Message("tool", (ToolResult("c", ()),)), USER),
            {},
            False,
        ),
    ],
)
def test_thinking_stays_off_where_it_would_be_refused(
    model: str, messages: tuple[Message, ...], sampling: dict[str, Any], on: bool
) -> None:
    body, adapted = write(*messages, model=model, tools=(TOOL,), effort="low", temperature=0.5, **sampling)
    assert ("thinking" in body) is on
    assert ("effort=dropped" in adapted) is not on
    assert ("temperature=dropped" in adapted) is (on or model == NEW)


def test_thoughts_go_back_to_the_family_that_had_them() -> None:
    body, adapted = write(
        USER,
        Message(
            "assistant",
            (
                Reasoning("ours", "sig", None, "anthropic"),
                Reasoning("", None, "dark", "anthropic"),
                Reasoning("theirs", "other", None, "gemini"),
                Reasoning("unsigned", None, None, "anthropic"),
                Refusal("no"),
            ),
        ),
        USER,
    )
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "ours", "signature": "sig"},
        {"type": "redacted_thinking", "data": "dark"},
        {"type": "text", "text": "no"},
    ]
    assert adapted == ("reasoning=dropped",)


def test_what_other_dialects_noted_is_dropped_and_listed() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    _, adapted = write(
        Message("system", (Text("s"),), extras={"openai_chat": {"a": 1}}),
        Message("user", (Text("x", {"gemini": {"thoughtSignature": "s"}, "anthropic": mark}),)),
        tools=(Tool("f", extras={"openai_chat": {"b": 1}}),),
        extras={"logit_bias": {"5": 1}, "store": True, "metadata": {}, "service_tier": "auto"},
    )
    assert set(adapted) == {
        "messages[0].a=dropped",
        "messages[1].content[0].thoughtSignature=dropped",
        "tools[0].b=dropped",
        "logit_bias=dropped",
        "store=dropped",
    }

"""The anthropic dialect: every setting that another format's caller can make, and what is told of its loss."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings
from llmhub_plugins.dialects.anthropic.models import abilities

from llmhub_core.contracts import (
    AnswerFormat,
    BadRequest,
    ChatRequest,
    Message,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

Json = dict[str, Any]
DIALECT = Anthropic(AnthropicSettings(max_tokens=5000))
USER = Message("user", (Text("hi"),))
TOOL = Tool("f", None, {"type": "object", "properties": {}})
SKY = {"type": "object", "properties": {"sky": {"type": "string"}}, "additionalProperties": False}
OLD, NEW, NEWEST = "claude-sonnet-4-5", "claude-opus-4-8", "claude-opus-5-5"


def write(
    *messages: Message,
    model: str = OLD,
    tools: tuple[Tool, ...] = (),
    extras: Any = None,
    dialect: str = "openai_chat",
    **sampling: Any,
) -> tuple[Json, tuple[str, ...]]:
    request = ChatRequest(dialect, "public", messages or (USER,), tools, Sampling(**sampling), extras=extras or {})
    written = DIALECT.encode_request(request, model)
    return json.loads(written.body), written.adapted


# Each setting with a value: what is written for an older and for a newer model, and what is listed there.

SAMPLING: dict[str, list[tuple[Any, str, Json, tuple[str, ...]]]] = {
    "max_output": [(77, OLD, {"max_tokens": 77}, ()), (77, NEW, {"max_tokens": 77}, ())],
    "temperature": [
        (0.4, OLD, {"temperature": 0.4}, ()),
        (1.6, OLD, {"temperature": 1.0}, ("temperature=clamped",)),
        (0.4, NEW, {"temperature": None}, ("temperature=dropped",)),
        (1.0, NEW, {"temperature": None}, ()),
    ],
    "top_p": [(0.4, OLD, {"top_p": 0.4}, ()), (0.4, NEW, {"top_p": None}, ("top_p=dropped",)), (1.0, NEW, {}, ())],
    "top_k": [(4, OLD, {"top_k": 4}, ()), (4, NEW, {"top_k": None}, ("top_k=dropped",))],
    "stop": [
        (("END",), NEW, {"stop_sequences": ["END"]}, ()),
        (("END", "\n"), NEW, {"stop_sequences": ["END"]}, ("stop=dropped",)),
    ],
    "seed": [(7, NEW, {"seed": None}, ("seed=dropped",))],
    "presence_penalty": [(0.5, OLD, {"presence_penalty": None}, ("presence_penalty=dropped",)), (0, OLD, {}, ())],
    "frequency_penalty": [(0.5, OLD, {"frequency_penalty": None}, ("frequency_penalty=dropped",)), (0, OLD, {}, ())],
    "n": [(1, OLD, {"n": None}, ())],
    "logprobs": [(True, OLD, {"logprobs": None}, ("logprobs=dropped",)), (False, OLD, {}, ())],
    "top_logprobs": [(3, OLD, {"top_logprobs": None}, ("top_logprobs=dropped",)), (0, OLD, {}, ())],
    "effort": [
        ("low", OLD, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, ()),
        ("xhigh", NEW, {"output_config": {"effort": "xhigh"}}, ()),
        ("minimal", NEW, {"output_config": {"effort": "low"}}, ("effort=clamped",)),
        ("none", NEW, {"thinking": {"type": "disabled"}}, ()),
        ("none", NEWEST, {"thinking": None}, ("effort=dropped",)),
        ("none", "claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}, ("effort=clamped",)),
        ("high", "claude-3-5-haiku-latest", {"thinking": None}, ("effort=dropped",)),
    ],
    "reasoning_tokens": [
        (2000, OLD, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, ()),
        (2000, NEW, {"output_config": {"effort": "medium"}}, ("reasoning_tokens=renamed",)),
        (0, OLD, {"thinking": {"type": "disabled"}}, ()),
    ],
    "answer_format": [
        (AnswerFormat("text"), OLD, {"output_config": None}, ()),
        (
            AnswerFormat("json_schema", SKY),
            OLD,
            {"output_config": {"format": {"type": "json_schema", "schema": SKY}}},
            (),
        ),
        (AnswerFormat("json_object"), OLD, {"output_config": None}, ("response_format=emulated",)),
    ],
    "tool_choice": [(ToolChoice("required"), OLD, {"tool_choice": None}, ())],  # there are no tools
    "parallel_tools": [(False, OLD, {"tool_choice": None}, ())],
    "user": [("u-1", OLD, {"metadata": {"user_id": "u-1"}}, ())],
}

CASES = [(name, *case) for name, cases in SAMPLING.items() for case in cases]


def test_every_setting_has_a_row() -> None:
    assert SAMPLING.keys() == {field.name for field in fields(Sampling)}


@pytest.mark.parametrize(("name", "value", "model", "said", "adapted"), CASES)
def test_a_setting_is_said_or_its_loss_is(
    name: str, value: Any, model: str, said: Json, adapted: tuple[str, ...]
) -> None:
    body, listed = write(model=model, **{name: value})
    assert {key: body.get(key) for key in said} == said
    assert listed == adapted


@pytest.mark.parametrize(
    ("name", "value", "lost"),
    [
        ("logit_bias", {"50256": -100}, True),
        ("logit_bias", {}, False),
        ("store", True, True),
        ("store", False, False),
        ("metadata", {"k": "v"}, True),
        ("service_tier", "flex", True),
        ("service_tier", "auto", False),
        ("modalities", ["text", "audio"], True),
        ("modalities", ["text"], False),
        ("audio", {"voice": "x"}, True),
        ("prediction", {"type": "content"}, True),
        ("verbosity", "low", True),
        ("prompt_cache_key", "k", True),
        ("safety_identifier", "s", True),
        ("web_search_options", {"user_location": None}, True),
        ("safetySettings", [{"category": "x"}], True),
        ("cachedContent", "c", True),
        ("brand_new", 0, True),
        ("brand_new", None, False),
    ],
)
def test_fields_of_other_formats_are_listed_where_they_said_something(name: str, value: Any, lost: bool) -> None:
    body, adapted = write(extras={name: value})
    assert adapted == ((f"{name}=dropped",) if lost else ())
    assert name not in body


# What each generation takes.


@pytest.mark.parametrize(
    ("model", "row"),
    [
        # adaptive, thinks unasked, off, forced tools, schemas, sampling, prefill
        ("claude-3-7-sonnet-20250219", (False, False, "disabled", True, False, True, True)),
        ("claude-opus-4-20250514", (False, False, "disabled", True, False, True, True)),
        ("claude-haiku-4-5", (False, False, "disabled", True, True, True, True)),
        ("claude-opus-4-5@20251101", (False, False, "disabled", True, True, True, True)),
        ("us.anthropic.claude-opus-4-6-v1:0", (True, False, "disabled", True, True, True, False)),
        ("anthropic/claude-sonnet-4.6", (True, False, "disabled", True, True, True, False)),
        ("claude-opus-4-7", (True, False, "disabled", True, True, False, False)),
        ("claude-opus-5", (True, True, "disabled", True, True, False, False)),
        ("claude-sonnet-5", (True, True, "disabled", True, True, False, False)),
        ("claude-opus-5-5", (True, True, None, False, True, False, False)),
        ("claude-sonnet-5-5", (True, True, "between_tools", False, True, False, False)),
        ("claude-haiku-5-5", (True, True, "disabled", True, True, False, False)),
        ("claude-fable-5", (True, True, None, True, True, False, False)),
        ("claude-fable-5-1", (True, True, None, False, True, False, False)),
        ("claude-mythos-preview", (True, True, None, True, True, False, False)),
        ("glm-4.6", (False, False, "disabled", True, False, True, True)),
    ],
)
def test_abilities_are_read_off_the_name(model: str, row: tuple[Any, ...]) -> None:
    able = abilities(model)
    assert row == (
        able.adaptive,
        able.thinks_unasked,
        able.off,
        able.forced_tools,
        able.json_schema,
        able.sampling,
        able.prefill,
    )
    assert able.known is not model.startswith("glm")


def test_a_tool_is_forced_only_where_the_model_takes_that() -> None:
    forced = {"tools": (TOOL,), "tool_choice": ToolChoice("named", "f"), "parallel_tools": False}
    body, adapted = write(model="claude-opus-5", **forced)
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert (body["thinking"], adapted) == ({"type": "disabled"}, ())  # it would think unasked, which excludes it
    body, adapted = write(model=NEWEST, **forced, effort="low")
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["thinking"]["type"] == "adaptive"
    assert adapted == ("tool_choice=dropped",)


@pytest.mark.parametrize(("model", "taken"), [(OLD, True), ("claude-sonnet-4-6", False), (NEWEST, False)])
def test_the_beginning_of_an_answer_is_refused_by_name_where_it_cannot_be_given(model: str, taken: bool) -> None:
    begun = Message("assistant", (Text("It is \n"),))
    if taken:
        assert write(USER, begun, model=model)[0]["messages"][-1] == {"role": "assistant", "content": "It is"}
        return
    with pytest.raises(BadRequest) as refused:
        write(USER, begun, model=model)
    assert (refused.value.code, refused.value.param) == ("unsupported_content", "messages[1]")
    body, _ = write(USER, begun, model=model, dialect="anthropic", max_output=5)
    assert body["messages"][-1] == {"role": "assistant", "content": "It is \n"}  # its own callers are told by the API


def thought(text: str, origin: str | None = "anthropic") -> Reasoning:
    return Reasoning(text, f"sig {text}", None, origin)


def talk(*thoughts: Reasoning | None) -> tuple[Message, ...]:
    """A loop of calls, each after a thought or none."""
    messages = [USER]
    for at, found in enumerate(thoughts):
        parts = (ToolCall(f"c{at}", "f", "{}"),) if found is None else (found, ToolCall(f"c{at}", "f", "{}"))
        messages += [Message("assistant", parts), Message("tool", (ToolResult(f"c{at}", (Text("ok"),)),))]
    return tuple(messages)


def thoughts_of(body: Json) -> list[list[str]]:
    return [
        [block["thinking"] for block in turn["content"] if block["type"] == "thinking"]
        for turn in body["messages"]
        if turn["role"] == "assistant"
    ]


@pytest.mark.parametrize(
    ("messages", "model", "sampling", "thoughts", "adapted"),
    [
        (talk(thought("a"), thought("b")), OLD, {"effort": "low"}, [["a"], ["b"]], ()),
        (talk(thought("a"), thought("b")), OLD, {}, [["a"], ["b"]], ()),
        # Switched off in the middle of a turn: what was thought last may not stand there.
        (talk(thought("a"), thought("b")), OLD, {"effort": "none"}, [["a"], []], ("reasoning=dropped",)),
        (
            talk(thought("a"), thought("b")),
            OLD,
            {"effort": "low", "tool_choice": ToolChoice("required")},
            [["a"], []],
            ("effort=dropped", "reasoning=dropped"),
        ),
        # Another family served the last call: its thoughts mean nothing here.
        (
            talk(thought("a"), thought("g", "gemini")),
            OLD,
            {"effort": "low"},
            [["a"], []],
            ("effort=dropped", "reasoning=dropped"),
        ),
        (talk(thought("a"), thought("g", "gemini")), NEW, {"effort": "low"}, [["a"], []], ("reasoning=dropped",)),
        (talk(thought("a"), None), OLD, {"reasoning_tokens": 2000}, [["a"], []], ("reasoning_tokens=dropped",)),
        (talk(thought("x", None)), NEW, {"effort": "low"}, [[]], ("reasoning=dropped",)),
    ],
)
def test_thoughts_go_where_they_are_understood(
    messages: tuple[Message, ...], model: str, sampling: Json, thoughts: Any, adapted: tuple[str, ...]
) -> None:
    body, listed = write(*messages, model=model, tools=(TOOL,), **sampling)
    assert thoughts_of(body) == thoughts
    assert listed == adapted


def test_a_foreign_signature_of_a_call_is_left_out_and_listed_once() -> None:
    calls = tuple(ToolCall(f"c{at}", "f", "{}", signature="s", origin="gemini") for at in range(2))
    results = tuple(ToolResult(f"c{at}", (Text("ok"),)) for at in range(2))
    body, adapted = write(USER, Message("assistant", calls), Message("tool", results), tools=(TOOL,))
    assert [set(block) for block in body["messages"][1]["content"]] == [{"type", "id", "name", "input"}] * 2
    assert adapted == ("reasoning=dropped",)


def test_a_caller_of_this_format_loses_only_what_would_be_refused() -> None:
    """Another family served the last call, and the model insists on thoughts before it."""
    edits = [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]
    extras = {"thinking": {"display": "omitted"}, "context_management": {"edits": edits}, "speed": "fast"}
    messages = talk(thought("a"), thought("g", "gemini"))
    body, adapted = write(
        *messages, dialect="anthropic", tools=(TOOL,), extras=extras, max_output=3000, reasoning_tokens=2000
    )
    assert "thinking" not in body
    assert body["context_management"] == {"edits": edits[1:]}
    assert body["speed"] == "fast"
    assert thoughts_of(body) == [["a"], []]
    assert set(adapted) == {"thinking=dropped", "context_management=dropped", "reasoning=dropped"}
    body, adapted = write(
        *messages, dialect="anthropic", tools=(TOOL,), extras=extras, max_output=3000, reasoning_tokens=-1
    )
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert adapted == ("reasoning=dropped",)

"""Requests of the Responses API: what is read, what is written for a provider, what is lost, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from llmhub_plugins.dialects.openai_chat import OpenAIChat
from llmhub_plugins.dialects.openai_responses import OpenAIResponses, OpenAIResponsesCount

from llmhub_core.contracts import (
    AnswerFormat,
    Audio,
    BadRequest,
    ChatRequest,
    EncodedRequest,
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
    Where,
    seal,
    seal_id,
)

HERE = Where({}, {})
CHAT = OpenAIChat(OpenAIChat.Settings())
RESPONSES = OpenAIResponses(OpenAIResponses.Settings())
COUNT = OpenAIResponsesCount(OpenAIResponsesCount.Settings())


def read(**fields: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    return RESPONSES.decode_request(body, RESPONSES.read_head(body, HERE), HERE)


def written(request: ChatRequest, model: str = "m") -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded: EncodedRequest = RESPONSES.encode_request(request, model)
    return json.loads(encoded.body), encoded.adapted


def chat(*messages: Message, tools: tuple[Tool | OpaqueTool, ...] = (), **more: Any) -> ChatRequest:
    """A request of another dialect."""
    sampling = Sampling(**{name: more.pop(name) for name in list(more) if name in Sampling.__dataclass_fields__})
    return ChatRequest("openai_chat", "m", messages or (Message("user", (Text("Hi"),)),), tools, sampling, **more)


# Reading.


def test_a_turn_of_several_items_is_one_message() -> None:
    request = read(
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Tides?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": TEXT},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "tides", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "noon"}]},
            {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        ],
    )
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "tool", "developer"]
    thoughts, said, call = request.messages[2].content
    assert isinstance(thoughts, Reasoning)
    assert (thoughts.signature, thoughts.origin) == ("rs_1 gAAA", "openai_responses")
    assert isinstance(said, Text)
    assert said.text == "Let me see."
    assert isinstance(call, ToolCall)
    assert (call.id, call.name, call.arguments) == ("call_1", "tides", "{}")
    (result,) = request.messages[3].content
    assert isinstance(result, ToolResult)
    assert (result.call_id, result.content[0].text) == ("call_1", "noon")  # type: ignore[union-attr]


TEXT = [{"type": "output_text", "text": "Let me see.", "annotations": []}]


def test_contents_are_read() -> None:
    parts = [
        {"type": "input_image", "image_url": "data:image/png;base64,iVBOR", "detail": "low"},
        {"type": "input_image", "image_url": "https://pictures.example/a.png"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_file", "file_url": "https://papers.example/a.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "from_the_future", "x": 1},
    ]
    request = read(input=[{"role": "user", "content": parts}])
    content = [replace(p, extras={}) if not isinstance(p, Opaque) else p for p in request.messages[0].content]
    assert content == [
        Image(Inline("image/png", "iVBOR"), detail="low"),
        Image(Link("https://pictures.example/a.png")),
        Image(Stored("file-1")),
        File(Inline("application/pdf", "JVBE"), name="a.pdf"),
        File(Link("https://papers.example/a.pdf")),
        File(Stored("file-2")),
        Audio(Inline("audio/wav", "UklG")),
        Opaque("openai_responses", "from_the_future", {"type": "from_the_future", "x": 1}),
    ]
    assert written(request)[0]["input"][0]["content"] == parts


def test_settings_are_read() -> None:
    schema = {"type": "object", "properties": {}}
    request = read(
        max_output_tokens=50,
        temperature=0.1,
        top_p=0.2,
        top_logprobs=3,
        include=["message.output_text.logprobs"],
        reasoning={"effort": "high", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "boat", "schema": schema, "strict": True}},
        tools=[{"type": "function", "name": "f", "parameters": schema, "strict": True, "description": "F."}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        safety_identifier="u1",
    )
    assert request.sampling == Sampling(
        max_output=50,
        temperature=0.1,
        top_p=0.2,
        logprobs=True,
        top_logprobs=3,
        effort="high",
        answer_format=AnswerFormat("json_schema", schema=schema, name="boat", strict=True),
        tool_choice=ToolChoice("named", "f"),
        parallel_tools=False,
        user="u1",
    )
    assert [replace(tool, extras={}) for tool in request.tools] == [Tool("f", "F.", schema, True)]
    assert dict(request.extras) == {}


WHOLE = {
    "model": "m",
    "input": [{"role": "user", "content": "Hi"}],
    "instructions": "Be brief.",
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "truncation": "auto",
    "service_tier": "flex",
    "user": "u",
    "prompt_cache_key": "k",
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "max_tool_calls": 3,
    "text": {"verbosity": "low", "format": {"type": "grammar", "x": 1}},
    "reasoning": {"effort": "future", "summary": "auto", "context": "all"},
    "tools": [{"type": "web_search"}, {"type": "custom", "name": "c", "format": {"type": "grammar"}}],
    "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "c"}]},
    "x_future": [1, None],
}


def test_everything_is_written_back_and_only_losses_are_told_elsewhere() -> None:
    request = read(**WHOLE)
    assert written(request) == (WHOLE, ())
    # What another dialect lists as lost, one by one; nothing of what happens anyhow.
    lost = "truncation service_tier prompt_cache_key max_tool_calls tool_choice x_future"
    lost += " text.verbosity text.format reasoning.effort reasoning.context"
    assert sorted(request.extras) == sorted(lost.split())
    assert request.sampling.tool_choice == ToolChoice("required")


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id", "missing_field"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name", "missing_field"),
        ({"input": [{"type": "custom_tool_call_output", "call_id": "c"}]}, "input[0].output", "missing_field"),
        ({"input": [{"content": "x"}]}, "input[0].type", "missing_field"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_field"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content", "invalid_type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_field"),
        ({"tools": [{"type": "custom", "name": "a b"}]}, "tools[0].name", "invalid_value"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 5}]}, "tools[0].parameters", "invalid_type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name", "missing_field"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "missing_field"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"api_base": "http://evil.example"}, "api_base", "unknown_field"),
        ({"input": None}, "input", "missing_field"),
    ],
)
def test_what_nobody_takes_is_refused_by_name(changes: dict[str, Any], param: str, code: str) -> None:
    body = json.dumps({"model": "m", "input": "Hi", **changes}).encode()
    with pytest.raises(BadRequest) as refused:
        RESPONSES.read_head(body, HERE)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize("url", ["http://169.254.169.254/x", "file:///etc/passwd", "data:image/png,abc"])
@pytest.mark.parametrize("part", ["image_url", "file_url"])
def test_addresses_that_no_provider_may_fetch_are_refused(part: str, url: str) -> None:
    content = [{"type": "input_text", "text": "?"}, {"type": "input_file", part: url}]
    body = json.dumps({"model": "m", "input": [{"role": "user", "content": content}]}).encode()
    with pytest.raises(BadRequest) as refused:
        RESPONSES.read_head(body, HERE)
    assert refused.value.param == f"input[0].content[1].{part}"


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_input_may_be_left_out_where_a_provider_remembers_it(field: str) -> None:
    value = {"id": "x"} if field == "prompt" else "x"
    body = json.dumps({"model": "m", field: value}).encode()
    head = RESPONSES.read_head(body, HERE)
    assert RESPONSES.outgoing_body(body, head, "n") == body.replace(b'"m"', b'"n"')


# Writing for others.

CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_foreign_request_is_written() -> None:
    request = chat(
        Message("system", (Text("One."),)),
        Message("developer", (Text("Two."),)),
        Message("user", (Image(Link("https://a.example/b.png")), File(Inline("application/pdf", "JVBE")))),
        Message("assistant", (Text("Let me "), Refusal("see."), ToolCall("x" * 70, "f", ""))),
        Message("tool", (ToolResult("x" * 70, (Text("a"), Text("b")), is_error=True),)),
        Message("system", (Text("Three."),)),
        tools=(Tool("f"), Tool("g", "G.", CLOSED, True)),
        tool_choice=ToolChoice("named", "g"),
        max_output=5,
        answer_format=AnswerFormat("json_object"),
        parallel_tools=True,
        user="u",
    )
    body, adapted = written(request)
    id = body["input"][3]["call_id"]
    assert len(id) <= 64
    assert body == {
        "model": "m",
        "instructions": "One.\n\nTwo.",
        "input": [
            {"role": "system", "content": "Answer in JSON."},
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "auto"},
                    {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                ],
            },
            {"role": "assistant", "content": "Let me see."},
            {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": id,
                "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
            },
            {"role": "system", "content": "Three."},
        ],
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False},
            {"type": "function", "name": "g", "description": "G.", "parameters": CLOSED, "strict": True},
        ],
        "tool_choice": {"type": "function", "name": "g"},
        "parallel_tool_calls": True,
        "text": {"format": {"type": "json_object"}},
        "max_output_tokens": 16,
        "user": "u",
        "store": False,
    }
    lost = ("messages[4].content[0].is_error=dropped", "max_output=clamped", "answer_format=emulated")
    assert adapted == lost


def test_what_chat_alone_can_say_is_dropped_and_listed() -> None:
    request = chat(
        top_k=5, seed=1, presence_penalty=0.5, frequency_penalty=0.5, stop=("END",), extras={"logit_bias": {"1": 2}}
    )
    body, adapted = written(request)
    assert body.keys() == {"model", "input", "store"}
    assert adapted == tuple(
        f"{name}=dropped" for name in ("top_k", "seed", "presence_penalty", "frequency_penalty", "stop", "logit_bias")
    )


def test_more_than_one_answer_is_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        written(chat(n=2))
    assert (refused.value.code, refused.value.param) == ("unsupported_content", "n")


REASONING: list[tuple[str, Mapping[str, Any], Mapping[str, Any], tuple[str, ...]]] = [
    ("gpt-5", {"effort": "low"}, {"effort": "low"}, ()),
    ("gpt-4o", {"effort": "low"}, {}, ("effort=dropped",)),
    ("gpt-5", {"reasoning_tokens": 20_000}, {"effort": "high"}, ("reasoning_tokens=renamed",)),
    ("gpt-4o", {"reasoning_tokens": 20_000}, {}, ("reasoning_tokens=dropped",)),
    ("gpt-4o", {"reasoning_tokens": 0}, {}, ()),
    ("gpt-5", {"reasoning_tokens": -1}, {}, ()),
    ("grok-4", {"effort": "high"}, {"effort": "high"}, ()),
    ("gpt-5", {"effort": "minimal"}, {"effort": "minimal"}, ()),
    ("gpt-5.1", {"effort": "minimal"}, {"effort": "low"}, ("effort=clamped",)),
    ("gpt-5.1", {"effort": "xhigh"}, {"effort": "high"}, ("effort=clamped",)),
    ("gpt-5.4", {"effort": "xhigh"}, {"effort": "xhigh"}, ()),
    ("o3", {"effort": "xhigh"}, {"effort": "high"}, ("effort=clamped",)),
    ("o3", {"effort": "none"}, {"effort": "low"}, ("effort=clamped",)),
    ("gpt-5.1", {"reasoning_tokens": 0}, {"effort": "none"}, ("reasoning_tokens=renamed",)),
    ("gpt-5", {"reasoning_tokens": 0}, {"effort": "minimal"}, ("reasoning_tokens=renamed",)),
    ("gpt-5.1", {"reasoning_tokens": 0, "effort": "high"}, {"effort": "none"}, ("reasoning_tokens=renamed",)),
    ("gpt-5.1", {"reasoning_tokens": -1, "effort": "high"}, {"effort": "high"}, ()),
]


@pytest.mark.parametrize(("model", "asked", "expected", "lost"), REASONING)
def test_reasoning_is_asked_as_the_model_takes_it(
    model: str, asked: Mapping[str, Any], expected: Mapping[str, Any], lost: tuple[str, ...]
) -> None:
    body, adapted = written(chat(**asked), model)
    assert (body.get("reasoning", {}), adapted) == (expected, lost)


def test_a_caller_of_this_format_is_not_corrected() -> None:
    for effort in ("none", "minimal", "xhigh"):
        assert written(read(reasoning={"effort": effort}), "o3")[0]["reasoning"] == {"effort": effort}
    assert written(read(text={"format": {"type": "json_object"}}), "gpt-4o")[0]["input"] == [
        {"role": "user", "content": "Hi"}
    ]


def test_json_is_asked_for_in_words_where_no_message_of_the_input_speaks_of_it() -> None:
    def asked(*messages: Message) -> tuple[Any, tuple[str, ...]]:
        body, adapted = written(chat(*messages, answer_format=AnswerFormat("json_object")), "gpt-4o")
        assert body["text"] == {"format": {"type": "json_object"}}
        return body["input"][0], adapted

    words = {"role": "system", "content": "Answer in JSON."}
    hello, system = Message("user", (Text("Hi"),)), Message("system", (Text("Say JSON."),))
    assert asked(hello) == (words, ("answer_format=emulated",))
    assert asked(system, hello) == (words, ("answer_format=emulated",))  # it goes into the instructions
    assert asked(Message("user", (Text("As json, please."),)))[1] == ()
    assert asked(Message("user", (Text("Hi"), Text("As Json."))))[1] == ()


@pytest.mark.parametrize(
    ("dialect", "schema", "strict", "sent", "lost"),
    [
        ("gemini", CLOSED, None, True, ()),
        ("gemini", {**CLOSED, "additionalProperties": False}, None, True, ()),
        ("gemini", OPEN, None, None, ("answer_format=relaxed",)),
        ("gemini", OPEN, False, False, ()),
        ("openai_chat", CLOSED, None, None, ()),
        ("openai_chat", OPEN, True, True, ()),  # of the other of OpenAI's own formats nothing has to be guessed
    ],
)
def test_an_answer_is_held_to_a_schema_where_openai_can(
    dialect: str, schema: Any, strict: bool | None, sent: bool | None, lost: tuple[str, ...]
) -> None:
    request = chat(answer_format=AnswerFormat("json_schema", schema, "a b", strict=strict))
    body, adapted = written(replace(request, dialect=dialect), "gpt-5.1")
    format = body["text"]["format"]
    assert (format["schema"], format.get("strict"), adapted) == (schema, sent, lost)
    assert format["name"] == ("a b" if dialect == "openai_chat" else "a_b")


def test_tools_of_others_are_such_as_openai_takes() -> None:
    tools = (Tool("f", None, OPEN, True), Tool("g", None, {"properties": {}}))
    body, adapted = written(chat(tools=tools, parallel_tools=False), "o3")
    assert [(tool["parameters"], tool["strict"]) for tool in body["tools"]] == [
        (OPEN, False),
        ({"type": "object", "properties": {}}, False),
    ]
    assert "parallel_tool_calls" not in body
    assert adapted == ("tools[0].strict=dropped", "parallel_tools=dropped")


# Whether thoughts are shown.

SHOWN = "generationConfig.thinkingConfig.includeThoughts"

# dialect, sampling, extras, model, the summary that is asked for, what is lost
THOUGHTS: list[tuple[str, dict[str, Any], dict[str, Any], str, str | None, tuple[str, ...]]] = [
    ("anthropic", {"reasoning_tokens": -1}, {}, "gpt-5.1", "auto", ()),
    ("anthropic", {"reasoning_tokens": -1, "effort": "high"}, {}, "o3", "auto", ()),
    ("anthropic", {"reasoning_tokens": -1}, {"thinking": {"display": "summarized"}}, "gpt-5.1", "auto", ()),
    ("anthropic", {"reasoning_tokens": -1}, {"thinking": {"display": "omitted"}}, "gpt-5.1", None, ()),
    ("anthropic", {"reasoning_tokens": -1}, {"thinking": {"display": "x", "y": 1}}, "o3", "auto", ("thinking",)),
    ("anthropic", {"reasoning_tokens": -1}, {"thinking": {"display": "summarized"}}, "gpt-4.1", None, ("thinking",)),
    ("anthropic", {"reasoning_tokens": -1}, {}, "llama-4", None, ()),
    ("anthropic", {"effort": "high"}, {}, "gpt-5.1", None, ()),
    ("anthropic", {}, {}, "gpt-5.1", None, ()),
    ("gemini", {}, {SHOWN: True}, "gpt-5.1", "auto", ()),
    ("gemini", {"effort": "high"}, {SHOWN: True}, "gpt-5.1", "auto", ()),
    ("gemini", {"effort": "high"}, {SHOWN: False}, "gpt-5.1", None, ()),
    ("gemini", {"effort": "high"}, {}, "gpt-5.1", None, ()),
    ("gemini", {}, {SHOWN: True}, "gpt-4.1", None, (SHOWN,)),
    ("openai_chat", {"effort": "high"}, {}, "gpt-5.1", None, ()),
]


@pytest.mark.parametrize(("dialect", "sampling", "extras", "model", "summary", "lost"), THOUGHTS)
def test_thoughts_are_asked_for_where_the_callers_format_shows_them(
    dialect: str, sampling: dict[str, Any], extras: dict[str, Any], model: str, summary: str | None, lost: Any
) -> None:
    request = replace(chat(**sampling), dialect=dialect, extras=extras)
    body, adapted = written(request, model)
    assert body.get("reasoning", {}).get("summary") == summary
    assert adapted == tuple(f"{name}=dropped" for name in lost)


def test_thoughts_can_be_left_alone_where_openai_refuses_to_sum_them_up() -> None:
    request = replace(
        chat(reasoning_tokens=-1, effort="high"), dialect="anthropic", extras={"thinking": {"display": "summarized"}}
    )
    for summary, expected, lost in (("detailed", {"summary": "detailed"}, ()), ("none", {}, ("thinking=dropped",))):
        dialect = OpenAIResponses(OpenAIResponses.Settings(reasoning_summary=summary))
        encoded = dialect.encode_request(request, "gpt-5.1")
        assert json.loads(encoded.body)["reasoning"] == {"effort": "high", **expected}
        assert encoded.adapted == lost


# What Chat and Responses both have.

CARRIED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"service_tier": "flex"}, {"service_tier": "flex"}),
    ({"service_tier": "default"}, {"service_tier": "default"}),
    ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}),
    ({"prompt_cache_retention": "24h"}, {"prompt_cache_retention": "24h"}),
    ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    ({"store": True, "metadata": {"a": "b"}}, {"store": True, "metadata": {"a": "b"}}),
    ({"store": False}, {"store": False}),
    ({"safety_identifier": "u"}, {"safety_identifier": "u"}),
    ({"user": "u"}, {"user": "u"}),
    ({"user": "u", "safety_identifier": "s"}, {"user": "u", "safety_identifier": "s"}),
]


def asked_in_chat(said: dict[str, Any]) -> ChatRequest:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **said}).encode()
    return CHAT.decode_request(body, CHAT.read_head(body, HERE), HERE)


@pytest.mark.parametrize(("in_chat", "in_responses"), CARRIED)
def test_what_both_of_openais_formats_have_is_carried(in_chat: dict[str, Any], in_responses: dict[str, Any]) -> None:
    plain = written(asked_in_chat({}), "gpt-5.1")[0]
    assert written(asked_in_chat(in_chat), "gpt-5.1") == ({**plain, **in_responses}, ())
    back = CHAT.encode_request(read(**in_responses), "gpt-5.1")
    without = json.loads(CHAT.encode_request(read(), "gpt-5.1").body)
    assert (json.loads(back.body), back.adapted) == ({**without, **in_chat}, ())


def test_what_only_openais_models_know_is_told_to_no_other() -> None:
    said = {"service_tier": "flex", "prompt_cache_key": "k", "verbosity": "low", "store": True, "metadata": {"a": "b"}}
    lost = tuple(f"{name}=dropped" for name in said)
    body, adapted = written(asked_in_chat(said), "grok-4")
    assert (body["store"], sorted(body), adapted) == (False, ["input", "model", "store"], lost)
    in_responses = {"service_tier": "flex", "prompt_cache_key": "k", "text": {"verbosity": "low"}, "store": True}
    back = CHAT.encode_request(read(**in_responses, safety_identifier="u"), "mistral-large")
    assert sorted(json.loads(back.body)) == ["messages", "model", "user"]
    assert set(back.adapted) == {
        f"{n}=dropped" for n in ("service_tier", "prompt_cache_key", "text.verbosity", "store")
    }


@pytest.mark.parametrize("model", ["gpt-4.1", "o3", "gpt-5-chat-latest", "gpt-5.1-codex-max"])
def test_verbosity_is_told_to_models_that_take_it(model: str) -> None:
    assert "verbosity=dropped" in written(asked_in_chat({"verbosity": "low"}), model)[1]
    assert written(asked_in_chat({"verbosity": "medium"}), model)[0]["text"] == {"verbosity": "medium"}
    encoded = CHAT.encode_request(read(text={"verbosity": "low"}), model)
    assert ("verbosity" in json.loads(encoded.body), encoded.adapted) == (False, ("text.verbosity=dropped",))


def test_metadata_goes_to_chat_only_with_what_is_stored() -> None:
    """OpenAI: "The 'metadata' parameter is only allowed when 'store' is enabled"."""
    encoded = CHAT.encode_request(read(metadata={"a": "b"}), "gpt-5.1")
    assert ("metadata" in json.loads(encoded.body), encoded.adapted) == (False, ())


# What lives at a provider.


def test_what_a_provider_remembers_is_needed_and_written_back() -> None:
    said = {"previous_response_id": "resp_1", "conversation": {"id": "c"}, "prompt": {"id": "p"}, "background": True}
    request = read(**said, input=[{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "Hi"}])
    assert request.needs == ("previous_response_id", "conversation", "prompt", "background", "input[0]")
    body, adapted = written(request)
    assert (body, adapted) == (
        {"model": "m", "input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "Hi"}], **said},
        (),
    )
    assert read(background=False, previous_response_id=None, prompt={}).needs == ()


def test_input_that_was_left_out_stays_out() -> None:
    body = b'{"model":"m","previous_response_id":"resp_1","instructions":"Go on."}'
    request = RESPONSES.decode_request(body, RESPONSES.read_head(body, HERE), HERE)
    assert written(request)[0] == json.loads(body)


def test_an_answer_made_in_the_background_is_told_by_its_id() -> None:
    told = {"id": "resp_1", "object": "response", "model": "m", "background": True, "status": "queued", "output": []}
    decoder = RESPONSES.response_decoder(False)
    events = [*decoder.feed(json.dumps(told).encode()), *decoder.close()]
    encoder = RESPONSES.response_encoder(read(background=True))
    answer = json.loads(b"".join([*map(encoder.write, events), encoder.close()]))
    assert {name: answer[name] for name in told} == told
    assert (answer["completed_at"], answer["usage"]) == (None, None)


def test_a_reasoning_model_is_spared_what_it_refuses() -> None:
    body, adapted = written(chat(temperature=0.5, top_p=0.5, logprobs=True, top_logprobs=2), "o4-mini")
    assert body["include"] == ["reasoning.encrypted_content"]
    assert not {"temperature", "top_p", "top_logprobs"} & body.keys()
    assert adapted == ("temperature=dropped", "top_p=dropped", "top_logprobs=dropped", "logprobs=dropped")
    body, adapted = written(chat(temperature=0.5, logprobs=True, top_logprobs=2), "gpt-4o")
    assert (body["include"], body["top_logprobs"], adapted) == (["message.output_text.logprobs"], 2, ())


FOREIGN_PARTS = [
    (Audio(Inline("audio/wav", "UklG")), "audio"),
    (Image(Stored("file-1")), "stored image"),
    (File(Stored("file-1")), "stored file"),
    (Opaque("anthropic", "server_tool_use", {}), "server_tool_use"),
]


@pytest.mark.parametrize(("part", "word"), FOREIGN_PARTS)
def test_content_that_cannot_be_said_is_refused_by_name(part: Any, word: str) -> None:
    with pytest.raises(BadRequest, match=word) as refused:
        written(chat(Message("user", (Text("?"), part))))
    assert (refused.value.code, refused.value.param) == ("unsupported_content", "messages[0].content[1]")


def test_an_image_of_the_assistant_is_refused() -> None:
    with pytest.raises(BadRequest, match="image"):
        written(chat(Message("assistant", (Image(Link("https://a.example")),))))


def test_a_tool_of_another_dialect_is_refused() -> None:
    with pytest.raises(BadRequest, match="googleSearch") as refused:
        written(chat(tools=(Tool("f"), OpaqueTool("gemini", "googleSearch", {}))))
    assert refused.value.param == "tools[1]"


# Secrets of the families of models.


def test_seals_are_opened() -> None:
    sealed = seal("anthropic", {"signature": "sig", "redacted": "red"})
    request = read(
        input=[
            {"type": "reasoning", "id": "rs_1", "summary": SUMMARY, "encrypted_content": sealed},
            {
                "type": "function_call",
                "call_id": seal_id("call_1", "gemini", {"signature": "s"}),
                "name": "f",
                "arguments": "{}",
            },
            {
                "type": "function_call_output",
                "call_id": seal_id("call_1", "gemini", {"signature": "s"}),
                "output": "x",
            },
        ]
    )
    thoughts, call = request.messages[0].content
    assert isinstance(thoughts, Reasoning)
    assert (thoughts.text, thoughts.signature, thoughts.redacted) == ("Hm.", "sig", "red")
    assert thoughts.origin == "anthropic"
    assert isinstance(call, ToolCall)
    assert (call.id, call.signature, call.origin) == ("call_1", "s", "gemini")
    assert request.messages[1].content[0].call_id == "call_1"  # type: ignore[union-attr]
    body, adapted = written(request)
    assert [item["type"] for item in body["input"]] == ["function_call", "function_call_output"]
    assert adapted == ("reasoning=dropped",)


SUMMARY = [{"type": "summary_text", "text": "Hm."}]


def test_a_seal_of_its_own_opens_into_its_own_fields() -> None:
    sealed = seal("openai_responses", {"signature": "rs_9 gAAA"})
    request = read(input=[{"type": "reasoning", "id": "rs_1", "summary": SUMMARY, "encrypted_content": sealed}])
    (item,) = written(replace(request, dialect="anthropic"))[0]["input"]
    assert (item["encrypted_content"], item["id"], item["type"]) == ("gAAA", "rs_9", "reasoning")


def test_thoughts_come_back_under_the_id_to_which_they_are_bound() -> None:
    thoughts = Reasoning("Hm.", signature="rs_9 gAAA", origin="openai_responses")
    body, adapted = written(chat(Message("assistant", (thoughts,))))
    assert body["input"] == [{"type": "reasoning", "id": "rs_9", "summary": SUMMARY, "encrypted_content": "gAAA"}]
    assert adapted == ()


@pytest.mark.parametrize("origin", ["anthropic", "openai_responses", None])
def test_thoughts_that_nobody_encrypted_are_left_out(origin: str | None) -> None:
    body, adapted = written(chat(Message("assistant", (Reasoning("Hm.", origin=origin), Text("So.")))))
    assert body["input"] == [{"role": "assistant", "content": "So."}]
    assert adapted == ("reasoning=dropped",)


def test_what_somebody_changed_on_the_way_is_what_goes_out() -> None:
    request = read(input=[{"type": "reasoning", "id": "rs_1", "summary": SUMMARY, "encrypted_content": "gAAA"}])
    (message,) = request.messages
    changed = replace(message, content=(replace(message.content[0], text="***"),))  # type: ignore[call-arg]
    (item,) = written(replace(request, messages=(changed,)))[0]["input"]
    assert item["summary"] == [{"type": "summary_text", "text": "***"}]


# Counting.


def test_counting_asks_for_nothing_but_the_count() -> None:
    request = chat(
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Hi"),)),
        tools=(Tool("f"),),
        temperature=0.5,
        effort="low",
    )
    body = json.loads(COUNT.encode_request(request, "gpt-5").body)
    assert body.keys() == {"model", "input", "instructions", "tools", "reasoning"}
    assert COUNT.path(COUNT.read_head(b'{"model":"m","input":"Hi"}', HERE), "m") == "/responses/input_tokens"

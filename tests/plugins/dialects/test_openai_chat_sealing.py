"""What only another family of models can open, on its way through a Chat client: out behind the ids of calls, back in
the next request; and what servers of Chat's own family sign."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from llmhub_plugins.dialects.openai_chat import OpenAIChat

from llmhub_core.contracts import (
    ChatRequest,
    ContentPart,
    Dialect,
    Event,
    Finished,
    Message,
    PartDelta,
    PartEnded,
    PartStarted,
    Reasoning,
    Started,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Where,
    fold,
    read_frame,
    seal,
    seal_id,
    unseal_id,
)
from llmhub_core.testing.conversations import decode, encode

CHAT = OpenAIChat(OpenAIChat.Settings())
HERE = Where({}, {})


def answered(events: Sequence[Event], stream: bool, **fields: Any) -> dict[str, Any]:
    """The first choice's message as a client has it."""
    request = ChatRequest("openai_chat", "m", (), stream=stream, **fields)
    written = encode(CHAT.response_encoder(request), events)
    if not stream:
        message: dict[str, Any] = json.loads(written)["choices"][0]["message"]
        return message
    message = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    for frame in written.split(b"\n\n"):
        data = read_frame(frame + b"\n\n")[1]
        if not data.startswith(b"{") or not json.loads(data)["choices"]:
            continue
        delta = json.loads(data)["choices"][0]["delta"]
        for call in delta.pop("tool_calls", ()):
            known = calls.setdefault(call.pop("index"), {})
            inner = call.pop("function", {})
            known |= call
            function = known.setdefault("function", {"arguments": ""}) if inner else known.get("function", {})
            function |= {"name": inner["name"]} if "name" in inner else {}
            if inner:
                function["arguments"] += inner.get("arguments", "")
        for name, value in delta.items():
            joins = isinstance(value, str) and isinstance(message.get(name), str) and name != "role"
            message[name] = message[name] + value if joins else value
    return {**message, "tool_calls": list(calls.values())} if calls else message


def sent_back(message: dict[str, Any], *more: dict[str, Any]) -> tuple[Message, ...]:
    """The next request's messages, after the client's own first."""
    messages = [{"role": "user", "content": "Hi"}, message, *more]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    return CHAT.decode_request(body, CHAT.read_head(body, HERE), HERE).messages[1:]


def part(index: int, kind: Any, text: str, ended: PartEnded | None = None, **fields: Any) -> list[Event]:
    return [PartStarted(index, kind, **fields), PartDelta(index, text), ended or PartEnded(index)]


CLAUDE: list[Event] = [
    Started("msg_1", "claude"),
    *part(0, "reasoning", "Let me see.", PartEnded(0, "c2ln"), origin="anthropic"),
    *part(1, "reasoning", "", PartEnded(1, redacted="cmVk"), origin="anthropic"),
    *part(2, "text", "I look."),
    *part(3, "tool_call", '{"a":1}', id="toolu_1", name="f"),
    *part(4, "tool_call", "", id="toolu_2", name="g"),
    Finished("tool_calls"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("clear", [False, True], ids=["without the thoughts", "with the thoughts in the clear"])
def test_a_loop_of_tools_with_claude_loses_nothing(stream: bool, clear: bool) -> None:
    message = answered(CLAUDE, stream)
    assert (message["content"], message["reasoning_content"]) == ("I look.", "Let me see.")
    first, second = message["tool_calls"]
    assert (first["function"], second["function"]) == (
        {"name": "f", "arguments": '{"a":1}'},
        {"name": "g", "arguments": "{}"},
    )
    assert unseal_id(first["id"])[0] == "toolu_1"
    assert second["id"] == "toolu_2"
    if not clear:
        del message["reasoning_content"]
    result = {"role": "tool", "tool_call_id": first["id"], "content": "1"}
    assistant, tool = sent_back(message, result)
    assert assistant.content == (
        Reasoning("Let me see.", "c2ln", None, "anthropic"),
        Reasoning("", None, "cmVk", "anthropic"),
        Text("I look."),
        ToolCall("toolu_1", "f", '{"a":1}'),
        ToolCall("toolu_2", "g", "{}"),
    )
    assert tool.content == (ToolResult("toolu_1", (Text("1"),)),)


GEMINI: list[Event] = [
    Started("r1", "gemini"),
    *part(0, "reasoning", "Hm.", origin="gemini"),
    *part(1, "tool_call", '{"a":', PartEnded(1, "c2ln"), id="call_1", name="f", origin="gemini")[:2],
    PartDelta(1, "1}"),
    PartEnded(1, "c2ln"),
    *part(2, "tool_call", "{}", id="call_2", name="f", origin="gemini"),
    Finished("tool_calls"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_signed_call_carries_its_own_signature(stream: bool) -> None:
    message = answered(GEMINI, stream)
    assert message["reasoning_content"] == "Hm."
    first, second = message["tool_calls"]
    assert unseal_id(first["id"]) == ("call_1", ("gemini", {"signature": "c2ln"}))
    assert second["id"] == "call_2"
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"a":1}', "{}"]
    [assistant] = sent_back({"role": "assistant", "content": None, "tool_calls": message["tool_calls"]})
    assert assistant.content == (
        ToolCall("call_1", "f", '{"a":1}', signature="c2ln", origin="gemini"),
        ToolCall("call_2", "f", "{}"),
    )


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_between_texts_and_calls_go_back_to_their_places(stream: bool) -> None:
    thoughts = [Reasoning(word, f"sig-{word}", None, "anthropic") for word in ("one", "two", "three")]
    events: list[Event] = [
        Started("m", "claude"),
        *part(0, "reasoning", "one", PartEnded(0, "sig-one"), origin="anthropic"),
        *part(1, "text", "First 😀."),
        *part(2, "reasoning", "two", PartEnded(2, "sig-two"), origin="anthropic"),
        *part(3, "text", "Second."),
        *part(4, "tool_call", "{}", id="toolu_1", name="f"),
        *part(5, "reasoning", "three", PartEnded(5, "sig-three"), origin="anthropic"),
        *part(6, "tool_call", "{}", id="toolu_2", name="g"),
        Finished("tool_calls"),
    ]
    message = answered(events, stream)
    assert message["content"] == "First 😀.Second."
    [assistant] = sent_back(message)
    expected: tuple[ContentPart, ...] = (
        thoughts[0],
        Text("First 😀."),
        thoughts[1],
        Text("Second."),
        ToolCall("toolu_1", "f", "{}"),
        thoughts[2],
        ToolCall("toolu_2", "g", "{}"),
    )
    assert assistant.content == expected


def test_choices_are_sealed_apart() -> None:
    events: list[Event] = [Started("m", "claude")]
    for choice in (0, 1):
        at = choice * 2
        ended = PartEnded(at, f"sig-{choice}")
        events += part(at, "reasoning", "x", ended, origin="anthropic", choice=choice)
        events += part(at + 1, "tool_call", "{}", id=f"toolu_{choice}", name="f", choice=choice)
    written = encode(CHAT.response_encoder(ChatRequest("openai_chat", "m", ())), [*events, Finished("tool_calls")])
    for number, choice in enumerate(json.loads(written)["choices"]):
        id, opened = unseal_id(choice["message"]["tool_calls"][0]["id"])
        assert (id, opened) == (
            f"toolu_{number}",
            ("anthropic", {"reasoning": [{"text": "x", "signature": f"sig-{number}"}]}),
        )


@pytest.mark.parametrize("stream", [False, True])
def test_what_needs_no_seal_gets_none(stream: bool) -> None:
    unsigned = [*part(0, "reasoning", "x", origin="gemini"), *part(1, "tool_call", "{}", id="c", name="f")]
    long = Random(1).randbytes(60_000).hex()
    huge = [
        *part(0, "reasoning", long, PartEnded(0, "s"), origin="anthropic"),
        *part(1, "tool_call", "{}", id="c", name="f"),
    ]
    for events in (unsigned, huge):
        message = answered([Started("m", "m"), *events, Finished("tool_calls")], stream)
        assert message["tool_calls"][0]["id"] == "c"
    silent = [Started("m", "m"), *part(0, "reasoning", "x", PartEnded(0, "s"), origin="anthropic")]
    assert answered([*silent, *part(1, "text", "Hi"), Finished("stop")], stream)["content"] == "Hi"


@pytest.mark.parametrize("stream", [False, True])
def test_the_old_way_has_no_ids_and_so_no_seals(stream: bool) -> None:
    tools = (Tool("f", extras={"openai_chat": {}}),)
    message = answered(CLAUDE, stream, tools=tools)
    assert "function_call" in message
    assert "tool_calls" not in message
    assert "LLMhubSeal" not in json.dumps(message)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_a_tool_of_free_text_is_said_in_its_words(stream: bool) -> None:
    body = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "custom", "custom": {"name": "shell"}}],
        }
    ).encode()
    request = CHAT.decode_request(body, CHAT.read_head(body, HERE), HERE)
    events: list[Event] = [
        Started("m", "claude"),
        *part(0, "reasoning", "x", PartEnded(0, "sig"), origin="anthropic"),
        *part(1, "tool_call", '{"input":"ls -l"}', id="toolu_1", name="shell"),
        Finished("tool_calls"),
    ]
    message = answered(events, stream, tools=request.tools)
    [call] = message["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "shell", "input": "ls -l"})
    [assistant] = sent_back({"role": "assistant", "content": None, "tool_calls": [call]})
    thought, called = assistant.content
    assert thought == Reasoning("x", "sig", None, "anthropic")
    assert isinstance(called, ToolCall)
    assert (called.id, called.name, json.loads(called.arguments)) == ("toolu_1", "shell", {"input": "ls -l"})


@pytest.mark.parametrize(
    "id",
    [
        "call_1_" + seal("anthropic", {"reasoning": [{"text": "x"}]})[:-9],
        "call_1_LLMhubSeal01!!!",
        "call_1_" + seal("anthropic", [1]),
        seal_id("call_1", "anthropic", {"reasoning": "x", "signature": 5}),
        seal_id("call_1", "anthropic", {"reasoning": [5, "x"]}),
    ],
)
def test_a_damaged_seal_is_no_seal_and_the_id_is_plain_again(id: str) -> None:
    call = {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assistant, tool = sent_back(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "content": "1"},
    )
    assert assistant.content == (ToolCall("call_1", "f", "{}"),)
    assert tool.content == (ToolResult("call_1", (Text("1"),)),)


# To a Chat provider.


def written(*messages: Message, dialect: str = "openai_chat") -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    encoded = CHAT.encode_request(ChatRequest(dialect, "m", messages), "gpt-4o")
    said: list[dict[str, Any]] = json.loads(encoded.body)["messages"]
    return said, encoded.adapted


def test_what_another_family_signed_is_left_out_and_told_once() -> None:
    [assistant] = sent_back(answered(CLAUDE, stream=False))
    [message], adapted = written(assistant)
    assert adapted == ("reasoning=dropped",)
    assert "reasoning" not in json.dumps(message)
    assert [call["id"] for call in message["tool_calls"]] == ["toolu_1", "toolu_2"]
    signed = Message("assistant", (ToolCall("c", "f", "{}", signature="s", origin="gemini"),))
    assert written(signed)[1] == ("reasoning=dropped",)
    unnamed = Message("assistant", (ToolCall("c", "f", "{}", signature="s"), Reasoning("x")))
    [message], adapted = written(unnamed, dialect="gemini")
    assert (adapted, "extra_content" in message["tool_calls"][0]) == (("reasoning=dropped",), False)


def test_a_sealed_id_is_plain_for_mistral_and_of_its_length() -> None:
    assistant, tool = sent_back(
        answered(CLAUDE, stream=False), {"role": "tool", "tool_call_id": "toolu_2", "content": "1"}
    )
    encoded = CHAT.encode_request(ChatRequest("openai_chat", "m", (assistant, tool)), "mistral-large-latest")
    said, result = json.loads(encoded.body)["messages"]
    assert all(len(call["id"]) == 9 for call in said["tool_calls"])
    assert result["tool_call_id"] == said["tool_calls"][1]["id"]


# What servers of this dialect sign.

EXTRA = {"google": {"thought_signature": "c2ln", "more": 1}, "other": {"a": 1}}


@pytest.mark.parametrize(
    ("first", "later", "signed"),
    [
        (EXTRA, None, ("c2ln", {"google": {"more": 1}, "other": {"a": 1}})),
        ({"google": {"thought_signature": "c2ln"}}, None, ("c2ln", None)),
        (None, {"google": {"thought_signature": "c2ln"}}, ("c2ln", None)),
        ({"other": 1}, None, (None, {"other": 1})),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_geminis_signatures_go_through_chat_as_they_are(first: Any, later: Any, signed: Any, stream: bool) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    deltas = [{**call, "extra_content": first} if first else call]
    deltas.append({"index": 0, "function": {"arguments": "{}"}, **({"extra_content": later} if later else {})})
    frames = b""
    for delta in deltas:
        frames += b"data: %b\n\n" % json.dumps({"id": "r", "choices": [{"delta": {"tool_calls": [delta]}}]}).encode()
    events = decode(CHAT.response_decoder(True), frames + b"data: [DONE]\n\n")
    [started] = [event for event in events if isinstance(event, PartStarted)]
    [ended] = [event for event in events if isinstance(event, PartEnded)]
    signature, rest = signed
    assert started.origin == ("openai_chat" if first else "")
    assert ended.signature == signature
    assert ended.extras == ({"openai_chat": {"extra_content": rest}} if rest else {})

    message = answered(events, stream)
    assert message["tool_calls"][0]["extra_content"] == (first or later)
    assert message["tool_calls"][0]["id"] == "c1"
    [assistant] = sent_back(message)
    [read_back] = assistant.content
    assert isinstance(read_back, ToolCall)
    assert (read_back.signature, read_back.origin) == (signature, "openai_chat" if signature else None)
    [said], adapted = written(assistant)
    assert (said["tool_calls"][0]["extra_content"], adapted) == (first or later, ())


def test_reasoning_details_are_a_thoughts_signature() -> None:
    pieces: list[dict[str, Any]] = [
        {"reasoning": "He", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "He", "format": "x"}]},
        {"reasoning": "y", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "y"}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "d"}]},
        {"content": "Hi"},
    ]
    joined = [
        {"type": "reasoning.text", "index": 0, "text": "Hey", "format": "x", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "d"},
    ]
    frames = b"".join(
        b"data: %b\n\n" % json.dumps({"id": "r", "choices": [{"delta": piece}]}).encode() for piece in pieces
    )
    events = decode(CHAT.response_decoder(True), frames + b"data: [DONE]\n\n")
    thought, text = fold(events).parts
    assert (thought.kind, thought.text, thought.origin, text.text) == ("reasoning", "Hey", "openai_chat", "Hi")
    assert json.loads(thought.signature or "") == joined

    for stream in (False, True):
        message = answered(events, stream)
        assert (message["reasoning"], message["content"]) == ("Hey", "Hi")
        assert message["reasoning_details"] == joined
        [assistant] = sent_back(message)
        [said], adapted = written(assistant)
        assert (said["reasoning"], said["reasoning_details"], adapted) == ("Hey", joined, ())
    # … and from another front, which carried them as the signature that they are to it.
    sealed = Message("assistant", (Reasoning("Hey", thought.signature, None, "openai_chat"), Text("Hi")))
    [said], adapted = written(sealed, dialect="anthropic")
    assert (said["reasoning"], said["reasoning_details"], adapted) == ("Hey", joined, ())


def test_thoughts_of_chat_servers_are_known_as_theirs() -> None:
    frame = b'data: {"id":"r","choices":[{"delta":{"reasoning_content":"hm"},"finish_reason":"stop"}]}\n\n'
    [started] = [e for e in decode(CHAT.response_decoder(True), frame) if isinstance(e, PartStarted)]
    assert (started.kind, started.origin) == ("reasoning", "openai_chat")
    [said], adapted = written(Message("assistant", (Reasoning("hm", origin="openai_chat"), Text("Hi"))), dialect="x")
    assert (said["reasoning_content"], adapted) == ("hm", ())


# Through the other fronts, which carry what is Chat's own in their ways.


def other(name: str) -> Dialect[Any]:
    kinds = importlib.import_module(f"llmhub_plugins.dialects.{name}").register_dialects()
    [dialect] = [kind(kind.Settings()) for kind in kinds if kind.name == name]
    found: Dialect[Any] = dialect
    return found


def next_messages(answer: dict[str, Any]) -> dict[str, Any]:
    """The `messages` of Anthropic's next request."""
    blocks = answer["content"]
    result = {"type": "tool_result", "tool_use_id": blocks[-1]["id"], "content": "1"}
    return {"messages": [*MESSAGES["messages"], {"role": "assistant", "content": blocks}, user_of([result])]}


def next_contents(answer: dict[str, Any]) -> dict[str, Any]:
    """The `contents` of Gemini's next request."""
    content = answer["candidates"][0]["content"]
    call = content["parts"][-1]["functionCall"]
    result = {"functionResponse": {"id": call.get("id"), "name": "f", "response": {"a": 1}}}
    return {"contents": [*CONTENTS["contents"], content, {"role": "user", "parts": [result]}]}


def next_input(answer: dict[str, Any]) -> dict[str, Any]:
    """The `input` of the next request to Responses."""
    items = answer["output"]
    result = {"type": "function_call_output", "call_id": items[-1]["call_id"], "output": "1"}
    return {"input": [*INPUT["input"], *items, result]}


def user_of(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


MESSAGES: dict[str, Any] = {"model": "m", "max_tokens": 5000, "messages": [user_of("Hi")]}
CONTENTS: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
INPUT: dict[str, Any] = {"model": "m", "input": [user_of("Hi")]}
FRONTS = [
    ("anthropic", HERE, MESSAGES, next_messages),
    ("gemini", Where({"model": "m", "verb": "generateContent"}, {}), CONTENTS, next_contents),
    ("openai_responses", HERE, INPUT, next_input),
]


@pytest.mark.parametrize(("front", "where", "first", "next_of"), FRONTS, ids=lambda value: str(value)[:20])
def test_a_loop_with_a_chat_server_survives_every_front(front: str, where: Where, first: Any, next_of: Any) -> None:
    called = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
    pieces: list[dict[str, Any]] = [
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}]},
        {"tool_calls": [{**called, "extra_content": {"google": {"thought_signature": "c2ln"}}}]},
    ]
    frames = b"".join(
        b"data: %b\n\n" % json.dumps({"id": "r", "choices": [{"delta": piece}]}).encode() for piece in pieces
    )
    dialect = other(front)

    def read(fields: dict[str, Any]) -> ChatRequest:
        body = json.dumps({**first, **fields}).encode()
        request: ChatRequest = dialect.decode_request(body, dialect.read_head(body, where), where)
        return request

    events = decode(CHAT.response_decoder(True), frames + b"data: [DONE]\n\n")
    answer = json.loads(encode(dialect.response_encoder(read({})), events))
    encoded = CHAT.encode_request(read(next_of(answer)), "some-server-model")
    _, assistant, tool = json.loads(encoded.body)["messages"]
    assert assistant == {
        "role": "assistant",
        "content": None,
        "reasoning": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}],
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            }
        ],
    }
    assert tool["tool_call_id"] == "call_1"
    assert encoded.adapted == ()

"""The anthropic dialect: odd answers read, and other providers' answers written for callers of this format."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from speaking_anthropic import DIALECT, START, STOP, begin, delta, end, gather, lines, read, read_whole, write

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Reasoning,
    Started,
    ToolCall,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamOverloaded,
    Usage,
    Used,
    Where,
    fold,
    unseal,
    unseal_id,
)


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("something_new", "stop"),
    ],
)
def test_finish_words(native: str, reason: str) -> None:
    finished = fold(read(START, end(native), STOP)).finished[0]
    assert (finished.reason, finished.native) == (reason, native)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    call = begin(0, type="tool_use", id="t", name="f", input={})
    piece = delta(0, "input_json_delta", partial_json="")
    assert fold(read(START, call, piece, end("tool_use"), STOP)).parts[0].text == "{}"
    whole = begin(0, type="tool_use", id="t", name="f", input={"a": 1})
    assert fold(read(START, whole, end("tool_use"), STOP)).parts[0].text == '{"a":1}'
    bare = begin(0, type="tool_use", id="t", name="f")
    assert fold(read(START, bare, end("tool_use"), STOP)).parts[0].text == "{}"
    nameless = fold(read(START, begin(0, type="tool_use", name="f", input={}), STOP)).parts[0]
    assert nameless.id.startswith("toolu_")


def test_the_last_word_on_each_count_holds() -> None:
    start = {**START, "message": {"id": "m", "usage": {"input_tokens": 4, "cache_read_input_tokens": 6}}}
    events = read(start, end("end_turn", input_tokens=None), STOP)
    assert fold(events).usage == Usage(10, 9, cached_tokens=6)
    assert [type(event) for event in events] == [Started, Used, Used, Finished]
    more = read(start, end("end_turn", input_tokens=5, cache_creation_input_tokens=1), STOP)
    assert fold(more).usage == Usage(12, 9, cached_tokens=6, cache_write_tokens=1)


def test_odd_streams_are_read_leniently() -> None:
    events = read(
        {"type": "ping"},
        START,
        {"type": "brand_new", "x": 1},
        5,
        begin(0, type="text", text="Hel"),
        delta(0, "text_delta", text="lo", more=None),
        delta(0, "new_delta", text=7),
        delta(1, "thinking_delta", thinking="hm"),  # its block never began
        delta(1, "signature_delta", signature="s"),
        {"type": "content_block_delta", "index": "x", "delta": {"type": "text_delta", "text": "!"}},
        begin(2, type="hologram", size=1),
        {"type": "message_delta", "delta": {"stop_reason": None}},
        end("end_turn"),
        STOP,
        delta(0, "text_delta", text="late"),
    )
    answer = fold(events)
    assert answer.failed is None
    assert [(part.kind, part.text) for part in answer.parts] == [
        ("text", "Hello"),
        ("reasoning", "hm"),
        ("text", "!"),
        ("opaque", ""),
    ]
    assert answer.parts[1].signature == "s"
    assert answer.parts[3].extras == {"anthropic": {"type": "hologram", "size": 1}}


def test_the_end_is_message_stop_or_a_stop_reason() -> None:
    assert fold(read(START, end("end_turn"))).failed is None
    for broken in (
        (),
        (START,),
        (START, begin(0, type="text", text="a"), delta(0, "text_delta", text="b")),
        (STOP,),
        (START, end(None)),
        (b'{"choices":[{"delta":{}}]}', b"[DONE]"),
    ):
        answer = fold(read(*broken))
        assert isinstance(answer.failed, UpstreamGarbled)
        assert not answer.finished
    garbled = fold(read(START, begin(0, type="text", text="a"), b'{"type":"content_', end("end_turn"), STOP))
    assert isinstance(garbled.failed, UpstreamGarbled)
    assert garbled.text == "a"


def test_errors_inside_a_stream_end_it() -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}, "request_id": "req_1"}
    answer = fold(read(START, error, end("end_turn"), STOP))
    assert isinstance(answer.failed, UpstreamLimited)
    assert (answer.failed.provider_request_id, answer.failed.provider_code) == ("req_1", "rate_limit_error")
    assert isinstance(fold(read({"type": "error", "error": "what"})).failed, UpstreamOverloaded)
    assert isinstance(fold(read({"type": "error"})).failed, UpstreamOverloaded)


def test_whole_answers_that_are_none() -> None:
    assert isinstance(fold(read_whole({"type": "error", "error": {"type": "api_error"}})).failed, UpstreamOverloaded)
    for none in (b"", b"<html>", b"[]", b"{}", b'{"choices":[]}'):
        assert isinstance(fold(read_whole(none)).failed, UpstreamGarbled)
    empty = fold(read_whole({"id": "m", "content": [], "stop_reason": "end_turn"}))
    assert (empty.failed, empty.parts, empty.finished[0].reason) == (None, [], "stop")


# Written for a caller of this format.

FOREIGN: list[Event] = [
    Started("chatcmpl-1", "gpt-x", 5),
    PartStarted(0, "reasoning", extras={"gemini": {}}, origin="gemini"),
    PartDelta(0, "let me see"),
    PartEnded(0, signature="gs", redacted="gr"),
    PartStarted(1, "text"),
    PartDelta(1, "Sure"),
    PartDelta(1, ""),
    PartEnded(1),
    PartStarted(2, "text", choice=1),
    PartDelta(2, "another choice"),
    PartEnded(2),
    PartStarted(3, "tool_call", "call_a", "f", origin="gemini"),
    PartDelta(3, '{"a":'),
    PartDelta(3, "1}"),
    PartEnded(3, signature="ts"),
    PartStarted(4, "opaque", extras={"gemini": {"executableCode": {}}}),
    PartEnded(4),
    PartStarted(5, "tool_call", "call_b", "g"),
    PartEnded(5),
    PartStarted(6, "reasoning"),
    PartEnded(6),
    Used(Usage(20, 7, cached_tokens=5, cache_write_tokens=3, reasoning_tokens=2)),
    Finished("stop", 1),
    Finished("tool_calls"),
]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_sdk_reads_another_providers_answer(aiohttp_server: Any, stream: bool) -> None:
    message = await gather(aiohttp_server, write(FOREIGN, stream), stream)
    assert (message.id, message.model, message.role) == ("chatcmpl-1", "gpt-x", "assistant")
    assert [block.type for block in message.content] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    thinking, text, first, second = message.content
    assert thinking.thinking == "let me see"
    assert unseal(thinking.signature) == ("gemini", {"signature": "gs", "redacted": "gr"})
    assert text.text == "Sure"
    assert unseal_id(first.id) == ("call_a", ("gemini", {"signature": "ts"}))
    assert (first.name, first.input) == ("f", {"a": 1})
    assert (second.id, second.name, second.input) == ("call_b", "g", {})
    assert (message.stop_reason, message.stop_sequence) == ("tool_use", None)
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (12, 5, 3)
    assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (7, 2)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_sdk_raises_on_a_failed_answer(aiohttp_server: Any, stream: bool) -> None:
    events = [*FOREIGN[:6], Failed(UpstreamOverloaded("Come back later."))]
    body = write(events, stream)
    assert b"message_stop" not in body
    if not stream:
        assert json.loads(body)["error"]["type"] == "overloaded_error"
        return
    with pytest.raises(anthropic.APIStatusError, match="Come back later"):
        await gather(aiohttp_server, body, stream)


def test_a_foreign_signature_finds_its_way_back() -> None:
    content = json.loads(write(FOREIGN, False))["content"]
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": content}]
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": turns}).encode()
    request = DIALECT.decode_request(body, DIALECT.read_head(body, Where({}, {})), Where({}, {}))
    thoughts, _, call, other = request.messages[1].content
    assert thoughts == Reasoning("let me see", "gs", "gr", "gemini")
    assert call == ToolCall("call_a", "f", '{"a":1}', signature="ts", origin="gemini")
    assert other == ToolCall("call_b", "g", "{}")
    written = DIALECT.encode_request(request, "claude-opus-4-8")
    again = json.loads(written.body)
    assert [part["type"] for part in again["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]
    assert again["messages"][1]["content"][1]["id"] == "call_a"
    assert written.adapted == ("reasoning=dropped",)


def test_the_exact_frames() -> None:
    frames = lines(
        [
            Started("msg_1", "c"),
            Used(Usage(8, 1)),
            PartStarted(0, "text"),
            PartDelta(0, 'a"\n'),
            PartEnded(0, extras={"anthropic": {"citations": [{"type": "char_location"}]}}),
            Used(Usage(8, 2)),
            Finished("stop_sequence", stop_text="END"),
        ]
    )
    start = json.loads(frames[0].removeprefix("data: "))
    assert start["message"].pop("usage") == {
        "input_tokens": 8,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
    }
    assert start["message"] == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    assert frames[1:] == [
        'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\\"\\n"}}',
        'data: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"citations_delta","citation":{"type":"char_location"}}}',
        'data: {"type":"content_block_stop","index":0}',
        'data: {"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"},'
        '"usage":{"input_tokens":8,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2}}',
        'data: {"type":"message_stop"}',
    ]


@pytest.mark.parametrize(
    ("reason", "native", "said"),
    [
        ("stop", "STOP", "end_turn"),
        ("stop_sequence", "", "stop_sequence"),
        ("length", "length", "max_tokens"),
        ("length", "model_context_window_exceeded", "model_context_window_exceeded"),
        ("tool_calls", "tool_calls", "tool_use"),
        ("content_filter", "SAFETY", "refusal"),
        ("refusal", "", "refusal"),
        ("pause", "pause_turn", "pause_turn"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_stop_reasons(reason: Any, native: str, said: str, stream: bool) -> None:
    written = write([Started("", ""), Finished(reason, native=native)], stream).decode()
    assert f'"stop_reason":"{said}"' in written
    assert '"model":"public"' in written
    assert '"id":"msg_' in written


@pytest.mark.parametrize("stream", [True, False])
def test_refusals_are_text_with_their_own_stop_reason(stream: bool) -> None:
    written = write([PartStarted(0, "refusal"), PartDelta(0, "I won't"), PartEnded(0), Finished("stop")], stream)
    assert b'"text":"I won\'t"' in written
    assert b'"stop_reason":"refusal"' in written


def test_arguments_that_are_no_object_are_shown_as_they_are() -> None:
    call: list[Event] = [PartStarted(0, "tool_call", "c", "f"), PartDelta(0, '{"a"'), PartEnded(0), Finished("length")]
    assert json.loads(write(call, False))["content"][0]["input"] == {"INVALID_JSON": '{"a"'}


def test_odd_events_never_make_an_invalid_stream() -> None:
    kinds = [
        json.loads(line.removeprefix("data: "))["type"]
        for line in lines(
            [
                PartDelta(7, "nowhere"),
                PartEnded(7),
                PartStarted(0, "text"),
                PartStarted(1, "tool_call", "c", "f"),  # the text never ended
                PartDelta(0, "late"),
                Finished("stop"),
                Finished("length"),
            ]
        )
    ]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert write([Started("a", "b"), PartStarted(0, "text")], True).count(b"message_stop") == 0  # nothing finished it

"""The Chat dialect's answers: chunks to events, events to chunks, and what is seen in passing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmhub_plugins.dialects.openai_chat import OpenAIChat

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    RequestHead,
    Started,
    TokenLogprob,
    Tool,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamOverloaded,
    UpstreamRefused,
    Usage,
    Used,
    fold,
    read_frame,
)

CHAT = OpenAIChat(OpenAIChat.Settings())
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, choice: int = 0, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": choice, "delta": delta, "finish_reason": finish}]
    value = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices, **fields}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def call(index: int | None, arguments: str = "", id: str | None = None, name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    fields = {"index": index, "id": id, "function": function}
    return {"tool_calls": [{key: value for key, value in fields.items() if value is not None}]}


def read(*frames: bytes) -> list[Event]:
    decoder = CHAT.response_decoder(stream=True)
    return [event for frame in frames for event in decoder.feed(frame)] + list(decoder.close())


def whole(body: Any) -> list[Event]:
    decoder = CHAT.response_decoder(stream=False)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [*decoder.feed(raw[:9]), *decoder.feed(raw[9:]), *decoder.close()]


def message(**fields: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "model": "m",
        "created": 7,
        "choices": [{"index": 0, "message": fields, "finish_reason": "stop"}],
    }


def failure(events: Sequence[Event]) -> Failed:
    assert isinstance(events[-1], Failed)
    return events[-1]


# Reading streams.


def test_a_stream_becomes_events_in_order() -> None:
    events = read(
        chunk({"role": "assistant", "content": ""}, service_tier="default", system_fingerprint=None),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        chunk(usage=USAGE),
        DONE,
    )
    assert events == [
        Started("c1", "m", 7, {"openai_chat": {"service_tier": "default"}}),
        PartStarted(0, "text"),
        PartDelta(0, "Hel"),
        PartDelta(0, "lo"),
        PartEnded(0),
        Finished("stop", 0, "stop"),
        Used(Usage(5, 3)),
    ]


def test_events_come_as_soon_as_their_frame_does() -> None:
    decoder = CHAT.response_decoder(stream=True)
    assert len(decoder.feed(chunk({"content": "a"}))) == 3
    assert decoder.feed(chunk({"content": "b"})) == [PartDelta(0, "b")]
    assert decoder.feed(b": comment\n\n") == []
    assert decoder.feed(chunk({}, "length")) == [PartEnded(0), Finished("length", 0, "length")]


def test_azures_empty_first_chunk_begins_nothing() -> None:
    first = b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[]}\n\n'
    events = read(first, chunk({"content": "a"}), chunk({}, "stop"), DONE)
    assert events[0] == Started("c1", "m", 7)
    assert fold(events).text == "a"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_and_refusals_are_parts_of_their_own(name: str) -> None:
    events = read(
        chunk({name: "h"}), chunk({name: "m", "content": ""}), chunk({"content": "a"}), chunk({"refusal": "No"}, "stop")
    )
    assert [(part.kind, part.text) for part in fold(events).parts] == [
        ("reasoning", "hm"),
        ("text", "a"),
        ("refusal", "No"),
    ]


def test_choices_interleave_and_all_ends_come_last() -> None:
    events = read(
        chunk({"content": "a"}, choice=0),
        chunk({"content": "x"}, choice=1),
        chunk({"content": "b"}, "stop", choice=0),
        chunk({"content": "y"}, "length", choice=1),
        chunk(usage=USAGE),
        DONE,
    )
    assert [type(event) for event in events[-3:]] == [Finished, Finished, Used]
    answer = fold(events)
    assert [(part.choice, part.text) for part in answer.parts] == [(0, "ab"), (1, "xy")]
    assert {choice: finished.reason for choice, finished in answer.finished.items()} == {0: "stop", 1: "length"}


def test_calls_stream_while_they_come_one_after_the_other() -> None:
    decoder = CHAT.response_decoder(stream=True)
    decoder.feed(chunk(call(0, "", "call_1", "f")))
    assert decoder.feed(chunk(call(0, '{"a":'))) == [PartDelta(0, '{"a":')]
    assert decoder.feed(chunk(call(0, "1}"))) == [PartDelta(0, "1}")]
    assert decoder.feed(chunk(call(1, "", "call_2", "g"))) == [PartEnded(0), PartStarted(1, "tool_call", "call_2", "g")]
    assert decoder.feed(chunk(call(1, "{}"))) == [PartDelta(1, "{}")]


pieces = st.lists(st.sampled_from(["call0", "call1", "call2", "text", "thought"]), min_size=1, max_size=30)


@given(pieces, st.data())
def test_however_deltas_are_mixed_nothing_is_lost_and_parts_never_overlap(
    order: list[str], data: st.DataObject
) -> None:
    arguments = {name: json.dumps({"name": name, "n": [1, {"a": "b"}]}) for name in ("call0", "call1", "call2")}
    left, frames, text, thoughts, called = dict(arguments), [], "", "", []
    for name in order:
        if name in left:
            begins = name not in called
            size = data.draw(st.integers(0, len(left[name])))
            piece, left[name] = left[name][:size], left[name][size:]
            frames.append(chunk(call(int(name[-1]), piece, *((name, "f") if begins else ()))))
            called += [name] if begins else []
        elif name == "text":
            text += (word := f"t{len(frames)}")
            frames.append(chunk({"content": word}))
        else:
            thoughts += (word := f"r{len(frames)}")
            frames.append(chunk({"reasoning_content": word}))
    frames += [chunk(call(int(name[-1]), left[name])) for name in called if left[name]]
    events = read(*frames, chunk({}, "tool_calls"), DONE)
    open_part = None
    for event in events:
        if isinstance(event, PartStarted):
            assert open_part is None
            open_part = event.index
        elif isinstance(event, PartDelta):
            assert event.index == open_part
        elif isinstance(event, PartEnded):
            assert event.index == open_part
            open_part = None
    answer = fold(events)
    assert answer.failed is None
    assert {part.id: part.text for part in answer.tool_calls} == {name: arguments[name] for name in called}
    assert [part.id for part in answer.tool_calls] == called
    assert answer.text == text
    assert "".join(part.text for part in answer.parts if part.kind == "reasoning") == thoughts


def test_more_of_a_call_after_its_end_is_an_error_unless_it_adds_nothing() -> None:
    begun = [chunk(call(0, "{}", "call_1", "f")), chunk(call(1, "{}", "call_2", "g"))]
    fine = fold(read(*begun, chunk(call(0, " ")), chunk(call(0, "{}")), chunk({}, "tool_calls"), DONE))
    assert [part.text for part in fine.tool_calls] == ["{}", "{}"]
    error = failure(read(*begun, chunk(call(0, '{"a":1}')), chunk({}, "tool_calls"), DONE)).error
    assert isinstance(error, UpstreamGarbled)


def test_calls_of_careless_providers_are_told_apart() -> None:
    no_index = read(
        chunk(call(None, "{}", "a", "f")), chunk(call(None, "", "b", "g")), chunk(call(None, "[1]")), chunk({}, "stop")
    )
    same_index = read(chunk(call(0, "{}", "a", "f")), chunk(call(0, "[1]", "b", "g")), chunk({}, "stop"))
    for events in (no_index, same_index):
        assert [(part.id, part.name, part.text) for part in fold(events).tool_calls] == [
            ("a", "f", "{}"),
            ("b", "g", "[1]"),
        ]
        assert fold(events).finished[0] == Finished("tool_calls", 0, "stop")  # or nobody would run them
    late_name = fold(read(chunk(call(0, "", "a")), chunk(call(0, "{", None, "f")), chunk(call(0, "}"), "tool_calls")))
    assert [(part.id, part.name, part.text) for part in late_name.tool_calls] == [("a", "f", "{}")]
    [no_id] = fold(read(chunk(call(0, "{}", None, "f"), "tool_calls"))).tool_calls
    assert no_id.id.startswith("call_")
    object_arguments = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"a": 1}}}]}
    [given] = fold(read(chunk(object_arguments, "tool_calls"))).tool_calls
    assert json.loads(given.text) == {"a": 1}


def test_the_old_function_call_is_a_tool_call() -> None:
    events = read(
        chunk({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk({}, "function_call"),
        DONE,
    )
    [part] = fold(events).tool_calls
    assert (part.name, part.text) == ("f", "{}")
    assert part.id
    assert fold(events).finished[0] == Finished("tool_calls", 0, "function_call")


def test_what_only_chat_knows_is_opaque() -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    logprobs = {"content": [token], "refusal": None}
    note = [{"type": "url_citation"}]
    custom = {"index": 0, "id": "x", "type": "custom", "custom": {"name": "c", "input": "so"}}
    more = {"index": 0, "custom": {"input": " be it"}}
    events = read(
        chunk(None, choices=[{"index": 0, "delta": {"content": "a"}, "logprobs": logprobs}]),
        chunk({"annotations": note, "audio": {"id": "au", "transcript": "He"}}),
        chunk({"audio": {"transcript": "llo", "data": "AA"}, "tool_calls": [custom]}),
        chunk({"tool_calls": [more]}),
        chunk({}, "tool_calls"),
        DONE,
    )
    text, *sounds, called, notes = fold(events).parts
    assert text.logprobs == (TokenLogprob("a", -1.0, b"a"),)
    assert [sound.extras["openai_chat"]["audio"] for sound in sounds] == [
        {"id": "au", "transcript": "He"},
        {"transcript": "llo", "data": "AA"},
    ]
    assert called.extras["openai_chat"]["tool_call"] == {
        "id": "x",
        "type": "custom",
        "custom": {"name": "c", "input": "so be it"},
    }
    assert notes.extras["openai_chat"] == {"annotations": note}
    again = fold(read(rewritten(events, stream=True)))
    assert [part.extras for part in again.parts] == [part.extras for part in fold(events).parts]
    [choice] = json.loads(rewritten(events, stream=False))["choices"]
    assert choice["logprobs"] == logprobs
    assert choice["message"]["annotations"] == note
    assert choice["message"]["audio"] == {"id": "au", "transcript": "Hello", "data": "AA"}
    assert choice["message"]["tool_calls"][0]["custom"] == {"name": "c", "input": "so be it"}


def test_sound_goes_out_as_it_comes_and_is_joined_by_its_bytes() -> None:
    decoder = CHAT.response_decoder(stream=True)
    _, started = decoder.feed(chunk({"role": "assistant", "audio": {"id": "au", "data": "YQ=="}}))
    assert isinstance(started, PartStarted)
    assert started.extras == {"openai_chat": {"audio": {"id": "au", "data": "YQ=="}}}
    events = read(chunk({"audio": {"data": "YQ=="}}), chunk({"audio": {"data": "YmM=", "expires_at": 5}}, "stop"))
    [choice] = json.loads(rewritten(events, stream=False))["choices"]
    assert choice["message"]["audio"] == {"data": "YWJj", "expires_at": 5}
    assert choice["message"]["content"] is None


@pytest.mark.parametrize(
    ("frames", "complete"),
    [
        ([chunk({"content": "a"}), chunk({}, "stop"), DONE], True),
        ([chunk({"content": "a"}), chunk({}, "stop")], True),
        ([chunk({"content": "a"}), DONE], True),
        ([chunk({"content": "a"}), chunk({}, "stop"), b"data: [DONE] "], True),
        ([chunk({"content": "a"}), chunk({}, "stop").rstrip()], True),
        ([chunk({"content": "a"})], False),
        ([chunk({"content": "a"}), chunk({}, "stop")[:60]], False),
        ([chunk({"content": "a"}, "stop", 0), chunk({"content": "b"}, None, 1)], False),
        ([], False),
        ([b": ping\n\n"], False),
    ],
)
def test_an_end_without_evidence_is_a_failure(frames: list[bytes], complete: bool) -> None:
    events = read(*frames)
    if complete:
        assert fold(events).failed is None
        assert fold(events).finished[0].reason == "stop"
    else:
        assert isinstance(failure(events).error, UpstreamGarbled)
        assert fold(events).finished.keys() < {part.choice for part in fold(events).parts} | {0}


def test_what_comes_after_the_end_is_ignored() -> None:
    events = read(
        chunk({"content": "a"}, "stop"), chunk({"content": "late"}, "length"), DONE, chunk({"content": "x"}), DONE
    )
    assert fold(events).text == "a"
    assert [event.reason for event in events if isinstance(event, Finished)] == ["stop"]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b'data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n', UpstreamOverloaded),
        (b'event: error\ndata: {"error":{"message":"Bad call","status_code":400}}\n\n', UpstreamRefused),
        (b'event: error\ndata: {"message":"?"}\n\n', UpstreamOverloaded),
        (b'data: {"error":{"message":"slow down","code":429}}\n\n', UpstreamLimited),
        (
            b'data: {"error":{"message":"q","type":"insufficient_quota","code":"insufficient_quota"}}\n\n',
            UpstreamLimited,
        ),
        (chunk({"content": ""}, "error", usage=USAGE, error={"code": 502, "message": "x"}), UpstreamOverloaded),
        (b"data: {broken\n\n", UpstreamGarbled),
        (b"data: [1]\n\n", UpstreamGarbled),
        (b'data: {"choices":"\xff"}\n\n', UpstreamGarbled),
    ],
)
def test_an_error_in_the_stream_ends_it(frame: bytes, kind: type[Exception]) -> None:
    events = read(chunk({"content": "a"}), frame, chunk({"content": "b"}), chunk({}, "stop"), DONE)
    assert type(failure(events).error) is kind
    assert fold(events).text == "a"


def test_an_event_beyond_all_measure_ends_the_stream() -> None:
    decoder = CHAT.response_decoder(stream=True)
    events = [event for _ in range(9) for event in decoder.feed(b"x" * 2**20)]
    assert isinstance(failure(events).error, UpstreamGarbled)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 10**12, "completion_tokens": 1},
        {},
        "many",
        None,
        5,
    ],
)
def test_impossible_usage_counts_as_not_said(usage: Any) -> None:
    events = read(chunk({"content": "a"}, "stop", usage=usage), DONE)
    assert not any(isinstance(event, Used) for event in events)
    assert fold(events).text == "a"


def test_usage_is_found_wherever_it_is_and_the_last_counts() -> None:
    as_text = {"prompt_tokens": "5", "completion_tokens": 3.0, "prompt_tokens_details": {"cached_tokens": None}}
    groq = read(chunk({"content": "a"}), chunk({}, "stop", x_groq={"id": "r", "usage": USAGE}), DONE)
    cumulative = read(
        chunk({"content": "a"}, usage={**USAGE, "completion_tokens": 1}), chunk({}, "stop", usage=USAGE), DONE
    )
    for events in (groq, cumulative, read(chunk({"content": "a"}, "stop", usage=as_text), DONE)):
        assert [event.usage for event in events if isinstance(event, Used)] == [Usage(5, 3)]
    xai = {**USAGE, "total_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 4}}
    assert fold(read(chunk({}, "stop", usage=xai))).usage == Usage(5, 7, reasoning_tokens=4)
    broken = read(chunk({"content": "a"}, usage=USAGE))
    assert [type(event) for event in broken[-2:]] == [Used, Failed]


def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    events = read(json.dumps(message(role="assistant", content="Hi")).encode())
    assert (fold(events).text, fold(events).failed) == ("Hi", None)


def test_odd_types_are_read_around() -> None:
    events = read(
        chunk({"role": 5, "content": 7, "tool_calls": None}, created="x", id=9, model=None, usage=None),
        b'data: {"id":"c","choices":[{"index":"0","delta":null,"finish_reason":null},"x"]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ud800"},"finish_reason":"eos"}]}\n\n',
    )
    assert fold(events).text == "7\ud800"
    assert fold(events).finished[0] == Finished("stop", 0, "eos")


# Reading whole answers.


def test_a_whole_answer_becomes_the_same_events() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    body = message(
        role="assistant", content="a", refusal=None, reasoning_content="hm", tool_calls=calls, annotations=[]
    )
    answer = fold(whole({**body, "usage": USAGE}))
    assert [(part.kind, part.text, part.id) for part in answer.parts] == [
        ("reasoning", "hm", ""),
        ("text", "a", ""),
        ("tool_call", "{}", "call_1"),
    ]
    assert answer.finished[0].reason == "tool_calls"
    assert answer.usage == Usage(5, 3)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", UpstreamGarbled),
        (b"<html>", UpstreamGarbled),
        (b"[]", UpstreamGarbled),
        (b'{"id":"c1"}', UpstreamGarbled),
        (b'{"id":"c1","choices":[]}', UpstreamGarbled),
        (b'{"error":{"message":"x","code":429}}', UpstreamLimited),
        (b'{"error":"text"}', UpstreamOverloaded),
    ],
)
def test_a_whole_answer_that_is_none_is_a_failure(body: bytes, kind: type[Exception]) -> None:
    assert type(failure(whole(body)).error) is kind


def test_a_choice_without_a_message_is_an_empty_answer() -> None:
    answer = fold(whole({"id": "c1", "choices": [{"index": 0, "finish_reason": "content_filter"}]}))
    assert answer.parts == []
    assert answer.finished[0].reason == "content_filter"


# Writing.


def request(stream: bool, asked_usage: bool = True, **fields: Any) -> ChatRequest:
    return ChatRequest("openai_chat", "public", (), stream=stream, asked_usage=asked_usage, **fields)


def rewritten(events: Iterable[Event], stream: bool, **fields: Any) -> bytes:
    encoder = CHAT.response_encoder(request(stream, **fields))
    return b"".join(encoder.write(event) for event in events) + encoder.close()


def chunks(written: bytes) -> list[dict[str, Any]]:
    frames = [read_frame(frame + b"\n\n")[1] for frame in written.split(b"\n\n") if frame]
    return [json.loads(frame) for frame in frames if frame != b"[DONE]"]


ANSWER: list[Event] = [
    Started("c1", "m", 7, {"openai_chat": {"system_fingerprint": "fp"}}),
    PartStarted(0, "reasoning"),
    PartDelta(0, "hm"),
    PartEnded(0, signature="s"),
    PartStarted(1, "text"),
    PartDelta(1, 'a"é\n'),
    PartEnded(1),
    PartStarted(2, "tool_call", "call_1", "f"),
    PartDelta(2, "{}"),
    PartEnded(2),
    PartStarted(3, "tool_call", "call_2", "g"),
    PartEnded(3),
    Used(Usage(5, 3, cached_tokens=2, reasoning_tokens=1)),
    Finished("tool_calls", 0, "tool_use"),
]


def test_chunks_are_written_as_openai_writes_them() -> None:
    written = rewritten(ANSWER, stream=True)
    assert written.endswith(b"\n\n" + DONE)
    assert written.count(b"[DONE]") == 1
    said = chunks(written)
    same = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "system_fingerprint": "fp"}
    for value in said:
        assert {name: value[name] for name in same} == same
    *content, usage = said
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    assert all(value["usage"] is None for value in content)
    assert all(value["choices"][0]["logprobs"] is None for value in content)
    assert [value["choices"][0]["delta"] for value in content] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "hm"},
        {"content": 'a"é\n'},
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [value["choices"][0]["finish_reason"] for value in content] == [None] * 7 + ["tool_calls"]


def test_usage_that_was_not_asked_for_is_not_there() -> None:
    said = chunks(rewritten(ANSWER, stream=True, asked_usage=False))
    assert all("usage" not in value and value["choices"] for value in said)


def test_a_whole_answer_is_written_as_openai_writes_it() -> None:
    answer = json.loads(rewritten(ANSWER, stream=False, asked_usage=False))
    [choice] = answer.pop("choices")
    assert answer.pop("usage")["total_tokens"] == 8
    assert answer == {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": "fp"}
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"].pop("tool_calls")
    assert [(call["id"], call["function"]) for call in calls] == [
        ("call_1", {"name": "f", "arguments": "{}"}),
        ("call_2", {"name": "g", "arguments": "{}"}),
    ]
    assert choice["message"] == {
        "role": "assistant",
        "content": 'a"é\n',
        "refusal": None,
        "annotations": [],
        "reasoning_content": "hm",
    }


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_of_the_old_way_gets_a_function_call(stream: bool) -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"functions":[{"name":"f"}],"stream":%s}'
    raw %= b"true" if stream else b"false"
    head = CHAT.read_head(raw, None)  # type: ignore[arg-type]
    encoder = CHAT.response_encoder(CHAT.decode_request(raw, head, None))  # type: ignore[arg-type]
    written = b"".join(encoder.write(event) for event in ANSWER) + encoder.close()
    assert b"tool_calls" not in written
    answer = fold(read(written) if stream else whole(written))
    assert [(part.name, part.text) for part in answer.tool_calls] == [("f", "{}")]
    assert answer.finished[0].native == "function_call"


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("text", {"role": "assistant", "content": "", "refusal": None}),
        ("refusal", {"role": "assistant", "content": None, "refusal": ""}),
    ],
)
def test_the_first_chunk_says_the_role(kind: Any, first: dict[str, Any]) -> None:
    events: list[Event] = [Started("c1", "m"), PartStarted(0, kind), PartDelta(0, "x"), PartEnded(0), Finished("stop")]
    assert chunks(rewritten(events, stream=True))[0]["choices"][0]["delta"] == first


def test_a_call_that_comes_first_is_in_the_first_chunk() -> None:
    [first, *_] = chunks(rewritten([Started("c1", "m"), PartStarted(0, "tool_call", "call_1", "f")], stream=True))
    delta = first["choices"][0]["delta"]
    assert (delta["role"], delta["content"], delta["tool_calls"][0]["id"]) == ("assistant", None, "call_1")


def test_choices_have_their_own_roles_calls_and_ends() -> None:
    events: list[Event] = [Started("c1", "m")]
    for choice in (0, 1):
        events += [PartStarted(choice, "tool_call", f"call_{choice}", "f", choice), PartDelta(choice, "{}")]
    events += [PartEnded(0), PartEnded(1), Finished("tool_calls", 0), Finished("tool_calls", 1)]
    said = [value["choices"][0] for value in chunks(rewritten(events, stream=True)) if value["choices"]]
    assert {choice["delta"]["tool_calls"][0]["index"] for choice in said if "tool_calls" in choice["delta"]} == {0}
    assert [choice["index"] for choice in said if "role" in choice["delta"]] == [0, 1]
    assert [choice["index"] for choice in said if choice["finish_reason"]] == [0, 1]
    assert [choice["index"] for choice in json.loads(rewritten(events, stream=False))["choices"]] == [0, 1]


def test_a_failure_ends_the_stream_without_done() -> None:
    error = UpstreamOverloaded("The provider is overloaded or failing; try again later.")
    written = rewritten([*ANSWER[:4], Failed(error), *ANSWER[4:]], stream=True)
    assert b"[DONE]" not in written
    *_, last = chunks(written)
    assert last["error"]["code"] == "overloaded"
    assert json.loads(rewritten([*ANSWER[:4], Failed(error)], stream=False))["error"]["code"] == "overloaded"


odd_events = st.lists(
    st.sampled_from(
        [
            *ANSWER,
            PartStarted(4, "text", choice=1),
            PartDelta(4, "z"),
            PartDelta(9, "nowhere"),
            PartEnded(9),
            PartStarted(5, "opaque", extras={"anthropic": {"x": 1}}),
            PartEnded(5),
            PartStarted(6, "tool_call", "c", "f", origin="gemini"),
            PartDelta(6, "{}"),
            PartEnded(6, "s"),
            PartStarted(7, "reasoning", choice=1, origin="anthropic"),
            PartDelta(7, "t"),
            PartEnded(7, "s"),
            PartStarted(8, "tool_call", "d", "g", choice=1),
            Finished("stop", 1),
            Finished("length", 0),
        ]
    ),
    max_size=20,
)


@given(odd_events)
def test_whatever_the_events_what_is_written_is_a_legal_answer(events: list[Event]) -> None:
    written = rewritten(events, stream=True)
    assert written.endswith(DONE)
    ended: set[int] = set()
    begun: set[int] = set()
    for value in chunks(written):
        for choice in value["choices"]:
            assert choice["index"] not in ended
            assert ("role" in choice["delta"]) == (choice["index"] not in begun)
            begun.add(choice["index"])
            ended |= {choice["index"]} if choice["finish_reason"] else set()
    assert ended == begun != set()
    assert fold(read(written)).failed is None
    assert fold(whole(rewritten(events, stream=False))).failed is None


def test_an_answer_of_nobody_is_given_a_name_and_a_time() -> None:
    answer = json.loads(rewritten([], stream=False))
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("public", "")
    assert answer["created"] > 1_700_000_000


# In passing.

HEAD = RequestHead("m", True, "sse", asked_usage=False)


@pytest.mark.parametrize(
    ("frame", "usage", "finish", "hidden"),
    [
        (chunk(usage=USAGE), True, None, True),
        (chunk({}, "stop", usage=USAGE), True, "stop", False),
        (chunk({"content": ""}, None, usage=USAGE), True, None, False),
        (chunk({}, "length", usage=None), False, "length", False),
        (chunk({}, "stop", x_groq={"usage": USAGE}), True, "stop", False),
        (chunk(), False, None, False),
    ],
)
def test_a_frame_is_hidden_only_if_it_is_nothing_but_usage(
    frame: bytes, usage: bool, finish: str | None, hidden: bool
) -> None:
    info = CHAT.inspect_frame(read_frame(frame)[1], HEAD)
    assert (info.usage is not None, info.finish, info.hidden) == (usage, finish, hidden)
    assert not info.complete
    asked = RequestHead("m", True, "sse", asked_usage=True)
    assert not CHAT.inspect_frame(read_frame(frame)[1], asked).hidden
    assert bool(CHAT.telling.search(frame)) == (usage or finish is not None)


def test_of_several_choices_no_single_end_is_the_end() -> None:
    frames = [chunk({"content": "a"}, "stop", 0), chunk({"content": "b"}, None, 1), chunk({}, "length", 1)]
    for n, finishes in ((1, ["stop", None, "length"]), (2, [None, None, None])):
        head = RequestHead("m", True, "sse", n=n)
        infos = [CHAT.inspect_frame(read_frame(frame)[1], head) for frame in frames]
        assert [info.finish for info in infos] == finishes
        assert not any(info.complete for info in infos)
        assert CHAT.inspect_frame(b"[DONE]", head).complete


def test_frames_tell_ends_errors_and_garbage() -> None:
    assert CHAT.inspect_frame(b"[DONE] ", HEAD).complete
    assert CHAT.telling.search(DONE)
    frame = b'{"error":{"message":"x","code":429}}'
    assert CHAT.telling.search(frame)
    assert isinstance(CHAT.inspect_frame(frame, HEAD).error, UpstreamLimited)
    for garbage in (b"{", b"[]", b"5", b""):
        with pytest.raises(ValueError):
            CHAT.inspect_frame(garbage, HEAD)
    quoted = chunk({"content": 'say "error" and "usage":{ and "finish_reason":"x"'})
    info = CHAT.inspect_frame(read_frame(quoted)[1], HEAD)
    assert (info.usage, info.finish, info.error, info.hidden) == (None, None, None, False)


def test_whole_answers_are_looked_at_in_passing() -> None:
    head = RequestHead("m")
    info = CHAT.inspect_answer(json.dumps({**message(content="a"), "usage": USAGE}).encode(), head)
    assert (info.usage, info.finish, info.complete, info.error) == (Usage(5, 3), "stop", True, None)
    failed = CHAT.inspect_answer(b'{"error":{"message":"x","code":"rate_limit_exceeded","type":"requests"}}', head)
    assert isinstance(failed.error, UpstreamLimited)
    assert not failed.complete
    for none in (b"", b"<html>", b"[]", b"{}"):
        with pytest.raises(ValueError):
            CHAT.inspect_answer(none, head)
    embeddings = b'{"object":"list","data":[],"usage":{"prompt_tokens":4,"total_tokens":4}}'
    assert CHAT.inspect_answer(embeddings, RequestHead("m", operation="embeddings")).usage == Usage(4)


def test_only_tools_said_the_old_way_are_answered_the_old_way() -> None:
    assert b"tool_calls" in rewritten(ANSWER, stream=True, tools=(Tool("f"),))

"""Answers of the Responses API: odd streams read, odd events written, and what each kind of item becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmhub_plugins.dialects.openai_responses import OpenAIResponses
from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from llmhub_core.contracts import (
    ChatRequest,
    ChatResponse,
    Event,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    UpstreamError,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamOverloaded,
    UpstreamRefused,
    Usage,
    Used,
    Where,
    fold,
    read_frame,
    unseal,
    unseal_id,
)
from llmhub_core.testing.conversations import check_order, decode, encode, frames_of

HERE = Where({}, {})
RESPONSES = OpenAIResponses(OpenAIResponses.Settings())

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


def asked(stream: bool, **fields: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": "Hi", "stream": stream, **fields}).encode()
    return RESPONSES.decode_request(body, RESPONSES.read_head(body, HERE), HERE)


def sent(*events: dict[str, Any]) -> bytes:
    """A stream of these events."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def heard(*events: dict[str, Any]) -> ChatResponse:
    return fold(decode(RESPONSES.response_decoder(True), sent(*events), 13))


def whole(**response: Any) -> ChatResponse:
    body = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [], **response}
    return fold(decode(RESPONSES.response_decoder(False), json.dumps(body).encode()))


def told(events: list[Event], stream: bool = True, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events written, accepted by OpenAI's accumulator, and the answer at their end."""
    written = encode(RESPONSES.response_encoder(asked(stream, **fields)), events)
    if not stream:
        return [], json.loads(written)
    state, said = ResponseStreamState[Any](text_format=omit, input_tools=omit), list[dict[str, Any]]()
    for number, frame in enumerate(frames_of(written)):
        name, data = read_frame(frame)
        said.append(json.loads(data))
        assert (said[-1]["type"], said[-1]["sequence_number"]) == (name, number)
        if name != "error":
            state.handle_event(construct_type(type_=ResponseStreamEvent, value=json.loads(data)))
    return said, said[-1]["response"]


CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "m-1", "created_at": 7.0, "output": []}}
ENDED = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}


def added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def text(index: int, delta: str, content: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": index, "content_index": content, "delta": delta}


def message(*texts: str, id: str = "msg_1", **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": content, **more}


def call(arguments: str, id: str = "call_1") -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": id, "name": "f", "arguments": arguments}


# Reading odd streams.


def test_items_that_overlap_are_read_one_after_the_other() -> None:
    response = heard(
        CREATED,
        added(0, message()),
        added(1, call("")),
        text(0, "Hel"),
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
        text(0, "lo"),
        done(1, call("{}")),
        done(0, message("Hello")),
        ENDED,
    )
    assert [(part.kind, part.text) for part in response.parts] == [("text", "Hello"), ("tool_call", "{}")]
    assert response.finished[0].reason == "tool_calls"


def test_items_that_are_never_done_end_with_the_answer() -> None:
    response = heard(CREATED, added(0, message()), text(0, "Hi"), added(1, call("")), ENDED)
    assert [(part.kind, part.text) for part in response.parts] == [("text", "Hi"), ("tool_call", "")]


def test_deltas_without_their_item_are_read() -> None:
    assert heard(CREATED, text(0, "Hi"), text(0, "!"), ENDED).text == "Hi!"


def test_what_was_not_streamed_is_read_from_the_end() -> None:
    end = {**ENDED, "response": {**ENDED["response"], "output": [message("Hello"), call('{"a":1}')]}}  # type: ignore[dict-item]
    for response in (heard(CREATED, end), heard(end), heard(CREATED, done(0, message("Hello")), end)):
        assert [part.text for part in response.parts] == ["Hello", '{"a":1}']
        assert response.id == "resp_1"


def test_texts_that_come_only_when_they_are_done_are_read() -> None:
    said = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hi"}
    refused = {"type": "response.refusal.done", "output_index": 0, "content_index": 1, "refusal": "No."}
    response = heard(CREATED, said, refused, ENDED)
    assert [(part.kind, part.text) for part in response.parts] == [("text", "Hi"), ("refusal", "No.")]


def test_a_summary_in_pieces_is_joined() -> None:
    def thought(place: int, delta: str) -> dict[str, Any]:
        kind = "response.reasoning_summary_text.delta"
        return {"type": kind, "output_index": 0, "summary_index": place, "delta": delta}

    parts = [{"type": "summary_text", "text": text} for text in ("One.", "Two.")]
    item = {"type": "reasoning", "id": "rs_1", "summary": parts, "encrypted_content": "gAAA"}
    response = heard(CREATED, thought(0, "One"), thought(0, "."), thought(1, "Two."), done(0, item), ENDED)
    (part,) = response.parts
    assert (part.text, part.signature, part.origin) == ("One.\n\nTwo.", "rs_1 gAAA", "openai_responses")
    assert whole(output=[item]).parts[0].text == "One.\n\nTwo."


def test_a_start_waits_until_there_is_something_to_show() -> None:
    """So that an answer that fails at once can be asked of another provider."""
    decoder = RESPONSES.response_decoder(True)
    assert decoder.feed(sent(CREATED, {**CREATED, "type": "response.in_progress"})) == []
    assert isinstance(decoder.feed(sent(added(0, message()), text(0, "Hi")))[0], Started)
    decoder = RESPONSES.response_decoder(True)
    failed = decoder.feed(sent(CREATED, {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "x"}}))
    assert [type(event) for event in failed] == [Failed]


def test_a_done_mark_ends_nothing() -> None:
    data = sent(CREATED, text(0, "Hi")) + b"data: [DONE]\n\n"
    assert isinstance(fold(decode(RESPONSES.response_decoder(True), data)).failed, UpstreamGarbled)
    assert fold(decode(RESPONSES.response_decoder(True), sent(CREATED, ENDED) + b"data: [DONE]\n\n")).failed is None


def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    body = json.dumps({"id": "resp_1", "status": "completed", "output": [message("Hi")]}).encode()
    assert fold(decode(RESPONSES.response_decoder(True), body)).text == "Hi"


FAILURES: list[tuple[Any, type[UpstreamError], str]] = [
    ({"code": "server_error", "message": "x"}, UpstreamOverloaded, "overloaded"),
    (
        {"code": "rate_limit_exceeded", "message": "Rate limit; try again in 2s."},
        UpstreamLimited,
        "rate_limit_exceeded",
    ),
    ({"code": "insufficient_quota", "message": "x"}, UpstreamLimited, "insufficient_quota"),
    ({"code": "invalid_prompt", "message": "x"}, UpstreamRefused, "invalid_prompt"),
    ({"code": "invalid_image_format", "message": "x"}, UpstreamRefused, "invalid_image_format"),
    ({"code": "context_length_exceeded", "message": "x"}, UpstreamRefused, "context_length_exceeded"),
    (None, UpstreamOverloaded, "overloaded"),
]


@pytest.mark.parametrize(("error", "kind", "code"), FAILURES)
def test_failures_are_of_the_kind_that_they_mean(error: Any, kind: type[UpstreamError], code: str) -> None:
    response = {"id": "resp_1", "status": "failed", "output": [], "error": error}
    head = RESPONSES.read_head(b'{"model":"m","input":"Hi"}', HERE)
    frame = {"type": "response.failed", "response": response}
    for failed in (
        heard(CREATED, frame).failed,
        whole(**response).failed,
        RESPONSES.inspect_frame(json.dumps(frame).encode(), head).error,
        RESPONSES.inspect_answer(json.dumps(response).encode(), head).error,
    ):
        assert type(failed) is kind
        assert failed.code == code


def test_an_error_event_is_read_flat_and_nested() -> None:
    flat = {"type": "error", "code": "rate_limit_exceeded", "message": "x", "param": None}
    assert isinstance(heard(CREATED, flat).failed, UpstreamLimited)
    assert isinstance(heard(CREATED, {"type": "error", "error": flat}).failed, UpstreamLimited)


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
def test_an_unfinished_answer_is_none(status: str) -> None:
    assert isinstance(whole(status=status).failed, UpstreamGarbled)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5)),
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                "output_tokens_details": {"reasoning_tokens": 3},
                "total_tokens": 15,
            },
            Usage(10, 5, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=3),
        ),
        (
            {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 9}},
            Usage(10, 14, reasoning_tokens=9),
        ),
        ({"input_tokens": 10, "output_tokens": 5, "input_tokens_details": []}, Usage(10, 5)),
        ({"input_tokens": -1, "output_tokens": 5}, None),
        ({"input_tokens": 10**12, "output_tokens": 5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_read(said: Any, expected: Usage | None) -> None:
    assert whole(usage=said).usage == expected


def test_searches_are_counted() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    response = whole(output=[search, search, message("Hi")], usage={"input_tokens": 1, "output_tokens": 1})
    assert response.usage is not None
    assert response.usage.server_tool_calls == 2


# What comes is what goes.

ITEMS: list[dict[str, Any]] = [
    message("One.", "Two."),
    message("Hi", phase="commentary"),
    {**message(), "content": [{"type": "refusal", "refusal": "No."}]},
    {
        **message(),
        "content": [
            {"type": "output_text", "text": "x", "annotations": [{"type": "url_citation", "url": "u"}], "logprobs": [1]}
        ],
    },
    {**message(), "content": [{"type": "from_the_future", "x": 1}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": t} for t in "ab"]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    {**call('{"a":1}'), "status": "completed", "namespace": "n"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "n", "input": 'a"b', "status": "completed"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "from_the_future", "id": "x_1", "deep": {"er": [1, None]}},
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_kind_of_item_is_written_as_it_came(stream: bool) -> None:
    items = [{**item, "id": f"{item['id']}{number}"} for number, item in enumerate(ITEMS)]
    events = decode(RESPONSES.response_decoder(False), json.dumps({"status": "completed", "output": items}).encode())
    said, response = told(events, stream)
    for item in items:
        for part in item.get("content", ()) if item["type"] == "message" else ():
            if part["type"] == "output_text":
                part.setdefault("logprobs", [])
    assert response["output"] == items
    for event in said:
        if event["type"] == "response.output_text.annotation.added":
            assert event["annotation"] == {"type": "url_citation", "url": "u"}
    finals = [event["item"] for event in said if event["type"] == "response.output_item.done"]
    assert finals == (items if stream else [])


def test_free_text_comes_in_pieces_and_leaves_whole() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "n", "input": ""}
    pieces = [
        {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": d} for d in ('say "', "é\n", "x")
    ]
    events = decode(RESPONSES.response_decoder(True), sent(CREATED, added(0, item), *pieces, done(0, item), ENDED), 5)
    (part,) = fold(events).parts
    assert json.loads(part.text) == {"input": 'say "é\nx'}
    said, response = told(events)
    assert response["output"][0]["input"] == 'say "é\nx'
    names = [event["type"].removeprefix("response.") for event in said]
    assert names[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]


# Writing what others said.

HI: list[Event] = [Started("id", "m"), PartStarted(0, "text"), PartDelta(0, "Hi"), PartEnded(0)]


def test_the_events_of_a_plain_text() -> None:
    said, response = told(
        [
            Started("id", "m"),
            PartStarted(0, "text"),
            PartDelta(0, "Hi"),
            PartEnded(0),
            Used(Usage(3, 1)),
            Finished("stop"),
        ]
    )
    assert [event["type"].removeprefix("response.") for event in said] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert len({event["item_id"] for event in said if "item_id" in event} | {response["output"][0]["id"]}) == 1
    assert response["usage"]["total_tokens"] == 4


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("refusal", "incomplete", {"reason": "content_filter"}),
        ("stop_sequence", "completed", None),
        ("pause", "completed", None),
        ("tool_calls", "completed", None),
    ],
)
def test_ends_are_told(reason: Any, status: str, details: Any, stream: bool) -> None:
    events: list[Event] = [
        Started("id", "m"),
        PartStarted(0, "text"),
        PartDelta(0, "Hi"),
        PartEnded(0),
        Finished(reason),
    ]
    _, response = told(events, stream)
    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert response["output"][0]["status"] == status


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_others_signed_is_sealed(stream: bool) -> None:
    _, response = told(
        [
            Started("id", "m"),
            PartStarted(0, "reasoning", origin="anthropic"),
            PartDelta(0, "Hm."),
            PartEnded(0, signature="sig"),
            PartStarted(1, "tool_call", id="call_1", name="f", origin="gemini"),
            PartDelta(1, '{"a":'),
            PartDelta(1, "1}"),
            PartEnded(1, signature="s"),
            PartStarted(2, "tool_call", id="call_2", name="f", origin="gemini"),
            PartEnded(2),
            PartStarted(3, "reasoning", origin="openai_chat"),
            PartDelta(3, "So."),
            PartEnded(3),
            PartStarted(4, "reasoning", origin="anthropic"),
            PartEnded(4, redacted="x" * 100_000 + "".join(map(str, range(40_000)))),
            Finished("tool_calls"),
        ],
        stream,
    )
    thoughts, first, second, plain, large = response["output"]
    assert unseal(thoughts["encrypted_content"]) == ("anthropic", {"signature": "sig"})
    assert thoughts["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert unseal_id(first["call_id"]) == ("call_1", ("gemini", {"signature": "s"}))
    assert (first["arguments"], second["call_id"], second["arguments"]) == ('{"a":1}', "call_2", "{}")
    assert unseal(plain["encrypted_content"]) == ("openai_chat", {})
    assert "encrypted_content" not in large


def test_nothing_follows_a_failure() -> None:
    encoder = RESPONSES.response_encoder(asked(True))
    encoder.write(Started("id", "m"))
    broken = encoder.write(Failed(UpstreamOverloaded("Busy.")))
    assert [read_frame(frame)[0] for frame in frames_of(broken)] == ["error", "response.failed"]
    assert encoder.write(PartStarted(0, "text")) + encoder.write(PartDelta(0, "x")) + encoder.close() == b""


# Properties.

PARTS = st.integers(0, 3)
EVENTS = st.one_of(
    st.builds(Started, st.sampled_from(["", "id"]), st.just("m")),
    st.builds(
        PartStarted,
        PARTS,
        st.sampled_from(["text", "reasoning", "tool_call", "refusal", "opaque"]),
        st.just("call"),
        st.just("f"),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from(
            [
                {},
                {"anthropic": {"a": 1}},
                {"openai_responses": {"id": "x_1", "type": "message", "content": [{"type": "y"}]}},
                {"openai_responses": {"custom": True}},
            ]
        ),
        st.sampled_from(["", "gemini", "openai_responses"]),
    ),
    st.builds(PartDelta, PARTS, st.text(max_size=4)),
    st.builds(PartEnded, PARTS, st.sampled_from([None, "s"])),
    st.builds(Used, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
    st.builds(Finished, st.sampled_from(["stop", "length", "tool_calls"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=14), st.booleans())
def test_whatever_events_come_the_stream_holds_together(events: list[Event], fails: bool) -> None:
    # Calls are told apart by their ids, which no provider gives twice.
    numbered = [
        PartStarted(e.index, e.kind, f"call_{n}", e.name, e.choice, e.extras, e.origin)
        if isinstance(e, PartStarted)
        else e
        for n, e in enumerate(events)
    ]
    if fails:
        numbered.append(Failed(UpstreamOverloaded("Busy.")))
    written = encode(RESPONSES.response_encoder(asked(True)), numbered)
    decoded = decode(RESPONSES.response_decoder(True), written, 17)
    assert isinstance(decoded[-1], Failed) is fails
    if not fails:
        ids = {e.extras["openai_responses"]["id"] for e in numbered if _has_id(e)}
        if not ids:
            told(numbered)
        whole_answer = json.loads(encode(RESPONSES.response_encoder(asked(False)), numbered))
        assert len(whole_answer["output"]) == len(told_items(written))


def _has_id(event: Event) -> bool:
    return isinstance(event, PartStarted) and "id" in event.extras.get("openai_responses", {})


def told_items(stream: bytes) -> list[Any]:
    items: list[Any] = json.loads(read_frame(frames_of(stream)[-1])[1])["response"]["output"]
    return items


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KINDS = st.sampled_from(
    [
        *("response.created", "response.output_item.added", "response.output_item.done", "response.output_text.delta"),
        *("response.content_part.done", "response.function_call_arguments.delta", "response.reasoning_text.delta"),
        *("response.reasoning_summary_text.delta", "response.refusal.delta", "response.custom_tool_call_input.delta"),
        *("response.completed", "response.incomplete", "response.failed", "error", "response.from_the_future"),
    ]
)
WIRE_ITEMS = st.one_of(
    VALUES,
    st.sampled_from([message("Hi"), call("{}"), {"type": "reasoning", "id": "r"}, {"type": "web_search_call"}]),
    st.fixed_dictionaries({"type": st.sampled_from(["message", "reasoning", "function_call"])}, optional={}).flatmap(
        lambda item: st.dictionaries(
            st.sampled_from(["content", "summary", "arguments", "call_id", "name", "id"]), VALUES, max_size=3
        ).map(lambda more: {**item, **more})
    ),
)
WIRE = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "output_index": st.integers(0, 2) | VALUES,
        "content_index": st.integers(0, 1),
        "summary_index": VALUES,
        "delta": st.text(max_size=3) | VALUES,
        "item": WIRE_ITEMS,
        "part": VALUES,
        "error": VALUES,
        "response": st.one_of(
            VALUES, st.fixed_dictionaries({}, optional={"output": st.lists(WIRE_ITEMS, max_size=2), "usage": VALUES})
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WIRE, max_size=12))
def test_whatever_a_provider_sends_is_read_or_fails(wire: list[dict[str, Any]]) -> None:
    at_once = decode(RESPONSES.response_decoder(True), sent(*wire))
    check_order(at_once)
    assert isinstance(at_once[-1], Failed) or any(isinstance(event, Finished) for event in at_once)
    encode(RESPONSES.response_encoder(asked(True)), at_once)

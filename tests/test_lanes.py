"""A provider's bytes in, the caller's bytes out, however they are cut; and no answer that looks finished but is not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise

import pytest
from houses import COMPLETION, MESSAGE, STREAM, chunk
from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import (
    MAX_FRAME,
    Dialect,
    Event,
    PartDelta,
    RequestHead,
    UpstreamGarbled,
    UpstreamOverloaded,
    Where,
    fold,
)
from llmhub_core.gateway.lanes import EventFilter, Lane, Translated, VerbatimStream, VerbatimWhole, encode_whole
from llmhub_core.hub.registry import Registry

_REGISTRY = Registry().discover()
OPENAI: Dialect = _REGISTRY.dialects.get("openai_chat")(_REGISTRY.dialects.get("openai_chat").Settings())
ANTHROPIC: Dialect = _REGISTRY.dialects.get("anthropic")(_REGISTRY.dialects.get("anthropic").Settings())

HEAD = RequestHead("fast", stream=True, framing="sse", asked_usage=True)
UNASKED = RequestHead("fast", stream=True, framing="sse", asked_usage=False)
TEXT = "".join(STREAM).encode()
DONE = b"data: [DONE]\n\n"


def stream(head: RequestHead = HEAD) -> VerbatimStream:
    return VerbatimStream(OPENAI, head)


def run(lane: Lane, data: bytes, cuts: Iterable[int] = ()) -> bytes:
    """All of `data`, cut at `cuts`, as somebody drives a lane: until it failed."""
    edges = [0, *sorted(cuts), len(data)]
    out = b""
    for start, end in pairwise(edges):
        out += lane.feed(data[start:end])
        if lane.failed is not None:
            return out
    return out + lane.close()


# verbatim, streamed


@given(st.sets(st.integers(0, len(TEXT)), max_size=40))
def test_bytes_pass_as_they_came_however_they_are_cut(cuts: set[int]) -> None:
    lane = stream()
    assert run(lane, TEXT, cuts) == TEXT
    assert lane.failed is None
    assert lane.usage is not None
    assert (lane.usage.input_tokens, lane.usage.output_tokens) == (11, 3)
    assert lane.finish == "stop"
    assert lane.output_bytes == len(TEXT)


def test_byte_by_byte() -> None:
    assert run(stream(), TEXT, range(len(TEXT))) == TEXT


@given(st.sets(st.integers(0, len(TEXT)), max_size=10))
def test_usage_that_nobody_asked_for_is_read_and_held_back(cuts: set[int]) -> None:
    lane = stream(UNASKED)
    assert run(lane, TEXT, cuts) == "".join(STREAM[:4] + STREAM[5:]).encode()
    assert lane.usage is not None
    assert lane.usage.total_tokens == 14


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_other_line_ends_pass(end: bytes) -> None:
    text = TEXT.replace(b"\n\n", end)
    lane = stream()
    assert run(lane, text, range(0, len(text), 3)).rstrip() == text.rstrip()
    assert lane.failed is None
    assert lane.finish == "stop"


@pytest.mark.parametrize(
    "extra",
    [b": ping\n\n", b":\n\n", b"event: ping\nid: 7\nretry: 5\n\n", b"data:\n\n", b"\n\n", b": OPENROUTER\r\n\r\n"],
)
def test_comments_and_other_fields_pass(extra: bytes) -> None:
    frames = [each.encode() for each in STREAM]
    text = extra + frames[0] + extra + b"".join(frames[1:])
    lane = stream()
    assert run(lane, text) == text
    assert lane.failed is None


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {not json}\n\n",
        b'data: {"choices":[{"delta":{"content":"x"}}]\n\n',
        b"<html>\n\n",
        b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n",
        b'{"error": {"message": "whole"}}\n\n',
        b'data: {"a":"\xff"}\n\n',
        b'data: {"usage": nonsense}\n\n',
        b'data: {"finish_reason": \n\n',
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_a_malformed_event_ends_the_answer_before_it(bad: bytes, place: int) -> None:
    frames = [each.encode() for each in STREAM]
    good = b"".join(frames[:place])
    lane = stream()
    assert run(lane, good + bad + b"".join(frames[place:])) == good
    assert isinstance(lane.failed, UpstreamGarbled)
    assert not lane.error_shown


def test_an_event_without_end_is_given_up() -> None:
    lane = stream()
    piece = b"x" * (1024 * 1024)
    lane.feed(b'data: {"x":"')
    for _ in range(MAX_FRAME // len(piece) + 1):
        lane.feed(piece)
    assert isinstance(lane.failed, UpstreamGarbled)


@pytest.mark.parametrize("lacking", [1, 2])
def test_the_last_event_may_lack_its_blank_line(lacking: int) -> None:
    lane = stream()
    out = run(lane, TEXT[:-lacking])
    assert lane.failed is None
    assert out.rstrip() == TEXT.rstrip()
    assert out.endswith(b"\n\n")


def test_an_error_behind_a_last_event_without_blank_line_stands_apart() -> None:
    lane = stream()
    out = run(lane, "".join(STREAM[:3]).encode()[:-2])
    assert lane.failed is not None
    out += OPENAI.encode_stream_error(lane.failed, "req_1")
    events = [event.removeprefix(b"data: ") for event in out.split(b"\n\n") if event.strip()]
    assert len(events) == 4
    assert "error" in json.loads(events[-1])


def test_a_forgotten_end_is_added() -> None:
    lane = stream()
    text = "".join(STREAM[:4]).encode()
    assert run(lane, text) == text + DONE
    assert lane.failed is None


def test_a_finish_without_its_blank_line_and_without_an_end() -> None:
    lane = stream()
    text = "".join(STREAM[:4]).encode()[:-1]
    out = run(lane, text)
    assert lane.failed is None
    events = [event.strip() for event in out.split(b"\n\n") if event.strip()]
    assert events[-1] == b"data: [DONE]"
    assert json.loads(events[-2].removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("size", range(0, len("".join(STREAM[:3])) + 12, 17))
def test_an_answer_that_breaks_off_never_looks_finished(size: int) -> None:
    lane = stream()
    out = run(lane, TEXT[:size])
    assert lane.failed is not None
    assert TEXT.startswith(out.rstrip(b"\n"))
    assert DONE not in out


IN_STREAM = b'data: {"error":{"message":"overloaded","type":"server_error","code":503}}\n\n'


def test_an_error_before_any_output_is_an_error_of_the_attempt() -> None:
    lane = stream()
    lane.feed(IN_STREAM)
    assert isinstance(lane.failed, UpstreamOverloaded)


def test_an_error_after_output_is_passed_on_and_ends_it() -> None:
    lane = stream()
    out = run(lane, "".join(STREAM[:2]).encode() + IN_STREAM)
    assert out == "".join(STREAM[:2]).encode() + IN_STREAM
    assert lane.failed is not None
    assert lane.error_shown


def test_anthropic_streams_end_with_their_own_event() -> None:
    frames = [
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
        b'"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":9,"output_tokens":1}}}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n',
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"Hi"}}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        b'"stop_sequence":null},"usage":{"output_tokens":5}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]
    lane = VerbatimStream(ANTHROPIC, HEAD)
    assert run(lane, b"".join(frames), range(0, 900, 7)) == b"".join(frames)
    assert lane.failed is None
    assert lane.usage is not None
    assert (lane.usage.input_tokens, lane.usage.output_tokens, lane.finish) == (9, 5, "end_turn")
    broken = VerbatimStream(ANTHROPIC, HEAD)
    assert run(broken, b"".join(frames[:5])) == b"".join(frames[:5])
    assert broken.failed is not None


# verbatim, whole


def test_a_whole_answer_passes_as_it_came() -> None:
    body = json.dumps(COMPLETION, indent=3).encode()
    lane = VerbatimWhole(OPENAI, RequestHead("fast"))
    assert run(lane, body, [5, 9, 100]) == body
    assert lane.failed is None
    assert lane.usage is not None
    assert (lane.usage.total_tokens, lane.finish, lane.output_bytes) == (14, "stop", len(body))


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"<html></html>", json.dumps(COMPLETION).encode()[:-1], b'{"a":1}']
)
def test_what_is_no_answer_is_not_passed(body: bytes) -> None:
    lane = VerbatimWhole(OPENAI, RequestHead("fast"))
    assert run(lane, body) == b""
    assert isinstance(lane.failed, UpstreamGarbled)


def test_an_error_that_came_as_an_answer() -> None:
    lane = VerbatimWhole(OPENAI, RequestHead("fast"))
    run(lane, b'{"error":{"message":"no","type":"server_error","code":"x"}}')
    assert lane.failed is not None


# translated

REQUEST = OPENAI.decode_request(
    b'{"model":"fast","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}',
    HEAD,
    Where({}, {}),
)
WHOLE = OPENAI.decode_request(
    b'{"model":"fast","messages":[{"role":"user","content":"x"}]}', RequestHead("fast"), Where({}, {})
)


def translated(filters: Iterable[EventFilter] = (), hold: bool = False, streamed: bool = True) -> Translated:
    request = REQUEST if streamed else WHOLE
    return Translated(OPENAI.response_decoder(streamed), OPENAI.response_encoder(request), list(filters), hold)


def text_of(data: bytes) -> str:
    decoder = OPENAI.response_decoder(True)
    return fold([*decoder.feed(data), *decoder.close()]).text


@given(st.sets(st.integers(0, len(TEXT)), max_size=20))
def test_events_in_between_change_nothing(cuts: set[int]) -> None:
    lane = translated()
    out = run(lane, TEXT, cuts)
    assert lane.failed is None
    assert text_of(out) == "Hello!"
    assert out.endswith(DONE)
    assert lane.usage is not None
    assert (lane.usage.total_tokens, lane.finish) == (14, "stop")
    assert lane.output_bytes == len("Hello!")


def louder(event: Event) -> Iterable[Event]:
    return (PartDelta(event.index, event.text.upper()),) if isinstance(event, PartDelta) else (event,)


def twice(event: Event) -> Iterable[Event]:
    return (event, event) if isinstance(event, PartDelta) else (event,)


def mute(event: Event) -> Iterable[Event]:
    return () if isinstance(event, PartDelta) else (event,)


@pytest.mark.parametrize(
    ("filters", "text"),
    [([louder], "HELLO!"), ([twice], "HelHello!lo!"), ([twice, louder], "HELHELLO!LO!"), ([mute, louder], "")],
)
def test_filters_look_at_each_event_in_turn(filters: list[EventFilter], text: str) -> None:
    lane = translated(filters)
    assert text_of(run(lane, TEXT)) == text
    assert lane.output_bytes == len(text)


def test_held_back_until_everything_came() -> None:
    lane = translated([louder], hold=True)
    assert run(lane, TEXT, range(0, len(TEXT), 50)) == b""
    response = lane.folded()
    assert response is not None
    assert response.text == "HELLO!"
    response.parts[0].text = "Something else."
    out = lane.write_out(response)
    assert text_of(out) == "Something else."
    assert out.endswith(DONE)


def test_what_was_not_held_is_gone() -> None:
    lane = translated()
    run(lane, TEXT)
    assert lane.folded() is None


@pytest.mark.parametrize("hold", [False, True])
def test_a_translated_answer_that_breaks_off_never_looks_finished(hold: bool) -> None:
    for text in (TEXT[:300], TEXT[:500], chunk({"content": "x"}).encode(), b"", b"<html></html>"):
        lane = translated(hold=hold)
        out = run(lane, text)
        assert lane.failed is not None
        assert DONE not in out
        assert b'"finish_reason":"stop"' not in out


def test_an_error_in_a_translated_stream() -> None:
    lane = translated()
    out = run(lane, "".join(STREAM[:2]).encode() + IN_STREAM + "".join(STREAM[2:]).encode())
    assert isinstance(lane.failed, UpstreamOverloaded)
    assert b"Hel" in out
    assert b"lo!" not in out
    assert not lane.error_shown


def test_between_dialects_whole() -> None:
    lane = Translated(ANTHROPIC.response_decoder(False), OPENAI.response_encoder(WHOLE))
    assert lane.content_type == "application/json"
    answer = json.loads(run(lane, json.dumps(MESSAGE).encode(), [10, 20]))
    assert answer["choices"][0]["message"]["content"] == "Hello!"
    assert answer["usage"]["total_tokens"] == 14


def test_a_whole_answer_is_written_as_the_caller_reads_it() -> None:
    decoder = OPENAI.response_decoder(False)
    response = fold([*decoder.feed(json.dumps(COMPLETION).encode()), *decoder.close()])
    assert json.loads(encode_whole(OPENAI.response_encoder(WHOLE), response))["id"] == "chatcmpl-1"
    streamed = encode_whole(OPENAI.response_encoder(REQUEST), response)
    assert streamed.endswith(DONE)
    assert text_of(streamed) == "Hello!"
    held = encode_whole(ANTHROPIC.response_encoder(REQUEST), response)
    assert b"event: message_stop" in held

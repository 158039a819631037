"""Until the first word of an answer is here, another candidate may still give it; after that none does."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from houses import CHAT, STREAM, chunk, provider, route

from llmhub_core.gateway.passage import MAX_HELD
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, sse_answer


def events(*said: dict[str, Any]) -> list[str]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in said]


def data(*said: dict[str, Any]) -> list[str]:
    return [f"data: {json.dumps(event)}\r\n\r\n" for event in said]


USAGE = {"input_tokens": 11, "output_tokens": 1}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": USAGE}
RESPONSE = {"id": "resp_1", "object": "response", "model": "m", "status": "in_progress", "output": []}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}

BEGINNINGS: dict[str, list[str]] = {
    "openai_chat": [": busy\n\n", chunk({"role": "assistant", "content": ""}, usage=None)],
    "anthropic": events(
        {"type": "message_start", "message": MESSAGE},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ),
    "openai_responses": events(
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.in_progress", "response": RESPONSE},
        {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
    ),
    "gemini": data({"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}]}),
}
"""What each format sends before an answer has said anything."""

ERRORS: dict[str, list[str]] = {
    "openai_chat": ['data: {"error":{"message":"Overloaded","type":"server_error","code":503}}\n\n'],
    "anthropic": events({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    "openai_responses": events({"type": "error", "code": "server_error", "message": "Overloaded", "param": None}),
    "gemini": data({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}),
}
"""How each says that nothing will come after all."""

ENDS: dict[str, list[str]] = {
    "openai_chat": ["data: [DONE]\n\n"],
    "anthropic": events({"type": "message_stop"}),
    "openai_responses": [],
    "gemini": [],
}
"""An end without an answer and without a reason."""

WORDS: dict[str, list[str]] = {
    "openai_chat": [chunk({"content": "Hel"}, usage=None)],
    "anthropic": events({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}}),
    "openai_responses": events(
        {
            "type": "response.output_text.delta",
            "output_index": 0,
            "content_index": 0,
            "item_id": "msg_1",
            "delta": "Hel",
        }
    ),
    "gemini": data({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hel"}]}, "index": 0}]}),
}

KINDS = {"anthropic": "anthropic", "gemini": "gemini"}
FRONTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", CHAT | {"stream": True}),
    "anthropic": ("/v1/messages", CHAT | {"stream": True, "max_tokens": 100}),
    "openai_responses": ("/v1/responses", {"model": "fast", "input": "Say hello.", "stream": True}),
    "gemini": (
        "/v1beta/models/fast:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]},
    ),
}
ALL = sorted(FRONTS)


def two(first: str, second: str, dialect: str, more: str = "", attempts: int = 3) -> str:
    """A provider that speaks `dialect`, and behind it a Chat provider that is well."""
    speaks = 'speaks = ["openai_responses"]\n' if dialect == "openai_responses" else ""
    kind = KINDS.get(dialect, "openai_compatible")
    one = provider("first", first, kind=kind).replace("[[providers.keys]]", speaks + "[[providers.keys]]", 1)
    limits = f"[routing]\nattempts = {attempts}\n"
    return limits + one + provider("second", second) + route("fast", "first/m", "second/m", more=more)


async def read(client: aiohttp.ClientSession, url: str, front: str, **more: Any) -> tuple[int, bytes, bool]:
    """Status, what came, and whether the stream broke off."""
    path, body = FRONTS[front]
    text = b""
    async with client.post(url + path, json=body | more) as answer:
        try:
            async for piece in answer.content.iter_any():
                text += piece
        except aiohttp.ClientPayloadError:
            return answer.status, text, True
        return answer.status, text, False


@pytest.mark.parametrize("end", ["error", "nothing", "cut"])
@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize("back", ALL)
async def test_a_stream_that_says_nothing_is_left_for_the_next(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str, end: str
) -> None:
    """Early errors, ends without a word and cuts, in every format, whether it passes or is translated."""
    begun = BEGINNINGS[back]
    text = "".join(begun + (ERRORS[back] if end == "error" else ENDS[back]))
    size = len("".join(begun).encode())
    upstream.script(sse_answer("".join(begun), cut_after=size) if end == "cut" else sse_answer(text))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM))
        async with House(two(upstream.url, other.url, back)) as house:
            status, got, broken = await read(client, house.url, front)
            (record,) = await house.records()
        assert (status, broken) == (200, False)
        assert b"Hel" in got
        assert b"lo!" in got
        assert b"verloaded" not in got
        assert [attempt.provider for attempt in record.attempts] == ["first", "second"]
        assert record.attempts[0].reason != "ok"
        assert (record.outcome, record.provider) == ("served", "second")
        assert (record.input_tokens, record.output_tokens) == (11, 3)  # none of the first one's
        assert record.first_byte_ms is not None
        assert record.attempts[1].first_byte_ms is not None
        assert record.attempts[1].started_ms <= record.attempts[1].first_byte_ms
        for stats in house.hub.catalog.stats:
            assert stats.first_token is None or stats.first_token >= 0


@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize("back", ALL)
async def test_a_slow_first_token_is_left_for_the_next(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str
) -> None:
    begun = "".join(BEGINNINGS[back])
    upstream.script(sse_answer(begun + "".join(WORDS[back]), stall_after=len(begun.encode())))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM))
        async with House(two(upstream.url, other.url, back, "timeouts = { first_token = 0.3 }")) as house:
            began = time.monotonic()
            status, got, broken = await read(client, house.url, front)
            assert 0.25 < time.monotonic() - began < 5
            assert (status, broken) == (200, False)
            assert b"lo!" in got
            (record,) = await house.records()
            assert [attempt.reason for attempt in record.attempts] == ["upstream_timeout", "ok"]
        async with asyncio.timeout(2):
            await upstream.gone.wait()


async def test_pings_do_not_put_the_first_token_off(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer([": wait\n\n"] * 200, delay=0.02))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM))
        more = "timeouts = { first_token = 0.3, stall = 0.2 }"
        async with House(two(upstream.url, other.url, "openai_chat", more)) as house:
            began = time.monotonic()
            status, got, broken = await read(client, house.url, "openai_chat")
            assert (status, broken, b"wait" in got) == (200, False, False)
            assert time.monotonic() - began < 2


@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize("back", ALL)
async def test_after_the_first_word_there_is_no_other(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str
) -> None:
    """The error comes in the stream, in the caller's format, and the stream does not end as if it were whole."""
    upstream.script(sse_answer("".join(BEGINNINGS[back] + WORDS[back] + ERRORS[back])))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM))
        async with House(two(upstream.url, other.url, back)) as house:
            status, got, broken = await read(client, house.url, front)
            (record,) = await house.records()
        assert (status, broken) == (200, True)
        assert b"Hel" in got
        assert b"error" in got
        assert not other.requests
        assert (record.outcome, len(record.attempts)) == ("failed", 1)


@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize("back", ALL)
async def test_a_stall_after_the_first_word_breaks_off_in_the_callers_format(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str
) -> None:
    begun = "".join(BEGINNINGS[back] + WORDS[back])
    upstream.script(sse_answer(begun + "".join(WORDS[back]), stall_after=len(begun.encode())))
    async with FakeUpstream() as other:
        more = "timeouts = { first_token = 60, stall = 0.3 }"
        async with House(two(upstream.url, other.url, back, more)) as house:
            began = time.monotonic()
            status, got, broken = await read(client, house.url, front)
            assert 0.25 < time.monotonic() - began < 5
            (record,) = await house.records()
        assert (status, broken) == (200, True)
        assert got.count(b"Hel") == 1
        assert b"upstream_timeout" in got.lower()
        assert b"[DONE]" not in got
        assert (record.outcome, record.code, record.status) == ("failed", "upstream_timeout", 504)
        assert record.usage_estimated or record.input_tokens == 11
        assert record.output_tokens > 0


PINGS = {
    "openai_chat": ": OPENROUTER PROCESSING\n\n",
    "anthropic": 'event: ping\ndata: {"type": "ping"}\n\n',
    "openai_responses": 'event: keepalive\ndata: {"type":"keepalive","sequence_number":3}\n\n',
    "gemini": ":\n\n",
}


@pytest.mark.parametrize("front", ["openai_chat", "anthropic"])
@pytest.mark.parametrize("back", ALL)
async def test_pings_after_the_first_word_do_not_hide_a_stall(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str
) -> None:
    words, ping = "".join(WORDS[back]).encode(), PINGS[back].encode()
    slow = ["".join(BEGINNINGS[back]).encode() + words, *[words, ping] * 4]
    upstream.script(Answer(headers={"content-type": "text/event-stream"}, chunks=[*slow, *[ping] * 100], delay=0.1))
    async with FakeUpstream() as other:
        more = "timeouts = { first_token = 60, stall = 0.5 }"
        async with House(two(upstream.url, other.url, back, more)) as house:
            began = time.monotonic()
            status, got, broken = await read(client, house.url, front)
            assert 1.0 < time.monotonic() - began < 8  # words put it off, pings do not
            (record,) = await house.records()
        assert (status, broken) == (200, True)
        assert got.count(b"Hel") == 5
        assert (record.outcome, record.code, record.status) == ("failed", "upstream_timeout", 504)


BEGINS: list[tuple[str, dict[str, Any]]] = [
    ("thoughts", {"reasoning_content": "Hm"}),
    ("thoughts, as OpenRouter says them", {"reasoning": "Hm"}),
    ("a call", {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]}),
    ("a refusal", {"refusal": "I"}),
]


@pytest.mark.parametrize(("what", "delta"), BEGINS, ids=[what for what, _ in BEGINS])
@pytest.mark.parametrize("front", ["openai_chat", "anthropic"])
async def test_thoughts_and_calls_begin_an_answer(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, what: str, delta: dict[str, Any]
) -> None:
    upstream.script(sse_answer("".join([*BEGINNINGS["openai_chat"], chunk(delta), *ERRORS["openai_chat"]])))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM))
        async with House(two(upstream.url, other.url, "openai_chat")) as house:
            _, _, broken = await read(client, house.url, front)
        assert broken
        assert not other.requests


async def test_an_answer_that_ends_without_a_word_but_with_a_reason_is_one(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer([chunk({"role": "assistant", "content": ""}), chunk({}, "length"), "data: [DONE]\n\n"]))
    async with FakeUpstream() as other, House(two(upstream.url, other.url, "openai_chat")) as house:
        status, got, broken = await read(client, house.url, "openai_chat")
        assert (status, broken) == (200, False)
        assert b'"length"' in got
        assert not other.requests


async def test_no_more_is_held_back_than_allowed(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    """A provider that sends only comments cannot fill the memory; what it sent is then the answer."""
    comment = ": " + "x" * 1000 + "\n\n"
    upstream.script(sse_answer([comment] * (MAX_HELD // 1000 + 2) + ERRORS["openai_chat"]))
    async with FakeUpstream() as other, House(two(upstream.url, other.url, "openai_chat")) as house:
        _, got, broken = await read(client, house.url, "openai_chat")
        assert broken
        assert len(got) > MAX_HELD
        assert not other.requests


async def test_a_caller_who_leaves_while_nothing_is_said_stops_everything(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    begun = "".join(BEGINNINGS["anthropic"])
    upstream.script(sse_answer(begun + "".join(WORDS["anthropic"]), stall_after=len(begun.encode())))
    async with FakeUpstream() as other, House(two(upstream.url, other.url, "anthropic")) as house:
        asking = asyncio.create_task(read(client, house.url, "anthropic"))
        await upstream.wait_for(1)
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(1):
            await upstream.gone.wait()
        (record,) = await house.records()
        assert (record.outcome, len(record.attempts)) == ("cancelled", 1)
        assert not other.requests


async def test_when_nobody_says_anything_the_caller_reads_an_error_and_no_stream(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(BEGINNINGS["openai_chat"]) + "data: [DONE]\n\n"))
    async with House(two(upstream.url, upstream.url, "openai_chat")) as house:
        status, got, _ = await read(client, house.url, "openai_chat")
        assert (status, json.loads(got)["error"]["code"]) == (502, "upstream_protocol_error")
        (record,) = await house.records()
        assert [attempt.reason for attempt in record.attempts] == ["upstream_protocol_error"] * 2
        assert record.total_ms < 5000


async def test_what_was_held_back_comes_in_one_piece_with_the_first_word(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    said = "".join(STREAM).encode()
    upstream.script(Answer(200, {"Content-Type": "text/event-stream"}, chunks=[each.encode() for each in STREAM]))
    async with House(two(upstream.url, upstream.url, "openai_chat")) as house:
        _, got, broken = await read(client, house.url, "openai_chat", stream_options={"include_usage": True})
        assert not broken
        assert got == said

"""The anthropic dialect: what callers and answers carry that only some family understands."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from speaking_anthropic import DIALECT, START, STOP, begin, delta, end, gather, lines, read, read_whole, write

from llmhub_core.contracts import (
    Event,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Usage,
    Where,
    fold,
    unseal,
)

# What only this format says of a whole answer.

ENDING = {
    "container": {"id": "c", "expires_at": "2026-01-01T00:00:00Z"},
    "stop_details": {"type": "refusal", "category": "cyber", "explanation": None},
}
BESIDE = {"context_management": {"applied_edits": []}, "input_transformations": []}
TIER = {"service_tier": "priority", "inference_geo": "eu"}
COUNTS = {
    "input_tokens": 4,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 8,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 2},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "iterations": [{"type": "message", "input_tokens": 4}],
}
SPLIT = {"cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}


def told(stream: bool) -> list[Event]:
    usage = {**COUNTS, **SPLIT, **TIER}
    if not stream:
        return read_whole({"id": "m", "content": [], "stop_reason": "refusal", "usage": usage, **ENDING, **BESIDE})
    start = {"id": "m", "usage": {"input_tokens": 4, "output_tokens": 1, **SPLIT, **TIER}}
    delta = {"stop_reason": "refusal", **ENDING}
    return read(
        {"type": "message_start", "message": start},
        {"type": "message_delta", "delta": delta, "usage": COUNTS, **BESIDE},
        STOP,
    )


@pytest.mark.parametrize("stream", [True, False])
def test_what_stands_at_an_answers_end_is_carried(stream: bool) -> None:
    events = told(stream)
    answer = fold(events)
    late = {name: COUNTS[name] for name in ("server_tool_use", "iterations")}
    assert answer.finished[0] == Finished(
        "refusal", 0, "refusal", extras={"anthropic": {**ENDING, **BESIDE, "usage": late}}
    )
    assert isinstance(events[0], Started)
    assert events[0].extras == {"anthropic": {"usage": TIER}}
    assert answer.usage == Usage(
        42, 9, cached_tokens=8, cache_write_tokens=30, cache_write_1h_tokens=20, reasoning_tokens=2, server_tool_calls=2
    )

    whole = json.loads(write(events, False))
    assert whole["usage"] == {**COUNTS, **SPLIT, **TIER}
    assert {name: whole[name] for name in (*ENDING, *BESIDE)} == {**ENDING, **BESIDE}
    frames = [json.loads(line.removeprefix("data: ")) for line in lines(events)]
    assert {**SPLIT, **TIER}.items() <= frames[0]["message"]["usage"].items()
    assert frames[1]["delta"] == {"stop_reason": "refusal", "stop_sequence": None, **ENDING}
    assert {name: frames[1][name] for name in BESIDE} == BESIDE
    assert frames[1]["usage"] == COUNTS


@pytest.mark.parametrize("stream", [True, False])
def test_a_pause_and_a_full_context_keep_their_words(stream: bool) -> None:
    for native in ("pause_turn", "model_context_window_exceeded", "compaction"):
        events = read(START, end(native), STOP)
        assert f'"stop_reason":"{native}"' in write(events, stream).decode()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_summary_reaches_the_sdk(aiohttp_server: Any, stream: bool) -> None:
    block = begin(0, type="compaction", content=None, encrypted_content=None)
    summary = delta(0, "compaction_delta", content="all so far", encrypted_content="zz")
    events = read(START, block, summary, end("compaction"), STOP)
    body = write(events, stream)
    assert body.count(b'"compaction_delta"') == (1 if stream else 0)
    message = await gather(aiohttp_server, body, False) if not stream else None
    found = message.content[0].to_dict() if message else fold(read(*parsed(body))).parts[0].extras["anthropic"]
    assert found == {"type": "compaction", "content": "all so far", "encrypted_content": "zz"}


def parsed(body: bytes) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in body.decode().splitlines() if line.startswith("data: ")]


def test_thoughts_that_nobody_signed_are_marked_so_that_they_come_back_as_nobodys() -> None:
    events: list[Event] = [PartStarted(0, "reasoning"), PartDelta(0, "hm"), PartEnded(0), Finished("stop")]
    for stream in (True, False):
        body = write(events, stream).decode()
        assert '"thinking":"hm"' in body
        assert '"signature":""}],' not in body
    (block,) = json.loads(write(events, False))["content"]
    assert unseal(block["signature"]) == ("", {})


def test_a_seal_that_callers_might_not_keep_is_left_off() -> None:
    noise = random.Random(5).randbytes(60_000).hex()
    events: list[Event] = [
        PartStarted(0, "reasoning", origin="gemini"),
        PartDelta(0, "hm"),
        PartEnded(0, signature=noise),
        PartStarted(1, "tool_call", "call_a", "f", origin="gemini"),
        PartEnded(1, signature=noise),
        Finished("tool_calls"),
    ]
    thinking, call = json.loads(write(events, False))["content"]
    assert unseal(thinking["signature"]) == ("gemini", {})
    assert call["id"] == "call_a"


def test_a_damaged_seal_belongs_to_nobody() -> None:
    damaged = {"type": "thinking", "thinking": "hm", "signature": "LLMhubSeal01AAAA"}
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [damaged, {"type": "text", "text": "y"}]},
    ]
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": [*turns, turns[0]]}).encode()
    request = DIALECT.decode_request(body, DIALECT.read_head(body, Where({}, {})), Where({}, {}))
    written = DIALECT.encode_request(request, "claude-opus-4-8")
    assert json.loads(written.body)["messages"][1]["content"] == "y"
    assert written.adapted == ("reasoning=dropped",)

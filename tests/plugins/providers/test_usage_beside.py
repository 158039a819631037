"""Usage that leaves its parts out, added up: on recorded answers, cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmhub_plugins.providers.openai_compatible import OpenAICompatible, OpenAICompatibleSettings

from llmhub_core.contracts import Call, UpstreamGarbled


def envelope(preset: str, stream: bool) -> Any:
    provider = OpenAICompatible(OpenAICompatibleSettings(preset=preset))
    return provider.envelope(stream, Call("https://x/v1/chat/completions", {}, b"{}"))


def through(preset: str, body: bytes, stream: bool, size: int = 1 << 20) -> bytes:
    """The answer `body`, arriving in pieces of `size` bytes."""
    passing = envelope(preset, stream)
    return b"".join(passing.feed(body[at : at + size]) for at in range(0, len(body), size)) + passing.close()


def answers(traffic: Path, provider: str) -> Iterator[tuple[bytes, bool]]:
    for path in sorted((traffic / provider / "chat.completions").glob("*.json")):
        response = json.loads(path.read_text("utf-8"))["response"]
        if response["status"] == 200:
            streamed = response["stream"] is not None
            yield (response["stream"].encode() if streamed else json.dumps(response["body"]).encode()), streamed


def usage_of(body: bytes, streamed: bool) -> dict[str, Any]:
    if not streamed:
        return dict(json.loads(body)["usage"])
    told = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    return dict(next(chunk["usage"] for chunk in reversed(told) if chunk.get("usage")))


def test_reasoning_counts_as_completion(traffic: Path) -> None:
    seen = 0
    for body, streamed in answers(traffic, "xai"):
        before, out = usage_of(body, streamed), through("xai", body, streamed)
        after = usage_of(out, streamed)
        reasoning = before["completion_tokens_details"]["reasoning_tokens"]
        assert reasoning > 0
        assert after["completion_tokens"] == before["completion_tokens"] + reasoning
        assert after["total_tokens"] == before["total_tokens"] == after["prompt_tokens"] + after["completion_tokens"]
        assert through("xai", out, streamed) == out, "once is enough"
        for size in (1, 7, 1000):
            assert through("xai", body, streamed, size) == out
        seen += 1
    assert seen == 4


def test_reasoning_larger_than_its_whole_was_left_out_of_it(traffic: Path) -> None:
    for body, streamed in answers(traffic, "vercel-gateway"):
        before, after = usage_of(body, streamed), usage_of(through("vercel", body, streamed), streamed)
        assert after["completion_tokens"] >= after["completion_tokens_details"]["reasoning_tokens"]
        assert after["total_tokens"] == after["prompt_tokens"] + after["completion_tokens"]
        assert after["prompt_tokens"] == before["prompt_tokens"]


def test_sound_counts_as_prompt(traffic: Path) -> None:
    changed = []
    for body, streamed in answers(traffic, "mistral"):
        out = through("mistral", body, streamed)
        if out != body:
            changed.append(usage_of(out, streamed))
        elif streamed:
            assert through("mistral", body, streamed, 1) == body
    ((usage),) = changed
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (384, 248, 632)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        3,
        {},
        {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14, "completion_tokens_details": None},
        {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}},
        {
            "prompt_tokens": 5,
            "completion_tokens": 9,
            "total_tokens": 14,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    ],
)
def test_usage_that_is_right_or_odd_passes_as_it_came(usage: Any) -> None:
    body = b'data: { "reasoning_tokens":1, "usage":' + json.dumps(usage).encode() + b"}\r\n\r\n"
    assert through("xai", body, True) == body


def test_an_event_without_end_is_given_up() -> None:
    passing = envelope("xai", True)
    with pytest.raises(UpstreamGarbled):
        for _ in range(10):
            passing.feed(b"data: " + b"x" * 1024 * 1024)


def test_places_that_count_like_openai_need_nothing() -> None:
    assert envelope("groq", True) is None
    provider = OpenAICompatible(OpenAICompatibleSettings(preset="xai"))
    assert provider.envelope(False, Call("https://x/v1/images/generations", {}, b"{}")) is None

"""A stream that breaks is continued by another candidate where the route asks for it, and says so."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from houses import STREAM, chunk, provider, route
from test_commit_window import ALL, BEGINNINGS, KINDS, WORDS, read

from llmhub_core.gateway.continuation import GO_ON
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, sse_answer

REST = [
    chunk({"role": "assistant", "content": ""}, usage=None),
    chunk({"content": "lo!"}, usage=None),
    chunk({}, "stop", usage=None),
    STREAM[4],
    "data: [DONE]\n\n",
]


def house(first: str, second: str, dialect: str = "openai_chat", more: str = "continuation = true") -> House:
    speaks = 'speaks = ["openai_responses"]\n' if dialect == "openai_responses" else ""
    one = provider("first", first, kind=KINDS.get(dialect, "openai_compatible"))
    one = one.replace("[[providers.keys]]", speaks + "[[providers.keys]]", 1)
    return House(one + provider("second", second) + route("fast", "first/m", "second/m", more=more))


def broken(dialect: str, after: list[str] | None = None) -> Answer:
    text = "".join(BEGINNINGS[dialect] + (WORDS[dialect] if after is None else after))
    return sse_answer(text, cut_after=len(text.encode()))


def text_of(front: str, got: bytes) -> str:
    """The text that a client of the format puts together."""
    said = ""
    for line in got.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        event: dict[str, Any] = json.loads(line[6:])
        if front == "openai_chat":
            said += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        elif front == "anthropic":
            said += event.get("delta", {}).get("text", "")
        elif front == "openai_responses":
            said += event["delta"] if event["type"] == "response.output_text.delta" else ""
        else:
            parts = [part for each in event.get("candidates", ()) for part in each.get("content", {}).get("parts", ())]
            said += "".join(part.get("text", "") for part in parts)
    return said


@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize("back", ALL)
async def test_the_text_goes_on_where_it_stopped(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str
) -> None:
    upstream.script(broken(back))
    async with FakeUpstream() as other:
        other.script(sse_answer(REST))
        async with house(upstream.url, other.url, back) as hub:
            status, got, cut = await read(client, hub.url, front)
            (record,) = await hub.records()
        assert (status, cut) == (200, False)
        assert text_of(front, got) == "Hello!"
        assert b": x-llmhub continued by second/m after 3 characters\n\n" in got
        asked = other.requests[0].json["messages"]
        assert [(turn["role"], turn["content"]) for turn in asked[-2:]] == [("assistant", "Hel"), ("user", GO_ON)]
        assert record.outcome == "served"
        assert [attempt.reason for attempt in record.attempts][1:] == ["ok"]
        assert record.attempts[0].reason != "ok"
        assert "answer=continued" in record.adapted
        assert record.input_tokens > 11  # both have read the request
        assert record.output_tokens > 3


async def test_sdks_see_one_answer(upstream: FakeUpstream) -> None:
    upstream.script(broken("anthropic"))
    async with FakeUpstream() as other:
        other.script(sse_answer(REST))
        async with house(upstream.url, other.url, "anthropic") as hub:
            async with openai.AsyncOpenAI(api_key="x", base_url=hub.url + "/v1", max_retries=0) as sdk:
                stream = await sdk.chat.completions.create(
                    model="fast", messages=[{"role": "user", "content": "Hi"}], stream=True
                )
                chunks = [each async for each in stream]
                assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == "Hello!"
                assert len({each.id for each in chunks}) == 1
            async with anthropic.AsyncAnthropic(api_key="x", base_url=hub.url, max_retries=0) as other_sdk:
                async with other_sdk.messages.stream(
                    model="fast", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]
                ) as talk:
                    message = await talk.get_final_message()
                assert [block.type for block in message.content] == ["text"]
                assert message.content[0].text == "Hello!"  # type: ignore[union-attr]
                assert message.stop_reason == "end_turn"


CALL = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}]}
IMPOSSIBLE: list[tuple[str, list[str], dict[str, Any]]] = [
    ("a tool call", [chunk({"content": "Hel"}), chunk(CALL)], {}),
    ("thoughts", [chunk({"reasoning_content": "Hm"})], {}),
    ("JSON", [chunk({"content": "Hel"})], {"response_format": {"type": "json_object"}}),
    ("two choices", [chunk({"content": "Hel"})], {"n": 2}),
]


@pytest.mark.parametrize(("what", "after", "body"), IMPOSSIBLE, ids=[what for what, _, _ in IMPOSSIBLE])
async def test_what_cannot_be_continued_honestly_breaks_off(
    upstream: FakeUpstream, client: aiohttp.ClientSession, what: str, after: list[str], body: dict[str, Any]
) -> None:
    upstream.script(broken("openai_chat", after))
    async with FakeUpstream() as other:
        other.script(sse_answer(REST))
        async with house(upstream.url, other.url) as hub:
            status, got, cut = await read(client, hub.url, "openai_chat", **body)
            (record,) = await hub.records()
        assert (status, cut) == (200, True)
        assert b'"error"' in got
        assert not other.requests
        assert (record.outcome, len(record.attempts)) == ("failed", 1)


async def test_complete_thoughts_before_the_text_do_not_matter(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(broken("openai_chat", [chunk({"reasoning_content": "Hm"}), chunk({"content": "Hel"})]))
    async with FakeUpstream() as other:
        other.script(sse_answer([chunk({"reasoning_content": "How do I go on?"}), *REST]))
        async with house(upstream.url, other.url) as hub:
            _, got, cut = await read(client, hub.url, "openai_chat")
        assert (text_of("openai_chat", got), cut) == ("Hello!", False)
        assert b"How do I go on?" not in got


async def test_a_stall_is_continued_too_and_by_the_same_key_if_there_is_no_other(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    begun = "".join(BEGINNINGS["openai_chat"] + WORDS["openai_chat"])
    upstream.script(sse_answer(begun + "x", stall_after=len(begun)), sse_answer(REST))
    more = "continuation = true\ntimeouts = { stall = 0.3 }"
    async with House(provider("main", upstream.url) + route("fast", "main/m", more=more)) as hub:
        _, got, cut = await read(client, hub.url, "openai_chat")
        assert (text_of("openai_chat", got), cut) == ("Hello!", False)
        (record,) = await hub.records()
        assert [attempt.reason for attempt in record.attempts] == ["upstream_timeout", "ok"]


async def test_it_ends_with_an_error_when_nobody_can_go_on(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(broken("openai_chat"))
    async with house(upstream.url, upstream.url) as hub:
        _, got, cut = await read(client, hub.url, "openai_chat")
        assert cut
        assert got.count(b'"error"') == 1
        assert got.count(b"Hel") == 3
        (record,) = await hub.records()
        assert (record.outcome, len(record.attempts)) == ("failed", 3)
        assert record.output_tokens > 0


async def test_without_the_setting_nothing_is_continued(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(broken("openai_chat"))
    async with FakeUpstream() as other, house(upstream.url, other.url, more="") as hub:
        _, _, cut = await read(client, hub.url, "openai_chat")
        assert cut
        assert not other.requests

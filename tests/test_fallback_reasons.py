"""Too long for these, or blocked by a filter: other routes, whichever way the provider says it."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from houses import COMPLETION, STREAM, chunk, provider, route
from test_commit_window import ALL, BEGINNINGS, FRONTS, KINDS, data, events

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer, sse_answer

TOO_LONG: list[tuple[str, str, Answer]] = [
    (
        "openai_chat",
        "OpenAI",
        json_answer(
            {"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages "
                       "resulted in 9001 tokens.", "type": "invalid_request_error", "param": "messages",
                       "code": "context_length_exceeded"}}, 400),
    ),
    (
        "openai_chat",
        "llama.cpp",
        json_answer({"error": {"code": 400, "message": "the request exceeds the available context size, try increasing "
                               "it", "type": "exceed_context_size_error"}}, 400),
    ),
    (
        "anthropic",
        "Anthropic",
        json_answer({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: "
                                                "210000 tokens > 200000 maximum"}}, 400),
    ),
    (
        "anthropic",
        "Bedrock",
        json_answer({"message": "Input is too long for requested model."}, 400,
                    {"x-amzn-errortype": "ValidationException"}),
    ),
    (
        "gemini",
        "Gemini",
        json_answer({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (1200000) "
                               "exceeds the maximum number of tokens allowed (1048576)."}}, 400),
    ),
    (
        "openai_responses",
        "Responses, in its stream",
        sse_answer(
            "".join(
                BEGINNINGS["openai_responses"][:2]
                + events({"type": "error", "code": "context_length_exceeded", "param": "input",
                          "message": "Your input exceeds the context window of this model."})
            )
        ),
    ),
    (
        "anthropic",
        "Anthropic, in its stream",
        sse_answer(
            "".join(
                BEGINNINGS["anthropic"]
                + events({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}})
            )
        ),
    ),
]  # fmt: skip

BLOCKED: list[tuple[str, str, Answer]] = [
    (
        "openai_chat",
        "Azure",
        json_answer({"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's "
                               "content management policy.", "code": "content_filter", "status": 400}}, 400),
    ),
    (
        "gemini",
        "Gemini, before a word",
        sse_answer(data({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                         "usageMetadata": {"promptTokenCount": 4}})),
    ),
    (
        "openai_chat",
        "Chat, before a word",
        sse_answer([*BEGINNINGS["openai_chat"], chunk({}, "content_filter"), "data: [DONE]\n\n"]),
    ),
]  # fmt: skip


def house_of(first: str, second: str, dialect: str, reason: str) -> House:
    speaks = 'speaks = ["openai_responses"]\n' if dialect == "openai_responses" else ""
    kind = KINDS.get(dialect, "openai_compatible")
    one = provider("first", first, keys=2, kind=kind).replace("[[providers.keys]]", speaks + "[[providers.keys]]", 1)
    more = f'fallbacks_on = {{ {reason} = ["other"] }}'
    return House(one + provider("second", second) + route("fast", "first/m", more=more) + route("other", "second/m"))


def whole(front: str) -> tuple[str, dict[str, Any]]:
    path, body = FRONTS[front]
    return path.replace(":streamGenerateContent?alt=sse", ":generateContent"), {**body, "stream": False}


async def leads_on(
    upstream: FakeUpstream,
    client: aiohttp.ClientSession,
    front: str,
    back: str,
    reason: str,
    said: Answer,
    stream: bool,
) -> None:
    upstream.script(said)
    path, body = FRONTS[front] if stream else whole(front)
    if front == "gemini":
        body = {name: value for name, value in body.items() if name != "stream"}
    async with FakeUpstream() as other:
        other.on(lambda request: sse_answer(STREAM) if request.json.get("stream") else json_answer(COMPLETION))
        async with house_of(upstream.url, other.url, back, reason) as house:
            async with client.post(house.url + path, json=body) as answer:
                text = await answer.read()
            assert answer.status == 200, text
            assert b"lo!" in text
            assert len(upstream.requests) == 1  # its other key would refuse as well
            (record,) = await house.records()
            assert [attempt.provider for attempt in record.attempts] == ["first", "second"]
            assert record.outcome == "served"


WAYS = [(*case, stream) for case in TOO_LONG for stream in (True, False) if stream or "stream" not in case[1]]


@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize(("back", "who", "said", "stream"), WAYS, ids=[f"{way[1]}-{way[3]}" for way in WAYS])
async def test_a_request_too_long_goes_to_a_longer_model(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str, who: str, said: Answer, stream: bool
) -> None:
    await leads_on(upstream, client, front, back, "context_length", said, stream)


@pytest.mark.parametrize("front", ALL)
@pytest.mark.parametrize(("back", "who", "said"), BLOCKED, ids=[who for _, who, _ in BLOCKED])
async def test_what_a_filter_blocks_goes_to_another(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str, back: str, who: str, said: Answer
) -> None:
    await leads_on(upstream, client, front, back, "content_filter", said, True)


@pytest.mark.parametrize("front", ALL)
async def test_a_whole_answer_that_was_blocked_goes_to_another(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str
) -> None:
    blocked = json_answer({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}})
    await leads_on(upstream, client, front, "gemini", "content_filter", blocked, False)


async def test_where_nobody_else_is_named_a_blocked_answer_is_the_answer(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer({"promptFeedback": {"blockReason": "SAFETY"}}))
    config = provider("first", upstream.url, keys=2, kind="gemini") + route("fast", "first/m")
    async with House(config) as house:
        path, body = whole("gemini")
        body.pop("stream")
        async with client.post(house.url + path, json=body) as answer:
            assert (answer.status, json.loads(await answer.read())["promptFeedback"]) == (
                200,
                {"blockReason": "SAFETY"},
            )


async def test_who_is_blocked_there_too_reads_what_the_last_one_said(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer([*BEGINNINGS["openai_chat"], chunk({}, "content_filter"), "data: [DONE]\n\n"]))
    async with house_of(upstream.url, upstream.url, "openai_chat", "content_filter") as house:
        path, body = FRONTS["openai_chat"]
        async with client.post(house.url + path, json=body) as answer:
            assert b'"content_filter"' in await answer.read()
        assert answer.status == 200
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("front", ALL)
async def test_without_other_routes_the_caller_reads_that_it_is_too_long(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: str
) -> None:
    for back, _, said in TOO_LONG:
        upstream.script(said)
        kind = KINDS.get(back, "openai_compatible")
        speaks = 'speaks = ["openai_responses"]\n' if back == "openai_responses" else ""
        one = provider("first", upstream.url, kind=kind).replace("[[providers.keys]]", speaks + "[[providers.keys]]", 1)
        async with House(one + route("fast", "first/m")) as house:
            path, body = FRONTS[front]
            async with client.post(house.url + path, json=body) as answer:
                assert (answer.status, b"CONTEXT_LENGTH_EXCEEDED" in (await answer.read()).upper()) == (400, True)

"""Who answers when the first does not; nobody after the first byte."""

from __future__ import annotations

import json
import time

import aiohttp
import pytest
from houses import CHAT, COMPLETION, MESSAGE, STREAM, ask, one_provider, provider, route

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer, sse_answer

ERROR = {"error": {"message": "no", "type": "t", "param": None, "code": None}}


def keys_used(upstream: FakeUpstream) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in upstream.requests]


async def test_a_limited_key_rests_and_the_next_one_answers(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.on(
        lambda request: (
            json_answer(ERROR, 429, {"Retry-After": "7"})
            if request.headers["authorization"].endswith("-1")
            else json_answer(COMPLETION)
        )
    )
    async with House(one_provider(upstream.url, keys=2)) as house:
        first = await ask(client, house.url)
        second = await ask(client, house.url)
        assert (first.status, second.status) == (200, 200)
        assert first.headers["x-llmhub-attempts"] == "2"
        assert keys_used(upstream) == ["sk-main-1", "sk-main-2", "sk-main-2"]
        one, two = await house.records()
        assert [(attempt.key, attempt.reason, attempt.status) for attempt in one.attempts] == [
            ("k1", "rate_limit_exceeded", 429),
            ("k2", "ok", 200),
        ]
        assert two.left_out[0][0] == "main/small#k1"
        assert "cooling" in two.left_out[0][1]


async def test_when_all_keys_rest_the_caller_is_told_when_the_first_returns(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    waits = {"sk-main-1": "90", "sk-main-2": "30"}
    upstream.on(lambda request: json_answer(ERROR, 429, {"Retry-After": waits[request.headers["authorization"][7:]]}))
    async with House(one_provider(upstream.url, keys=2)) as house:
        for expected_calls in (2, 2):  # the second request finds nobody, and calls nobody
            refused = await ask(client, house.url)
            assert refused.status == 429
            assert refused.headers["retry-after"] == "30"
            assert 29_000 <= int(refused.headers["retry-after-ms"]) <= 30_000
            assert refused.headers["x-should-retry"] == "true"
            assert (await refused.json())["error"]["source"] == "capacity"
            assert len(upstream.requests) == expected_calls


async def test_a_cooldown_ends_and_the_key_serves_again(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(ERROR, 429, {"retry-after-ms": "150"}), json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        assert (await ask(client, house.url)).status == 429
        until = time.monotonic() + 5
        while (answered := await ask(client, house.url)).status != 200:
            assert answered.status == 429
            assert time.monotonic() < until
        assert len(upstream.requests) == 2


async def test_keys_of_one_group_rest_together(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(ERROR, 429, {"Retry-After": "60"}))
    config = provider("main", upstream.url, 3, more='group = "account"') + route("fast", "main/small")
    async with House(config) as house:
        assert (await ask(client, house.url)).status == 429
        calls = len(upstream.requests)
        assert (await ask(client, house.url)).status == 429
        assert len(upstream.requests) == calls


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_marked_invalid_and_not_called_again(
    upstream: FakeUpstream, client: aiohttp.ClientSession, status: int
) -> None:
    secret_text = {"error": {"message": "Incorrect API key provided: sk-main-1", "code": "invalid_api_key"}}
    upstream.on(
        lambda request: (
            json_answer(secret_text, status)
            if request.headers["authorization"].endswith("-1")
            else json_answer(COMPLETION)
        )
    )
    async with House(one_provider(upstream.url, keys=2)) as house:
        for _ in range(3):
            answered = await ask(client, house.url)
            assert answered.status == 200
        assert keys_used(upstream) == ["sk-main-1", "sk-main-2", "sk-main-2", "sk-main-2"]
        place = house.hub.catalog.places["main"]
        assert [house.hub.pool.state(key).state for key in place.keys] == ["invalid", "active"]


async def test_when_every_key_is_invalid_the_provider_text_stays_inside(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer({"error": {"message": "Incorrect API key provided: sk-main-1"}}, 401))
    async with House(one_provider(upstream.url)) as house:
        for _ in range(2):
            refused = await ask(client, house.url)
            body = await refused.text()
            assert refused.status == 503
            assert "Incorrect" not in body
            assert "sk-main" not in body
            assert refused.headers["x-should-retry"] == "false"


async def test_a_failing_provider_is_passed_over(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with FakeUpstream() as other:
        upstream.script(json_answer(ERROR, 500))
        other.script(json_answer(MESSAGE))
        config = (
            provider("first", upstream.url)
            + provider("second", other.url, kind="anthropic")
            + route("fast", "first/small", "second/claude-small")
        )
        async with House(config) as house:
            answered = await ask(client, house.url)
            assert answered.status == 200
            assert (await answered.json())["choices"][0]["message"]["content"] == "Hello!"
            assert answered.headers["x-llmhub-served-by"] == "second/claude-small"
            (record,) = await house.records()
            assert [attempt.reason for attempt in record.attempts] == ["overloaded", "ok"]
            assert (record.provider, record.lane, record.outcome) == ("second", "translated", "served")


async def test_a_deployment_that_keeps_failing_is_left_alone(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with FakeUpstream() as other:
        upstream.script(json_answer(ERROR, 503))
        other.script(json_answer(COMPLETION))
        config = provider("first", upstream.url) + provider("second", other.url) + route("fast", "first/a", "second/b")
        async with House("[routing]\nbreaker_failures = 3\n" + config) as house:
            for _ in range(6):
                assert (await ask(client, house.url)).status == 200
            assert len(upstream.requests) == 3
            assert "failing" in (await house.records())[-1].left_out[0][1]


async def test_the_last_deployment_is_never_left_alone(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(*[json_answer(ERROR, 503)] * 4, json_answer(COMPLETION))
    async with House("[routing]\nbreaker_failures = 2\n" + one_provider(upstream.url)) as house:
        statuses = [(await ask(client, house.url)).status for _ in range(5)]
        assert statuses == [503, 503, 503, 503, 200]


async def test_a_dead_provider_counts_as_network_and_the_next_answers(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    config = provider("gone", "http://127.0.0.1:9") + provider("main", upstream.url) + route("fast", "gone/a", "main/b")
    async with House(config) as house:
        assert (await ask(client, house.url)).status == 200
        (record,) = await house.records()
        assert [attempt.reason for attempt in record.attempts] == ["upstream_unreachable", "ok"]


async def test_a_refusal_of_the_request_itself_is_not_tried_elsewhere(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    refusal = {
        "error": {"message": "'temperature' is too high", "type": "invalid_request_error", "param": "temperature"}
    }
    upstream.script(json_answer(refusal, 400))
    async with House(one_provider(upstream.url, keys=3)) as house:
        refused = await ask(client, house.url)
        assert refused.status == 400
        assert "temperature" in (await refused.json())["error"]["message"]
        assert len(upstream.requests) == 1
        assert house.hub.pool.state(house.hub.catalog.places["main"].keys[0]).state == "active"


async def test_no_more_attempts_than_allowed(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(ERROR, 429, {"Retry-After": "5"}))
    async with House(one_provider(upstream.url, keys=9)) as house:
        assert (await ask(client, house.url)).status == 429
        assert len(upstream.requests) == 3


async def test_fallback_routes_follow_when_a_route_is_out(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with FakeUpstream() as other:
        upstream.script(json_answer(ERROR, 429, {"Retry-After": "60"}))
        other.script(json_answer(COMPLETION))
        config = (
            provider("first", upstream.url)
            + provider("second", other.url)
            + route("fast", "first/a", more='fallbacks = ["safe"]')
            + route("safe", "second/b")
        )
        async with House(config) as house:
            answered = await ask(client, house.url)
            assert answered.headers["x-llmhub-served-by"] == "second/b"


async def test_a_context_overflow_goes_to_the_route_named_for_it(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with FakeUpstream() as other:
        overflow = {"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages"}}
        upstream.script(json_answer(overflow, 400))
        other.script(json_answer(COMPLETION))
        config = (
            provider("first", upstream.url)
            + provider("second", other.url)
            + route("fast", "first/a", more='fallbacks_on = { context_length = ["long"] }')
            + route("long", "second/b")
        )
        async with House(config) as house:
            answered = await ask(client, house.url)
            assert answered.status == 200
            assert answered.headers["x-llmhub-served-by"] == "second/b"


async def test_an_error_as_the_first_event_of_a_stream_still_falls_back(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with FakeUpstream() as other:
        upstream.script(sse_answer('data: {"error":{"message":"overloaded","code":503}}\n\n'))
        other.script(sse_answer("".join(STREAM)))
        config = provider("first", upstream.url) + provider("second", other.url) + route("fast", "first/a", "second/b")
        async with House(config) as house:
            answered = await ask(client, house.url, CHAT | {"stream": True})
            assert answered.status == 200
            assert (await answered.read()).endswith(b"data: [DONE]\n\n")
            assert answered.headers["x-llmhub-attempts"] == "2"


async def test_an_empty_or_html_stream_falls_back(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with FakeUpstream() as other:
        html = Answer(200, {"Content-Type": "text/html"}, b"<html>\n\n<body>Log in</body></html>\n\n")
        upstream.script(sse_answer(""), html)
        other.script(sse_answer("".join(STREAM)))
        config = provider("first", upstream.url) + provider("second", other.url) + route("fast", "first/a", "second/b")
        async with House(config) as house:
            for _ in range(2):
                answered = await ask(client, house.url, CHAT | {"stream": True})
                assert answered.status == 200
                assert answered.headers["x-llmhub-served-by"] == "second/b"


async def test_after_the_first_byte_nobody_else_is_asked(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with FakeUpstream() as other:
        text = "".join(STREAM)
        upstream.script(sse_answer(text, cut_after=len(STREAM[0]) + len(STREAM[1]) + 20))
        other.script(sse_answer(text))
        config = provider("first", upstream.url) + provider("second", other.url) + route("fast", "first/a", "second/b")
        async with House(config) as house:
            response = await client.post(
                house.url + "/v1/chat/completions",
                json=CHAT | {"stream": True, "stream_options": {"include_usage": True}},
            )
            assert response.status == 200
            got = b""
            with pytest.raises(aiohttp.ClientPayloadError):
                async for piece in response.content.iter_any():
                    got += piece
            response.close()
            assert got.startswith((STREAM[0] + STREAM[1]).encode())
            assert b'"error"' in got
            assert b"[DONE]" not in got
            assert other.requests == []
            (record,) = await house.records()
            assert (record.outcome, len(record.attempts)) == ("failed", 1)
            assert record.usage_estimated
            assert record.output_tokens > 0


async def test_a_stream_that_ends_without_its_end_is_no_success(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(STREAM[:2])))
    async with House(one_provider(upstream.url)) as house:
        response = await client.post(house.url + "/v1/chat/completions", json=CHAT | {"stream": True})
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        response.close()
        (record,) = await house.records()
        assert record.outcome == "failed"


async def test_a_stream_that_forgot_done_is_complete(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer("".join(STREAM[:4])))
    async with House(one_provider(upstream.url)) as house:
        response = await ask(client, house.url, CHAT | {"stream": True})
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        (record,) = await house.records()
        assert record.outcome == "served"


async def test_key_limits_are_kept(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    config = provider("main", upstream.url, 2, more="limits = { rpm = 2 }") + route("fast", "main/small")
    async with House(config) as house:
        statuses = [(await ask(client, house.url)).status for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        assert keys_used(upstream).count("sk-main-1") == 2
        assert keys_used(upstream).count("sk-main-2") == 2
        refused = await ask(client, house.url)
        assert 0 < int(refused.headers["retry-after"]) <= 60


async def test_round_robin_uses_each_key_in_turn(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    config = provider("main", upstream.url, 3) + route("fast", "main/small", strategy="round_robin")
    async with House(config) as house:
        for _ in range(9):
            await ask(client, house.url)
        assert keys_used(upstream) == ["sk-main-1", "sk-main-2", "sk-main-3"] * 3


async def test_a_slow_first_byte_falls_back(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with FakeUpstream() as other:
        upstream.script(json_answer(COMPLETION, delay_first=5))
        other.script(json_answer(COMPLETION))
        config = (
            provider("first", upstream.url)
            + provider("second", other.url)
            + route("fast", "first/a", "second/b", more='timeouts = { first_token = "200 ms" }')
        )
        async with House(config) as house:
            answered = await ask(client, house.url)
            assert answered.headers["x-llmhub-served-by"] == "second/b"
            (record,) = await house.records()
            assert record.attempts[0].reason == "upstream_timeout"


async def test_a_broken_json_array_stays_one(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer("".join(STREAM), cut_after=len(STREAM[0] + STREAM[1])))
    async with House(one_provider(upstream.url)) as house:
        path = "/v1beta/models/fast:streamGenerateContent"
        response = await client.post(house.url + path, json={"contents": [{"parts": [{"text": "hi"}]}]})
        got = b""
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                got += piece
        response.close()
        parts = json.loads(got)
        assert parts[0]["candidates"][0]["content"]["parts"][0]["text"] == "Hel"
        assert parts[-1]["error"]["status"]

"""The sentence, clause by clause: auth → normalize → route → meter → relay."""

from __future__ import annotations

import json

import aiohttp
import pytest
from houses import CHAT, COMPLETION, MESSAGE, STREAM, ask, one_provider, provider, route

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer, sse_answer


async def test_a_whole_answer_passes_byte_for_byte(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        for path in ("/v1/chat/completions", "/v1/chat"):
            answered = await ask(client, house.url, path=path)
            assert answered.status == 200
            assert await answered.read() == json.dumps(COMPLETION, ensure_ascii=False).encode()
            assert answered.headers["x-llmhub-served-by"] == "main/small"
        sent = upstream.requests[0]
        assert sent.path == "/v1/chat/completions"
        assert sent.json == CHAT | {"model": "small"}
        assert sent.headers["authorization"] == "Bearer sk-main-1"
        assert set(sent.headers) <= {
            "host", "authorization", "content-type", "content-length", "accept-encoding", "accept", "user-agent",
        }  # fmt: skip


async def test_only_the_model_name_changes_in_the_body(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    odd = (
        b'{ "messages" : [{"role":"user","content":"\\"model\\": \\"fast\\" \\u00e9 \xc3\xa9"}],'
        b' "metadata": {"model": "fast"},'
        b'\n "temperature": 1e-1, "seed": 12345678901234567890123, "model" : "fast" , "x": 1.000000000000000000001 }'
    )
    async with House(one_provider(upstream.url)) as house:
        answered = await client.post(
            house.url + "/v1/chat/completions", data=odd, headers={"content-type": "application/json"}
        )
        assert answered.status == 200
        assert upstream.requests[0].body == odd.replace(b'"model" : "fast"', b'"model" : "small"')


@pytest.mark.parametrize("piece", [None, 1, 7])
async def test_a_stream_passes_byte_for_byte_however_it_is_cut(
    upstream: FakeUpstream, client: aiohttp.ClientSession, piece: int | None
) -> None:
    upstream.script(sse_answer("".join(STREAM), piece=piece))
    async with House(one_provider(upstream.url)) as house:
        asked = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
        answered = await ask(client, house.url, asked)
        assert await answered.read() == "".join(STREAM).encode()
        assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answered.headers["cache-control"] == "no-cache"


async def test_usage_is_asked_for_and_held_back_from_a_caller_who_did_not_ask(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(STREAM)))
    async with House(one_provider(upstream.url)) as house:
        answered = await ask(client, house.url, CHAT | {"stream": True})
        assert await answered.read() == "".join(STREAM[:4] + STREAM[5:]).encode()
        assert upstream.requests[0].json["stream_options"] == {"include_usage": True}
        (record,) = await house.records()
        assert (record.input_tokens, record.output_tokens, record.usage_estimated) == (11, 3, False)


async def test_one_record_for_each_request(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION | {"model": "gpt-4o-mini"}))
    config = provider("openai", upstream.url) + route("fast", "openai/gpt-4o-mini")
    async with House(config) as house:
        headers = {"x-client-request-id": "mine-7", "x-llmhub-tags": "team=blue, app=chat"}
        answered = await ask(client, house.url, headers=headers)
        (record,) = await house.records()
        assert record.id == answered.headers["x-request-id"]
        assert (record.outcome, record.status, record.finish, record.lane) == ("served", 200, "stop", "verbatim")
        assert (record.provider, record.served_model, record.key) == ("openai", "gpt-4o-mini", "k1")
        assert (record.input_tokens, record.output_tokens) == (11, 3)
        assert record.cost == 11 * 150 + 3 * 600  # 0.15 and 0.60 USD per million tokens, in 10⁻⁹ USD
        assert record.client_request_id == "mine-7"
        assert record.tags == {"team": "blue", "app": "chat"}
        (attempt,) = record.attempts
        assert attempt.reason == "ok"
        assert attempt.first_byte_ms is not None
        assert attempt.ended_ms is not None
        assert 0 <= attempt.started_ms <= attempt.first_byte_ms <= attempt.ended_ms <= record.total_ms


async def test_an_unknown_price_is_unknown(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        await ask(client, house.url)
        (record,) = await house.records()
        assert record.cost is None


async def test_a_model_written_out_needs_no_route(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        answered = await ask(client, house.url, CHAT | {"model": "main/some/model:free"})
        assert answered.status == 200
        assert upstream.requests[0].json["model"] == "some/model:free"


async def test_models_are_listed_in_each_dialect(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer({"object": "list", "data": [{"id": "tiny"}, {"id": "a/b:c"}]}))
    async with House(one_provider(upstream.url)) as house:
        async with client.get(house.url + "/v1/models") as answered:
            listed = await answered.json()
            assert listed["object"] == "list"
            assert {"fast", "main/tiny", "main/a/b:c"} == {model["id"] for model in listed["data"]}
        async with client.get(house.url + "/v1/models", headers={"anthropic-version": "2023-06-01"}) as answered:
            assert (await answered.json())["data"][0]["type"] == "model"
        async with client.get(house.url + "/v1beta/models") as answered:
            assert "models/fast" in {model["name"] for model in (await answered.json())["models"]}
        async with client.get(house.url + "/v1/models/fast") as answered:
            assert (await answered.json())["id"] == "fast"
        async with client.get(house.url + "/v1/models/main/a/b:c") as answered:
            assert answered.status == 200
        async with client.get(house.url + "/v1/models/nope") as answered:
            assert answered.status == 404
        assert len(upstream.requests) == 1  # asked once, remembered


async def test_health_and_readiness(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with House("[observers.prometheus]\n" + one_provider(upstream.url)) as house:
        async with client.get(house.url + "/healthz") as answered:
            assert (answered.status, await answered.json()) == (200, {"status": "ok"})
        async with client.get(house.url + "/readyz") as answered:
            assert answered.status == 200
        house.hub.draining = True
        async with client.get(house.url + "/readyz") as answered:
            assert (answered.status, (await answered.json())["reasons"]) == (503, ["draining"])
        async with client.get(house.url + "/metrics") as answered:
            assert "Nothing counts here" not in await answered.text()
        async with client.get(house.url + "/") as answered:
            assert answered.status == 200
            assert "text/html" in answered.headers["content-type"]


async def test_a_stream_from_a_provider_that_answers_whole(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        answered = await ask(client, house.url, CHAT | {"stream": True})
        text = await answered.text()
        assert '"content":"Hello!"' in text
        assert text.endswith("data: [DONE]\n\n")


async def test_nothing_of_the_provider_s_headers_reaches_the_caller(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION, 200, {"Set-Cookie": "a=b", "openai-organization": "org-x", "Server": "y"}))
    async with House(one_provider(upstream.url)) as house:
        answered = await ask(client, house.url)
        assert {name.lower() for name in answered.headers} == {
            "content-type", "content-length", "date", "x-request-id", "x-llmhub-served-by", "x-llmhub-attempts",
        }  # fmt: skip


async def test_redirects_are_never_followed(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with FakeUpstream() as thief:
        upstream.script(json_answer({}, 302, {"Location": thief.url}))
        async with House(one_provider(upstream.url)) as house:
            answered = await ask(client, house.url)
            assert answered.status == 502
            assert (await answered.json())["error"]["code"] == "upstream_redirect"
            assert thief.requests == []


async def test_losses_are_named(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(MESSAGE))
    config = provider("claude", upstream.url, kind="anthropic") + route("fast", "claude/claude-small")
    async with House(config) as house:
        answered = await ask(client, house.url, CHAT | {"temperature": 1.7, "seed": 5, "logit_bias": {"1": 2}})
        assert answered.status == 200
        adapted = set(answered.headers["x-llmhub-adapted"].split(", "))
        assert {"temperature=clamped", "seed=dropped", "logit_bias=dropped"} <= adapted
        (record,) = await house.records()
        assert set(record.adapted) == adapted


async def test_what_a_target_cannot_say_is_refused_by_name(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    config = provider("claude", upstream.url, kind="anthropic") + route("fast", "claude/claude-small")
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    async with House(config) as house:
        answered = await ask(client, house.url, CHAT | {"messages": [{"role": "user", "content": [audio]}]})
        assert answered.status == 400
        error = (await answered.json())["error"]
        assert error["code"] == "unsupported_content"
        assert error["param"].startswith("messages[0]")
        assert upstream.requests == []


async def test_http_1_0_callers_get_streams_too(upstream: FakeUpstream) -> None:
    from houses import raw_request

    upstream.script(sse_answer("".join(STREAM)))
    body = json.dumps(CHAT | {"stream": True}).encode()
    async with House(one_provider(upstream.url)) as house:
        head = f"POST /v1/chat HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        answered = await raw_request(house.url, head.encode() + body)
        assert b"transfer-encoding" not in answered
        assert answered.endswith(b"data: [DONE]\n\n")


async def test_pipelined_requests_are_answered_in_order(upstream: FakeUpstream) -> None:
    from houses import raw_request

    upstream.on(lambda request: json_answer(COMPLETION | {"id": request.json["user"]}))
    async with House(one_provider(upstream.url)) as house:
        data = b""
        for number in range(20):
            body = json.dumps(CHAT | {"user": f"n{number}"}).encode()
            last = "connection: close\r\n" if number == 19 else ""
            data += (
                f"POST /v1/chat HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{last}"
                f"content-length: {len(body)}\r\n\r\n"
            ).encode() + body
        answered = await raw_request(house.url, data)
        places = [answered.index(f'"n{number}"'.encode()) for number in range(20)]
        assert places == sorted(places)

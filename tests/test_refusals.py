"""Bad input: the right status, an error in the caller's dialect with code and advice, and nothing repeated."""

from __future__ import annotations

import json
import logging
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, ask, one_provider, raw_request

from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

JSON = {"content-type": "application/json"}
CHAT_PATH, MESSAGES, GEMINI = "/v1/chat/completions", "/v1/messages", "/v1beta/models/fast:generateContent"

GOOD: dict[str, dict[str, Any]] = {
    CHAT_PATH: CHAT,
    MESSAGES: {"model": "fast", "max_tokens": 10, "messages": CHAT["messages"]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}

BODIES: list[tuple[str, bytes, int, str]] = [
    # path, body, status, code
    (CHAT_PATH, b"", 400, "invalid_json"),
    (CHAT_PATH, b"{", 400, "invalid_json"),
    (CHAT_PATH, b"[]", 400, "invalid_body"),
    (CHAT_PATH, b"null", 400, "invalid_body"),
    (CHAT_PATH, b'{"messages":[{"role":"user","content":"x"}]}', 400, "missing_field"),
    (CHAT_PATH, b'{"model":5,"messages":[{"role":"user","content":"x"}]}', 400, "invalid_type"),
    (CHAT_PATH, b'{"model":"fast","messages":[]}', 400, "invalid_value"),
    (CHAT_PATH, b'{"model":"fast"}', 400, "missing_field"),
    (CHAT_PATH, b'{"model":"fast","messages":{"role":"user"}}', 400, "invalid_type"),
    (CHAT_PATH, b'{"model":"fast","messages":[{"content":"x"}]}', 400, "missing_field"),
    (CHAT_PATH, b'{"model":"fast","messages":[{"role":"wizard","content":"x"}]}', 400, "invalid_value"),
    (CHAT_PATH, b'{"model":"fast","messages":[{"role":"user","content":"x"}],"stream":"yes"}', 400, "invalid_type"),
    (CHAT_PATH, b'{"model":"fast","messages":[{"role":"user","content":"x"}],"temperature":9}', 400, "invalid_value"),
    (CHAT_PATH, b'{"model":"fast","messages":[{"role":"user","content":"\xff"}]}', 400, "invalid_encoding"),
    (
        CHAT_PATH,
        b'{"model":"fast","messages":[{"role":"user","content":"x"}],"base_url":"http://x"}',
        400,
        "unknown_field",
    ),
    (CHAT_PATH, b'{"model":"nope","messages":[{"role":"user","content":"x"}]}', 404, "model_not_found"),
    (CHAT_PATH, b'{"model":"fast","messages":' + b"[" * 100_000, 400, "invalid_json"),
    (MESSAGES, b"{", 400, "invalid_json"),
    (MESSAGES, b'{"model":"fast","messages":[{"role":"user","content":"x"}]}', 400, "missing_field"),
    (MESSAGES, b'{"model":"fast","max_tokens":10,"messages":[]}', 400, "invalid_value"),
    (MESSAGES, b'{"model":"nope","max_tokens":10,"messages":[{"role":"user","content":"x"}]}', 404, "model_not_found"),
    (GEMINI, b"{", 400, "invalid_json"),
    (GEMINI, b'{"contents":[]}', 400, "invalid_value"),
    (GEMINI, b"{}", 400, "missing_field"),
    ("/v1beta/models/nope:generateContent", json.dumps(GOOD[GEMINI]).encode(), 404, "model_not_found"),
]


def error_of(body: Any) -> dict[str, Any]:
    """The error object of any dialect, with its code where the dialect has one."""
    assert isinstance(body, dict)
    error = body["error"]
    assert isinstance(error, dict)
    assert error["message"]
    return error


def code_of(error: dict[str, Any]) -> str:
    if isinstance(error.get("code"), str):
        return str(error["code"])
    reasons = [detail["reason"] for detail in error["details"] if "reason" in detail]
    return str(reasons[0]).lower()


@pytest.mark.parametrize(("path", "body", "status", "code"), BODIES)
async def test_bad_bodies(
    upstream: FakeUpstream, client: aiohttp.ClientSession, path: str, body: bytes, status: int, code: str
) -> None:
    upstream.script(json_answer({"object": "list", "data": [{"id": "small"}]}))
    async with House(one_provider(upstream.url)) as house:
        async with client.post(house.url + path, data=body, headers=JSON) as answered:
            error = error_of(await answered.json())
            assert (answered.status, code_of(error)) == (status, code)
            assert error["source"] == "gateway"
            assert answered.headers["x-request-id"].startswith("req_")
        # Only the list of models is ever asked for, to see whether the provider has one of that name.
        assert {request.path for request in upstream.requests} <= {"/v1/models"}


@pytest.mark.parametrize("path", GOOD)
async def test_wrong_content_type_method_and_size(
    upstream: FakeUpstream, client: aiohttp.ClientSession, path: str
) -> None:
    async with House('[server]\nmax_body = "4 KiB"\n' + one_provider(upstream.url)) as house:
        for headers in ({"content-type": "text/plain"}, JSON | {"content-encoding": "gzip"}):
            async with client.post(house.url + path, data=b"{}", headers=headers) as answered:
                assert answered.status == 415
                assert code_of(error_of(await answered.json())) == "unsupported_media_type"
        async with client.get(house.url + path) as answered:
            assert answered.status == 405
            assert answered.headers["allow"] == "POST"
            assert code_of(error_of(await answered.json())) == "method_not_allowed"
        large = GOOD[path] | {"padding": "x" * 5000}
        async with client.post(house.url + path, json=large) as answered:
            assert answered.status == 413
            assert code_of(error_of(await answered.json())) == "request_too_large"

        async def in_pieces() -> Any:
            for _ in range(10):
                yield b"x" * 1000

        async with client.post(house.url + path, data=in_pieces(), headers=JSON) as answered:
            assert answered.status == 413
        assert upstream.requests == []


async def test_unknown_paths_speak_the_dialect_of_the_caller(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with House(one_provider(upstream.url)) as house:
        for path, headers, shape in [
            ("/v1/nothing", {}, "param"),
            ("/v1/nothing", {"anthropic-version": "2023-06-01"}, "type"),
            ("/v1beta/nothing", {}, "status"),
        ]:
            async with client.post(house.url + path, json={}, headers=headers) as answered:
                assert answered.status == 404
                assert answered.content_type == "application/json"
                assert shape in error_of(await answered.json())


async def test_a_token_is_asked_for_and_checked(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    token = mint()
    config = '[auth]\napi = "token"\n' + one_provider(upstream.url)
    config += f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nmodels = ["fa*"]\n'
    async with House(config) as house:
        typo = token[:-1] + ("a" if token[-1] != "a" else "b")
        for headers, code in [
            ({}, "missing_api_key"),
            ({"authorization": "Basic abc"}, "missing_api_key"),
            ({"authorization": "Bearer "}, "missing_api_key"),
            ({"authorization": "Bearer sk-main-1"}, "invalid_api_key"),
            ({"authorization": f"Bearer {typo}"}, "invalid_api_key"),
            ({"authorization": f"Bearer {digest(token)}"}, "invalid_api_key"),
            ({"x-api-key": mint()}, "invalid_api_key"),
        ]:
            answered = await ask(client, house.url, headers=headers)
            body = await answered.text()
            assert answered.status == 401
            assert code_of(error_of(json.loads(body))) == code
            assert "sk-main" not in body
            assert token[:12] not in body
        for headers in [
            {"authorization": f"Bearer {token}"},
            {"authorization": f"bearer {token}"},
            {"x-api-key": token},
            {"x-goog-api-key": token},
        ]:
            assert (await ask(client, house.url, headers=headers)).status == 200
        assert (await ask(client, house.url, path=f"/v1/chat?key={token}")).status == 200
        other = await ask(client, house.url, CHAT | {"model": "main/small"}, headers={"x-api-key": token})
        assert other.status == 403
        assert code_of(error_of(await other.json())) == "model_not_allowed"
        for request in upstream.requests:
            assert token not in str(request.headers)
            assert token not in str(request.query)


async def test_a_callers_own_limits(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    token = mint()
    config = one_provider(upstream.url) + f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nlimits = {{ rpm = 2 }}\n'
    async with House(config) as house:
        headers = {"authorization": f"Bearer {token}"}
        statuses = [(await ask(client, house.url, headers=headers)).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        refused = await ask(client, house.url, headers=headers)
        assert code_of(error_of(await refused.json())) == "rate_limit_exceeded"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        records = await house.records()
        assert [record.outcome for record in records] == ["served", "served", "refused", "refused"]


SECRET = "lh-canary-9c81f2a4e7b35d60"

BROKEN = [
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\x00\r\nContent-Length: 0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer %b\r\nContent-Length: 0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"POST /v1/\xff%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /v1/chat?key=%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"GET http://evil.example/%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/models/%b HTTP/2.0\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /%b" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"%b\r\n\r\n",
]


@pytest.mark.parametrize("template", BROKEN)
async def test_what_is_no_http_gets_a_json_error_that_repeats_nothing(
    upstream: FakeUpstream, caplog: pytest.LogCaptureFixture, template: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    async with House("[observers.access_log]\n" + one_provider(upstream.url)) as house:
        answered = await raw_request(house.url, template.replace(b"%b", SECRET.encode(), 1))
        head, _, body = answered.partition(b"\r\n\r\n")
        assert int(head.split()[1]) in (400, 404, 414, 415, 431, 505)
        assert b"application/json" in head
        assert b"aiohttp" not in head
        assert b"Python" not in head
        assert json.loads(body)["error"]["message"]
        assert SECRET.encode() not in answered
        assert SECRET not in caplog.text


async def test_odd_paths_are_just_unknown(upstream: FakeUpstream) -> None:
    async with House(one_provider(upstream.url)) as house:
        for path in (
            "//v1/chat",
            "/v1/../healthz",
            "/v1/chat/",
            "/V1/CHAT",
            "/v1/models/..%2f..%2fadmin",
            "/v1/x%0d%0ay",
        ):
            answered = await raw_request(
                house.url, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            assert answered.startswith(b"HTTP/1.1 40"), path
            json.loads(answered.partition(b"\r\n\r\n")[2])


async def test_model_names_cannot_write_headers(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        answered = await ask(client, house.url, CHAT | {"model": "main/a\r\nset-cookie: x=1"})
        assert "set-cookie" not in answered.headers
        answered = await ask(client, house.url, CHAT | {"model": "main/modèle"})
        assert answered.status == 200
        assert answered.headers["x-llmhub-served-by"] == "main/mod?le"


async def test_our_own_faults_are_told_without_their_insides(
    upstream: FakeUpstream, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with House(one_provider(upstream.url)) as house:

        def broken(model: str) -> None:
            raise RuntimeError(f"{SECRET} {model}")

        house.hub.catalog.find = broken  # type: ignore[assignment,method-assign]
        answered = await ask(client, house.url)
        assert answered.status == 500
        assert SECRET not in await answered.text()
        assert SECRET not in caplog.text
        assert "RuntimeError" in caplog.text

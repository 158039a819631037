"""What a wire format cannot say: told in ``x-llmhub-adapted`` and the record, refused with ``x-llmhub-strict``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, MESSAGE, STREAM, ask, provider, route

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

STRICT = {"x-llmhub-strict": "1"}
ADAPTED = "x-llmhub-adapted"


@dataclass(frozen=True)
class Front:
    """A caller's format: a request, what is lost of it behind Anthropic and Chat, and where its errors are read."""

    dialect: str
    path: str
    plain: dict[str, Any]
    more: dict[str, Any]
    lost: str
    behind: str = "claude"

    @property
    def losing(self) -> dict[str, Any]:
        return {**self.plain, **self.more}

    def streaming(self) -> Front:
        path, body = self.path, {**self.plain, "stream": True}
        if self.dialect == "gemini":
            path, body = path.replace(":generate", ":streamGenerate") + "?alt=sse", self.plain
        return Front(self.dialect, path, body, self.more, self.lost, self.behind)


FRONTS = [
    Front("openai_chat", "/v1/chat/completions", CHAT, {"seed": 7}, "seed"),
    Front(
        "openai_responses",
        "/v1/responses",
        {"model": "fast", "input": "Say hello."},
        {"truncation": "auto"},
        "truncation",
    ),
    Front(
        "anthropic", "/v1/messages", {**CHAT, "max_tokens": 100}, {"container": "c_1"}, "container", behind="compatible"
    ),
    Front(
        "gemini",
        "/v1beta/models/fast:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]},
        {"cachedContent": "cachedContents/1"},
        "cachedContent",
    ),
]
every_front = pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.dialect)


def told(dialect: str, body: bytes) -> tuple[str, str, str]:
    """Code, field and message of an error, as the dialect's readers find them; its own words are checked here."""
    error = json.loads(body)["error"]
    if dialect == "gemini":
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        (reason,) = (each["reason"] for each in error["details"] if "reason" in each)
        (violation,) = (field for each in error["details"] for field in each.get("fieldViolations", ()))
        return reason.lower(), violation["field"], error["message"]
    assert error["type"] == "invalid_request_error"
    if dialect == "anthropic":
        assert json.loads(body)["type"] == "error"
    return error["code"], error["param"], error["message"]


def answering(request: ReceivedRequest) -> Answer:
    if request.path == "/v1/messages":
        return json_answer(MESSAGE)
    return sse_answer(STREAM) if request.json.get("stream") else json_answer(COMPLETION)


def house(upstream: FakeUpstream, *deployments: tuple[str, int], more: str = "") -> House:
    """A hub with two providers that speak different formats, and the route `fast` to (provider, priority)."""
    upstream.on(answering)
    entries = ", ".join(
        f'{{ provider = "{name}", model = "{MODELS[name]}", priority = {priority} }}' for name, priority in deployments
    )
    return House(
        provider("claude", upstream.url, kind="anthropic")
        + provider("compatible", upstream.url)
        + f'[[routes]]\nmodel = "fast"\nstrategy = "priority"\ndeployments = [{entries}]\n'
        + more
    )


MODELS = {"claude": "claude-sonnet-4-6", "compatible": "small"}


def asked(upstream: FakeUpstream) -> list[str]:
    """The models that providers were asked for."""
    return [request.json["model"] for request in upstream.requests if request.method == "POST"]


async def post(client: aiohttp.ClientSession, house: House, front: Front, body: Any, **how: Any) -> Any:
    return await ask(client, house.url, body, path=front.path, **how)


# A loss.


@every_front
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_loss_is_refused_by_name_before_a_provider_is_asked(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: Front, streamed: bool
) -> None:
    asking = front.streaming() if streamed else front
    async with house(upstream, (front.behind, 1)) as hub:
        answer = await post(client, hub, asking, asking.losing, headers=STRICT)
        code, field, message = told(front.dialect, await answer.read())
        assert (answer.status, code, field) == (400, "adaptation_refused", front.lost)
        assert f"{front.lost}=dropped" in message
        assert asked(upstream) == []
        (record,) = await hub.records()
        assert (record.status, record.code) == (400, "adaptation_refused")


@every_front
async def test_without_the_header_a_loss_is_told(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: Front
) -> None:
    async with house(upstream, (front.behind, 1)) as hub:
        for headers in ({}, {"x-llmhub-strict": "0"}, {"x-llmhub-strict": "false"}):
            answer = await post(client, hub, front, front.losing, headers=headers)
            assert (answer.status, answer.headers[ADAPTED]) == (200, f"{front.lost}=dropped")
        assert [(record.outcome, record.adapted) for record in await hub.records()] == [
            ("served", [f"{front.lost}=dropped"])
        ] * 3


async def test_a_stream_tells_of_a_loss_too(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    front = next(front for front in FRONTS if front.behind == "compatible").streaming()
    async with house(upstream, ("compatible", 1)) as hub:
        answer = await post(client, hub, front, front.losing)
        assert (answer.status, answer.headers[ADAPTED]) == (200, f"{front.lost}=dropped")
        assert b"message_stop" in await answer.read()
        (record,) = await hub.records()
        assert record.adapted == [f"{front.lost}=dropped"]


@every_front
async def test_a_request_without_loss_passes(
    upstream: FakeUpstream, client: aiohttp.ClientSession, front: Front
) -> None:
    async with house(upstream, (front.behind, 1)) as hub:
        answer = await post(client, hub, front, front.plain, headers=STRICT)
        assert answer.status == 200
        assert ADAPTED not in answer.headers
        (record,) = await hub.records()
        assert (record.outcome, record.adapted) == ("served", [])


async def test_the_callers_own_format_loses_nothing(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    body = {**CHAT, "seed": 7, "logit_bias": {"17": 2}, "unheard_of": True}
    async with house(upstream, ("compatible", 1)) as hub:
        answer = await ask(client, hub.url, body, headers=STRICT)
        assert (answer.status, answer.headers.get(ADAPTED)) == (200, None)
        assert upstream.requests[-1].json == {**body, "model": "small"}


async def test_every_loss_is_named(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    body = {**CHAT, "seed": 7, "temperature": 1.5, "logit_bias": {"17": 2}}
    async with house(upstream, ("claude", 1)) as hub:
        answer = await ask(client, hub.url, body)
        lost = answer.headers[ADAPTED].split(", ")
        assert sorted(lost) == ["logit_bias=dropped", "seed=dropped", "temperature=clamped"]
        assert upstream.requests[-1].json["temperature"] == 1.0
        refused = await ask(client, hub.url, body, headers=STRICT)
        _, _, message = told("openai_chat", await refused.read())
        assert all(each in message for each in lost)
        (record, _) = await hub.records()
        assert record.adapted == lost


async def test_what_a_provider_of_the_same_format_adapts_counts(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    """The format can say it, the place cannot: a schema by a function that must be called."""
    upstream.on(answering)
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
    config = provider("place", upstream.url).replace("[[providers.keys]]", 'structured_output = "forced_tool"\n' + KEYS)
    async with House(config + route("fast", "place/small")) as hub:
        answer = await ask(client, hub.url, body)
        assert (answer.status, answer.headers[ADAPTED]) == (200, "response_format=emulated")
        refused = await ask(client, hub.url, body, headers=STRICT)
        code, field, _ = told("openai_chat", await refused.read())
        assert (refused.status, code, field) == (400, "adaptation_refused", "response_format")
        assert len(asked(upstream)) == 1


KEYS = "[[providers.keys]]"


async def test_a_hostile_name_of_a_lost_field_stays_in_its_header(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with house(upstream, ("claude", 1)) as hub:
        for name in ("a\r\nx-injected: 1", "ключ", "\x00", "a" * 9000):
            answer = await ask(client, hub.url, {**CHAT, name: 1})
            assert answer.status == 200
            assert "x-injected" not in answer.headers
            assert len(answer.headers[ADAPTED]) <= 2048


# Which candidate.


@pytest.mark.parametrize("headers", [{}, STRICT], ids=["", "strict"])
async def test_of_equal_candidates_one_without_loss_is_asked(
    upstream: FakeUpstream, client: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with house(upstream, ("claude", 1), ("compatible", 1)) as hub:
        for _ in range(4):
            answer = await ask(client, hub.url, {**CHAT, "seed": 7}, headers=headers)
            assert (answer.status, answer.headers.get(ADAPTED)) == (200, None)
        assert asked(upstream) == ["small"] * 4
        assert all(len(record.attempts) == 1 for record in await hub.records())
        for _ in range(4):  # without a loss it is as ever: each in turn
            await ask(client, hub.url, CHAT, headers=headers)
        assert set(asked(upstream)[4:]) == set(MODELS.values())


async def test_what_cannot_be_said_at_all_is_a_loss_too(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    body = {**CHAT, "messages": [{"role": "user", "content": [sound]}]}
    async with house(upstream, ("claude", 1), ("compatible", 1)) as hub:
        answer = await ask(client, hub.url, body)
        assert (answer.status, asked(upstream)) == (200, ["small"])
        (record,) = await hub.records()
        assert len(record.attempts) == 1


async def test_priority_goes_before_loss(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with house(upstream, ("claude", 1), ("compatible", 2)) as hub:
        answer = await ask(client, hub.url, {**CHAT, "seed": 7})
        assert (answer.status, answer.headers[ADAPTED]) == (200, "seed=dropped")
        assert asked(upstream) == ["claude-sonnet-4-6"]


async def test_a_strict_request_goes_on_to_the_next_priority(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with house(upstream, ("claude", 1), ("compatible", 2)) as hub:
        answer = await ask(client, hub.url, {**CHAT, "seed": 7}, headers=STRICT)
        assert (answer.status, answer.headers.get(ADAPTED)) == (200, None)
        assert asked(upstream) == ["small"]
        (record,) = await hub.records()
        assert [attempt.reason for attempt in record.attempts] == ["ok"]
        (label, why) = record.left_out[0]
        assert (label.partition("/")[0], why) == ("claude", "cannot: adaptation_refused")


async def test_where_every_candidate_loses_the_first_one_tells(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    front = next(front for front in FRONTS if front.dialect == "gemini")
    async with house(upstream, ("claude", 1), ("compatible", 1)) as hub:
        answer = await post(client, hub, front, front.losing)
        assert (answer.status, asked(upstream)) == (200, ["claude-sonnet-4-6"])
        refused = await post(client, hub, front, front.losing, headers=STRICT)
        code, field, _ = told("gemini", await refused.read())
        assert (refused.status, code, field) == (400, "adaptation_refused", "cachedContent")
        assert len(asked(upstream)) == 1
        *_, record = await hub.records()
        assert (record.outcome, record.attempts) == ("refused", [])
        assert "cachedContent=dropped" in record.adapted

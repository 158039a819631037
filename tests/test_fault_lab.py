"""Every fault on purpose, end to end: what SDKs see, what the hub learns, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from houses import COMPLETION, MESSAGE, STREAM, ask, one_provider, provider, route

from llmhub_core.contracts.exchange import Record
from llmhub_core.gateway.refusal import FAULT
from llmhub_core.hub.fault_lab import FAULT_KINDS, REASON, Fault
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer, sse_answer

ASKED: Any = {"model": "fast", "messages": [{"role": "user", "content": "Say hello."}]}
TIMES = "timeouts = { first_token = 0.4 }"


def a_fault(kind: str, lasts: float = 60.0, **more: Any) -> Fault:
    now = time.time()
    facts: dict[str, Any] = {"key": "", "model": "", "percent": 100.0, "seconds": 7.0}
    return Fault("main", kind=kind, began_at=now, ends_at=now + lasts, by="ann", **{**facts, **more})  # type: ignore[arg-type]


@pytest.fixture
async def house(upstream: FakeUpstream) -> AsyncIterator[House]:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url, more=TIMES)) as house:
        yield house


@pytest.fixture
async def sdk(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="x", max_retries=0) as client:
        yield client


async def last(house: House) -> Record:
    return (await house.records())[-1]


FAILURES: list[tuple[str, type[Exception], str, int | None]] = [
    ("rate_limited", openai.RateLimitError, "rate_limit_exceeded", 429),
    ("unauthorized", openai.InternalServerError, "no_upstream_available", 401),
    ("server_error", openai.InternalServerError, "overloaded", 500),
    ("overloaded", openai.InternalServerError, "overloaded", 529),
    ("timeout", openai.InternalServerError, "upstream_timeout", None),
    ("reset", openai.InternalServerError, "upstream_unreachable", None),
    ("garbage", openai.InternalServerError, "upstream_protocol_error", 200),
    ("broken_stream", openai.InternalServerError, "upstream_protocol_error", 200),
]


@pytest.mark.parametrize(("kind", "raised", "code", "status"), FAILURES, ids=[each[0] for each in FAILURES])
async def test_what_a_caller_sees(
    house: House, sdk: openai.AsyncOpenAI, kind: str, raised: type[openai.APIStatusError], code: str, status: int | None
) -> None:
    house.hub.fault_lab.start(a_fault(kind))
    with pytest.raises(raised) as caught:
        await sdk.chat.completions.create(**ASKED)
    error: Any = caught.value
    assert error.code == code
    assert error.response.headers[FAULT] == f"main={kind}"
    record = await last(house)
    (attempt,) = record.attempts
    assert (record.outcome, attempt.reason, attempt.status, attempt.provider_code) == ("failed", REASON, status, REASON)
    assert attempt.detail.startswith(f"fault lab: {kind}, read as ")


def test_every_kind_is_tried() -> None:
    assert {each[0] for each in FAILURES} | {"slow"} == set(FAULT_KINDS)


async def test_no_call_goes_out_where_none_is_needed(
    house: House, sdk: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    house.hub.fault_lab.start(a_fault("server_error"))
    with pytest.raises(openai.InternalServerError):
        await sdk.chat.completions.create(**ASKED)
    assert upstream.requests == []


async def test_a_rate_limit_says_for_how_long(house: House, sdk: openai.AsyncOpenAI) -> None:
    house.hub.fault_lab.start(a_fault("rate_limited", seconds=7.0))
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(**ASKED)
    assert int(caught.value.response.headers["retry-after"]) in (6, 7)
    mark = house.hub.pool.state(house.hub.catalog.places["main"].keys[0])
    assert (mark.state, mark.reason) == ("cooling", REASON)


async def test_a_slow_answer_comes_late_and_is_marked(house: House, sdk: openai.AsyncOpenAI) -> None:
    house.hub.fault_lab.start(a_fault("slow", seconds=0.25))
    began = time.monotonic()
    answer = await sdk.chat.completions.with_raw_response.create(**ASKED)
    assert time.monotonic() - began >= 0.25
    assert answer.headers[FAULT] == "main=slow"
    parsed = answer.parse()
    assert parsed.choices[0].message.content == "Hello!"
    record = await last(house)
    assert (record.outcome, record.attempts[0].reason) == ("served", "ok")
    assert record.attempts[0].detail == "fault lab: slow"
    assert record.adapted == ["fault_lab=active"]


async def test_an_answer_slower_than_the_route_waits_is_a_time_out(house: House, sdk: openai.AsyncOpenAI) -> None:
    house.hub.fault_lab.start(a_fault("slow", seconds=5.0))
    with pytest.raises(openai.InternalServerError) as caught:
        await sdk.chat.completions.create(**ASKED)
    assert caught.value.code == "upstream_timeout"


async def test_a_slow_stream(house: House, sdk: openai.AsyncOpenAI, upstream: FakeUpstream) -> None:
    upstream.script(sse_answer("".join(STREAM)))
    house.hub.fault_lab.start(a_fault("slow", seconds=0.25))
    began = time.monotonic()
    stream = await sdk.chat.completions.create(**ASKED, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text == "Hello!"
    assert time.monotonic() - began >= 0.25


async def test_a_stream_that_breaks_in_the_middle(
    house: House, sdk: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    upstream.script(sse_answer("".join([*STREAM[:2], *[STREAM[1]] * 20, *STREAM[2:]])))
    house.hub.fault_lab.start(a_fault("broken_stream"))
    stream = await sdk.chat.completions.create(**ASKED, stream=True)
    assert stream.response.headers[FAULT] == "main=broken_stream"
    read: list[str] = []
    with pytest.raises(openai.APIError):
        async for chunk in stream:
            read += [choice.delta.content or "" for choice in chunk.choices]
    assert "Hel" in read
    assert "lo!" not in read
    record = await last(house)
    assert (record.outcome, record.code, record.attempts[0].reason) == ("failed", "upstream_protocol_error", REASON)


async def test_a_stream_of_garbage(house: House, sdk: openai.AsyncOpenAI) -> None:
    house.hub.fault_lab.start(a_fault("garbage"))
    with pytest.raises(openai.APIError):
        stream = await sdk.chat.completions.create(**ASKED, stream=True)
        async for _ in stream:
            pass
    assert (await last(house)).outcome == "failed"


async def test_another_provider_answers_and_the_answer_says_what_it_met(upstream: FakeUpstream) -> None:
    upstream.script(json_answer(MESSAGE))
    text = provider("main", upstream.url) + provider("other", upstream.url, kind="anthropic")
    async with House(text + route("fast", "main/small", "other/claude")) as house:
        house.hub.fault_lab.start(a_fault("overloaded"))
        async with anthropic.AsyncAnthropic(base_url=house.url, api_key="x", max_retries=0) as client:
            answer = await client.messages.with_raw_response.create(**ASKED, max_tokens=9)
        assert answer.headers[FAULT] == "main=overloaded"
        assert answer.headers["x-llmhub-served-by"] == "other/claude"
        record = await last(house)
        assert [each.reason for each in record.attempts] == [REASON, "ok"]


@pytest.mark.parametrize("kind", ["anthropic", "gemini"])
async def test_an_error_is_in_the_words_of_the_providers_format(upstream: FakeUpstream, kind: str) -> None:
    async with House(provider("main", upstream.url, kind=kind) + route("fast", "main/small")) as house:
        house.hub.fault_lab.start(a_fault("rate_limited", seconds=7.0))
        async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="x", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(**ASKED)
        assert caught.value.code == "rate_limit_exceeded"
        assert {mark.state for mark in house.hub.pool.now_held().values()} == {"cooling"}


async def test_a_provider_in_this_process_can_fail_too(client: aiohttp.ClientSession) -> None:
    async with House('[[providers]]\nname = "main"\nkind = "echo"\n' + route("fast", "main/small")) as house:
        house.hub.fault_lab.start(a_fault("server_error"))
        assert (await ask(client, house.url)).status == 503


async def test_only_one_key_fails_and_only_so_often(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    text = "[routing]\nbreaker_failures = 1000\nretry_budget = 1\n" + one_provider(upstream.url, keys=2)
    async with House(text) as house:
        house.hub.fault_lab.start(a_fault("server_error", key="k1", percent=50.0))
        for _ in range(60):
            assert (await ask(client, house.url)).status == 200
        reasons = [attempt.reason for record in await house.records() for attempt in record.attempts]
        assert 10 <= reasons.count(REASON) <= 50
        struck = [each for record in await house.records() for each in record.attempts if each.reason == REASON]
        assert {each.key for each in struck} == {"k1"}
        assert house.hub.fault_lab.faults[0].struck == len(struck)


async def test_it_ends_by_itself_and_takes_its_traces_away(
    house: House, client: aiohttp.ClientSession, upstream: FakeUpstream
) -> None:
    lab, key = house.hub.fault_lab, house.hub.catalog.places["main"].keys[0]
    lab.start(a_fault("unauthorized", lasts=0.5))
    assert house.hub.faults is lab
    assert (await ask(client, house.url)).status == 503
    assert house.hub.pool.state(key).state == "invalid"
    await asyncio.sleep(0.6)
    assert (house.hub.faults, lab.faults) == (None, [])
    assert house.hub.pool.state(key).state == "active"
    answer = await ask(client, house.url)
    assert answer.status == 200
    assert FAULT not in answer.headers


async def test_breakers_open_and_are_closed_again(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House("[routing]\nbreaker_failures = 2\n" + one_provider(upstream.url)) as house:
        fault = a_fault("reset")
        house.hub.fault_lab.start(fault)
        for _ in range(2):
            await ask(client, house.url)
        assert house.hub.health.out() == {("main", "small"): 2}
        assert house.hub.fault_lab.stop(fault.id) is fault
        assert house.hub.fault_lab.stop(fault.id) is None
        assert house.hub.health.calm
        assert (await ask(client, house.url)).status == 200


async def test_what_really_is_wrong_stays(house: House, client: aiohttp.ClientSession, upstream: FakeUpstream) -> None:
    upstream.script(json_answer({"error": {"message": "Bad key", "code": "invalid_api_key"}}, status=401))
    await ask(client, house.url)
    fault = a_fault("rate_limited")
    house.hub.fault_lab.start(fault)
    await ask(client, house.url)
    house.hub.fault_lab.stop(fault.id)
    assert house.hub.pool.state(house.hub.catalog.places["main"].keys[0]).state == "invalid"


async def test_nothing_is_looked_at_while_nothing_is_active(house: House, client: aiohttp.ClientSession) -> None:
    answer = await ask(client, house.url)
    assert (answer.status, house.hub.faults) == (200, None)
    record = await last(house)
    assert (record.adapted, record.attempts[0].detail) == ([], "")

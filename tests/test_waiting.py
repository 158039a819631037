"""Requests that would rather wait than be refused; and refusals that let each SDK do the right thing by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from houses import CHAT, COMPLETION, MESSAGE, STREAM, ask, one_provider, provider, route

from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

ERROR = {"error": {"message": "no", "type": "t", "param": None, "code": None}}
PATIENT = {"x-llmhub-wait": "5s"}


def busy(milliseconds: int) -> Answer:
    return json_answer(ERROR, 429, {"retry-after-ms": str(milliseconds)})


def gated(url: str, concurrency: int = 1, more: str = "", routing: str = "") -> str:
    """One key that so many requests may use at the same time."""
    limits = f"limits = {{ concurrency = {concurrency} }}"
    return routing + provider("main", url, more=limits) + route("fast", "main/small", more=more)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 — what the hub has inside rings no bell for tests
            await asyncio.sleep(0.01)


async def nothing_is_held(house: House) -> None:
    """Nobody stands in line, nothing is reserved, nothing runs."""
    await house.hub.idle()
    await house.hub.settled()
    assert not house.hub.waiting.lines
    keys = [key for place in house.hub.catalog.places.values() for key in place.keys]
    limits = [limit for key in keys for limit in key.limits]
    limits += [limit for caller in house.hub.tokens.callers for limit in caller.limits]
    assert all(level.reserved == 0 for level in await house.hub.quota.levels(limits))
    assert all(stats.in_flight == 0 for stats in house.hub.catalog.stats)


@pytest.mark.parametrize("how", ["header", "route"])
async def test_who_waits_is_served_when_the_key_is_back(
    upstream: FakeUpstream, client: aiohttp.ClientSession, how: str
) -> None:
    upstream.script(busy(400), json_answer(COMPLETION))
    more = 'wait = "5 s"' if how == "route" else ""
    async with House(one_provider(upstream.url, more=more)) as house:
        began = time.monotonic()
        answered = await ask(client, house.url, headers=PATIENT if how == "header" else {})
        assert answered.status == 200
        assert 0.35 < time.monotonic() - began < 3
        assert float(answered.headers["x-llmhub-waited"]) >= 0.35
        (record,) = await house.records()
        assert [attempt.reason for attempt in record.attempts] == ["rate_limit_exceeded", "ok"]
        await nothing_is_held(house)


async def test_who_comes_while_the_key_rests_waits_as_well(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    """Refused by the plan, before anybody is asked."""
    upstream.script(busy(400), sse_answer(STREAM))
    async with House(one_provider(upstream.url)) as house:
        assert (await ask(client, house.url)).status == 429
        answered = await ask(client, house.url, CHAT | {"stream": True}, headers=PATIENT)
        assert answered.status == 200
        assert b"[DONE]" in await answered.read()
        assert len(upstream.requests) == 2
        records = await house.records()
        assert [record.outcome for record in records] == ["failed", "served"]


async def test_who_has_less_time_than_it_takes_is_refused_at_once(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(busy(30_000))
    async with House(one_provider(upstream.url)) as house:
        for _ in range(2):
            began = time.monotonic()
            refused = await ask(client, house.url, headers=PATIENT)
            assert (refused.status, refused.headers["retry-after"]) == (429, "30")
            assert time.monotonic() - began < 2
        assert len(upstream.requests) == 1
        await nothing_is_held(house)


async def test_who_needs_tokens_that_another_one_may_give_back_waits_for_that(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    """By the window it would take a minute, but hardly any answer is as long as it might have been."""
    upstream.on(lambda _: json_answer(COMPLETION, delay_first=0.6))
    key = provider("main", upstream.url, more="limits = { tpm = 1500 }")
    async with House(key + route("fast", "main/small")) as house:
        first = asyncio.create_task(ask(client, house.url, CHAT | {"max_tokens": 1000}))
        await upstream.wait_for(1)
        began = time.monotonic()
        second = await ask(client, house.url, CHAT | {"max_tokens": 1000}, headers=PATIENT)
        assert second.status == (await first).status == 200
        assert time.monotonic() - began < 5
        began = time.monotonic()
        refused = await ask(client, house.url, CHAT | {"max_tokens": 1450}, headers=PATIENT)
        assert refused.status == 429
        assert time.monotonic() - began < 2, "nobody is there to give anything back"
        await nothing_is_held(house)


@pytest.mark.parametrize("wish", ["soon", "-1", "1h", "s"])
async def test_a_wish_that_is_no_time_is_refused(
    upstream: FakeUpstream, client: aiohttp.ClientSession, wish: str
) -> None:
    upstream.script(busy(1000))
    async with House(one_provider(upstream.url)) as house:
        refused = await ask(client, house.url, headers={"x-llmhub-wait": wish})
        assert refused.status == 400
        assert (await refused.json())["error"]["param"] == "x-llmhub-wait"


async def test_first_come_first_served(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    """One at a time, and in the order in which they came; each answer wakes the next at once."""
    upstream.on(lambda request: json_answer(COMPLETION, delay_first=0.05))
    async with House(gated(upstream.url)) as house:
        asked = []
        for number in range(8):
            asked.append(asyncio.create_task(ask(client, house.url, CHAT | {"user": str(number)}, headers=PATIENT)))
            await asyncio.sleep(0.02)
        began = time.monotonic()
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 8
        assert time.monotonic() - began < 4  # woken, not found by looking once a second
        assert [request.json["user"] for request in upstream.requests] == [str(number) for number in range(8)]
        await nothing_is_held(house)
        assert len(await house.records()) == 8


async def test_many_wait_for_few_places(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    most = 0

    def answer(request: ReceivedRequest) -> Answer:
        nonlocal most
        most = max(most, sum(stats.in_flight for stats in house.hub.catalog.stats))
        return json_answer(COMPLETION, delay_first=0.01)

    upstream.on(answer)
    async with House(gated(upstream.url, concurrency=2)) as house:
        answers = await asyncio.gather(*(ask(client, house.url, headers=PATIENT) for _ in range(40)))
        assert [each.status for each in answers] == [200] * 40
        assert most <= 2
        await nothing_is_held(house)
        assert len(await house.records()) == 40


async def test_who_hangs_up_leaves_the_line(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    go_on = asyncio.Event()
    upstream.script(Answer(200, {}, body=b"{}", stall_after=0, resume=go_on), json_answer(COMPLETION))
    async with House(gated(upstream.url)) as house:
        first = asyncio.create_task(ask(client, house.url))
        await upstream.wait_for(1)
        waiting = [asyncio.create_task(ask(client, house.url, headers=PATIENT)) for _ in range(3)]
        await until(lambda: len(house.hub.waiting.lines.get("route:fast", [])) == 3)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        await until(lambda: len(house.hub.waiting.lines["route:fast"]) == 1)
        first.cancel()  # the provider would have taken for ever
        answered = await waiting[2]
        assert answered.status == 200
        await asyncio.gather(first, return_exceptions=True)
        await nothing_is_held(house)
        assert sorted(record.outcome for record in await house.records()) == ["cancelled"] * 3 + ["served"]


async def test_the_line_is_as_long_as_allowed(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION, delay_first=0.6))
    async with House(gated(upstream.url, routing="[routing]\nwaiting = 2\n")) as house:
        asked = [asyncio.create_task(ask(client, house.url, headers=PATIENT))]
        await upstream.wait_for(1)
        asked += [asyncio.create_task(ask(client, house.url, headers=PATIENT)) for _ in range(5)]
        statuses = sorted(answer.status for answer in await asyncio.gather(*asked))
        assert statuses == [200, 200, 200, 429, 429, 429]
        await nothing_is_held(house)


async def test_time_runs_out_in_line(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION, delay_first=2))
    async with House(gated(upstream.url)) as house:
        first = asyncio.create_task(ask(client, house.url))
        await upstream.wait_for(1)
        began = time.monotonic()
        refused = await ask(client, house.url, headers={"x-llmhub-wait": "300ms"})
        assert refused.status == 429
        assert 0.25 < time.monotonic() - began < 1.5
        assert (await refused.json())["error"]["source"] == "capacity"
        assert int(refused.headers["retry-after-ms"]) <= 1000
        late = await ask(client, house.url, headers={"x-llmhub-wait": "10s", "x-llmhub-timeout": "0.2"})
        assert (late.status, (await late.json())["error"]["code"]) == (504, "upstream_timeout")
        assert (await first).status == 200
        await nothing_is_held(house)


async def test_a_callers_own_limit_holds_up_nobody_else(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, delay_first=0.3))
    token = mint()
    known = f'[[tokens]]\nname = "one"\nhash = "{digest(token)}"\nlimits = {{ concurrency = 1 }}\n'
    own = PATIENT | {"authorization": f"Bearer {token}"}
    async with House(one_provider(upstream.url) + known) as house:
        mine = [asyncio.create_task(ask(client, house.url, headers=own)) for _ in range(3)]
        await upstream.wait_for(1)
        assert (await ask(client, house.url, headers=PATIENT)).status == 200
        assert not mine[-1].done()
        assert [answer.status for answer in await asyncio.gather(*mine)] == [200] * 3
        await nothing_is_held(house)


async def test_a_reset_of_the_key_ends_the_waiting(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(busy(4000), json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        began = time.monotonic()
        waiting = asyncio.create_task(ask(client, house.url, headers=PATIENT))
        await until(lambda: bool(house.hub.waiting.lines))
        house.hub.pool.reset(house.hub.catalog.places["main"].keys[0])
        assert (await waiting).status == 200
        assert time.monotonic() - began < 3


# what SDKs make of a refusal, with their own retries and no code of ours


async def test_openai_waits_by_itself_and_succeeds(upstream: FakeUpstream) -> None:
    upstream.script(busy(1200), json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        async with openai.AsyncOpenAI(api_key="x", base_url=house.url + "/v1") as sdk:
            answer = await sdk.chat.completions.create(model="fast", messages=[{"role": "user", "content": "Hi"}])
        assert answer.choices[0].message.content == "Hello!"
        assert len(upstream.requests) == 2  # the second try came when the key was back, not before


async def test_anthropic_waits_by_itself_and_succeeds(upstream: FakeUpstream) -> None:
    limited = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}}
    upstream.script(json_answer(limited, 429, {"retry-after": "1"}), json_answer(MESSAGE))
    config = provider("main", upstream.url, kind="anthropic") + route("fast", "main/m")
    async with House(config) as house:
        async with anthropic.AsyncAnthropic(api_key="x", base_url=house.url) as sdk:
            answer = await sdk.messages.create(model="fast", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        assert answer.content[0].type == "text"
        assert len(upstream.requests) == 2


SPENT = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                        "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
                        "quotaValue": "10",
                    }
                ],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.1s"},
        ],
    }
}
SAID = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello!"}]}, "finishReason": "STOP"}]}


def gemini(url: str, **options: Any) -> genai.Client:
    return genai.Client(api_key="x", http_options=genai_types.HttpOptions(base_url=url, **options))


@pytest.mark.parametrize("how", ["its own retries", "x-llmhub-wait"])
async def test_google_succeeds_with_its_own_retries_or_by_waiting_here(upstream: FakeUpstream, how: str) -> None:
    """It knows no Retry-After: with retries switched on, it tries again after seconds of its own choosing."""
    upstream.script(json_answer(SPENT, 429), json_answer(SAID))
    options: dict[str, Any] = {"headers": {"x-llmhub-wait": "5s"}}
    if how == "its own retries":
        options = {"retry_options": genai_types.HttpRetryOptions(attempts=4, initial_delay=0.8)}
    config = provider("main", upstream.url, kind="gemini") + route("fast", "main/gemini-2.5-flash")
    async with House(config) as house:
        sdk = gemini(house.url, **options)
        try:
            answer = await sdk.aio.models.generate_content(model="fast", contents="Hi")
        finally:
            await sdk.aio.aclose()
        assert answer.text == "Hello!"
        assert len(upstream.requests) == 2


async def test_a_single_key_loses_none_of_what_google_said(upstream: FakeUpstream) -> None:
    upstream.script(json_answer(SPENT, 429))
    config = provider("main", upstream.url, kind="gemini") + route("fast", "main/gemini-2.5-flash")
    async with House(config) as house:
        sdk = gemini(house.url)
        try:
            with pytest.raises(genai_errors.ClientError) as raised:
                await sdk.aio.models.generate_content(model="fast", contents="Hi")
        finally:
            await sdk.aio.aclose()
        error = raised.value.details["error"]
        details = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
        (violation,) = details["QuotaFailure"]["violations"]
        assert violation["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
        assert violation["quotaValue"] == "10"
        assert 0.5 < float(details["RetryInfo"]["retryDelay"].removesuffix("s")) <= 1.1
        assert (raised.value.code, error["source"]) == (429, "capacity")


async def test_nobody_retries_what_is_pointless(upstream: FakeUpstream) -> None:
    """No credit is left: OpenAI's and Anthropic's SDKs ask once and tell why."""
    out = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota",
                     "code": "insufficient_quota", "param": None}}  # fmt: skip
    upstream.script(json_answer(out, 429))
    async with House(one_provider(upstream.url)) as house:
        async with openai.AsyncOpenAI(api_key="x", base_url=house.url + "/v1") as sdk:
            with pytest.raises(openai.RateLimitError) as raised:
                await sdk.chat.completions.create(model="fast", messages=[{"role": "user", "content": "Hi"}])
        assert raised.value.code == "insufficient_quota"
        assert raised.value.response.headers["x-should-retry"] == "false"
        async with anthropic.AsyncAnthropic(api_key="x", base_url=house.url) as other:
            with pytest.raises(anthropic.RateLimitError):
                await other.messages.create(model="fast", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        assert len(upstream.requests) == 1
        assert len(await house.records()) == 2  # one request each: no SDK came back


async def test_several_keys_out_say_the_soonest_and_keep_the_records_apart(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    """Exactly one record a request, whatever became of it."""
    waits = {"sk-main-1": 3000, "sk-main-2": 300}
    asked: dict[str, int] = {}

    def answer(request: ReceivedRequest) -> Answer:
        key = request.headers["authorization"][7:]
        asked[key] = asked.get(key, 0) + 1
        return busy(waits[key]) if asked[key] == 1 else json_answer(COMPLETION)

    upstream.on(answer)
    async with House(one_provider(upstream.url, keys=2)) as house:
        began = time.monotonic()
        answered = await ask(client, house.url, headers=PATIENT)
        assert answered.status == 200
        assert 0.25 < time.monotonic() - began < 2.9  # for the second key, which was back first
        assert json.loads(await answered.read())["choices"]
        assert asked == {"sk-main-1": 1, "sk-main-2": 2}
        assert len(await house.records()) == 1

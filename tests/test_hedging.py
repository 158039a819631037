"""A second candidate beside a slow first one: one answer, one record, and nothing stays reserved."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from houses import CHAT, COMPLETION, STREAM, ask, provider, route

from llmhub_core.gateway.hedging import KNOWN, Tempo, tempo
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer, sse_answer

DOWN = json_answer({"error": {"message": "down", "type": "server_error", "param": None, "code": None}}, 500)
STREAMED = CHAT | {"stream": True}


def hedged(first: str, second: str, more: str = "hedge = true") -> str:
    limits = "limits = { concurrency = 5, rpm = 1000, tpm = 1000000 }"
    keys = provider("one", first, more=limits) + provider("two", second, more=limits)
    return "[routing]\nretry_budget = 1\n" + keys + route("fast", "one/m", "two/m", more=more)


def known(house: House, seconds: float = 0.1) -> None:
    """As after many answers of the first."""
    for _ in range(KNOWN):
        tempo(house.hub).note("one/m#k1", seconds)


async def nothing_is_held(house: House) -> None:
    await house.hub.idle()
    await house.hub.settled()
    limits = [limit for place in house.hub.catalog.places.values() for key in place.keys for limit in key.limits]
    assert all(level.reserved == 0 for level in await house.hub.quota.levels(limits))
    assert all(stats.in_flight == 0 for stats in house.hub.catalog.stats)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_slow_first_is_overtaken_and_given_up(
    upstream: FakeUpstream, client: aiohttp.ClientSession, stream: bool
) -> None:
    good = sse_answer(STREAM) if stream else json_answer(COMPLETION)
    upstream.script(Answer(good.status, good.headers, good.body, good.chunks, delay_first=30))
    async with FakeUpstream() as other:
        other.script(good)
        async with House(hedged(upstream.url, other.url)) as house:
            known(house)
            began = time.monotonic()
            answered = await ask(client, house.url, CHAT | {"stream": stream})
            assert answered.status == 200
            assert 0.1 <= time.monotonic() - began < 5
            assert answered.headers["x-llmhub-served-by"] == "two/m"
            async with asyncio.timeout(1):
                await upstream.gone.wait()
            (record,) = await house.records()
            assert [(attempt.provider, attempt.reason) for attempt in record.attempts] == [
                ("one", "hedge_lost"), ("two", "ok"),
            ]  # fmt: skip
            assert (record.outcome, record.provider, record.output_tokens) == ("served", "two", 3)
            await nothing_is_held(house)
            keys = {place.name: place.keys[0] for place in house.hub.catalog.places.values()}
            for name in ("one", "two"):
                used = {level.limit.kind: level.used for level in await house.hub.quota.levels(keys[name].limits)}
                assert used["requests"] == 1
                assert used["tokens"] > 0  # the one that lost has read the request, and will charge for it


async def test_a_first_that_begins_in_time_is_left_alone(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer(STREAM, delay=0.1))
    async with FakeUpstream() as other, House(hedged(upstream.url, other.url)) as house:
        known(house, 0.4)
        assert b"[DONE]" in await (await ask(client, house.url, STREAMED)).read()
        assert not other.requests


async def test_a_first_that_begins_after_all_wins(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer(STREAM, delay_first=0.4))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM, delay_first=30))
        async with House(hedged(upstream.url, other.url)) as house:
            known(house)
            answered = await ask(client, house.url, STREAMED)
            assert (await answered.read()).count(b"[DONE]") == 1
            (record,) = await house.records()
            assert [attempt.reason for attempt in record.attempts] == ["ok", "hedge_lost"]
            assert record.provider == "one"
            await nothing_is_held(house)


async def test_who_fails_leaves_the_race_to_the_other(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(Answer(DOWN.status, DOWN.headers, DOWN.body, delay_first=0.3))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM, delay_first=0.5))
        async with House(hedged(upstream.url, other.url)) as house:
            known(house)
            assert (await ask(client, house.url, STREAMED)).status == 200
            (record,) = await house.records()
            assert [attempt.reason for attempt in record.attempts] == ["overloaded", "ok"]
            await nothing_is_held(house)


async def test_when_both_fail_the_caller_reads_one_error(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(Answer(DOWN.status, DOWN.headers, DOWN.body, delay_first=0.3))
    async with House(hedged(upstream.url, upstream.url)) as house:
        known(house)
        assert (await ask(client, house.url, STREAMED)).status == 503
        (record,) = await house.records()
        assert [attempt.reason for attempt in record.attempts] == ["overloaded", "overloaded"]
        assert record.outcome == "failed"
        await nothing_is_held(house)


async def test_who_hangs_up_ends_both(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer(STREAM, delay_first=30))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM, delay_first=30))
        async with House(hedged(upstream.url, other.url)) as house:
            known(house)
            asking = asyncio.create_task(ask(client, house.url, STREAMED))
            await other.wait_for(1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            async with asyncio.timeout(1):
                await asyncio.gather(upstream.gone.wait(), other.gone.wait())
            (record,) = await house.records()
            assert (record.outcome, len(record.attempts)) == ("cancelled", 2)
            await nothing_is_held(house)


async def test_a_stream_that_breaks_after_it_won_breaks_for_the_caller(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer(STREAM, delay_first=30))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM, cut_after=len("".join(STREAM[:2]))))
        async with House(hedged(upstream.url, other.url)) as house:
            known(house)
            response = await client.post(house.url + "/v1/chat/completions", json=STREAMED)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
            (record,) = await house.records()
            assert (record.outcome, record.provider) == ("failed", "two")
            await nothing_is_held(house)


async def test_nobody_is_hedged_whose_time_is_not_known_and_times_are_learned(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION, delay_first=0.01))
    async with FakeUpstream() as other, House(hedged(upstream.url, other.url)) as house:
        for _ in range(KNOWN):
            assert tempo(house.hub).p95("one/m#k1") is None
            assert (await ask(client, house.url)).status == 200
        assert not other.requests
        usual = tempo(house.hub).p95("one/m#k1")
        assert usual is not None
        assert 0.01 <= usual < 5


def test_the_time_is_that_of_19_in_20() -> None:
    times = Tempo()
    for number in range(100):
        times.note("a", number / 100)
    assert times.p95("a") == 0.95
    assert times.p95("b") is None

"""Further attempts: never more than a share of the requests, and never longer than the request was given."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from houses import COMPLETION, ask, one_provider, provider, route
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhub_core.hub.retries import BURST, EACH_SECOND, Retries
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

DOWN = json_answer({"error": {"message": "down", "type": "server_error", "param": None, "code": None}}, 500)


async def test_an_outage_does_not_multiply_the_load(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    """Everybody fails: each request is tried once, and a fifth of them again."""
    upstream.script(DOWN)
    config = "[routing]\nbreaker_failures = 1000\n" + one_provider(upstream.url, keys=3)
    async with House(config) as house:
        began = time.monotonic()
        for _ in range(10):
            answers = await asyncio.gather(*(ask(client, house.url) for _ in range(20)))
            assert {answer.status for answer in answers} == {503}
        seconds = time.monotonic() - began
        extra = len(upstream.requests) - 200
        assert 0 < extra <= 0.2 * 200 + BURST + EACH_SECOND * seconds + 1
        records = await house.records()
        assert len(records) == 200
        assert sum(len(record.attempts) for record in records) == 200 + extra
        spent = [why for record in records for _, why in record.left_out]
        assert any(why.startswith("retry budget") for why in spent)


@pytest.mark.parametrize(("share", "calls"), [(0, 1), (1, 3)])
async def test_the_share_is_a_setting(
    upstream: FakeUpstream, client: aiohttp.ClientSession, share: int, calls: int
) -> None:
    upstream.script(DOWN)
    async with House(f"[routing]\nretry_budget = {share}\n" + one_provider(upstream.url, keys=5)) as house:
        assert (await ask(client, house.url)).status == 503
        assert len(upstream.requests) == calls


async def test_who_has_a_well_provider_behind_a_failing_one_is_always_served(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.on(lambda request: DOWN if request.headers["authorization"].endswith("-1") else json_answer(COMPLETION))
    config = "[routing]\nbreaker_failures = 1000\n" + one_provider(upstream.url, keys=2)
    async with House(config) as house:
        for _ in range(10):
            answers = await asyncio.gather(*(ask(client, house.url) for _ in range(8)))
            assert {answer.status for answer in answers} == {200}


async def test_a_key_that_is_out_costs_no_budget(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    limited = json_answer({"error": {"message": "no", "code": None}}, 429, {"retry-after": "60"})
    upstream.on(lambda request: json_answer(COMPLETION) if request.headers["authorization"].endswith("-3") else limited)
    async with House("[routing]\nretry_budget = 0\n" + one_provider(upstream.url, keys=3)) as house:
        assert (await ask(client, house.url)).status == 200
        assert len(upstream.requests) == 3


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 5)), max_size=20), st.floats(0.05, 1))
def test_no_more_than_a_share_of_the_requests(steps: list[tuple[int, float]], share: float) -> None:
    retries, requests, now, taken = Retries(share), 0, 1000.0, 0
    for more, seconds in steps:
        requests, now = requests + more, now + seconds
        taken += sum(retries.take("r", requests, now) for _ in range(30))
    assert taken <= share * requests + BURST + EACH_SECOND * (now - 1000.0) + 1e-6


def test_a_quiet_route_always_has_a_few() -> None:
    retries = Retries(0.2)
    for minute in range(100):
        assert retries.take("r", minute, 1000.0 + 60 * minute)
    assert not Retries(0.0).take("r", 1000, 1.0)


# the time of a request


async def test_attempts_share_the_time_of_the_request(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    """The first one hangs up after a while, the second has what is left and not a time-out of its own."""
    upstream.script(json_answer(COMPLETION, delay_first=0.3, cut_after=0), json_answer(COMPLETION, delay_first=30))
    async with House(one_provider(upstream.url, keys=2)) as house:
        began = time.monotonic()
        late = await ask(client, house.url, headers={"x-llmhub-timeout": "0.8"})
        assert 0.7 < time.monotonic() - began < 2
        assert (late.status, (await late.json())["error"]["code"]) == (504, "upstream_timeout")
        (record,) = await house.records()
        assert [attempt.reason for attempt in record.attempts] == ["upstream_protocol_error", "upstream_timeout"]
        assert (record.outcome, record.code) == ("failed", "upstream_timeout")


async def test_a_first_token_that_is_late_leaves_the_rest_to_the_next(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION, delay_first=30))
    async with FakeUpstream() as other:
        other.script(json_answer(COMPLETION, delay_first=0.2))
        more = "timeouts = { first_token = 0.3, total = 5 }"
        config = provider("one", upstream.url) + provider("two", other.url)
        async with House(config + route("fast", "one/m", "two/m", more=more)) as house:
            assert (await ask(client, house.url, headers={"x-llmhub-timeout": "3s"})).status == 200
            (record,) = await house.records()
            assert [attempt.reason for attempt in record.attempts] == ["upstream_timeout", "ok"]


async def test_a_deadline_of_the_route_counts_without_a_wish(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION, delay_first=30))
    async with House(one_provider(upstream.url, keys=3, more="timeouts = { total = 0.4 }")) as house:
        began = time.monotonic()
        assert (await ask(client, house.url)).status == 504
        assert time.monotonic() - began < 2
        (record,) = await house.records()
        assert record.attempts[-1].reason == "upstream_timeout"

"""Whatever becomes of requests, ledger and counters agree: every request once, nothing that was reported missing, and
what the ledger knows makes the same counters again."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from houses import CHAT, COMPLETION, chunk, provider
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhub_core.contracts import Record
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

TOKEN = mint()
LIMITS = "limits = { rpd = 10000, tpd = 100000000, concurrency = 100"


@dataclass(frozen=True)
class Asked:
    """A request and what becomes of it. `reports` are tokens of the answer that the provider tells, None if it does
    not; `cut` is where a stream breaks, as a share of it."""

    kind: Literal["whole", "stream", "cut", "left", "refused", "failed"]
    reports: int | None
    words: int
    cut: float

    def answer(self) -> Answer:
        if self.kind in ("refused", "failed"):
            code = 400 if self.kind == "refused" else 500
            return json_answer({"error": {"message": "no", "type": "invalid_request_error"}}, code)
        if self.kind == "whole":
            return json_answer({**COMPLETION, "usage": self.usage()} if self.usage() else {**COMPLETION, "usage": None})
        frames = [chunk({"role": "assistant", "content": ""})]
        frames += [chunk({"content": "word "}) for _ in range(self.words)]
        frames += [chunk({}, "stop")]
        if self.usage():
            told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
            frames.append(f"data: {json.dumps({**told, 'usage': self.usage()})}\n\n")
        frames.append("data: [DONE]\n\n")
        text = "".join(frames)
        if self.kind == "cut":
            return sse_answer(frames, cut_after=int(self.cut * (len(text) - len("data: [DONE]\n\n"))))
        if self.kind == "left":
            return sse_answer(frames, stall_after=len(frames[0]) + len(frames[1]))
        return sse_answer(frames)

    def usage(self) -> dict[str, int] | None:
        if self.reports is None:
            return None
        return {"prompt_tokens": 7, "completion_tokens": self.reports, "total_tokens": 7 + self.reports}


some_requests = st.lists(
    st.builds(
        Asked,
        kind=st.sampled_from(("whole", "stream", "cut", "left", "refused", "failed")),
        reports=st.one_of(st.none(), st.integers(0, 100_000)),
        words=st.integers(1, 30),
        cut=st.floats(0.0, 1.0),
    ),
    min_size=1,
    max_size=12,
)


def config(url: str) -> str:
    keys = provider("main", url, more=f"{LIMITS} }}")
    priced = '{ provider = "main", model = "small", input_price = 1.5, output_price = 2.25 }'
    token = f'[[tokens]]\nname = "t"\nhash = "{digest(TOKEN)}"\n{LIMITS}, budget = "1000 USD/day" }}\n'
    return f'{keys}[[routes]]\nmodel = "fast"\ndeployments = [{priced}]\n[auth]\napi = "token"\n{token}'


async def ask(client: aiohttp.ClientSession, url: str, number: int, asked: Asked) -> None:
    streams = asked.kind in ("stream", "cut", "left")
    body = {**CHAT, "stream": streams, "user": str(number)}
    if streams:
        body["stream_options"] = {"include_usage": True}
    headers = {"authorization": f"Bearer {TOKEN}", "x-client-request-id": str(number)}
    async with client.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        try:
            if asked.kind == "left":
                await answer.content.readany()
                answer.close()
            else:
                await answer.read()
        except aiohttp.ClientPayloadError:
            assert asked.kind == "cut"


async def counted(house: House) -> dict[str, tuple[int, int]]:
    """(used, reserved) by owner and kind."""
    caller = house.hub.tokens.find(TOKEN)
    assert caller is not None
    (place,) = house.hub.catalog.places.values()
    levels = await house.hub.quota.levels([*caller.limits, *place.keys[0].limits])
    return {f"{level.limit.id.partition(':')[0]} {level.limit.kind}": (level.used, level.reserved) for level in levels}


async def booked(requests: list[Asked], folder: Path) -> None:
    async with FakeUpstream() as upstream:
        answers = [asked.answer() for asked in requests]

        def choose(request: ReceivedRequest) -> Answer:
            return answers[int(request.json["user"])]

        upstream.on(choose)
        async with House(config(upstream.url), folder=folder) as house:
            async with aiohttp.ClientSession() as client:
                await asyncio.gather(*(ask(client, house.url, *each) for each in enumerate(requests)))
            records = await house.records()
            assert_each_is_booked(requests, records)
            before = await counted(house)
            tokens = sum(record.input_tokens + record.output_tokens for record in records)
            assert before["token requests"] == before["key requests"] == (len(requests), 0)
            assert before["token tokens"] == before["key tokens"] == (tokens, 0)
            assert before["token money"] == (sum(record.cost or 0 for record in records), 0)
            assert before["token concurrency"] == before["key concurrency"] == (0, 0)
        for file in (folder / "data").glob("quota.journal*"):
            file.unlink()
        async with House(config(upstream.url), folder=folder) as house:
            after = await counted(house)
            for name in ("token tokens", "token money", "token concurrency"):
                assert after[name] == before[name]
            ended = Counter(record.outcome for record in records)
            assert after["token requests"][0] == len(requests) - ended["cancelled"]


def assert_each_is_booked(requests: list[Asked], records: list[Record]) -> None:
    assert len({record.id for record in records}) == len(records)
    by_number = {int(record.client_request_id): record for record in records if record.client_request_id}
    assert sorted(by_number) == [*range(len(requests))]
    assert len(records) == len(requests)
    for number, asked in enumerate(requests):
        record = by_number[number]
        charged = record.input_tokens + record.output_tokens
        outcome: dict[str, Any] = {"whole": "served", "stream": "served", "cut": "failed", "left": "cancelled"}
        assert record.outcome == outcome.get(asked.kind, "failed"), (asked, record)
        if asked.kind in ("refused", "failed"):
            assert (charged, record.cost or 0) == (0, 0), "nothing was said"
        elif asked.kind in ("whole", "stream"):
            if asked.reports is not None:
                assert charged == 7 + asked.reports
                assert not record.usage_estimated
            else:
                assert charged > 0
                assert record.usage_estimated
        elif asked.kind == "left":
            assert charged > 0, "it has said something"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some_requests)
def test_every_request_is_booked_once_and_its_counters_can_be_made_again(requests: list[Asked]) -> None:
    with tempfile.TemporaryDirectory(prefix="llmhub-") as folder:
        asyncio.run(booked(requests, Path(folder)))

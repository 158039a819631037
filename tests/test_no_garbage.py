"""What a request leaves behind is gone with it: for what only the garbage collector takes away all callers wait."""

from __future__ import annotations

import gc
from collections import Counter

import aiohttp
import pytest
from houses import CHAT, COMPLETION, STREAM, ask, one_provider

from llmhub_core.contracts.exchange import Attempt, Exchange, Plan, Record
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer, sse_answer

OURS = (Attempt, Exchange, Plan, Record)
MESSAGES = {"path": "/v1/messages", "body": {**CHAT, "max_tokens": 20}}
STREAMED = {"body": {**CHAT, "stream": True}}
ANSWERS = {
    "whole": json_answer(COMPLETION),
    "stream": sse_answer(STREAM),
    "refused": json_answer({"error": {"message": "no", "code": "bad"}}, 400),
    "nonsense": json_answer({"error": "well"}, 500),
    "broken": sse_answer(STREAM, cut_after=700, reset=True),
}


@pytest.mark.parametrize("keys", [1, 2, 20])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("whole", {}), ("stream", STREAMED), ("refused", {}), ("nonsense", {}), ("broken", STREAMED),
        ("whole", MESSAGES), ("stream", {**MESSAGES, **STREAMED}), ("refused", MESSAGES), ("whole", {"body": {}}),
        ("whole", {"body": {"model": "other", "messages": []}}),
    ],
)  # fmt: skip
async def test_nothing_is_left_for_the_collector(
    upstream: FakeUpstream, client: aiohttp.ClientSession, keys: int, kind: str, how: dict[str, object]
) -> None:
    upstream.on(lambda _: ANSWERS[kind])
    async with House(one_provider(upstream.url, keys)) as house:

        async def some() -> None:
            for _ in range(3):
                try:
                    await ask(client, house.url, **how)
                except aiohttp.ClientError:
                    assert kind == "broken"

        await some()  # what the first request brings stays
        await house.hub.idle()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await some()
            await house.hub.idle()
            gc.collect()
            left = Counter(type(each).__name__ for each in gc.garbage if isinstance(each, OURS))
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not left, left

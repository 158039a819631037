"""The parrot passes the suite of all providers, puts its headers on, and answers in a hub."""

from __future__ import annotations

from typing import ClassVar

import aiohttp
from llmhub_provider_example.parrot import Parrot

from llmhub_core.testing.house import House
from llmhub_core.testing.provider import ProviderSuite
from llmhub_core.testing.upstream import FakeUpstream, json_answer


class TestParrot(ProviderSuite):
    provider = Parrot

    async def test_the_key_has_a_header_of_its_own(self) -> None:
        call = await self.prepared("polly-secret")
        assert call.headers["x-parrot-key"] == "polly-secret"
        assert "authorization" not in call.headers


class TestParrotInACage(ProviderSuite):
    provider = Parrot
    settings: ClassVar = {"base_url": "https://eu.parrot.example/v1/", "cage": "cage-1"}

    async def test_the_cage_is_named(self) -> None:
        assert (await self.prepared("polly-secret")).headers["x-parrot-cage"] == "cage-1"


CONFIG = """
[[providers]]
name = "polly"
kind = "parrot"
base_url = "{url}/v1"

[[providers.keys]]
name = "main"
secret = "polly-secret"

[[routes]]
model = "fast"
strategy = "fewest_in_flight"
deployments = [{{ provider = "polly", model = "grey-parrot-1" }}]
"""

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "grey-parrot-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


async def test_a_hub_answers_with_it() -> None:
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hello!"}]}
    async with FakeUpstream() as upstream, aiohttp.ClientSession() as client:
        upstream.script(json_answer(COMPLETION))
        async with (
            House(CONFIG.format(url=upstream.url)) as house,
            client.post(f"{house.url}/v1/chat/completions", json=body) as answer,
        ):
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["choices"][0]["message"]["content"] == "Hello!"
    (request,) = upstream.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["x-parrot-key"] == "polly-secret"
    assert request.json["model"] == "grey-parrot-1"

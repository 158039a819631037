"""Paths of a format that the hub does not serve say so, and what to do."""

from __future__ import annotations

import aiohttp
import openai
import pytest

from llmhub_core.testing.house import House

ECHO = '[[providers]]\nname = "echo"\nkind = "echo"\n'


async def test_a_stored_response_cannot_be_asked_for_and_the_sdk_hears_why() -> None:
    async with House(ECHO) as house, openai.AsyncOpenAI(base_url=house.url + "/v1", api_key="x", max_retries=0) as sdk:
        for asked in (
            sdk.responses.retrieve("resp_1"),
            sdk.responses.delete("resp_1"),
            sdk.responses.cancel("resp_1"),
            sdk.responses.input_items.list("resp_1"),
        ):
            with pytest.raises(openai.NotFoundError, match="keeps no responses"):
                await asked


async def test_what_is_served_beside_them_still_is() -> None:
    async with House(ECHO) as house, aiohttp.ClientSession() as client:
        body = {"model": "echo/echo", "input": "hello"}
        async with client.post(house.url + "/v1/responses/input_tokens", json=body) as answer:
            assert (answer.status, (await answer.json())["object"]) == (200, "response.input_tokens")
        async with client.post(house.url + "/v1/responses/compact", json=body) as answer:
            assert answer.status == 404
            assert "compact" in (await answer.json())["error"]["message"]

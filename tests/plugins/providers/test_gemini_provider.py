"""The provider ``gemini``: address and key of a call."""

from __future__ import annotations

import pytest
from llmhub_plugins.providers.gemini import Gemini, GeminiSettings

from llmhub_core.contracts import Call, Fetched


async def fetch(call: Call) -> Fetched:
    raise AssertionError("nothing needs to be fetched")


@pytest.mark.parametrize("base_url", ["https://g.test", "https://g.test/", "https://g.test/v1beta/"])
async def test_the_key_travels_in_a_header_only(base_url: str) -> None:
    provider = Gemini(GeminiSettings(base_url=base_url))
    call = Call("/v1beta/models/m:streamGenerateContent?alt=sse", {"content-type": "application/json"}, b"{}")
    prepared = await provider.prepare(call, "AIza-secret", fetch)
    assert prepared.url == "https://g.test/v1beta/models/m:streamGenerateContent?alt=sse"
    assert prepared.headers == {"content-type": "application/json", "x-goog-api-key": "AIza-secret"}
    keyless = await provider.prepare(Call("/v1beta/models/m:generateContent", {}, b"{}"), "", fetch)
    assert "x-goog-api-key" not in keyless.headers


async def test_models_are_asked_for() -> None:
    provider = Gemini(GeminiSettings())
    call = provider.models_call()
    assert call is not None
    prepared = await provider.prepare(call, "k", fetch)
    assert (prepared.method, prepared.url) == (
        "GET",
        "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000",
    )
    assert provider.speaks[0] == "gemini"

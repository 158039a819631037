"""The provider `anthropic`: address, credentials, list of models."""

from __future__ import annotations

import pytest
from llmhub_plugins.providers.anthropic import AnthropicProvider, AnthropicSettings, register_providers

from llmhub_core.contracts import Call, Fetched


async def no_fetch(call: Call) -> Fetched:
    raise AssertionError("keys of this provider need no calls of their own")


async def test_a_call_gets_address_and_key() -> None:
    provider = AnthropicProvider(AnthropicSettings())
    call = Call("/v1/messages", {"anthropic-version": "2023-06-01"}, b"{}")
    ready = await provider.prepare(call, "sk-ant-1", no_fetch)
    assert ready == Call(
        "https://api.anthropic.com/v1/messages",
        {"anthropic-version": "2023-06-01", "x-api-key": "sk-ant-1"},
        b"{}",
    )
    keyless = await provider.prepare(Call("/v1/messages", {}, b"{}"), "", no_fetch)
    assert "x-api-key" not in keyless.headers


@pytest.mark.parametrize("written", ["http://h:1/a", "http://h:1/a/", "http://h:1/a/v1", "http://h:1/a/v1/"])
async def test_the_base_url_may_be_written_in_many_ways(written: str) -> None:
    provider = AnthropicProvider(AnthropicSettings(base_url=written))
    assert (await provider.prepare(Call("/v1/messages", {}, b""), "", no_fetch)).url == "http://h:1/a/v1/messages"


async def test_models_are_asked_for() -> None:
    provider = AnthropicProvider(AnthropicSettings())
    call = await provider.prepare(provider.models_call(), "k", no_fetch)
    assert (call.method, call.url, call.body) == ("GET", "https://api.anthropic.com/v1/models?limit=1000", b"")
    assert call.headers == {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    assert (provider.speaks[0], list(register_providers())) == ("anthropic", [AnthropicProvider])

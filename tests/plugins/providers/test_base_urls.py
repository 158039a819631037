"""Every provider says at the start what is wrong with an address, and not with the first request."""

from __future__ import annotations

from typing import Any

import pytest
from llmhub_plugins.providers.anthropic import AnthropicProvider
from llmhub_plugins.providers.gemini import Gemini
from llmhub_plugins.providers.openai import OpenAI
from llmhub_plugins.providers.openai_compatible import OpenAICompatible

PROVIDERS = [AnthropicProvider, Gemini, OpenAI, OpenAICompatible]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("api.example.com/v1", "must begin with https://"),
        ("ftp://api.example.com", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https://me:hunter2@api.example.com", "must not hold credentials"),
        ("https://api.example.com/v1?key=hunter2", "must not hold a query"),
        ("https://api.example.com/v1 ", "must not hold a query, a fragment or spaces"),
        ("https://api.example.com:port", "is not a URL"),
    ],
)
def test_an_address_that_no_call_can_begin_with_is_refused(provider: Any, url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as refused:
        provider(provider.Settings(base_url=url))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_slashes_at_its_end_are_left_out(provider: Any) -> None:
    assert provider(provider.Settings(base_url="https://api.example.com//")).base_url == "https://api.example.com"

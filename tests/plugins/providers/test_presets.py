"""Every preset as a provider: the suite over all of them, and what the table says of each."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from llmhub_plugins.providers.openai_compatible import OpenAICompatible, OpenAICompatibleSettings
from llmhub_plugins.providers.openai_compatible.preset import Preset
from llmhub_plugins.providers.openai_compatible.presets import PRESETS

from llmhub_core.contracts import Call
from llmhub_core.hub.settings_environment import PLACES
from llmhub_core.testing.provider import SECRET, ProviderSuite, no_fetch

ACCOUNT = "my-resource"


def settings_of(name: str, **more: Any) -> dict[str, Any]:
    account = {"account": ACCOUNT} if "{account}" in PRESETS[name].base_url else {}
    return {"preset": name, **account, **more}


def make(name: str, **more: Any) -> OpenAICompatible:
    return OpenAICompatible(OpenAICompatibleSettings(**settings_of(name, **more)))


class _Queried(ProviderSuite):
    """For places whose addresses end in a query of their own."""

    async def test_the_address_begins_with_the_base_url(self) -> None:
        call, provider = await self.prepared(SECRET), self.make()
        assert call.url.startswith(provider.base_url + "/")
        assert call.url.count("?") == 1
        assert "alt=sse&api-version=20" in call.url


def _suite(name: str, preset: Preset) -> type[ProviderSuite]:
    base = _Queried if preset.query else ProviderSuite
    settings: ClassVar[dict[str, Any]] = settings_of(name)
    return type(f"TestPreset_{name}", (base,), {"provider": OpenAICompatible, "settings": settings})


globals().update({f"TestPreset_{name}": _suite(name, preset) for name, preset in PRESETS.items()})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_where_it_is_and_where_that_is_written(name: str) -> None:
    preset = PRESETS[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert preset.title
    assert preset.base_url.startswith("https://") or urlsplit(preset.base_url).hostname == "127.0.0.1"
    assert preset.source.startswith("https://")
    assert preset.speaks[0] == "openai_chat"
    assert len(set(preset.speaks)) == len(preset.speaks)
    assert bool(preset.variable) != preset.base_url.startswith("http://127.0.0.1")
    for rule in preset.quirks.rules:
        re.compile(rule.models)
        assert rule.path.startswith("/")
        assert not set(rule.drop) & {*rule.rename, *rule.forget}
    make(name)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.models])
async def test_models_are_asked_for_where_they_are(name: str) -> None:
    provider = make(name)
    call = provider.models_call()
    assert call is not None
    call = await provider.prepare(call, SECRET, no_fetch)
    assert call.method == "GET"
    assert call.url.endswith("/models")
    assert urlsplit(call.url).netloc == urlsplit(provider.base_url).netloc
    assert SECRET in call.headers["authorization"]


async def test_some_lists_lie_elsewhere_on_the_same_host() -> None:
    async def models(name: str, **more: Any) -> str:
        provider = make(name, **more)
        return (await provider.prepare(Call("/models", {}, b"", "GET"), "", no_fetch)).url

    assert await models("github") == "https://models.github.ai/catalog/models"
    assert await models("cohere", base_url="http://127.0.0.1:1/x/v1") == "http://127.0.0.1:1/v1/models"
    rerank = await make("cohere").prepare(Call("/rerank", {}, b"{}"), "", no_fetch)
    assert rerank.url == "https://api.cohere.ai/v2/rerank"


async def test_azure_is_called_by_resource_and_deployment() -> None:
    body = b'{"model":"my gpt/4o","messages":[]}'
    call = await make("azure_deployments").prepare(Call("/chat/completions", {}, body), "k", no_fetch)
    assert call.url == (
        "https://my-resource.openai.azure.com/openai/deployments/my%20gpt%2F4o/chat/completions?api-version=2024-10-21"
    )
    assert call.headers == {"api-key": "k"}
    call = await make("azure_deployments", api_version="2025-01-01-preview").prepare(
        Call("/embeddings", {}, b'{"model":"e"}'), "k", no_fetch
    )
    assert call.url.endswith("/deployments/e/embeddings?api-version=2025-01-01-preview")
    call = await make("azure").prepare(Call("/responses", {}, body), "k", no_fetch)
    assert call.url == "https://my-resource.openai.azure.com/openai/v1/responses"
    assert make("azure").models_call() is None, "its list names models, but deployments are called"


def test_settings_win_over_the_preset() -> None:
    provider = make("groq", base_url="http://127.0.0.1:9/v1/", speaks=("openai_chat",), headers={"X-Title": "mine"})
    assert provider.base_url == "http://127.0.0.1:9/v1"
    assert provider.speaks == ("openai_chat",)
    assert make("groq").speaks == PRESETS["groq"].speaks


async def test_a_presets_headers_can_be_said_otherwise() -> None:
    call = await make("openrouter").prepare(Call("/chat/completions", {}, b"{}"), "k", no_fetch)
    assert call.headers == {"x-title": "llm-hub", "authorization": "Bearer k"}
    mine = make("openrouter", headers={"X-Title": "mine"})
    assert (await mine.prepare(Call("/chat/completions", {}, b"{}"), "k", no_fetch)).headers["x-title"] == "mine"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "base_url is missing; write where the API's paths begin, or name a preset."),
        ({"preset": "gorq"}, "preset is not known; did you mean groq?"),
        ({"preset": "qqqqqqq"}, "preset is not known; there are: "),
        (
            {"preset": "azure"},
            "account is missing or no name; it stands in https://{account}.openai.azure.com/openai/v1.",
        ),
        ({"preset": "azure", "account": "a.evil.example/"}, "account is missing or no name"),
        ({"preset": "azure_deployments", "account": "a", "api_version": "1&x=2"}, "api_version must be letters"),
    ],
)
def test_a_place_that_cannot_be_found_is_refused_with_a_sentence(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        OpenAICompatibleSettings(**settings)


def test_what_the_environment_offers_is_a_preset_with_its_own_variable() -> None:
    offered = {place.name: place for place in PLACES if place.kind == "openai_compatible"}
    for name, place in offered.items():
        assert place.preset == name
        assert place.variables[0] == PRESETS[name].variable
    # A token that lies in many environments for other purposes, or an address that is not known, is no invitation.
    asked_for = {name for name, preset in PRESETS.items() if preset.variable} - offered.keys()
    assert asked_for == {"github", "huggingface", "gemini", "azure", "azure_deployments", "azure_inference"}

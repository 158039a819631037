"""Providers `openai` and `openai_compatible`: where a call goes, and with what credentials."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from llmhub_plugins.providers import openai, openai_compatible
from llmhub_plugins.providers.openai import OpenAI, OpenAISettings
from llmhub_plugins.providers.openai_compatible import OpenAICompatible, OpenAICompatibleSettings

from llmhub_core.contracts import Call, Fetched, Provider

KEY = "sk-1"


async def no_fetch(call: Call) -> Fetched:
    raise AssertionError("these providers need no calls of their own")


async def prepared(provider: Provider, secret: str = KEY) -> Call:
    call = Call("/chat/completions", {"content-type": "application/json", "openai-beta": "x"}, b"{}")
    return await provider.prepare(call, secret, no_fetch)


def compatible(base_url: str = "https://api.example.com/openai/v1", **more: Any) -> OpenAICompatible:
    return OpenAICompatible(OpenAICompatibleSettings(base_url=base_url, **more))


async def test_openai_is_called_with_a_bearer_key() -> None:
    call = await prepared(OpenAI(OpenAISettings()))
    assert (call.method, call.url, call.body) == ("POST", "https://api.openai.com/v1/chat/completions", b"{}")
    assert call.headers == {
        "content-type": "application/json",
        "openai-beta": "x",
        "authorization": "Bearer sk-1",
    }


async def test_openai_is_told_whom_to_bill() -> None:
    call = await prepared(OpenAI(OpenAISettings(organization="org-1", project="proj-1")))
    assert (call.headers["openai-organization"], call.headers["openai-project"]) == ("org-1", "proj-1")


async def test_a_compatible_place_is_called_at_its_address() -> None:
    call = await prepared(compatible("http://localhost:8000/v1/", headers={"HTTP-Referer": "https://a.b"}))
    assert call.url == "http://localhost:8000/v1/chat/completions"
    assert call.headers["authorization"] == "Bearer sk-1"
    assert call.headers["http-referer"] == "https://a.b"


async def test_the_key_goes_bare_into_any_other_header() -> None:
    call = await prepared(compatible(api_key_header="Api-Key"))
    assert call.headers["api-key"] == "sk-1"
    assert "authorization" not in call.headers


@pytest.mark.parametrize("provider", [OpenAI(OpenAISettings()), compatible(), compatible(api_key_header="api-key")])
async def test_no_secret_means_no_credentials(provider: Provider) -> None:
    call = await prepared(provider, secret="")
    assert call.headers.keys() == {"content-type", "openai-beta"}


@pytest.mark.parametrize("provider", [OpenAI(OpenAISettings()), compatible()])
async def test_the_models_are_listed_by_a_get(provider: Provider) -> None:
    call = provider.models_call()
    assert call is not None
    call = await provider.prepare(call, "sk-1", no_fetch)
    assert (call.method, call.url, call.body) == ("GET", provider.base_url + "/models", b"")
    assert call.headers == {"authorization": "Bearer sk-1"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://a.b/v1",
        "https://",
        "https://user:word@a.b/v1",
        "https://a.b/v1?key=x",
        "https://a.b/v1?",
        "https://a.b/v1#x",
        "https://a.b:port/v1",
        "https://a.b:99999/v1",
        "https://a .b/v1",
        "https://[::1/v1",
    ],
)
def test_an_address_that_no_call_can_begin_with_is_refused_with_a_sentence(url: str) -> None:
    for make in (lambda: OpenAI(OpenAISettings(base_url=url)), lambda: compatible(url)):
        with pytest.raises(ValueError, match=r"^base_url .*\.$"):
            make()


@pytest.mark.parametrize("url", ["https://[::1]:8080/v1", "http://10.0.0.1/v1", "https://a.b/v1//"])
def test_other_addresses_are_kept_without_their_last_slash(url: str) -> None:
    assert compatible(url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    "more",
    [
        {"api_key_header": ""},
        {"api_key_header": "a b"},
        {"api_key_header": "host"},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"x": "a\r\nb"}},
        {"headers": {"Authorization": "Bearer x"}},
    ],
)
def test_headers_that_would_break_or_bypass_a_call_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        compatible(**more)


def test_every_setting_has_its_sentence() -> None:
    for settings in (OpenAISettings, OpenAICompatibleSettings):
        assert all(field.metadata["help"].endswith(".") for field in fields(settings))


def test_they_speak_chat_and_come_through_their_door() -> None:
    assert list(openai.register_providers()) == [OpenAI]
    assert list(openai_compatible.register_providers()) == [OpenAICompatible]
    assert OpenAI.speaks[0] == OpenAICompatible.speaks[0] == "openai_chat"

"""Hubs for the clients: a provider of each dialect behind them, all of them played by one."""

from __future__ import annotations

from collections.abc import Iterable

from houses import route
from llmhub_plugins.providers.openai import OpenAI

from llmhub_core.contracts import Provider, hookimpl
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House

INSTALLED = frozenset(Registry().discover().dialects.names)

MODELS = {
    "openai_chat": "gpt-5.1-mini",
    "openai_responses": "gpt-5.1-mini",
    "anthropic": "claude-sonnet-4-6",
    "gemini": "gemini-3-flash",
}
"""What callers of each dialect ask for: SDKs go by such names when they choose what to send."""

KINDS = {
    "openai_chat": "chat_only",
    "openai_responses": "responses_only",
    "anthropic": "anthropic",
    "gemini": "gemini",
}
"""The kind of provider behind each dialect."""

FRONTS = [dialect for dialect in MODELS if dialect in INSTALLED]
BEHIND = [dialect for dialect in KINDS if dialect in INSTALLED]

# OpenAI speaks both of its dialects, and would be asked in the caller's: of these each knows only one.


class ChatOnly(OpenAI):
    """OpenAI without Responses."""

    name = "chat_only"
    speaks = tuple(dialect for dialect in OpenAI.speaks if dialect != "openai_responses")


class ResponsesOnly(OpenAI):
    """OpenAI without everything else."""

    name = "responses_only"
    speaks = ("openai_responses",)


class _Plugins:
    @hookimpl
    def register_providers(self) -> Iterable[type[Provider]]:
        return (ChatOnly, ResponsesOnly)


def hub(config: str) -> House:
    registry = Registry().discover()
    registry.admit_module(_Plugins(), "tests.clients")
    # Tests break streams and fail requests on purpose: that must not cost a provider its place.
    return House("[routing]\nbreaker_failures = 1000\n" + config, registry=registry)


def every_provider(url: str) -> str:
    """The configuration for all that goes well: each public name leads to each provider."""
    names = sorted(set(MODELS.values()))
    return "".join(
        _provider(behind, behind, url) + "".join(route(f"{name}-via-{behind}", f"{behind}/{name}") for name in names)
        for behind in BEHIND
    )


def model(front: str, behind: str) -> str:
    """The name under which callers of `front` reach the provider behind `behind`."""
    return f"{MODELS[front]}-via-{behind}"


def failing_providers(url: str, names: Iterable[tuple[str, str]]) -> str:
    """The configuration for errors: providers of these names, each with its dialect."""
    return "".join(_provider(name, behind, url) for name, behind in names)


def _provider(name: str, behind: str, url: str) -> str:
    base = url if KINDS[behind] in ("anthropic", "gemini") else url + "/v1"
    table = f'[[providers]]\nname = "{name}"\nkind = "{KINDS[behind]}"\nbase_url = "{base}"\n'
    return table + '[[providers.keys]]\nname = "k"\nsecret = "sk-k"\n'

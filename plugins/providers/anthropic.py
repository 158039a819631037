"""Anthropic's own API, and places that speak the Messages API with an `x-api-key`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmhub_core.contracts import Call, Fetch, Provider, checked_base_url, hookimpl


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicSettings:
    """Where the API is."""

    base_url: str = field(
        default="https://api.anthropic.com",
        metadata={"help": "Address below which /v1/messages lies."},
    )


class AnthropicProvider(Provider):
    """api.anthropic.com. Keys look like `sk-ant-…` and go into `x-api-key`."""

    name = "anthropic"
    title = "Anthropic"
    Settings = AnthropicSettings
    speaks = ("anthropic", "anthropic_count_tokens")

    def __init__(self, settings: AnthropicSettings) -> None:
        super().__init__(settings)
        # Other APIs' base URLs end in /v1; here it is part of the paths, and many write it nevertheless.
        self.base_url = checked_base_url(settings.base_url, "https://api.anthropic.com").removesuffix("/v1")

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call.url = self.base_url + call.url
        if secret:
            call.headers["x-api-key"] = secret
        return call

    def models_call(self) -> Call:
        return Call("/v1/models?limit=1000", {"anthropic-version": "2023-06-01"}, b"", method="GET")


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    """Anthropic."""
    return [AnthropicProvider]

"""Google's Gemini API (Google AI Studio keys)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmhub_core.contracts import Call, Fetch, Provider, checked_base_url, hookimpl

_BASE_URL = "https://generativelanguage.googleapis.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiSettings:
    """The table of a provider of kind ``gemini``."""

    base_url: str = field(
        default=_BASE_URL,
        metadata={"help": "Where the API is; the version (/v1beta) belongs to the paths and may be left out."},
    )


class Gemini(Provider):
    """The key travels in a header, never in the address, where logs and proxies would see it."""

    name = "gemini"
    title = "Google Gemini (AI Studio)"
    Settings = GeminiSettings
    speaks = ("gemini", "gemini_count_tokens", "gemini_embeddings")

    def __init__(self, settings: GeminiSettings) -> None:
        super().__init__(settings)
        self.base_url = checked_base_url(settings.base_url, _BASE_URL).removesuffix("/v1beta")

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call.url = self.base_url + call.url
        if secret:
            call.headers["x-goog-api-key"] = secret
        return call

    def models_call(self) -> Call | None:
        return Call("/v1beta/models?pageSize=1000", {}, b"", method="GET")


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (Gemini,)

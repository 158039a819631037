"""OpenAI's own platform.

Source: https://platform.openai.com/docs/api-reference (bearer keys; `OpenAI-Organization` and `OpenAI-Project`
choose what a key of several organizations or projects is billed to).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmhub_core.contracts import Call, Fetch, Provider, checked_base_url, hookimpl


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISettings:
    """What a ``[[providers]]`` table of kind ``openai`` may say."""

    base_url: str = field(
        default="https://api.openai.com/v1", metadata={"help": "Where the API's paths begin; a regional host, say."}
    )
    organization: str = field(default="", metadata={"help": "Organization to bill, where a key belongs to several."})
    project: str = field(default="", metadata={"help": "Project to bill, where a key belongs to several."})


class OpenAI(Provider):
    """Prepares calls to OpenAI."""

    name = "openai"
    title = "OpenAI"
    Settings = OpenAISettings
    speaks = (
        "openai_chat",
        "openai_responses",
        "openai_responses_count",
        "openai_completions",
        "openai_embeddings",
        "openai_moderations",
        "openai_images",
        "openai_speech",
        "openai_transcriptions",
    )

    def __init__(self, settings: OpenAISettings) -> None:
        super().__init__(settings)
        self.base_url = checked_base_url(settings.base_url, "https://api.openai.com/v1")
        self._headers = {
            name: value
            for name, value in (("openai-organization", settings.organization), ("openai-project", settings.project))
            if value
        }

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call.url = self.base_url + call.url
        call.headers.update(self._headers)
        if secret:
            call.headers["authorization"] = f"Bearer {secret}"
        return call

    def models_call(self) -> Call | None:
        return Call(url="/models", headers={}, body=b"", method="GET")


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (OpenAI,)

"""Any place that speaks OpenAI's Chat Completions: Groq, DeepSeek, Mistral, xAI, Together, OpenRouter, Azure's v1
surface, vLLM, Ollama, llama.cpp and the rest. Each is a table in the configuration, none is a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from llmhub_core.contracts import Call, Fetch, Provider, hookimpl


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAICompatibleSettings:
    """What a ``[[providers]]`` table of kind ``openai_compatible`` may say."""

    base_url: str = field(
        metadata={"help": "Where the API's paths begin, with its version: https://api.groq.com/openai/v1, say."}
    )
    api_key_header: str = field(
        default="authorization",
        metadata={"help": "Header that carries the key; all but authorization carry it bare (Azure: api-key)."},
    )
    headers: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "Further headers to send with every call; never put a secret here."}
    )


class OpenAICompatible(Provider):
    """Prepares calls to a place of which only the address is known."""

    name = "openai_compatible"
    Settings = OpenAICompatibleSettings
    speaks = ("openai_chat",)

    def __init__(self, settings: OpenAICompatibleSettings) -> None:
        super().__init__(settings)
        self.base_url = _checked(settings.base_url)
        self._key_header = settings.api_key_header.lower()
        self._headers = {name.lower(): value for name, value in settings.headers.items()}
        for name in (self._key_header, *self._headers):
            if not _HEADER.fullmatch(name) or name in _FRAMING:
                raise ValueError("api_key_header and headers must name ordinary HTTP headers.")
        if self._key_header in self._headers:
            raise ValueError("headers must not set the header that carries the key; put the secret in a provider key.")
        if any(_CONTROL.search(value) for value in self._headers.values()):
            raise ValueError("The values of headers must be one line of text each.")

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call.url = self.base_url + call.url
        call.headers.update(self._headers)
        if secret:
            bearer = self._key_header == "authorization"
            call.headers[self._key_header] = f"Bearer {secret}" if bearer else secret
        return call

    def models_call(self) -> Call | None:
        return Call(url="/models", headers={}, body=b"", method="GET")


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_FRAMING = frozenset(
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "cookie", "expect"]
)
"""Headers on which the sending of a call depends."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _checked(url: str) -> str:
    """`url` without trailing slashes; ValueError with a sentence if calls cannot begin with it."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (a bad port is only found by asking for it)
    except ValueError:
        raise ValueError("base_url is not a URL; write it like https://api.groq.com/openai/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must begin with https:// or http:// and a host.")
    if "@" in parts.netloc:
        raise ValueError("base_url must not hold credentials; put the secret in a provider key.")
    if "?" in url or "#" in url or any(char.isspace() for char in url):
        raise ValueError("base_url must not hold a query, a fragment or spaces.")
    return url.rstrip("/")


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (OpenAICompatible,)

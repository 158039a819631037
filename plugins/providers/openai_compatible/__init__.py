"""Any place that speaks OpenAI's formats: Groq, Mistral, DeepSeek, xAI, Together, OpenRouter, Azure OpenAI, vLLM,
Ollama and the rest. Each is a table in the configuration, none is a file; `preset` knows the addresses and quirks of
many.

The quirks are data (`presets`), applied to the JSON of requests (`outgoing`, `structured`) and of answers (`incoming`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal
from urllib.parse import quote, urlsplit

from llmhub_plugins.providers.openai_compatible.incoming import AnswerOfCall, Edit, Rewritten, add_up, mentions_beside
from llmhub_plugins.providers.openai_compatible.outgoing import Outgoing
from llmhub_plugins.providers.openai_compatible.preset import CHAT, CHAT_PATH, Preset
from llmhub_plugins.providers.openai_compatible.presets import PRESETS
from llmhub_plugins.providers.openai_compatible.structured import ANSWER, EMULATED

from llmhub_core.contracts import Call, Envelope, Fetch, Provider, checked_base_url, find_value, hookimpl, load_json

_ANY = Preset(title="any other place")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAICompatibleSettings:
    """What a ``[[providers]]`` table of kind ``openai_compatible`` may say."""

    preset: str = field(
        default="",
        metadata={"help": 'A place whose address and quirks are known, such as "groq"; see docs/providers.md.'},
    )
    base_url: str = field(
        default="",
        metadata={
            "help": "Where the API's paths begin, with its version: https://llm.example.com/v1, say. "
            "Presets know it; without one it is needed."
        },
    )
    account: str = field(
        default="",
        metadata={"help": "What stands for {account} in the preset's address: the name of an Azure resource."},
    )
    api_version: str = field(default="", metadata={"help": "Another api-version than the preset's (Azure)."})
    speaks: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Dialects spoken there, best first; [] means the preset's, or openai_chat without one."},
    )
    structured_output: Literal["", "native", "json_object", "forced_tool", "refuse"] = field(
        default="",
        metadata={
            "help": 'How answers in a JSON Schema are had: "native", its JSON mode with the schema among the '
            'instructions, a function that must be called, or not; "" means as the preset does.'
        },
    )
    api_key_header: str | None = field(
        default=None,
        metadata={
            "help": "Header that carries the key, if not the preset's or authorization; all others carry it bare "
            "(Azure: api-key)."
        },
    )
    headers: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "Further headers to send with every call; never put a secret here."}
    )

    def __post_init__(self) -> None:
        if self.preset and self.preset not in PRESETS:
            near = difflib.get_close_matches(self.preset, PRESETS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(PRESETS))}."
            raise ValueError(f"preset is not known; {hint}")
        preset = self.known()
        if not self.base_url and not preset.base_url:
            raise ValueError("base_url is missing; write where the API's paths begin, or name a preset.")
        if not self.base_url and "{account}" in preset.base_url and not _ACCOUNT.fullmatch(self.account):
            raise ValueError(f"account is missing or no name; it stands in {preset.base_url}.")
        if self.api_version and not _ACCOUNT.fullmatch(self.api_version):
            raise ValueError("api_version must be letters, digits and dashes.")

    def known(self) -> Preset:
        """The preset, or one that says nothing."""
        return PRESETS[self.preset] if self.preset else _ANY


class OpenAICompatible(Provider):
    """Prepares calls to one place, and puts its answers right where they differ from OpenAI's."""

    name = "openai_compatible"
    title = "Another place that speaks as OpenAI does"
    presets: ClassVar[Mapping[str, str]] = {name: preset.title for name, preset in PRESETS.items()}
    Settings = OpenAICompatibleSettings
    speaks: tuple[str, ...] = (CHAT,)

    def __init__(self, settings: OpenAICompatibleSettings) -> None:
        super().__init__(settings)
        preset = settings.known()
        quirks = preset.quirks
        if settings.structured_output:
            quirks = replace(quirks, structured=settings.structured_output, schema_models="", schema_without=())
        self._preset, self._quirks = preset, quirks
        self.speaks = settings.speaks or preset.speaks
        self.base_url = checked_base_url(
            settings.base_url or preset.base_url.replace("{account}", settings.account),
            "https://api.groq.com/openai/v1",
        )
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.base_url))
        self._query = preset.query.replace("{api_version}", settings.api_version or preset.api_version)
        self._key_header = (preset.key_header if settings.api_key_header is None else settings.api_key_header).lower()
        self._headers = {**preset.headers, **{name.lower(): value for name, value in settings.headers.items()}}
        self._check_headers()
        self._outgoing = Outgoing(quirks)
        self._adds_up = quirks.reasoning_beside or quirks.sound_beside

    def _check_headers(self) -> None:
        for name in (self._key_header, *self._headers):
            if not _HEADER.fullmatch(name) or name in _FRAMING:
                raise ValueError("api_key_header and headers must name ordinary HTTP headers.")
        if self._key_header in self._headers:
            raise ValueError("headers must not set the header that carries the key; put the secret in a provider key.")
        if any(_CONTROL.search(value) for value in self._headers.values()):
            raise ValueError("The values of headers must be one line of text each.")

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        if call.method == "POST":
            call.body, lost = self._outgoing.rewrite(call.url, call.body)
            call.adapted += lost
        call.url = self._address(call)
        call.headers.update(self._headers)
        if secret:
            bearer = self._key_header == "authorization"
            call.headers[self._key_header] = f"Bearer {secret}" if bearer else secret
        return call

    def _address(self, call: Call) -> str:
        path = call.url
        if path in self._preset.elsewhere:
            url = self._origin + self._preset.elsewhere[path]
        elif self._preset.model_path and call.method == "POST":
            url = self.base_url + self._preset.model_path.replace("{model}", _model(call.body)) + path
        else:
            url = self.base_url + path
        return f"{url}{'&' if '?' in url else '?'}{self._query}" if self._query else url

    def envelope(self, stream: bool, call: Call) -> Envelope | None:
        """For chat answers only: other operations' have nothing to put right."""
        if CHAT_PATH not in call.url:
            return None
        edits: list[Edit] = [add_up(self._quirks)] if self._adds_up else []
        if EMULATED in call.adapted and f'"{ANSWER}"'.encode() in call.body:
            return Rewritten(stream, lambda frame: True, [AnswerOfCall(), *edits])
        return Rewritten(stream, mentions_beside, edits) if edits else None

    def models_call(self) -> Call | None:
        return Call(url=self._preset.models, headers={}, body=b"", method="GET") if self._preset.models else None


def _model(body: bytes) -> str:
    """The model's name as part of an address."""
    span = find_value(body, "model")
    name = load_json(body[slice(*span)]) if span else ""
    return quote(str(name), safe="")


_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_FRAMING = frozenset(
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "cookie", "expect"]
)
"""Headers on which the sending of a call depends."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (OpenAICompatible,)

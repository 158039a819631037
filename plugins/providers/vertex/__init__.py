"""Google Cloud's Vertex AI: Gemini, and Claude by rawPredict. Needs the driver: ``pip install llm-hub[vertex]``.

Which of the two a table serves is its `publisher`, for the wire format depends on it. Sources: Vertex AI's API
reference (projects.locations.publishers.models) and https://docs.claude.com/en/api/claude-on-vertex-ai.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from llmhub_plugins.providers.vertex.tokens import Tokens, reads_machine

from llmhub_core.contracts import Call, Fetch, Provider, hookimpl, load_json

_SPEAKS = {
    "google": ("gemini", "gemini_count_tokens"),
    "anthropic": ("anthropic", "anthropic_count_tokens"),
}
_VERSION = b'"vertex-2023-10-16"'
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_GEMINI = "/v1beta/models/"
_MODELS = "/v1beta1/publishers/{}/models?pageSize=100"
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexSettings:
    """What a ``[[providers]]`` table of kind ``vertex`` may say."""

    project: str = field(metadata={"help": "Id of the Google Cloud project."})
    location: str = field(
        default="global", metadata={"help": "Region, such as europe-west4; or global, us or eu where models are there."}
    )
    publisher: Literal["google", "anthropic"] = field(
        default="google", metadata={"help": "Whose models: Gemini (google) or Claude (anthropic). A table for each."}
    )
    base_url: str = field(default="", metadata={"help": "Another address of the API, a private endpoint say."})

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9.:-]{1,64}", self.project):
            raise ValueError("project must be the id of a Google Cloud project, such as my-project-123.")
        if not re.fullmatch(r"[a-z0-9-]{1,40}", self.location):
            raise ValueError("location must be a region such as europe-west4, or global, us or eu.")
        if self.base_url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", self.base_url):
            raise ValueError("base_url must be an address such as https://europe-west4-aiplatform.googleapis.com.")


class Vertex(Provider):
    """A key is the JSON of a service account (or of any other credentials that google-auth reads), an access token
    (``ya29.…``) as it is; an empty secret stands for whatever the machine has (application default credentials)."""

    name = "vertex"
    title = "Google Vertex AI"
    key_help = (
        "The JSON of a service account (or of other credentials that google-auth reads), or an access token. "
        "None at all: what the machine has, its application default credentials."
    )
    Settings = VertexSettings
    speaks: tuple[str, ...] = _SPEAKS["google"]

    @classmethod
    def lends_machine(cls, secret: str) -> bool:
        return not secret or reads_machine(secret)

    def __init__(self, settings: VertexSettings) -> None:
        super().__init__(settings)
        if find_spec("google") is None or find_spec("google.auth") is None:
            raise ValueError("Vertex AI needs its driver: pip install 'llm-hub[vertex]'")
        self.speaks = _SPEAKS[settings.publisher]
        self.base_url = settings.base_url.rstrip("/") or _host(settings.location)
        place = f"projects/{settings.project}/locations/{settings.location}/publishers/{settings.publisher}/models/"
        self._gemini = f"{self.base_url}/v1beta1/{place}"  # the version with everything that the Gemini API has
        self._claude = f"{self.base_url}/v1/{place}"
        self._models = _MODELS.format(settings.publisher)
        self._tokens = Tokens()

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        if call.url.startswith(_GEMINI):
            call.url = self._gemini + call.url.removeprefix(_GEMINI)
            _as_vertex(call)
        elif call.url == _MESSAGES:
            model, stream = _taken_apart(call)
            call.url = f"{self._claude}{quote(model, safe='@')}:{'streamRawPredict' if stream else 'rawPredict'}"
        elif call.url == _COUNT:
            call.url = f"{self._claude}count-tokens:rawPredict"
            _versioned(call, dict(_MEMBERS.decode(call.body)))
        else:
            call.url = self.base_url + call.url
        if secret.startswith("ya29."):
            call.headers["authorization"] = f"Bearer {secret}"
        else:
            call.headers |= await self._tokens.headers(secret, fetch)
        return call

    def models_call(self) -> Call | None:
        return Call(self._models, {}, b"", method="GET")


def _host(location: str) -> str:
    """Regions have hosts of their own; so have the two multi-regions."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


# Claude.


def _taken_apart(call: Call) -> tuple[str, bool]:
    """The model's name, which goes into the address, and whether a stream is asked for, which stays in the body."""
    members: dict[str, Any] = dict(_MEMBERS.decode(call.body))
    model = load_json(bytes(members.pop("model", b'""')))
    _versioned(call, members)
    return str(model), bytes(members.get("stream", b"false")) == b"true"


def _versioned(call: Call, members: dict[str, Any]) -> None:
    members.setdefault("anthropic_version", msgspec.Raw(_VERSION))
    call.headers.pop("anthropic-version", None)
    call.body = msgspec.json.encode(members)


# Gemini.


def _as_vertex(call: Call) -> None:
    """Two things that the Gemini API takes and Vertex AI does not: contents without a role, and a request to count
    the tokens of wrapped in ``generateContentRequest``."""
    wrapped = b'"generateContentRequest"' in call.body or b'"generate_content_request"' in call.body
    if not wrapped and call.body.count(b'"role"') >= call.body.count(b'"parts"'):
        return
    value = load_json(call.body)
    if not isinstance(value, dict):
        return
    inner = value.pop("generateContentRequest", None) or value.pop("generate_content_request", None)
    if isinstance(inner, dict):
        value |= {name: member for name, member in inner.items() if name != "model"}
    contents = value.get("contents")
    for content in contents if isinstance(contents, list) else [contents]:
        if isinstance(content, dict):
            content.setdefault("role", "user")
    call.body = msgspec.json.encode(value)


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (Vertex,)

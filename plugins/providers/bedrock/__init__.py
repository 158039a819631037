"""Claude on Amazon Bedrock, by InvokeModel. Needs the driver: ``pip install llm-hub[bedrock]``.

The body is Anthropic's without `model` and `stream`, which the address says; streams come in AWS' own binary framing
(`event_stream`) and requests are signed (`credentials`). Source: the API reference of the Bedrock runtime, and
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

import msgspec
from llmhub_plugins.providers.bedrock.credentials import Signer
from llmhub_plugins.providers.bedrock.event_stream import EventStream

from llmhub_core.contracts import Call, Envelope, Fetch, Provider, dump_json, hookimpl, load_json

_VERSION = b'"bedrock-2023-05-31"'
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_MODELS = "/foundation-models?byProvider=anthropic"
_NOT_THERE = ("service_tier", "inference_geo")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockSettings:
    """What a ``[[providers]]`` table of kind ``bedrock`` may say."""

    region: str = field(metadata={"help": "AWS region, such as us-east-1."})
    base_url: str = field(default="", metadata={"help": "Another address of the Bedrock runtime, a VPC endpoint say."})
    profile: str = field(
        default="",
        metadata={"help": "Profile of the AWS configuration for keys with an empty secret; else the default chain."},
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]+", self.region):
            raise ValueError("region must be an AWS region, such as us-east-1.")
        if self.base_url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", self.base_url):
            raise ValueError("base_url must be an address such as https://bedrock-runtime.us-east-1.amazonaws.com.")


class Bedrock(Provider):
    """Keys are ``ACCESS_KEY_ID:SECRET_ACCESS_KEY`` (and ``:SESSION_TOKEN``), the JSON of temporary credentials, or a
    Bedrock API key; an empty secret stands for whatever the machine has (variables, profile, role)."""

    name = "bedrock"
    title = "Amazon Bedrock"
    key_help = (
        "ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN where there is one; the JSON of temporary credentials; "
        "or a Bedrock API key. None at all: what the machine has, its variables, profile or role."
    )
    Settings = BedrockSettings
    speaks = ("anthropic", "anthropic_count_tokens")

    @classmethod
    def lends_machine(cls, secret: str) -> bool:
        return not secret

    def __init__(self, settings: BedrockSettings) -> None:
        super().__init__(settings)
        if find_spec("botocore") is None:
            raise ValueError("Bedrock needs its driver: pip install 'llm-hub[bedrock]'")
        domain = "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com"
        own = settings.base_url.rstrip("/")
        self.base_url = own or f"https://bedrock-runtime.{settings.region}.{domain}"
        self._control_url = own or f"https://bedrock.{settings.region}.{domain}"
        self._signer = Signer(settings.region, settings.profile)

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        if call.url == _MESSAGES:
            self._invoke(call)
        elif call.url == _COUNT:
            self._count(call)
        else:
            call.url = (self._control_url if call.url == _MODELS else self.base_url) + call.url
        await self._signer.sign(call, secret)
        return call

    def _invoke(self, call: Call) -> None:
        model, stream, body = _taken_apart(call)
        call.url = self._of_model(model, "invoke-with-response-stream" if stream else "invoke")
        call.body = body

    def _count(self, call: Call) -> None:
        """CountTokens takes the body that InvokeModel would; that one must have a limit, whatever it is."""
        call.body = call.body if b'"max_tokens"' in call.body else b'{"max_tokens":1,' + call.body.lstrip()[1:]
        model, _, body = _taken_apart(call)
        call.url = self._of_model(model, "count-tokens")
        call.body = dump_json({"input": {"invokeModel": {"body": base64.b64encode(body).decode()}}})

    def _of_model(self, model: str, what: str) -> str:
        """Ids hold colons, ARNs slashes as well: one segment all the same."""
        return f"{self.base_url}/model/{quote(model, safe='')}/{what}"

    def envelope(self, stream: bool, call: Call) -> Envelope | None:
        if call.url.endswith("/count-tokens"):
            return _Counted()
        return EventStream() if stream else None

    def models_call(self) -> Call | None:
        return Call(_MODELS, {}, b"", method="GET")


class _Counted(Envelope):
    """``{"inputTokens": 7}`` as Anthropic says it."""

    def __init__(self) -> None:
        self._body = b""

    def feed(self, chunk: bytes) -> bytes:
        self._body += chunk
        return b""

    def close(self) -> bytes:
        return self._body.replace(b'"inputTokens"', b'"input_tokens"')


def _taken_apart(call: Call) -> tuple[str, bool, bytes]:
    """The model's name, whether a stream is asked for, and the body that is left; betas move from header to body."""
    members: dict[str, Any] = dict(_MEMBERS.decode(call.body))
    model = load_json(bytes(members.pop("model", b'""')))
    stream = bytes(members.pop("stream", b"false")) == b"true"
    for name in _NOT_THERE:
        if members.pop(name, None) is not None:
            call.adapted.append(f"{name}=dropped")
    members.setdefault("anthropic_version", msgspec.Raw(_VERSION))
    call.headers.pop("anthropic-version", None)
    betas = [beta.strip() for beta in call.headers.pop("anthropic-beta", "").split(",") if beta.strip()]
    if betas:
        members.setdefault("anthropic_beta", betas)
    return str(model), stream, msgspec.json.encode(members)


@hookimpl
def register_providers() -> Iterable[type[Provider]]:
    return (Bedrock,)

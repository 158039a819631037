"""Whether a provider key works: one cheap real call with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from llmhub_core.contracts.candidate import ProviderKey
from llmhub_core.contracts.chat_request import ChatRequest, Message, RequestHead, Sampling, Text
from llmhub_core.contracts.errors import HubError, UpstreamError
from llmhub_core.contracts.provider import Call, Fetch, Timeouts
from llmhub_core.contracts.wire import load_json
from llmhub_core.hub.catalog import Place
from llmhub_core.hub.hub import Hub

PATIENCE = Timeouts(connect=5.0, first_token=20.0, stall=10.0, total=25.0)
MOST = 8 * 1024 * 1024
"""Bytes of an answer that are read."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`asked` is what the provider was asked for: its list of models, or one token of `model`. `message` is the
    provider's own word or ours, without the secret; `models` are those of the list."""

    works: bool
    asked: Literal["models", "answer", "nothing"]
    ms: float
    status: int | None = None
    code: str = ""
    message: str = ""
    models: tuple[str, ...] = ()


async def probe(hub: Hub, fetch: Fetch, place: Place, key: ProviderKey, model: str = "") -> Probe:
    """Never raises for what the provider does. Nothing is counted, and nothing held against the key."""
    known = place.secrets.get(key.name)
    secret = "" if known is None else known.reveal()
    began = time.perf_counter()
    asked: Literal["models", "answer", "nothing"] = "answer" if model else "models"
    try:
        call = _answer_call(hub, place, model) if model else place.provider.models_call()
        if call is None:
            return Probe(False, "nothing", 0.0, code="no_list", message="This place lists no models; name one to ask.")
        call.timeouts = PATIENCE
        call = await place.provider.prepare(call, secret, fetch)
        status, headers, body = await _sent(place, call, fetch)
        ms = (time.perf_counter() - began) * 1000
        if status < 300:
            return Probe(True, asked, ms, status, models=() if model else tuple(sorted(names_in(body))))
        dialect = next((hub.dialects[name] for name in place.provider.speaks if name in hub.dialects), None)
        error = UpstreamError("") if dialect is None else dialect.decode_error(status, headers, body)
    except HubError as raised:
        ms = (time.perf_counter() - began) * 1000
        return Probe(False, asked, ms, None, raised.code, _without(raised.message, secret))
    except (ValueError, LookupError) as raised:
        ms = (time.perf_counter() - began) * 1000
        return Probe(False, asked, ms, None, "failed", _without(f"{type(raised).__name__}: {raised}", secret))
    said = error.detail or error.message
    return Probe(False, asked, ms, status, error.provider_code or error.code, _without(said, secret))


async def _sent(place: Place, call: Call, fetch: Fetch) -> tuple[int, dict[str, str], bytes]:
    own = await place.provider.serve(call) if place.serves else None
    if own is not None:
        return own.status, dict(own.headers), await own.read(MOST)
    answer = await fetch(call)
    return answer.status, dict(answer.headers), answer.body


def _answer_call(hub: Hub, place: Place, model: str) -> Call:
    """The smallest request there is: one word in, one token out."""
    dialect = next(
        (
            hub.dialects[name]
            for name in place.provider.speaks
            if name in hub.dialects and hub.dialects[name].translates
        ),
        None,
    )
    if dialect is None:
        raise LookupError("nothing that is spoken there can be asked for a single token")
    request = ChatRequest(
        dialect=dialect.name,
        model=model,
        messages=(Message("user", (Text("Hi"),)),),
        sampling=Sampling(max_output=1),
    )
    head = RequestHead(model=model, stream=False)
    encoded = dialect.encode_request(request, model)
    return Call(dialect.path(head, model), dialect.request_headers({}), encoded.body)


def names_in(body: bytes) -> frozenset[str]:
    """Names from the lists of OpenAI, Anthropic (``data[].id``) and Gemini (``models[].name``); ValueError for what is
    no JSON."""
    value = load_json(body)
    if not isinstance(value, dict):
        return frozenset()
    entries = value.get("data") or value.get("models") or []
    names = (entry.get("id") or entry.get("name") for entry in entries if isinstance(entry, dict))
    return frozenset(name.removeprefix("models/") for name in names if isinstance(name, str) and name)


def _without(text: str, secret: str) -> str:
    """Providers repeat keys that they refuse, whole or in part."""
    return text.replace(secret, "***") if secret else text

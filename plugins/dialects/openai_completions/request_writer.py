"""A ChatRequest as a body for a provider of text completions: one that continues a text and knows no turns."""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.openai_completions.head import prompts_in
from llmhub_plugins.dialects.openai_completions.words import NAME

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    EncodedRequest,
    Opaque,
    Sampling,
    Text,
    dump_json,
)

Json = dict[str, Any]

_FIELDS = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("user", "user"),
)
_UNKNOWN = ("effort", "reasoning_tokens", "answer_format", "tool_choice", "parallel_tools")
_CHAT_LIMIT = 4096
"""Tokens for callers who named no limit: this format's own would end most answers in their first sentence."""


def encode_request(request: ChatRequest, model: str) -> EncodedRequest:
    """The body for `model`; BadRequest for anything but one text of a user's."""
    own, adapted = request.dialect == NAME, list[str]()
    body: Json = {"model": model, **_prompt(request)}
    _write_sampling(body, request.sampling, own, adapted)
    if request.stream:
        options = request.extras.get("stream_options", {}) if own else {}
        body["stream"] = True
        body["stream_options"] = {**options, "include_usage": True}
    if own:
        body.update((name, value) for name, value in request.extras.items() if name != "stream_options")
    else:
        adapted += [f"{name}=dropped" for name in request.extras]
    return EncodedRequest(dump_json(body), tuple(adapted))


def _write_sampling(body: Json, sampling: Sampling, own: bool, adapted: list[str]) -> None:
    for attribute, field in _FIELDS:
        value = getattr(sampling, attribute)
        if value is not None:
            body[field] = value
    body["max_tokens"] = _CHAT_LIMIT if sampling.max_output is None else sampling.max_output
    n = sampling.n // prompts_in(body["prompt"])
    if n != 1:
        body["n"] = n
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logprobs or sampling.top_logprobs:
        body["logprobs"] = sampling.top_logprobs or 0
    if sampling.top_k is not None:
        if own:
            body["top_k"] = sampling.top_k
        else:
            adapted.append("top_k=dropped")
    adapted += [f"{name}=dropped" for name in _UNKNOWN if getattr(sampling, name) is not None]


def _prompt(request: ChatRequest) -> Json:
    for index in range(len(request.tools)):
        _refuse(f"tools[{index}]", "a tool")
    texts: list[str] = []
    for index, message in enumerate(request.messages):
        path = f"messages[{index}]"
        if index or message.role != "user":
            _refuse(path, f"a turn of the {message.role}'s")
        for at, part in enumerate(message.content):
            if isinstance(part, Opaque) and part.origin == NAME:
                return dict(part.body)
            if not isinstance(part, Text):
                _refuse(f"{path}.content[{at}]", f"a {type(part).__name__.lower()}")
            else:
                texts.append(part.text)
    return {"prompt": "\n\n".join(texts)}


def _refuse(path: str, kind: str) -> None:
    raise BadRequest(
        f"`{path}` is {kind}, but this model only continues a text; send one message of the user's with text alone, or "
        "use a chat model.",
        code="unsupported_content",
        param=path,
    )

"""Counting the tokens of a Messages request without answering it (``POST /v1/messages/count_tokens``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmhub_plugins.dialects.anthropic import Anthropic
from llmhub_plugins.dialects.anthropic.errors import decode_stream_error, encode_error
from llmhub_plugins.dialects.anthropic.head import read_count_head
from llmhub_plugins.dialects.anthropic.request_reader import read_request
from llmhub_plugins.dialects.anthropic.request_writer import build_request
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import (
    COUNT_TOKENS,
    Answered,
    ChatRequest,
    Dialect,
    EncodedRequest,
    Event,
    Failed,
    FrameInfo,
    HubError,
    ModelCard,
    NoSettings,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    TokenCount,
    UpstreamGarbled,
    Where,
    dump_json,
    hookimpl,
    load_json,
)

_COUNTED = ("model", "system", "tools", "tool_choice", "thinking", "output_config", "messages")
"""Members of a request that may be counted; the API refuses the others."""

_MATTERS = re.compile(r"messages|tools|tool_choice|response_format|reasoning=")
"""Losses that change the count."""


class AnthropicCountTokens(Anthropic):
    """The Messages API's counter: the same requests without `max_tokens`, answered by ``{"input_tokens": N}``."""

    name = "anthropic_count_tokens"
    operation = COUNT_TOKENS
    Settings = NoSettings

    paths = ("/v1/messages/count_tokens",)
    models_paths = ()

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        return False  # the Messages API itself speaks for its callers

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return read_count_head(body)

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        return read_request(body, head)

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return _CountWriter()

    def encode_models(self, models: Sequence[ModelCard]) -> bytes:
        raise NotImplementedError

    def encode_model(self, model: ModelCard) -> bytes:
        raise NotImplementedError

    def path(self, head: RequestHead, model: str) -> str:
        return "/v1/messages/count_tokens"

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        body, adapted = build_request(request, model, 0, "auto")
        if request.dialect != NAME:
            body = {name: body[name] for name in _COUNTED if name in body}
            adapted = [loss for loss in adapted if _MATTERS.match(loss)]
        return EncodedRequest(dump_json(body), tuple(dict.fromkeys(adapted)))

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return _CountReader()

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return FrameInfo()

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        said = load_json(body)
        if isinstance(said, dict) and said.get("error"):
            return FrameInfo(error=decode_stream_error(said))
        if _count(said) is None:
            raise ValueError("the provider's answer is not a count")
        return FrameInfo(complete=True)

    def stream_end(self) -> bytes:
        return b""


def _count(said: Any) -> int | None:
    count = said.get("input_tokens") if isinstance(said, dict) else None
    return count if type(count) is int and count >= 0 else None


class _CountReader(ResponseDecoder):
    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._chunks.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        try:
            said = load_json(b"".join(self._chunks))
        except ValueError:
            said = None
        if isinstance(said, dict) and said.get("error"):
            return [Failed(decode_stream_error(said))]
        count = _count(said)
        if count is None:
            return [Failed(UpstreamGarbled("The provider's answer could not be understood: it is not a count."))]
        return [Answered(TokenCount(count))]


class _CountWriter(ResponseEncoder):
    """`estimated` is added where nobody could be asked; the SDKs pass over it."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._answer: TokenCount | HubError | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Answered) and isinstance(event.value, TokenCount):
            self._answer = event.value
        elif isinstance(event, Failed):
            self._answer = event.error
        return b""

    def close(self) -> bytes:
        answer = self._answer
        if isinstance(answer, HubError):
            return encode_error(answer, "")
        if answer is None:
            return b""
        said: dict[str, Any] = {"input_tokens": answer.input_tokens}
        return dump_json(said | {"estimated": True} if answer.estimated else said)


@hookimpl
def register_dialects() -> Iterable[type[Dialect]]:
    """The counter of the Messages API."""
    return [AnthropicCountTokens]

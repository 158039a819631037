"""Google's Gemini API (``generateContent``) as callers speak it and as providers do.

The model and the verb stand in the path, the framing of a stream in the query: ``?alt=sse`` asks for
server-sent events, without it a stream is one JSON array that grows. Names are read in camelCase and in
snake_case, and written in camelCase.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from llmhub_plugins.dialects.gemini import passing
from llmhub_plugins.dialects.gemini.answer_reader import AnswerDecoder
from llmhub_plugins.dialects.gemini.answer_writer import answer_encoder
from llmhub_plugins.dialects.gemini.head import read_head
from llmhub_plugins.dialects.gemini.models import target
from llmhub_plugins.dialects.gemini.request_reader import read_body, read_request
from llmhub_plugins.dialects.gemini.request_writer import write_request
from llmhub_plugins.dialects.gemini.wire import GoogleWire, paths

from llmhub_core.contracts import (
    ChatRequest,
    Dialect,
    EncodedRequest,
    FrameInfo,
    ModelCard,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    Where,
    dump_json,
    hookimpl,
)


class Gemini(GoogleWire[ChatRequest]):
    """The wire format ``gemini``; every method delegates to the room of its name."""

    name = "gemini"
    paths = paths("generateContent|streamGenerateContent")
    models_paths = ("/v1beta/models",)
    telling = passing.TELLING

    _claimed: ClassVar[tuple[str, ...]] = ("x-goog-api-key", "x-goog-api-client")

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        return path.startswith("/v1beta") or any(name in headers for name in self._claimed)

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return read_head(body, where)

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        return read_request(read_body(body), head)

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return answer_encoder(request)

    def encode_models(self, models: Sequence[ModelCard]) -> bytes:
        return dump_json({"models": [_model(model) for model in models]})

    def encode_model(self, model: ModelCard) -> bytes:
        return dump_json(_model(model))

    def path(self, head: RequestHead, model: str) -> str:
        """Streams are always asked for as events, however the caller reads them."""
        return target(model, "streamGenerateContent?alt=sse" if head.stream else "generateContent")

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        return write_request(request, model)

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return AnswerDecoder(stream)

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_frame(data)

    def begins(self, data: bytes) -> bool:
        return passing.begins(data)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_answer(body)


def _model(model: ModelCard) -> dict[str, object]:
    return {
        "name": f"models/{model.id}",
        "displayName": model.id,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }


@hookimpl
def register_dialects() -> Iterable[type[Dialect]]:
    return (Gemini,)

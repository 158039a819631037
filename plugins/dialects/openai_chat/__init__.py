"""OpenAI's Chat Completions, as OpenAI and the many servers compatible with it speak it.

Sources: OpenAI's API description, and traffic recorded from OpenAI, Azure, Mistral, Groq, DeepSeek, xAI, OpenRouter,
Perplexity, Together and others; where they differ, the reading is lenient and the writing is OpenAI's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from llmhub_plugins.dialects import openai
from llmhub_plugins.dialects.openai import errors
from llmhub_plugins.dialects.openai.passing import DONE, TELLING, outgoing_body, tells
from llmhub_plugins.dialects.openai_chat import (
    answer_reader,
    answer_writer,
    head,
    passing,
    request_reader,
    request_writer,
    words,
)

from llmhub_core.contracts import (
    ChatRequest,
    Dialect,
    EncodedRequest,
    FrameInfo,
    HubError,
    ModelCard,
    NoSettings,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    UpstreamError,
    Where,
    dump_json,
    hookimpl,
)


class OpenAIChat(Dialect):
    """Chat Completions; every method is one of the neighbouring modules'."""

    name = words.NAME
    Settings = NoSettings
    paths = ("/v1/chat/completions", "/v1/chat")
    models_paths = ("/v1/models",)
    forwards = frozenset({"idempotency-key", "openai-beta"})
    telling = TELLING

    tells = staticmethod(tells)  # asked for every frame: not one call more than needed

    # the caller's side

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        return openai.is_openai_sdk(headers)

    def credentials(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        return openai.credentials(headers)

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return head.read_head(body, where)

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        return request_reader.decode_request(body, head)

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return answer_writer.response_encoder(request)

    def encode_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_error(error)

    def encode_stream_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_stream_error(error)

    def encode_models(self, models: Sequence[ModelCard]) -> bytes:
        return dump_json({"object": "list", "data": [_model(model) for model in models]})

    def encode_model(self, model: ModelCard) -> bytes:
        return dump_json(_model(model))

    # the provider's side

    def path(self, head: RequestHead, model: str) -> str:
        return "/chat/completions" if head.operation == "chat" else "/" + head.operation

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        return request_writer.encode_request(request, model)

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return answer_reader.StreamReader() if stream else answer_reader.WholeReader()

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return errors.decode_error(status, headers, body)

    # the verbatim lane

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        return outgoing_body(body, head, model)

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_frame(data, head)

    def begins(self, data: bytes) -> bool:
        return passing.begins(data)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_answer(body, head)

    def stream_end(self) -> bytes:
        return DONE


def _model(model: ModelCard) -> dict[str, str | int]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner}


@hookimpl
def register_dialects() -> Iterable[type[Dialect]]:
    return (OpenAIChat,)

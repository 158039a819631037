"""The wire format of Anthropic's Messages API (``POST /v1/messages``, version 2023-06-01)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from llmhub_plugins.dialects.anthropic import answer_writer, errors, passing
from llmhub_plugins.dialects.anthropic.answer_reader import StreamReader, WholeReader
from llmhub_plugins.dialects.anthropic.answer_writer import StreamWriter, WholeWriter
from llmhub_plugins.dialects.anthropic.head import read_head
from llmhub_plugins.dialects.anthropic.request_reader import read_request
from llmhub_plugins.dialects.anthropic.request_writer import write_request
from llmhub_plugins.dialects.anthropic.structured import StructuredOutput
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import (
    ChatRequest,
    Dialect,
    EncodedRequest,
    FrameInfo,
    HubError,
    ModelCard,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    UpstreamError,
    Where,
    dump_json,
    hookimpl,
    replace_string,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicSettings:
    """What can be set about the format."""

    max_tokens: int = field(
        default=8192,
        metadata={"help": "Tokens at most in answers to callers whose API lets them leave the limit out."},
    )
    structured_output: StructuredOutput = field(
        default="auto",
        metadata={
            "help": "Answers bound to a JSON schema: `auto` says it natively and emulates it by a tool where the model "
            "cannot, `tool` always emulates, `refuse` never does."
        },
    )


class Anthropic(Dialect):
    """Messages API. Answers as the provider's own SDKs expect them, errors with `code` and `source` added."""

    name = NAME
    Settings: ClassVar[type] = AnthropicSettings
    settings: AnthropicSettings

    paths = ("/v1/messages",)
    models_paths: ClassVar[tuple[str, ...]] = ("/v1/models",)
    forwards = frozenset({"anthropic-version", "anthropic-beta"})
    request_id_header = "request-id"
    telling = passing.TELLING

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        if "anthropic-version" in headers:
            return True
        return "x-api-key" in headers and "anthropic" in headers.get("user-agent", "").lower()

    def credentials(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        if key := headers.get("x-api-key"):
            return key
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return read_head(body)

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        return read_request(body, head)

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return StreamWriter(request) if request.stream else WholeWriter(request)

    def encode_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_error(error, request_id)

    def encode_stream_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_stream_error(error, request_id)

    def encode_models(self, models: Sequence[ModelCard]) -> bytes:
        ends = {"first_id": models[0].id if models else None, "last_id": models[-1].id if models else None}
        return dump_json({"data": [_model(model) for model in models], **ends, "has_more": False})

    def encode_model(self, model: ModelCard) -> bytes:
        return dump_json(_model(model))

    def path(self, head: RequestHead, model: str) -> str:
        return "/v1/messages"

    def request_headers(self, forwarded: Mapping[str, str]) -> dict[str, str]:
        return {"content-type": "application/json", "anthropic-version": "2023-06-01", **forwarded}

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        return write_request(request, model, self.settings.max_tokens, self.settings.structured_output)

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return StreamReader() if stream else WholeReader()

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return errors.decode_error(status, headers, body)

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        return replace_string(body, "model", model)

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_frame(data)

    def begins(self, data: bytes) -> bool:
        return passing.begins(data)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_answer(body)

    def stream_end(self) -> bytes:
        return answer_writer.MESSAGE_STOP


def _model(model: ModelCard) -> dict[str, str]:
    created = datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # The SDK's type of a model has `lifecycle`; what the hub lists can be called.
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": created,
        "lifecycle": "active",
    }


@hookimpl
def register_dialects() -> Iterable[type[Dialect]]:
    """The Messages API."""
    return [Anthropic]

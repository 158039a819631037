"""OpenAI's Responses API, as OpenAI, Azure, xAI, DeepSeek and others speak it; and the counting of its tokens.

Sources: OpenAI's API description, and traffic recorded from OpenAI, Azure, xAI, DeepSeek and OpenRouter; where they
differ, the reading is lenient and the writing is OpenAI's.

What lives in a provider's memory (`previous_response_id`, `conversation`, `background`, prompt templates, references
to items) goes to providers that speak this format, and is refused by name where there are none (`ChatRequest.needs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from llmhub_plugins.dialects import openai
from llmhub_plugins.dialects.openai import errors
from llmhub_plugins.dialects.openai_responses import (
    answer_reader,
    answer_writer,
    counting,
    head,
    passing,
    request_reader,
    request_writer,
    thinking,
    words,
)

from llmhub_core.contracts import (
    COUNT_TOKENS,
    ChatRequest,
    Dialect,
    EncodedRequest,
    FrameInfo,
    HubError,
    NoSettings,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    UpstreamError,
    Where,
    dump_json,
    hookimpl,
    replace_string,
)


class _Responses(Dialect):
    """What answering and counting have in common."""

    forwards = frozenset({"idempotency-key", "openai-beta"})
    telling = passing.TELLING

    tells = staticmethod(passing.tells)  # asked for every frame: not one call more than needed

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        return path.startswith("/v1/responses")

    def credentials(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        return openai.credentials(headers)

    def encode_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_error(error)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return errors.decode_error(status, headers, body)

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        return replace_string(body, "model", model)

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_frame(data)


KEEPS_NONE = "This hub keeps no responses; send the whole conversation as input, with store set to false."


class OpenAIResponses(_Responses):
    """OpenAI's Responses API (``POST /v1/responses``), as OpenAI, Azure, xAI, DeepSeek and others speak it."""

    name = words.NAME
    Settings = thinking.Settings
    paths = ("/v1/responses",)
    absent: ClassVar[Mapping[str, str]] = {
        "/v1/responses/compact": "This hub does not compact conversations; send the items that matter as input.",
        "/v1/responses/{id}": KEEPS_NONE,
        "/v1/responses/{id}/cancel": KEEPS_NONE,
        "/v1/responses/{id}/input_items": KEEPS_NONE,
    }

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return head.read_head(body)

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        return request_reader.decode_request(body, head)

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return answer_writer.AnswerWriter(request)

    def encode_stream_error(self, error: HubError, request_id: str) -> bytes:
        # Its true number is not known: on the verbatim lane nobody counts.
        said = {"type": "error", "sequence_number": 0, **answer_writer.error_fields(error)}
        return b"event: error\ndata: " + dump_json(said) + b"\n\n"

    def path(self, head: RequestHead, model: str) -> str:
        return "/responses"

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        return request_writer.encode_request(request, model, self.settings.reasoning_summary)

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return answer_reader.StreamReader() if stream else answer_reader.WholeReader()

    def begins(self, data: bytes) -> bool:
        return passing.begins(data)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_answer(body)


class OpenAIResponsesCount(_Responses):
    """Counting the tokens of a request of the Responses API (``POST /v1/responses/input_tokens``)."""

    name = words.COUNT
    Settings = NoSettings
    operation = COUNT_TOKENS
    paths = ("/v1/responses/input_tokens",)

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return head.read_head(body, counting=True)

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        return request_reader.decode_request(body, head, words.COUNT)

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return counting.CountWriter()

    def path(self, head: RequestHead, model: str) -> str:
        return "/responses/input_tokens"

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        return request_writer.encode_count(request, model)

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return counting.CountReader()

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        return counting.inspect_count(body)


@hookimpl
def register_dialects() -> Iterable[type[Dialect]]:
    return (OpenAIResponses, OpenAIResponsesCount)

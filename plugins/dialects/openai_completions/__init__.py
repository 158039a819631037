"""OpenAI's text completions, the older format: a text goes in, what follows it comes out.

Providers that speak it are asked as the caller asked; any other provider of chat is given the prompt as a turn of the
user's. Source: OpenAI's API description, and traffic recorded from OpenAI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmhub_plugins.dialects import openai
from llmhub_plugins.dialects.openai import errors
from llmhub_plugins.dialects.openai.passing import DONE, TELLING, outgoing_body, tells
from llmhub_plugins.dialects.openai_completions import (
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
    NoSettings,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    UpstreamError,
    Where,
    hookimpl,
)


class OpenAICompletions(Dialect):
    """Text completions; every method is one of the neighbouring modules'."""

    name = words.NAME
    Settings = NoSettings
    paths = ("/v1/completions",)
    forwards = frozenset({"idempotency-key", "openai-beta"})
    telling = TELLING

    tells = staticmethod(tells)

    # the caller's side

    def claims(self, headers: Mapping[str, str], path: str) -> bool:
        return False  # OpenAI's SDKs are openai_chat's to answer where a path is shared

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

    # the provider's side

    def path(self, head: RequestHead, model: str) -> str:
        return "/completions"

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


@hookimpl
def register_dialects() -> Iterable[type[Dialect]]:
    return (OpenAICompletions,)

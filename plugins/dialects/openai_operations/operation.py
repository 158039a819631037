"""What the operations have in common: credentials, errors, the path, and the model as the one thing replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from llmhub_plugins.dialects import openai
from llmhub_plugins.dialects.openai import errors
from llmhub_plugins.dialects.openai_operations import passing

from llmhub_core.contracts import (
    Dialect,
    FrameInfo,
    HubError,
    NoSettings,
    PassingDialect,
    RequestHead,
    UpstreamError,
    replace_string,
)

R = TypeVar("R")


class Operation(Dialect[R]):
    """An operation is named by its path below the provider's base URL; that is also what its records say."""

    Settings = NoSettings
    forwards = frozenset({"idempotency-key", "openai-beta"})
    telling = passing.TELLING

    def credentials(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        return openai.credentials(headers)

    def encode_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_error(error)

    def encode_stream_error(self, error: HubError, request_id: str) -> bytes:
        return errors.encode_stream_error(error)

    def path(self, head: RequestHead, model: str) -> str:
        return "/" + head.operation

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return errors.decode_error(status, headers, body)

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        return replace_string(body, "model", model)


class PassingOperation(Operation[Any], PassingDialect):
    """One that only OpenAI's family knows."""

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return passing.inspect_event(data)

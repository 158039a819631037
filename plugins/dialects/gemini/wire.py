"""What all operations of Google's API share: who is asking, and how errors look."""

from __future__ import annotations

from collections.abc import Mapping

from llmhub_plugins.dialects.gemini.errors import read_error, write_error, write_stream_error
from typing_extensions import TypeVar

from llmhub_core.contracts import ChatRequest, Dialect, HubError, UpstreamError

RequestT = TypeVar("RequestT", default=ChatRequest)


class GoogleWire(Dialect[RequestT]):
    """A wire format of generativelanguage.googleapis.com: the model and the verb stand in the path."""

    def credentials(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        return headers.get("x-goog-api-key") or query.get("key") or None

    def encode_error(self, error: HubError, request_id: str) -> bytes:
        return write_error(error, request_id)

    def encode_stream_error(self, error: HubError, request_id: str) -> bytes:
        return write_stream_error(error, request_id)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return read_error(status, headers, body)


def paths(verbs: str) -> tuple[str, ...]:
    """The paths of `verbs` (separated by ``|``), in both versions of the API; @ai-sdk/google leaves the collection out
    before a name that has a slash."""
    target = f"{{model:.+}}:{{verb:{verbs}}}"
    return tuple(f"/{version}/{collection}{target}" for collection in ("models/", "") for version in ("v1beta", "v1"))

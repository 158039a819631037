"""How many tokens a request would read: ``POST /v1/responses/input_tokens``, asked and answered.

Source: OpenAI's API description; the answer is ``{"object": "response.input_tokens", "input_tokens": 16}``.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmhub_plugins.dialects.openai.errors import encode_error, stream_error

from llmhub_core.contracts import (
    Answered,
    Event,
    Failed,
    FrameInfo,
    HubError,
    ResponseDecoder,
    ResponseEncoder,
    TokenCount,
    UpstreamGarbled,
    dump_json,
    load_json,
)


def read_count(body: bytes) -> TokenCount:
    """A provider's count; ValueError if it is none."""
    value = load_json(body)
    count = value.get("input_tokens") if isinstance(value, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError("not a count of tokens")
    return TokenCount(count)


def inspect_count(body: bytes) -> FrameInfo:
    """What a count tells on the verbatim lane: that it is one."""
    error = error_of(body)
    if error is not None:
        return FrameInfo(error=stream_error(error))
    read_count(body)
    return FrameInfo(complete=True)


def error_of(body: bytes) -> object:
    """The error that some servers answer with a good status; None if there is none."""
    value = load_json(body)
    return value.get("error") if isinstance(value, dict) else None


class CountReader(ResponseDecoder):
    """One JSON value, read at the end."""

    def __init__(self) -> None:
        self._body: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._body.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        body = b"".join(self._body)
        try:
            error = error_of(body)
            return (Failed(stream_error(error)),) if error else (Answered(read_count(body)),)
        except ValueError:
            return (Failed(UpstreamGarbled("The provider sent something that is not a count of tokens.")),)


class CountWriter(ResponseEncoder):
    """One JSON object, returned by close()."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._count = TokenCount(0)
        self._error: HubError | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Answered) and isinstance(event.value, TokenCount):
            self._count = event.value
        elif isinstance(event, Failed):
            self._error = self._error or event.error
        return b""

    def close(self) -> bytes:
        if self._error is not None:
            return encode_error(self._error)
        return dump_json({"object": "response.input_tokens", "input_tokens": self._count.input_tokens})

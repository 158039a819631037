"""Answers of operations that never stream: read as one document, written as one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from llmhub_plugins.dialects.gemini.errors import error_in_answer, write_error

from llmhub_core.contracts import (
    Answered,
    Embeddings,
    Event,
    Failed,
    HubError,
    ResponseDecoder,
    ResponseEncoder,
    TokenCount,
    UpstreamGarbled,
    Usage,
    Used,
    dump_json,
    load_json,
)


def document(body: bytes) -> dict[str, Any]:
    """The one object that an answer is; ValueError if it is none."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise ValueError("an answer is one object")  # noqa: TRY004 (the contract's word)
    return value


class DocumentDecoder(ResponseDecoder):
    """Gathers the document; `events` says what it tells."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._pieces.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        try:
            found = document(b"".join(self._pieces))
            if found.get("error"):
                return (Failed(error_in_answer(found["error"])),)
            return self.events(found)
        except ValueError:
            return (Failed(UpstreamGarbled("The provider sent something that is not an answer; try again.")),)

    @abstractmethod
    def events(self, found: dict[str, Any]) -> Sequence[Event]:
        """ValueError if `found` is no answer."""


class DocumentEncoder(ResponseEncoder):
    """Gives the document out by close(); `members` says what stands in it."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._value: Embeddings | TokenCount | None = None
        self._usage: Usage | None = None
        self._failed: HubError | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, Answered):
            self._value = event.value
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._failed = event.error
        return b""

    def close(self) -> bytes:
        if self._failed is not None:
            return write_error(self._failed, "")
        return dump_json(self.members(self._value, self._usage))

    @abstractmethod
    def members(self, value: Embeddings | TokenCount | None, usage: Usage | None) -> dict[str, Any]: ...

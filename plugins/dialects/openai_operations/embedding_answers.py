"""Answers of embeddings: read from providers into neutral values, written to callers from them, and looked at in
passing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from llmhub_plugins.dialects.openai.checks import ABSENT
from llmhub_plugins.dialects.openai.errors import stream_error
from llmhub_plugins.dialects.openai_operations import passing, vectors
from msgspec import Raw, Struct

from llmhub_core.contracts import (
    Answered,
    EmbeddingRequest,
    Embeddings,
    Event,
    Failed,
    FrameInfo,
    ResponseDecoder,
    ResponseEncoder,
    UpstreamGarbled,
    Usage,
    Used,
    dump_json,
    load_json,
    tokens_of_bytes,
)


class EmbeddingsReader(ResponseDecoder):
    """A provider's answer, which always comes whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> Sequence[Event]:
        self._pieces.append(chunk)
        return ()

    def close(self) -> Sequence[Event]:
        try:
            said = load_json(b"".join(self._pieces))
            if isinstance(said, dict) and said.get("error"):
                return (Failed(stream_error(said["error"])),)
            answered = Answered(_read(said))
        except ValueError:
            return (Failed(UpstreamGarbled("The provider sent something that is no list of vectors; try again.")),)
        usage = passing.read_usage(said.get("usage"))
        return (answered,) if usage is None else (answered, Used(usage))


def _read(said: Any) -> Embeddings:
    """In the order of `index`, for some servers answer in that in which they were done."""
    items = said.get("data") if isinstance(said, dict) else None
    if not (isinstance(items, list) and items and all(isinstance(item, dict) for item in items)):
        raise ValueError("an answer without vectors")
    if all(isinstance(item.get("index"), int) for item in items):
        items = sorted(items, key=lambda item: item["index"])
    model = said.get("model")
    found = tuple(vectors.read_vector(item.get("embedding")) for item in items)
    return Embeddings(found, model if isinstance(model, str) else "")


class EmbeddingsWriter(ResponseEncoder):
    """The answer for a caller, in the spelling of vectors that was asked for."""

    content_type = "application/json"

    def __init__(self, request: EmbeddingRequest) -> None:
        self._request = request
        self._answer = Embeddings(())
        self._usage: Usage | None = None
        self._failed = False

    def write(self, event: Event) -> bytes:
        if isinstance(event, Answered) and isinstance(event.value, Embeddings):
            self._answer = event.value
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._failed = True
        return b""

    def close(self) -> bytes:
        if self._failed:
            return b""
        data = [
            {"object": "embedding", "index": index, "embedding": self._spelled(vector)}
            for index, vector in enumerate(self._answer.vectors)
        ]
        model = self._answer.model or self._request.model
        return dump_json({"object": "list", "data": data, "model": model, "usage": self._tokens()})

    def _spelled(self, vector: tuple[float, ...]) -> str | tuple[float, ...]:
        return vectors.pack(vector) if self._request.encoding == "base64" else vector

    def _tokens(self) -> dict[str, Any]:
        """The format demands usage; where the provider said none it is counted from the inputs, and marked."""
        if self._usage is not None and not self._usage.estimated:
            read = self._usage.input_tokens
            return {"prompt_tokens": read, "total_tokens": read}
        read = self._usage.input_tokens if self._usage else sum(_tokens_of(each) for each in self._request.inputs)
        return {"prompt_tokens": read, "total_tokens": read, "estimated": True}


def _tokens_of(given: str | tuple[int, ...]) -> int:
    return tokens_of_bytes(len(given.encode())) if isinstance(given, str) else len(given)


# In passing.


class _Item(Struct):
    embedding: Raw = ABSENT  # some servers answer with several vectors, under another name


class _Answer(Struct):
    data: list[_Item] | None = None
    usage: Any = None
    error: Any = None


_glance = msgspec.json.Decoder(_Answer).decode


def inspect_answer(body: bytes, inputs: int, packed: bool) -> FrameInfo:
    """What an answer to so many inputs tells; ValueError if it is none, or one with too few vectors. Where `packed`
    vectors were asked for and numbers came, it is to be exchanged."""
    seen = _glance(body)  # its errors are ValueErrors
    if seen.error:
        return FrameInfo(error=stream_error(seen.error))
    if not seen.data or len(seen.data) < inputs:
        raise ValueError("an answer without a vector for every input")
    info = FrameInfo(passing.read_usage(seen.usage), complete=True)
    if packed and any(bytes(memoryview(item.embedding)[:1]) == b"[" for item in seen.data):
        info.instead = vectors.pack_answer(body)
    return info

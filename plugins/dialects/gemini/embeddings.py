"""Google's embeddings: ``:embedContent`` (one) and ``:batchEmbedContents`` (many).

Source: ai.google.dev/api/embeddings, and recorded traffic. Google's SDK always asks for a batch, and so does the hub
for callers of other dialects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from llmhub_plugins.dialects.gemini import passing
from llmhub_plugins.dialects.gemini.errors import error_in_answer
from llmhub_plugins.dialects.gemini.models import resource, target
from llmhub_plugins.dialects.gemini.request_reader import read_body
from llmhub_plugins.dialects.gemini.whole import DocumentDecoder, DocumentEncoder
from llmhub_plugins.dialects.gemini.wire import GoogleWire, paths
from llmhub_plugins.dialects.gemini.words import as_list, as_object, as_text, tells_usage, usage_of, wrong_type

from llmhub_core.contracts import (
    EMBEDDINGS,
    Answered,
    BadRequest,
    Dialect,
    EmbeddingRequest,
    Embeddings,
    EncodedRequest,
    Event,
    FrameInfo,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    TokenCount,
    Usage,
    Used,
    Where,
    dump_json,
    hookimpl,
    set_value,
)

_NAME = "gemini_embeddings"
_CONFIG = "embedContentConfig"
_ONE = "embedContent"
_WISHES = ("taskType", "title", "outputDimensionality")


class EmbedHead(RequestHead, frozen=True):
    """`single`: the caller asked for one embedding by its own verb, and reads one; `inputs` are so many due."""

    single: bool = False
    inputs: int = 1


@dataclass(frozen=True, slots=True)
class EmbedRequest(EmbeddingRequest):
    """A request that came in this dialect: `requests` are its entries as they were asked, `single` as in the head."""

    requests: tuple[Mapping[str, Any], ...] = ()
    single: bool = False


class GeminiEmbeddings(GoogleWire[EmbeddingRequest]):
    """The wire format ``gemini_embeddings``."""

    name = _NAME
    operation = EMBEDDINGS
    paths = paths(f"{_ONE}|batchEmbedContents")
    telling = passing.TELLING

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        single = where.path.get("verb") == _ONE
        entries = _entries(read_body(body), single)
        model = where.path.get("model", "").removeprefix("models/")
        return EmbedHead(model, operation=EMBEDDINGS, single=single, inputs=len(entries))

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> EmbeddingRequest:
        single = isinstance(head, EmbedHead) and head.single
        entries = _entries(read_body(body), single)
        found = [_Entry(entry, "" if single else f"requests[{number}].") for number, entry in enumerate(entries)]
        dimensions = {entry.dimensions for entry in found}
        if len(dimensions) > 1:
            raise BadRequest(
                "Only Gemini models can make vectors of several lengths at once; ask for one `outputDimensionality`.",
                code="unsupported_content",
                param="requests[1].outputDimensionality",
            )
        return EmbedRequest(
            dialect=self.name,
            model=head.model,
            inputs=tuple(entry.text for entry in found),
            dimensions=dimensions.pop(),
            task=_common({entry.task for entry in found}),
            title=_common({entry.title for entry in found}),
            extras={name: value for entry in found for name, value in entry.rest.items()} | _apart(found),
            requests=tuple(entries),
            single=single,
        )

    def response_encoder(self, request: EmbeddingRequest) -> ResponseEncoder:
        return _VectorWriter(isinstance(request, EmbedRequest) and request.single)

    def path(self, head: RequestHead, model: str) -> str:
        return target(model, _ONE if isinstance(head, EmbedHead) and head.single else "batchEmbedContents")

    def encode_request(self, request: EmbeddingRequest, model: str) -> EncodedRequest:
        named = {"model": resource(model)}
        if isinstance(request, EmbedRequest):
            entries = [{**entry, **named} for entry in request.requests]
            return EncodedRequest(dump_json(entries[0] if request.single else {"requests": entries}))
        adapted = [f"{name}=dropped" for name in request.extras]
        if request.user is not None:
            adapted.append("user=dropped")
        wishes = {"taskType": request.task, "title": request.title, "outputDimensionality": request.dimensions}
        common = {**named, **{name: value for name, value in wishes.items() if value is not None}}
        entries = [{**common, "content": _content(text, number)} for number, text in enumerate(request.inputs)]
        return EncodedRequest(dump_json({"requests": entries}), tuple(adapted))

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return _VectorReader()

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        """Each entry of a batch names its model once more, one alone may."""
        name = dump_json(resource(model))
        if isinstance(head, EmbedHead) and head.single:
            return set_value(body, "model", name)
        try:
            entries = [bytes(entry) for entry in msgspec.json.decode(body, type=_Batch).requests]
        except (msgspec.DecodeError, UnicodeDecodeError):  # a single entry, or odd text: for the lenient parser
            entries = [dump_json(entry) for entry in _entries(read_body(body), single=False)]
        renamed = [set_value(entry, "model", name) for entry in entries]
        return set_value(body, "requests", b"[" + b",".join(renamed) + b"]")

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return FrameInfo()  # vectors are never streamed

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        found = _glance(body)  # its errors are ValueErrors
        if found.error:
            return FrameInfo(error=error_in_answer(found.error))
        vectors = found.embeddings if found.embedding is None else [found.embedding]
        if len(vectors) < (head.inputs if isinstance(head, EmbedHead) else 1):
            raise ValueError("an answer without a vector for every input")
        return FrameInfo(_usage(found.usageMetadata), complete=True)


class _Batch(msgspec.Struct):
    requests: list[msgspec.Raw]


class _Vector(msgspec.Struct):
    values: msgspec.Raw


class _Answer(msgspec.Struct):
    embedding: _Vector | None = None
    embeddings: list[_Vector] = []
    usageMetadata: Any = None  # noqa: N815 (the format's name)
    error: Any = None


_glance = msgspec.json.Decoder(_Answer).decode


def _entries(members: dict[str, Any], single: bool) -> list[dict[str, Any]]:
    """The requests of a batch, or the one that the body is; each with names in camelCase and with a content."""
    if not single and "requests" not in members:
        raise BadRequest("`requests` is required.", code="missing_field", param="requests")
    listed = [members] if single else as_list(members["requests"], "requests")
    if not listed:
        raise BadRequest("`requests` must have at least one entry.", code="invalid_value", param="requests")
    entries = []
    for number, listed_entry in enumerate(listed):
        where = "" if single else f"requests[{number}]"
        entry = as_object(listed_entry, where or "body")
        if "content" not in entry:
            param = f"{where}.content" if where else "content"
            raise BadRequest(f"`{param}` is required.", code="missing_field", param=param)
        entries.append(entry)
    return entries


class _Entry:
    """One request taken apart: its text, what is wished of its vector, and the rest of it."""

    def __init__(self, entry: Mapping[str, Any], where: str) -> None:
        rest = {name: value for name, value in entry.items() if name not in ("model", "content")}
        rest |= as_object(rest.pop(_CONFIG, {}), where + _CONFIG)
        task, title, dimensions = (rest.pop(name, None) for name in _WISHES)
        self.task = None if task is None else as_text(task, f"{where}taskType")
        self.title = None if title is None else as_text(title, f"{where}title")
        if dimensions is not None and type(dimensions) is not int:
            raise wrong_type(f"{where}outputDimensionality", "an integer")
        self.dimensions: int | None = dimensions
        self.rest = rest
        self.text = _text(entry["content"], f"{where}content")


def _text(content: object, where: str) -> str:
    """All parts together make one vector."""
    if isinstance(content, str):
        return content
    texts = []
    for number, part in enumerate(as_list(as_object(content, where).get("parts", []), f"{where}.parts")):
        inside = f"{where}.parts[{number}]"
        members = as_object(part, inside)
        if "text" not in members:
            raise BadRequest(
                f"`{inside}` is not text, which only Gemini models can embed; send text, or choose one of them.",
                code="unsupported_content",
                param=inside,
            )
        texts.append(as_text(members["text"], f"{inside}.text"))
    return "\n".join(texts)


def _common(values: set[str | None]) -> str | None:
    """What all entries say."""
    return values.pop() if len(values) == 1 else None


def _apart(entries: Sequence[_Entry]) -> dict[str, Any]:
    """Wishes that differ from entry to entry, as only this dialect can say."""
    told = {"taskType": [entry.task for entry in entries], "title": [entry.title for entry in entries]}
    return {name: values for name, values in told.items() if len(set(values)) > 1}


def _content(text: str | tuple[int, ...], number: int) -> dict[str, Any]:
    if isinstance(text, str):
        return {"parts": [{"text": text}]}
    raise BadRequest(
        f"`input[{number}]` is a list of token numbers, which mean nothing to Gemini models; send the text.",
        code="unsupported_content",
        param=f"input[{number}]",
    )


def _usage(metadata: object) -> Usage | None:
    return usage_of(metadata) if isinstance(metadata, dict) and tells_usage(metadata) else None


class _VectorReader(DocumentDecoder):
    def events(self, found: dict[str, Any]) -> Sequence[Event]:
        listed = [found["embedding"]] if "embedding" in found else found.get("embeddings")
        if not isinstance(listed, list) or not listed:
            raise ValueError("an answer without vectors")
        usage = _usage(found.get("usageMetadata"))
        answered = Answered(Embeddings(tuple(map(_values, listed))))
        return (answered,) if usage is None else (answered, Used(usage))


def _values(vector: Any) -> tuple[float, ...]:
    values = vector.get("values") if isinstance(vector, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise ValueError("a vector without numbers")
    return tuple(map(float, values))


class _VectorWriter(DocumentEncoder):
    def __init__(self, single: bool) -> None:
        super().__init__()
        self._single = single

    def members(self, value: Embeddings | TokenCount | None, usage: Usage | None) -> dict[str, Any]:
        vectors = [{"values": vector} for vector in value.vectors] if isinstance(value, Embeddings) else []
        written: dict[str, Any] = {"embedding": vectors[0]} if self._single and vectors else {"embeddings": vectors}
        if usage is not None and not usage.estimated:
            counted = {"promptTokenCount": usage.input_tokens, "totalTokenCount": usage.input_tokens}
            written["usageMetadata"] = counted
        return written


@hookimpl
def register_dialects() -> Iterable[type[Dialect[Any]]]:
    return (GeminiEmbeddings,)

"""Google's way to count tokens (``:countTokens``): `contents` alone, or a whole request in `generateContentRequest`.

Source: ai.google.dev/api/tokens, and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from llmhub_plugins.dialects.gemini import passing
from llmhub_plugins.dialects.gemini.errors import error_in_answer
from llmhub_plugins.dialects.gemini.head import read_head
from llmhub_plugins.dialects.gemini.models import resource, target
from llmhub_plugins.dialects.gemini.request_reader import read_body, read_request
from llmhub_plugins.dialects.gemini.request_writer import request_body
from llmhub_plugins.dialects.gemini.whole import DocumentDecoder, DocumentEncoder, document
from llmhub_plugins.dialects.gemini.wire import GoogleWire, paths
from llmhub_plugins.dialects.gemini.words import NAME, as_object

from llmhub_core.contracts import (
    COUNT_TOKENS,
    Answered,
    BadRequest,
    ChatRequest,
    Dialect,
    Embeddings,
    EncodedRequest,
    Event,
    FrameInfo,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    Sampling,
    TokenCount,
    Usage,
    Where,
    dump_json,
    find_value,
    hookimpl,
    set_value,
)

_WHOLE = "generateContentRequest"
_SPELLINGS = (_WHOLE, "generate_content_request")


class GeminiCountTokens(GoogleWire[ChatRequest]):
    """The wire format ``gemini_count_tokens``."""

    name = "gemini_count_tokens"
    operation = COUNT_TOKENS
    paths = paths("countTokens")
    telling = passing.TELLING

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        found = _whole_request(body)
        if found is None:
            return _of_operation(read_head(body, where))
        try:
            return _of_operation(read_head(found[1], where))
        except BadRequest as error:
            raise _within_whole(error) from None

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> ChatRequest:
        members = read_body(body)
        if _WHOLE not in members:
            return read_request(members, head)
        try:
            inner = as_object(members[_WHOLE], "body")
            inner.pop("model", None)
            return read_request(inner, head)
        except BadRequest as error:
            raise _within_whole(error) from None

    def response_encoder(self, request: ChatRequest) -> ResponseEncoder:
        return _CountWriter()

    def path(self, head: RequestHead, model: str) -> str:
        return target(model, "countTokens")

    def encode_request(self, request: ChatRequest, model: str) -> EncodedRequest:
        """Of the settings of other dialects only those go along that the model reads: losing others loses nothing."""
        if request.dialect != NAME:
            read = request.sampling
            sampling = Sampling(answer_format=read.answer_format, tool_choice=read.tool_choice)
            request = replace(request, sampling=sampling, extras={})
        adapted: list[str] = []
        body = request_body(request, model, adapted)
        if body.keys() != {"contents"}:
            body = {_WHOLE: {"model": resource(model), **body}}
        return EncodedRequest(dump_json(body), tuple(adapted))

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return _CountReader()

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        """A whole request names its model once more."""
        found = _whole_request(body)
        if found is None or find_value(found[1], "model") is None:
            return body
        return set_value(body, found[0], set_value(found[1], "model", dump_json(resource(model))))

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return FrameInfo()  # counts are never streamed

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        found = document(body)
        if found.get("error"):
            return FrameInfo(error=error_in_answer(found["error"]))
        _count(found)
        return FrameInfo(complete=True)


def _whole_request(body: bytes) -> tuple[str, bytes] | None:
    """The spelling and the raw value of `generateContentRequest`; None if there is none (or no JSON at all)."""
    for name in _SPELLINGS:
        if name.encode() not in body:
            continue
        try:
            raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get(name)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None  # whoever reads on says what is wrong
        if raw is not None and bytes(raw) != b"null":
            return name, bytes(raw)
    return None


def _of_operation(head: RequestHead) -> RequestHead:
    return msgspec.structs.replace(head, operation=COUNT_TOKENS)


def _within_whole(error: BadRequest) -> BadRequest:
    if error.param is None or error.param == "body":
        return BadRequest(error.message, code=error.code, param=_WHOLE)
    param = f"{_WHOLE}.{error.param}"
    return BadRequest(error.message.replace(f"`{error.param}`", f"`{param}`"), code=error.code, param=param)


def _count(found: dict[str, Any]) -> TokenCount:
    total, cached = found.get("totalTokens"), found.get("cachedContentTokenCount")
    if type(total) is not int:
        raise ValueError("an answer without a count")
    return TokenCount(total, cached if type(cached) is int else 0)


class _CountReader(DocumentDecoder):
    def events(self, found: dict[str, Any]) -> Sequence[Event]:
        return (Answered(_count(found)),)


class _CountWriter(DocumentEncoder):
    """Without details by modality, which other providers do not tell."""

    def members(self, value: Embeddings | TokenCount | None, usage: Usage | None) -> dict[str, Any]:
        count = value if isinstance(value, TokenCount) else TokenCount(0)
        cached = {"cachedContentTokenCount": count.cached_tokens} if count.cached_tokens else {}
        return {"totalTokens": count.input_tokens, **cached}


@hookimpl
def register_dialects() -> Iterable[type[Dialect[Any]]]:
    return (GeminiCountTokens,)

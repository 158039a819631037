"""Reranking (``POST /v1/rerank``): documents in the order of their relevance to a query.

OpenAI has none; Cohere made the shape, and Jina, Voyage, vLLM, Together and others follow it with small differences:
`top_k` or `top_n`, `results` or `data`, usage in `usage` or in `meta`. Source: their API descriptions, and an answer
recorded from Cohere.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from llmhub_plugins.dialects.openai_operations import passing
from llmhub_plugins.dialects.openai_operations.asked import Asked, read
from llmhub_plugins.dialects.openai_operations.operation import PassingOperation
from msgspec import Meta, Raw

from llmhub_core.contracts import FrameInfo, RequestHead, Where

_Positive = Annotated[int, Meta(ge=1)] | None


class _Asked(Asked, kw_only=True):
    query: str | dict[str, Raw]
    documents: Annotated[list[str | dict[str, Raw]], Meta(min_length=1, max_length=100_000)]
    top_n: _Positive = None
    top_k: _Positive = None
    return_documents: bool | None = None


_decode = msgspec.json.Decoder(_Asked).decode


class OpenAIRerank(PassingOperation):
    """A query and documents in, indexes and scores out; `/v2/rerank` is where Cohere's newer SDKs ask."""

    name = "openai_rerank"
    operation = "rerank"
    paths = ("/v1/rerank", "/v2/rerank")

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        return RequestHead(read(body, _decode).model, operation=self.operation)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        seen = passing.glance(body)
        if seen.results is None and seen.data is None and not seen.error:
            raise ValueError("a reranking without results")
        return passing.told(seen)

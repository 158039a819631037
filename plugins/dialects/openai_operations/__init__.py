"""The operations beside chat that OpenAI's family of wire formats has: embeddings, which are translated, and
moderations, images, speech, transcriptions and reranking, which pass to providers of the same family."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmhub_plugins.dialects.openai_operations.embeddings import OpenAIEmbeddings
from llmhub_plugins.dialects.openai_operations.images import OpenAIImages
from llmhub_plugins.dialects.openai_operations.moderations import OpenAIModerations
from llmhub_plugins.dialects.openai_operations.rerank import OpenAIRerank
from llmhub_plugins.dialects.openai_operations.speech import OpenAISpeech
from llmhub_plugins.dialects.openai_operations.transcriptions import OpenAITranscriptions

from llmhub_core.contracts import Dialect, hookimpl


@hookimpl
def register_dialects() -> Iterable[type[Dialect[Any]]]:
    return (
        OpenAIEmbeddings,
        OpenAIModerations,
        OpenAIImages,
        OpenAISpeech,
        OpenAITranscriptions,
        OpenAIRerank,
    )

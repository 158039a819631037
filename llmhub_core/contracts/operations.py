"""What other operations than chat ask and answer, where it can be said in more than one wire format.

Operations that only one format knows (moderations, images, sound) have no values here: they pass as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmhub_core.contracts.chat_request import NO_EXTRAS, Extras

CHAT = "chat"
EMBEDDINGS = "embeddings"
COUNT_TOKENS = "count_tokens"
"""Names of operations that dialects translate among each other; token counting asks with a ChatRequest."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts (or lists of token numbers) to turn into vectors, in order.

    dimensions   the length of a vector, None for the model's own
    encoding     how the caller reads vectors: JSON numbers, or little-endian 32-bit floats in base64
    task         what the vectors are for, in Gemini's words (``RETRIEVAL_QUERY``); None if not said
    """

    dialect: str
    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    task: str | None = None
    title: str | None = None
    user: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector an input, in the order of the inputs. `model` as the provider said, "" if it did not."""

    vectors: tuple[tuple[float, ...], ...]
    model: str = ""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens a request would read; `estimated` if nobody could be asked."""

    input_tokens: int
    cached_tokens: int = 0
    estimated: bool = False

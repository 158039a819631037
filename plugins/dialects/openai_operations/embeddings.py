"""OpenAI's embeddings (``POST /v1/embeddings``), as OpenAI and the servers compatible with it speak them.

Sources: OpenAI's API description, and traffic recorded from OpenAI, Azure, Mistral and OpenRouter.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from llmhub_plugins.dialects.openai import checks
from llmhub_plugins.dialects.openai_operations import embedding_answers
from llmhub_plugins.dialects.openai_operations.asked import Asked, read
from llmhub_plugins.dialects.openai_operations.operation import Operation
from msgspec import Meta, Raw

from llmhub_core.contracts import (
    EMBEDDINGS,
    BadRequest,
    EmbeddingRequest,
    EncodedRequest,
    FrameInfo,
    RequestHead,
    ResponseDecoder,
    ResponseEncoder,
    Where,
    dump_json,
    load_json,
)

NAME = "openai_embeddings"

_Token = Annotated[int, Meta(ge=0)]
_Tokens = Annotated[list[_Token], Meta(min_length=1, max_length=1_000_000)]
_Text = Annotated[str, Meta(min_length=1)]
# Objects are inputs of servers that embed images as well: they pass, but nobody translates them.
_Inputs = Annotated[list[_Text | _Token | _Tokens | dict[str, Raw]], Meta(min_length=1, max_length=100_000)]


class _Asked(Asked, kw_only=True):
    input: _Text | _Inputs | dict[str, Raw]
    dimensions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


_decode = msgspec.json.Decoder(_Asked).decode


class EmbeddingsHead(RequestHead, frozen=True):
    """`inputs` are so many vectors due, `packed` says that they shall come in base64."""

    inputs: int = 1
    packed: bool = False


class OpenAIEmbeddings(Operation[EmbeddingRequest]):
    """Texts in, vectors out."""

    name = NAME
    operation = EMBEDDINGS
    paths = ("/v1/embeddings",)

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        asked = read(body, _decode)
        checks.check_user(asked.user)
        return EmbeddingsHead(
            asked.model,
            operation=self.operation,
            inputs=_count(asked.input),
            packed=asked.encoding_format == "base64",
        )

    def decode_request(self, body: bytes, head: RequestHead, where: Where) -> EmbeddingRequest:
        said = load_json(body)
        known = {"model", "input", "dimensions", "encoding_format", "user"}
        return EmbeddingRequest(
            dialect=self.name,
            model=head.model,
            inputs=_inputs(said["input"]),
            dimensions=said.get("dimensions"),
            encoding=said.get("encoding_format") or "float",
            user=said.get("user"),
            extras={name: value for name, value in said.items() if name not in known},
        )

    def response_encoder(self, request: EmbeddingRequest) -> ResponseEncoder:
        return embedding_answers.EmbeddingsWriter(request)

    def encode_request(self, request: EmbeddingRequest, model: str) -> EncodedRequest:
        own = request.dialect == self.name
        one = len(request.inputs) == 1
        fields: dict[str, Any] = {"model": model, "input": request.inputs[0] if one else request.inputs}
        if request.dimensions is not None:
            fields["dimensions"] = request.dimensions
        if own and request.encoding != "float":
            fields["encoding_format"] = request.encoding
        if request.user is not None:
            fields["user"] = request.user
        # By the names that Gemini's callers know them by: no other format has these wishes.
        wishes = {"taskType": request.task, "title": request.title}
        lost = [name for name, wish in wishes.items() if wish is not None]
        if own:
            fields.update(request.extras)
        else:
            lost += request.extras
        return EncodedRequest(dump_json(fields), tuple(f"{name}=dropped" for name in lost))

    def response_decoder(self, stream: bool) -> ResponseDecoder:
        return embedding_answers.EmbeddingsReader()

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        return FrameInfo()  # vectors are never streamed

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        asked = head if isinstance(head, EmbeddingsHead) else EmbeddingsHead(head.model)
        return embedding_answers.inspect_answer(body, asked.inputs, asked.packed)


def _count(given: str | list[Any] | dict[str, Any]) -> int:
    """How many vectors are due; BadRequest for a list of several kinds of things."""
    if not isinstance(given, list):
        return 1
    kinds = set(map(type, given))
    if len(kinds) > 1 and kinds != {str, dict}:
        checks.refuse("input", "must be texts only, tokens only, or lists of tokens only")
    return 1 if kinds == {int} else len(given)


def _inputs(given: Any) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list) and isinstance(given[0], int):
        return (tuple(given),)
    for place, item in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(item, dict):
            raise BadRequest(
                "Only a provider that speaks this very format can embed other things than text and tokens; send texts, "
                "or choose another model.",
                code="unsupported_content",
                param=f"input[{place}]",
            )
    return tuple(item if isinstance(item, str) else tuple(item) for item in given)

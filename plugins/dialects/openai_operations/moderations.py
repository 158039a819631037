"""OpenAI's moderations (``POST /v1/moderations``): is a text, or an image, harmful?

Sources: OpenAI's API description, by which a request without a model asks `omni-moderation-latest`; Mistral answers
to the same path, and tells its usage.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from llmhub_plugins.dialects.openai import checks, media
from llmhub_plugins.dialects.openai_operations import passing
from llmhub_plugins.dialects.openai_operations.asked import Asked, read
from llmhub_plugins.dialects.openai_operations.operation import PassingOperation
from msgspec import Meta, Struct

from llmhub_core.contracts import FrameInfo, RequestHead, Where, dump_json, set_value

DEFAULT_MODEL = "omni-moderation-latest"


class _ImageUrl(Struct):
    url: str


class _Input(Struct):
    type: str
    image_url: _ImageUrl | None = None


class _Asked(Asked, kw_only=True):
    input: str | Annotated[list[str | _Input], Meta(min_length=1, max_length=100_000)]


_decode = msgspec.json.Decoder(_Asked).decode


class OpenAIModerations(PassingOperation):
    """Texts and images in, verdicts out."""

    name = "openai_moderations"
    operation = "moderations"
    paths = ("/v1/moderations",)

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        asked = read(body, _decode, DEFAULT_MODEL)
        for place, item in enumerate(asked.input):
            if isinstance(item, _Input) and item.image_url and (fault := media.fault_of(item.image_url.url)):
                checks.refuse(f"input[{place}].image_url.url", fault)
        return RequestHead(asked.model, operation=self.operation)

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        return set_value(body, "model", dump_json(model))  # it may not stand there

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        seen = passing.glance(body)
        if seen.results is None and not seen.error:
            raise ValueError("a moderation without results")
        return passing.told(seen)

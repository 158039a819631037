"""OpenAI's images: made from words (``POST /v1/images/generations``), or from words and other images
(``POST /v1/images/edits``); streamed, previews come before the image.

Sources: OpenAI's API description, and an answer recorded from it. Edits come as multipart/form-data, or as JSON that
names the images by address or file id.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from llmhub_plugins.dialects.openai import checks, media
from llmhub_plugins.dialects.openai_operations import form, passing
from llmhub_plugins.dialects.openai_operations.asked import Asked, read
from llmhub_plugins.dialects.openai_operations.operation import PassingOperation
from msgspec import Meta, Struct

from llmhub_core.contracts import FrameInfo, RequestHead, UnsupportedMedia, Where

EDITS = "edits"


class _Image(Struct):
    image_url: str | None = None
    file_id: str | None = None


class _Asked(Asked, kw_only=True):
    prompt: Annotated[str, Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    size: str | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=10)] | None = None
    response_format: str | None = None
    images: list[_Image] | None = None


_decode = msgspec.json.Decoder(_Asked).decode


class OpenAIImages(PassingOperation):
    """Words (and images) in, images out."""

    name = "openai_images"
    operation = "images/generations"
    media_types = ("application/json", form.MEDIA_TYPE)
    paths = ("/v1/images/{task:generations|edits}",)
    forwards = PassingOperation.forwards | {"content-type"}  # it holds the boundary between the parts of a form

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        task = where.path["task"]
        if form.is_form(where.media):
            if task != EDITS:
                raise UnsupportedMedia("Send the body as JSON, with the header content-type: application/json.")
            return form.read_head(body, where, f"images/{task}", required=("prompt",))
        asked = read(body, _decode)
        for place, image in enumerate(asked.images or ()):
            if image.image_url and (fault := media.fault_of(image.image_url)):
                checks.refuse(f"images[{place}].image_url", fault)
        stream = asked.stream or False
        return RequestHead(asked.model, stream, "sse" if stream else "json", n=asked.n or 1, operation=f"images/{task}")

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        if isinstance(head, form.FormHead):
            return form.with_model(body, head, model)
        return super().outgoing_body(body, head, model)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        seen = passing.glance(body)
        if not seen.data and not seen.error:
            raise ValueError("an answer without images")
        return passing.told(seen)

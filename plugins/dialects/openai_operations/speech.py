"""OpenAI's speech (``POST /v1/audio/speech``): text in, sound out, passed on as it is spoken.

Sources: OpenAI's API description. Sound comes as bytes that say nothing of usage; with ``stream_format: sse`` it comes
in events, of which the last tells the usage.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from llmhub_plugins.dialects.openai_operations import passing
from llmhub_plugins.dialects.openai_operations.asked import Asked, read
from llmhub_plugins.dialects.openai_operations.operation import PassingOperation
from msgspec import Meta, Raw

from llmhub_core.contracts import FrameInfo, RequestHead, Where


class _Asked(Asked, kw_only=True):
    input: Annotated[str, Meta(min_length=1)]
    voice: str | dict[str, Raw] | None = None
    instructions: str | None = None
    response_format: str | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    stream_format: Literal["sse", "audio"] | None = None


_decode = msgspec.json.Decoder(_Asked).decode


class OpenAISpeech(PassingOperation):
    """Text in, sound out."""

    name = "openai_speech"
    operation = "audio/speech"
    paths = ("/v1/audio/speech",)

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        asked = read(body, _decode)
        framing: Literal["sse", "bytes"] = "sse" if asked.stream_format == "sse" else "bytes"
        return RequestHead(asked.model, stream=True, framing=framing, operation=self.operation)

    def inspect_frame(self, data: bytes, head: RequestHead) -> FrameInfo:
        info = passing.inspect_event(data)
        if info.usage is not None:  # what was written is sound, though the provider does not say so
            written = info.usage.output_tokens
            info.usage = msgspec.structs.replace(info.usage, audio_output_tokens=written)
        return info

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        """Sound where events were asked for: the older models do not know them."""
        if not body:
            raise ValueError("no sound")
        if body.startswith(b"{"):
            return passing.told(passing.glance(body))
        return FrameInfo(complete=True)

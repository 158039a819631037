"""OpenAI's transcriptions and translations of speech (``POST /v1/audio/transcriptions``, ``…/translations``): sound in,
words out, as JSON, plain text, subtitles or a stream of events.

Sources: OpenAI's API description. Usage is told in tokens by newer models, in seconds (which are no tokens) by older.
"""

from __future__ import annotations

from llmhub_plugins.dialects.openai_operations import form, passing
from llmhub_plugins.dialects.openai_operations.operation import PassingOperation

from llmhub_core.contracts import FrameInfo, RequestHead, Where

_PLAIN = frozenset({"text", "srt", "vtt"})
_PAGES = (b"<!doctype", b"<html")


class OpenAITranscriptions(PassingOperation):
    """Sound in, words out."""

    name = "openai_transcriptions"
    operation = "audio/transcriptions"
    media_types = (form.MEDIA_TYPE,)
    paths = ("/v1/audio/{task:transcriptions|translations}",)
    forwards = PassingOperation.forwards | {"content-type"}  # it holds the boundary between the parts

    def read_head(self, body: bytes, where: Where) -> RequestHead:
        # Some servers fetch the sound from a `url` instead.
        return form.read_head(body, where, f"audio/{where.path['task']}", required=("file|url",))

    def outgoing_body(self, body: bytes, head: RequestHead, model: str) -> bytes:
        assert isinstance(head, form.FormHead)  # noqa: S101 — read_head makes no other
        return form.with_model(body, head, model)

    def inspect_answer(self, body: bytes, head: RequestHead) -> FrameInfo:
        plain = isinstance(head, form.FormHead) and head.answer in _PLAIN
        if plain and not body.lstrip().startswith(b"{"):
            if body.lstrip()[:9].lower().startswith(_PAGES):
                raise ValueError("a page, no transcript")
            return FrameInfo(complete=True)
        seen = passing.glance(body)
        if seen.text is None and seen.segments is None and not seen.error and not plain:
            raise ValueError("a transcription without text")
        return passing.told(seen)

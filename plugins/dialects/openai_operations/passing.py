"""The verbatim lane of all operations: what answers and the events of streams tell on their way through.

Sources: the API description of OpenAI (usage of images, speech and transcriptions), Cohere (`meta` of a reranking),
and traffic recorded from OpenAI, Mistral, OpenRouter and Cohere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from llmhub_plugins.dialects.openai.errors import stream_error
from msgspec import Raw, Struct

from llmhub_core.contracts import FrameInfo, Usage, load_json

TELLING = re.compile(rb"rror|\[DONE\]|completed|\.done")
"""An event that tells an error or the end; usage comes with the end."""

_ENDS = frozenset({"image_generation.completed", "image_edit.completed", "speech.audio.done", "transcript.text.done"})


class Glance(Struct):
    """What is looked at in any answer; images and transcripts are skipped over without being built."""

    type: str | None = None
    usage: Any = None
    meta: Any = None
    error: Any = None
    data: list[Raw] | None = None
    results: list[Raw] | None = None
    text: Raw | None = None
    segments: Raw | None = None


_decode = msgspec.json.Decoder(Glance).decode


def glance(body: bytes) -> Glance:
    """ValueError if `body` is no JSON object."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _slow_glance(body)


def _slow_glance(body: bytes) -> Glance:
    """For half surrogates, and members of other types than the family's own servers give them."""
    said = load_json(body)
    if not isinstance(said, dict):
        raise ValueError("an answer that is no object")  # noqa: TRY004 — wrong bytes, not a wrong call
    seen = Glance(usage=said.get("usage"), meta=said.get("meta"), error=said.get("error"))
    seen.type = said["type"] if isinstance(said.get("type"), str) else None
    seen.data, seen.results = (said[name] if isinstance(said.get(name), list) else None for name in ("data", "results"))
    seen.text, seen.segments = (Raw(b"0") if name in said else None for name in ("text", "segments"))
    return seen


def told(seen: Glance) -> FrameInfo:
    """Usage and error of a whole answer."""
    if seen.error:
        return FrameInfo(error=stream_error(seen.error))
    return FrameInfo(read_usage(seen.usage) or _usage_of_meta(seen.meta), complete=True)


def inspect_event(data: bytes) -> FrameInfo:
    """What an event of a stream tells; ValueError if it is neither ``[DONE]`` nor a JSON object."""
    if data.startswith(b"[DONE]"):
        return FrameInfo(complete=True)
    seen = glance(data)
    if seen.error:
        return FrameInfo(error=stream_error(seen.error))
    return FrameInfo(read_usage(seen.usage), complete=seen.type in _ENDS)


def read_usage(said: Any) -> Usage | None:
    """Tokens, by any of the names that servers have for them; None if nothing is said of tokens: transcriptions may
    be billed by the second, rerankings by the search."""
    if not isinstance(said, Mapping):
        return None
    read = _count(said, "input_tokens", "prompt_tokens")
    written = _count(said, "output_tokens", "completion_tokens")
    if not read and not written:
        read = _count(said, "total_tokens")
    if not read and not written:
        return None
    details = said.get("input_tokens_details") or said.get("input_token_details") or said.get("prompt_tokens_details")
    if not isinstance(details, Mapping):
        details = {}
    return Usage(
        read,
        written,
        cached_tokens=min(read, _count(details, "cached_tokens")),
        audio_input_tokens=min(read, _count(details, "audio_tokens")),
    )


def _usage_of_meta(meta: Any) -> Usage | None:
    """Cohere's: `tokens` are those that were read, `billed_units` those that are paid for."""
    if not isinstance(meta, Mapping):
        return None
    return read_usage(meta.get("billed_units")) or read_usage(meta.get("tokens"))


def _count(said: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = said.get(name)
        if isinstance(value, int | float) and 0 < value < 1e15:
            return int(value)
    return 0

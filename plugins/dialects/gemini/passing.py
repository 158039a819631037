"""The verbatim lane: what frames and answers tell in passing, without being taken apart."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from llmhub_plugins.dialects.gemini.errors import error_in_answer
from llmhub_plugins.dialects.gemini.words import is_finish, tells_usage, usage_of

from llmhub_core.contracts import FrameInfo, load_json

TELLING = re.compile(rb'"(?:finishReason|blockReason|error|\w+TokenCount)"\s*:')


class _Candidate(msgspec.Struct):
    finishReason: str | None = None  # noqa: N815 (the format's name)


class _Feedback(msgspec.Struct):
    blockReason: str | None = None  # noqa: N815


class _Frame(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _Feedback | None = None  # noqa: N815
    usageMetadata: dict[str, Any] | None = None  # noqa: N815
    error: Any = None


class _Content(msgspec.Struct):
    parts: list[dict[str, Any]] | None = None


class _FirstCandidate(msgspec.Struct):
    content: _Content | None = None


class _First(msgspec.Struct):
    candidates: list[_FirstCandidate] | None = None


_read_first = msgspec.json.Decoder(_First).decode

_read = msgspec.json.Decoder(_Frame | list[_Frame])


def inspect_frame(data: bytes) -> FrameInfo:
    """What one chunk of a stream tells. ValueError if it is no JSON object."""
    frame = _frame(data)
    if isinstance(frame, list):
        raise ValueError("a chunk of a stream is one object")  # noqa: TRY004 (the contract's word)
    return _told([frame])


def begins(data: bytes) -> bool:
    """Whether a chunk has a part in it that is not empty: words, thoughts, a signature, a call, an image."""
    try:
        candidates = _read_first(data).candidates or ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    parts = [part for candidate in candidates if candidate.content for part in candidate.content.parts or ()]
    return any(value for part in parts for name, value in part.items() if name != "thought")


def inspect_answer(body: bytes) -> FrameInfo:
    """What a whole answer tells (an array of chunks counts as one). ValueError if it is no answer."""
    value = _frame(body)
    frames = value if isinstance(value, list) else [value]
    info = _told(frames)
    if info.error is None:
        if not any(frame.candidates or frame.promptFeedback or frame.usageMetadata for frame in frames):
            raise ValueError("the document has nothing of an answer")
        info.complete = True
    return info


def _frame(data: bytes) -> _Frame | list[_Frame]:
    try:
        frame: _Frame | list[_Frame] = _read.decode(data)
        return frame
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Half surrogates and odd types are for the lenient parser.
        value = load_json(data)
    if isinstance(value, list):
        return [_lenient(entry) for entry in value]
    return _lenient(value)


def _lenient(value: object) -> _Frame:
    if not isinstance(value, dict):
        raise ValueError("a chunk is a JSON object")  # noqa: TRY004 (the contract's word)
    frame = _Frame(error=value.get("error"))
    candidates, feedback, usage = value.get("candidates"), value.get("promptFeedback"), value.get("usageMetadata")
    if isinstance(candidates, list):
        words = [entry.get("finishReason") for entry in candidates if isinstance(entry, dict)]
        frame.candidates = [_Candidate(word if isinstance(word, str) else None) for word in words]
    if isinstance(feedback, dict):
        word = feedback.get("blockReason")
        frame.promptFeedback = _Feedback(word if isinstance(word, str) else None)
    if isinstance(usage, dict):
        frame.usageMetadata = usage
    return frame


def _told(frames: list[_Frame]) -> FrameInfo:
    info = FrameInfo()
    for frame in frames:
        if frame.error:
            info.error = error_in_answer(frame.error)
        if frame.promptFeedback is not None and frame.promptFeedback.blockReason:
            info.finish, info.complete = frame.promptFeedback.blockReason, True
        for candidate in frame.candidates or ():
            if is_finish(candidate.finishReason):
                info.finish, info.complete = candidate.finishReason, True
        if frame.usageMetadata is not None and tells_usage(frame.usageMetadata):
            info.usage = usage_of(frame.usageMetadata)
    return info

"""The verbatim lane: bytes that pass, looked at only where the answer ends."""

from __future__ import annotations

import re

from llmhub_plugins.dialects.openai_responses.frames import (
    error_in,
    failure,
    read_answer,
    read_event,
    usage_of,
)
from llmhub_plugins.dialects.openai_responses.words import Json, finish

from llmhub_core.contracts import FrameInfo

TELLING = re.compile(rb'"response\.(?:completed|incomplete|failed)"|"error"|\[DONE\]')
"""A frame of a stream that may tell an end or an error; the first ones, with ``"error":null``, tell nothing."""

_WORDS = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"', b"[DONE]")
_ANNOUNCING = frozenset(
    {"response.created", "response.queued", "response.in_progress", "response.content_part.added", "keepalive"}
)
_ENDS = ("response.completed", "response.incomplete")


def tells(frame: bytes) -> bool:
    """What TELLING says, in plain searches."""
    if b'"error"' in frame:
        return True
    return any(word in frame for word in _WORDS)


def inspect_frame(data: bytes) -> FrameInfo:
    """What a frame's data tells; ValueError if it is neither a JSON object nor ``[DONE]``, which some servers add."""
    if data.startswith(b"[DONE]"):
        return FrameInfo()
    frame = read_event(data)
    if frame.type in _ENDS:
        response = frame.response or {}
        info = _ended(response, frame.type.removeprefix("response."))
        info.complete = True
        return info
    if frame.type == "response.failed":
        response = frame.response or {}
        return FrameInfo(usage=usage_of(response), error=failure(response.get("error")))
    if frame.type == "error" or (not frame.type and frame.error):
        error = failure(frame.error or {"code": frame.code, "message": frame.message, "param": frame.param})
        return FrameInfo(error=error)
    return FrameInfo()


def begins(data: bytes) -> bool:
    """Whether an event has more to say than that a response, or a message yet empty, begins."""
    if data.startswith(b"[DONE]"):
        return False
    frame = read_event(data)
    if frame.type == "response.output_item.added":
        return (frame.item or {}).get("type") != "message"
    return frame.type not in _ANNOUNCING and frame.delta != ""


def inspect_answer(body: bytes) -> FrameInfo:
    """What a whole answer tells; ValueError if it is none. One that is made in the background is told later."""
    response = read_answer(body)
    error = error_in(response)
    if error is not None:
        return FrameInfo(usage=usage_of(response), error=error)
    info = _ended(response, "completed")
    info.complete = True
    return info


def _ended(response: Json, status: str) -> FrameInfo:
    said = response.get("status")
    native = finish(said if isinstance(said, str) else status, response.get("incomplete_details"), False)[1]
    return FrameInfo(usage=usage_of(response), finish=native)

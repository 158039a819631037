"""What frames and whole answers tell that pass on the verbatim lane."""

from __future__ import annotations

from typing import Any

import msgspec
from llmhub_plugins.dialects.openai.errors import stream_error
from llmhub_plugins.dialects.openai.usage import WireUsage, read_usage
from llmhub_plugins.dialects.openai_chat.chunks import Chunk, Piece, read_chunk
from msgspec import Struct

from llmhub_core.contracts import FrameInfo, RequestHead


class _Choice(Struct):
    finish_reason: str | None = None


class _Groq(Struct):
    usage: WireUsage | None = None


class _Frame(Struct):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    x_groq: _Groq | None = None


_MEMBERS = Piece.__struct_fields__

_read = msgspec.json.Decoder(_Frame).decode


def _glance(data: bytes) -> _Frame | Chunk:
    try:
        return _read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_chunk(data)


def inspect_frame(data: bytes, head: RequestHead) -> FrameInfo:
    """What a frame's data tells; ValueError if it is neither ``[DONE]`` nor a JSON object."""
    if data.startswith(b"[DONE]"):
        return FrameInfo(complete=True)
    frame = _glance(data)
    info = _told(frame)
    if head.n > 1:
        # The end of one choice is none of the others', and frames are looked at one by one: [DONE] must tell.
        info.finish = None
    # Only the usage chunk proper, which has no choice in it: others bring usage beside the end of the answer.
    info.hidden = info.usage is not None and not frame.choices and not frame.error and not head.asked_usage
    return info


def begins(data: bytes) -> bool:
    """Whether a chunk has more than a role in it: words, thoughts, a call, sound, or the end of a choice."""
    if data.startswith(b"[DONE]"):
        return False
    for choice in read_chunk(data).choices or ():
        piece = choice.delta or choice.message
        if choice.finish_reason or (piece is not None and any(getattr(piece, name) for name in _MEMBERS)):
            return True
    return False


def inspect_answer(body: bytes, head: RequestHead) -> FrameInfo:
    """What a whole answer tells; ValueError if it is no JSON object, or a chat answer without choices."""
    frame = _glance(body)
    info = _told(frame)
    if head.operation == "chat" and not frame.choices and info.error is None:
        raise ValueError("an answer without choices")
    info.complete = info.error is None
    return info


def _told(frame: _Frame | Chunk) -> FrameInfo:
    info = FrameInfo()
    for choice in frame.choices or ():
        if choice.finish_reason:
            info.finish = choice.finish_reason
            break
    usage = frame.usage or (frame.x_groq.usage if frame.x_groq else None)
    if usage is not None:
        info.usage = read_usage(usage)
    if frame.error:
        info.error = stream_error(frame.error)
    return info

"""What frames and whole answers tell that pass on the verbatim lane."""

from __future__ import annotations

from llmhub_plugins.dialects.openai.errors import stream_error
from llmhub_plugins.dialects.openai.usage import read_usage
from llmhub_plugins.dialects.openai_completions.answer_reader import Chunk, read_chunk

from llmhub_core.contracts import FrameInfo, RequestHead


def inspect_frame(data: bytes, head: RequestHead) -> FrameInfo:
    """What a frame's data tells; ValueError if it is neither ``[DONE]`` nor a JSON object."""
    if data.startswith(b"[DONE]"):
        return FrameInfo(complete=True)
    chunk = read_chunk(data)
    info = _told(chunk)
    if head.n > 1:
        info.finish = None  # the end of one choice is none of the others': [DONE] must tell
    info.hidden = info.usage is not None and not chunk.choices and not chunk.error and not head.asked_usage
    return info


def begins(data: bytes) -> bool:
    """Whether a chunk has text in it, or the end of a choice."""
    if data.startswith(b"[DONE]"):
        return False
    return any(choice.text or choice.finish_reason for choice in read_chunk(data).choices or ())


def inspect_answer(body: bytes, head: RequestHead) -> FrameInfo:
    """What a whole answer tells; ValueError if it is none."""
    chunk = read_chunk(body)
    info = _told(chunk)
    if not chunk.choices and info.error is None:
        raise ValueError("an answer without choices")
    info.complete = info.error is None
    return info


def _told(chunk: Chunk) -> FrameInfo:
    finish = next((choice.finish_reason for choice in chunk.choices or () if choice.finish_reason), None)
    error = stream_error(chunk.error) if chunk.error else None
    return FrameInfo(read_usage(chunk.usage), finish, error=error)

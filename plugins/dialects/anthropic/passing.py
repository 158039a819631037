"""The verbatim lane: what is read of an answer that passes from a provider of this format to a caller of it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from llmhub_plugins.dialects.anthropic.errors import decode_stream_error
from llmhub_plugins.dialects.anthropic.words import read_usage

from llmhub_core.contracts import FrameInfo, load_json

TELLING = re.compile(rb'"type"\s*:\s*"(?:message_|error")')
"""Quotes inside text are escaped, so that no words of a model look like this."""


class _Message(msgspec.Struct):
    usage: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Frame(msgspec.Struct):
    type: str
    message: _Message | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None


class _Piece(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _First(msgspec.Struct):
    type: str
    content_block: _Piece | None = None
    delta: _Piece | None = None


_read_first = msgspec.json.Decoder(_First).decode
_ANNOUNCING = frozenset({"message_start", "ping", "content_block_stop", "message_delta", "message_stop"})

_decode = msgspec.json.Decoder(_Frame).decode


def inspect_frame(data: bytes) -> FrameInfo:
    """What one event tells; ValueError if it is no event of this format.

    Usage is what this frame alone knows: `message_start` has the input side and a first count of output,
    `message_delta` the output so far and, in newer traffic, the input side again, else 0 there. The numbers
    of a later frame that are not 0 replace those of an earlier one (`Usage.updated`).
    """
    frame = _decode(data)
    if frame.type == "message_start":
        usage = frame.message.usage if frame.message else None
        return FrameInfo(read_usage(usage) if usage else None)
    if frame.type == "message_delta":
        finish = frame.delta.stop_reason if frame.delta else None
        return FrameInfo(read_usage(frame.usage) if frame.usage else None, finish)
    if frame.type == "message_stop":
        return FrameInfo(complete=True)
    return FrameInfo(error=decode_stream_error(load_json(data))) if frame.type == "error" else FrameInfo()


def begins(data: bytes) -> bool:
    """Whether an event has more to say than that a message, or a block of text yet empty, begins: words, thoughts,
    a signature, a call."""
    try:
        frame = _read_first(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    if frame.type == "content_block_start":
        return frame.content_block is None or frame.content_block.type != "text" or bool(frame.content_block.text)
    if frame.type == "content_block_delta":
        return frame.delta is None or frame.delta.type != "text_delta" or bool(frame.delta.text)
    return frame.type not in _ANNOUNCING


def inspect_answer(body: bytes) -> FrameInfo:
    """What a whole answer tells; ValueError if it is none."""
    said = load_json(body)
    members: dict[str, Any] = said if isinstance(said, dict) else {}
    if members.get("error"):
        return FrameInfo(error=decode_stream_error(members))
    usage, finish, content = members.get("usage"), members.get("stop_reason"), members.get("content")
    if type(content) is not list:
        raise ValueError("the provider's answer is not a message")
    return FrameInfo(
        read_usage(usage) if isinstance(usage, dict) else None,
        finish if isinstance(finish, str) else None,
        complete=True,
    )

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

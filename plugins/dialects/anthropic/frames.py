"""The events of a stream as typed values: read fast where they are as documented, leniently where they are not."""

from __future__ import annotations

from typing import Any

import msgspec

from llmhub_core.contracts import load_json, read_frame

Json = dict[str, Any]


class Delta(msgspec.Struct):
    """What a delta may bring; each kind brings one or two of these."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    citation: Json | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Frame(msgspec.Struct):
    """One event, as far as every kind of it is known by its members."""

    type: str = ""
    delta: Delta | None = None
    content_block: Json | None = None
    message: Json | None = None
    usage: Json | None = None


_decode = msgspec.json.Decoder(Frame).decode


def read_event(data: bytes) -> Frame:
    """One event's data, whatever mistyped members it has; ValueError if it is not JSON."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = load_json(data)
    if not isinstance(said, dict):
        return Frame()
    frame, delta = Frame(), said.pop("delta", None)
    _fit(frame, said)
    if isinstance(delta, dict):
        frame.delta = Delta()
        _fit(frame.delta, delta)
    return frame


def _fit(made: Frame | Delta, said: Json) -> None:
    """Set the members that came with the right type."""
    for name in made.__struct_fields__:
        value = said.get(name)
        if isinstance(value, str if name in _STRINGS else dict):
            setattr(made, name, value)


_STRINGS = ("type", "text", "partial_json", "thinking", "signature", "stop_reason", "stop_sequence")


def split_frame(raw: bytes) -> tuple[str, bytes]:
    """read_frame, with a short way for the shape that nearly every frame has: one event line, one data line."""
    at = raw.find(b"\n") + 1
    if raw.startswith(b"data: ", at) and raw.startswith(b"event: ") and raw.find(b"\n", at) == len(raw) - 2:
        return "", raw[at + 6 : -2]
    return read_frame(raw)

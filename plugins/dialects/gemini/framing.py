"""The JSON objects of a stream, out of bytes that arrive in any pieces.

Both splitters have one face: `feed` gives the objects that a read completed (FrameTooLarge if one grows beyond
measure), `rest` what stands without its end when the stream is over and yet is whole.
"""

from __future__ import annotations

import re

from llmhub_core.contracts import MAX_FRAME, FrameSplitter, FrameTooLarge, is_json, read_frame

_OUTSIDE = re.compile(rb'["{}]')
_INSIDE = re.compile(rb'["\\]')
_QUOTE, _BACKSLASH, _OPEN = 0x22, 0x5C, 0x7B


class ObjectSplitter:
    """A streamed array, or objects one after another: brackets and commas between them are passed over.

    Every byte is looked at once, whatever the reads are.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._scanned = 0
        self._depth = 0
        self._start = 0
        self._inside_string = False

    def feed(self, chunk: bytes) -> list[bytes]:
        waiting = self._waiting
        waiting += chunk
        objects: list[bytes] = []
        position = self._scanned
        while (found := (_INSIDE if self._inside_string else _OUTSIDE).search(waiting, position)) is not None:
            position = found.end()
            byte = waiting[found.start()]
            if self._inside_string:
                if byte == _BACKSLASH:
                    position += 1  # the escaped byte, which may not have come yet
                else:
                    self._inside_string = False
            elif byte == _QUOTE:
                self._inside_string = self._depth > 0
            elif byte == _OPEN:
                if self._depth == 0:
                    self._start = found.start()
                self._depth += 1
            elif self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    objects.append(bytes(waiting[self._start : position]))
        self._scanned = max(position, len(waiting))
        self._forget()
        return objects

    def rest(self) -> list[bytes]:
        return []

    def _forget(self) -> None:
        """Let go of what was cut out; an escaped byte that is still to come stays counted."""
        waiting = self._waiting
        used = self._start if self._depth else len(waiting)
        del waiting[:used]
        self._scanned -= used
        self._start = 0
        if len(waiting) > MAX_FRAME:
            raise FrameTooLarge("an element of the stream is larger than 8 MiB")


class EventSplitter:
    """Server-sent events."""

    def __init__(self) -> None:
        self._frames = FrameSplitter()

    def feed(self, chunk: bytes) -> list[bytes]:
        return [data for frame in self._frames.feed(chunk) if (data := _data(frame))]

    def rest(self) -> list[bytes]:
        # A last event without its blank line is good, half an event is the mark of a broken stream.
        data = _data(self._frames.rest())
        return [data] if data.startswith(b"{") and is_json(data) else []


def _data(frame: bytes) -> bytes:
    """The data of a frame. An error may stand bare between the events, line by line without ``data:``."""
    data = read_frame(frame)[1]
    if not data and frame.lstrip().startswith(b"{"):
        return frame.strip()
    return b"" if data.strip() == b"[DONE]" else data

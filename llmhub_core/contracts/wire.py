"""Bytes to frames and back; JSON that never loses a byte; one value replaced inside raw JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from llmhub_core.contracts.errors import BadRequest
from llmhub_core.contracts.rates import said_at

MAX_FRAME = 8 * 1024 * 1024
"""One event may be this large (inline images are); a larger one is garbage or an attack."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_check = msgspec.json.Decoder(msgspec.Raw).decode


def load_json(data: bytes | str) -> Any:
    """Parse JSON; ValueError if it is none.

    Half a surrogate pair, NaN and numbers beyond a float are legal to some providers and refused by the
    fast parser: the standard library reads those.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def dump_json(value: Any) -> bytes:
    """Compact JSON in UTF-8; half surrogates, which UTF-8 cannot hold, are escaped."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def is_json(data: bytes) -> bool:
    """Whether `data` is one well-formed JSON value; reads it without building anything."""
    try:
        if not data.isascii():
            data.decode()  # skipping over strings, the fast parser does not look at their bytes
        _check(data)
    except msgspec.DecodeError:
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            return False
    except (UnicodeDecodeError, RecursionError):
        return False
    return True


# Server-sent events. Lines end at CR, LF or CR LF and nowhere else: U+2028, U+2029 and U+0085 are legal
# inside JSON strings, so the generic line splitters of the language are wrong here.

# A CR at the very end of what came may be half of a CR LF: it waits for the next byte.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n|\Z))"
_FRAME_END = re.compile(_LINE_END + _LINE_END)
_LINES = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(ValueError):
    """An event larger than MAX_FRAME."""


class FrameSplitter:
    """Bytes in any pieces to whole raw frames, terminators included: joined they are the bytes that came."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that `chunk` completed."""
        waiting, scan = self._waiting, 0
        if not waiting and chunk.find(b"\r") < 0:
            return self._feed_plain(chunk)
        if waiting:
            # Only the seam is looked at again, so that a frame in many reads costs linear time.
            scan = max(0, len(waiting) - 3)
            waiting += chunk
            if _FRAME_END.search(waiting, scan) is None:
                self._check()
                return []
            chunk = bytes(waiting)
            waiting.clear()
        frames: list[bytes] = []
        start = 0
        for end in _FRAME_END.finditer(chunk, scan):
            frames.append(chunk[start : end.end()])
            start = end.end()
        if start < len(chunk):
            waiting += chunk[start:]
            self._check()
        return frames

    def _feed_plain(self, chunk: bytes) -> list[bytes]:
        """Most providers end lines with LF alone and send whole frames: finding those needs no pattern."""
        find = chunk.find
        end = find(b"\n\n") + 2
        if end == len(chunk) > 1:
            return [chunk]
        frames: list[bytes] = []
        start = 0
        while end > 1:
            frames.append(chunk[start:end])
            start = end
            end = find(b"\n\n", start) + 2
        if start < len(chunk):
            self._waiting += chunk[start:]
            self._check()
        return frames

    def _check(self) -> None:
        if len(self._waiting) > MAX_FRAME:
            raise FrameTooLarge("an event of the stream is larger than 8 MiB")

    @property
    def pending(self) -> bool:
        """Whether part of a frame is waiting for its rest."""
        return bool(self._waiting)

    def rest(self) -> bytes:
        """What is left when the stream ended without a blank line; often the last frame, sometimes half of one."""
        rest = bytes(self._waiting)
        self._waiting.clear()
        return rest


def read_frame(raw: bytes) -> tuple[str, bytes]:
    """Event name ("" if none) and data of a raw frame; data is b"" for comments and blank lines."""
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return "", raw[6:-2]
    if raw.startswith(b"event: ") and b"\r" not in raw:
        start = raw.find(b"\ndata: ") + 7
        if start > 7 and raw.find(b"\n", 7) == start - 7 and raw.find(b"\n", start) == len(raw) - 2:
            return raw[7 : start - 7].decode("utf-8", "replace"), raw[start:-2]
    event, data = "", []
    for line in _LINES.split(raw):
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return event, b"\n".join(data)


# Looking for a word in megabytes. A single byte is found thirty times faster than a word, and what makes bodies large
# are images and documents: strings of base64, without a quote in them.

LONG_STRING = 64 * 1024
"""Bytes between two quotes from which on a string is skipped by `skim`."""


def skim(body: bytes) -> bytes:
    """`body` without what its longest strings hold, quotes kept: words that stand between quotes, and words that no
    string of that length holds, are in it as often as in the whole. Not for cutting: places differ."""
    if len(body) < LONG_STRING:
        return body
    find, view = body.find, memoryview(body)
    kept: list[memoryview] = []
    start = at = 0
    for _ in range(len(body) >> 9):
        end = find(b'"', at)
        if end < 0:
            kept.append(view[start:])
            return b"".join(kept)
        if end - at >= LONG_STRING:
            kept.append(view[start:at])
            start = end
        at = end + 1
    return body  # of many short strings: nothing to be won


# Splicing: one top-level value replaced, every other byte kept.

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_WHITE = b" \t\r\n"


def find_value(body: bytes, key: str) -> tuple[int, int] | None:
    """The span of the value of top-level `key` in the JSON object `body`; None if there is no such key.

    Keys written with escapes are recognised. A key that stands twice raises BadRequest: no two parsers
    agree which one counts, so it cannot be passed on safely.
    """
    quoted = key.encode()
    depth = 0
    found: tuple[int, int] | None = None
    name: bytes | None = None  # the string before a colon at depth one
    value_at = -1
    for token in _TOKEN.finditer(body):
        char = body[token.start()]
        if depth == 1:
            if char == 0x3A and value_at < 0:  # ":"
                value_at = token.end()
                continue
            if char in (0x2C, 0x7D) and value_at >= 0 and name is not None:  # "," or "}"
                if name == quoted or (b"\\" in name and json.loads(b'"' + name + b'"') == key):
                    if found is not None:
                        raise BadRequest(f'The body has "{key}" twice; send it once.', code="invalid_json", param=key)
                    found = _trim(body, value_at, token.start())
                value_at, name = -1, None
            elif char == 0x22 and value_at < 0:
                name = body[token.start() + 1 : token.end() - 1]
        if char in (0x7B, 0x5B):
            depth += 1
        elif char in (0x7D, 0x5D):
            depth -= 1
    return found


def _trim(body: bytes, start: int, end: int) -> tuple[int, int]:
    while body[start] in _WHITE:
        start += 1
    while body[end - 1] in _WHITE:
        end -= 1
    return start, end


def _only_match(body: bytes, literal: bytes, pattern: re.Pattern[bytes]) -> tuple[int, int]:
    """The span of the one value that `pattern` finds behind `literal`; (-1, -1) if it finds none or several."""
    span = (-1, -1)
    at = body.find(literal)  # a plain search runs through a long prompt many times faster than the pattern
    if len(body) >= LONG_STRING and skim(body).count(literal) == 1:
        found = pattern.match(body, at)
        return (-1, -1) if found is None else found.span(1)
    while at >= 0:
        found = pattern.match(body, at)
        if found is not None:
            if span[0] >= 0:
                return -1, -1
            span = found.span(1)
        at = body.find(literal, at + 1)
    return span


_STRING_VALUE: dict[str, tuple[bytes, re.Pattern[bytes]]] = {}


def replace_string(body: bytes, key: str, value: str) -> bytes:
    """`body` with the string value of top-level `key` replaced; BadRequest if it stands there twice.

    `body` must have the key at the top level, as read_head has seen: else a nested one would be taken for it.
    """
    pattern = _STRING_VALUE.get(key)
    if pattern is None:
        literal = b'"' + key.encode() + b'"'
        pattern = literal, re.compile(re.escape(literal) + rb'\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)
        _STRING_VALUE[key] = pattern
    # One match is the top-level key, unless that one is written with escapes (\u006d…) and this is nested.
    start, end = _only_match(body, *pattern)
    plain = body.find(b"\\") < 0 or b"\\u00" not in body  # one byte is found far faster than four
    if start < 0 or not plain:
        span = find_value(body, key)
        if span is None:
            return body
        start, end = span
    return _spliced(body, start, dump_json(value), end)


def _spliced(body: bytes, start: int, raw: bytes, end: int) -> bytes:
    view = memoryview(body)  # copies megabytes of images once, not three times
    return b"".join((view[:start], raw, view[end:]))


def set_value(body: bytes, key: str, raw: bytes) -> bytes:
    """`body` (a JSON object) with top-level `key` set to the JSON `raw`, replaced or put first."""
    span = find_value(body, key) if b'"' + key.encode() + b'"' in body or b"\\u00" in body else None
    if span is not None:
        return _spliced(body, span[0], raw, span[1])
    brace = body.index(b"{") + 1
    comma = b"" if body[brace:].lstrip(_WHITE).startswith(b"}") else b","
    return body[:brace] + b'"' + key.encode() + b'":' + raw + comma + body[brace:]


# Headers and texts of providers.

_CREDENTIALS = re.compile(
    r"(?i)bearer\s+\S+|\b(?:sk|pk|rk|xai|csk|pplx|lh[ak]?|key)-[\w*.-]{6,}|\b(?:gsk|hf|fw)_[\w*.-]{6,}|\bAIza[\w*-]{6,}"
    r"|([?&](?:key|api_key)=)[^&\s]+"
)


def safe_text(text: str, limit: int = 500) -> str:
    """A provider's text without anything that looks like a credential, cut to `limit` characters."""
    return _CREDENTIALS.sub(lambda found: (found.group(1) or "") + "***", text)[:limit]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date); None if neither says."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - said_at(headers)
            except (TypeError, ValueError):
                continue
        if 0 <= seconds < 1e9:
            return seconds
    return None

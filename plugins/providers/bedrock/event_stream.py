"""AWS' binary event stream (``application/vnd.amazon.eventstream``), unwrapped into server-sent events.

A message is: total length, length of the headers, CRC-32 of these eight bytes; headers; payload; CRC-32 of everything
before. Numbers are big-endian. Bedrock's payloads are ``{"bytes": base64 of the model's own event, "p": padding}``.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the encoding is common to AWS).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from llmhub_core.contracts import Envelope, UpstreamGarbled, dump_json, load_json

LARGEST = 24 * 1024 * 1024
"""Bytes of one message; AWS allows 16 MiB of payload."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; the others (6 bytes, 7 text) carry their length."""

_GARBLED = "The provider sent something that is not an answer; try again."
_BROKEN = "The provider's answer broke off before it was complete; try again."

_ERRORS: Mapping[str, str] = {
    "internalServerException": "api_error",
    "modelStreamErrorException": "api_error",
    "modelTimeoutException": "timeout_error",
    "serviceUnavailableException": "overloaded_error",
    "throttlingException": "rate_limit_error",
    "validationException": "invalid_request_error",
}
"""Exceptions of ``ResponseStream`` (Bedrock's API reference) as types of Anthropic's errors."""


class EventStream(Envelope):
    """Messages of any framing by reads to the events that they carry. UpstreamGarbled for anything else."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        self._waiting += chunk
        return b"".join(map(_event, self._messages()))

    def close(self) -> bytes:
        if self._waiting:
            raise UpstreamGarbled(_BROKEN)
        return b""

    def _messages(self) -> Iterator[tuple[dict[str, str], bytes]]:
        """Headers and payload of each message that is complete."""
        waiting, start = self._waiting, 0
        while len(waiting) - start >= _PRELUDE.size:
            total, headers, check = _PRELUDE.unpack_from(waiting, start)
            if zlib.crc32(waiting[start : start + 8]) != check or not 16 + headers <= total <= LARGEST:
                raise UpstreamGarbled(_GARBLED)
            end = start + total
            if len(waiting) < end:
                break
            message = bytes(waiting[start:end])
            if zlib.crc32(message[:-4]) != _CRC.unpack(message[-4:])[0]:
                raise UpstreamGarbled(_GARBLED)
            yield _headers(message[12 : 12 + headers]), message[12 + headers : -4]
            start = end
        del waiting[:start]


def _headers(raw: bytes) -> dict[str, str]:
    """Those that are texts; Bedrock has no others."""
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(raw):
            name_ends = at + 1 + raw[at]
            name, kind = raw[at + 1 : name_ends].decode(), raw[name_ends]
            at = name_ends + 1
            if kind in (6, 7):
                size = int.from_bytes(raw[at : at + 2])
                at += 2
                if kind == 7:
                    headers[name] = raw[at : at + size].decode()
            else:
                size = _SIZES[kind]
            at += size
    except (IndexError, KeyError, UnicodeDecodeError):
        raise UpstreamGarbled(_GARBLED) from None
    return headers


def _event(message: tuple[dict[str, str], bytes]) -> bytes:
    """The message as a server-sent event; b"" for those that carry none."""
    headers, payload = message
    kind = headers.get(":message-type", "event")
    if kind == "exception":
        return _error(_ERRORS.get(headers.get(":exception-type", ""), "api_error"), _object(payload).get("message"))
    if kind == "error":
        return _error("api_error", headers.get(":error-message"))
    wrapped = _object(payload).get("bytes")
    if not isinstance(wrapped, str):
        return b""  # kinds of events that do not exist yet
    try:
        data = base64.b64decode(wrapped, validate=True)
    except binascii.Error:
        raise UpstreamGarbled(_GARBLED) from None
    event = _object(data)
    name = event.get("type")
    if b"\n" in data or b"\r" in data:
        data = dump_json(event)
    return (b"event: " + name.encode() + b"\n" if isinstance(name, str) else b"") + b"data: " + data + b"\n\n"


def _error(kind: str, message: object) -> bytes:
    text = message if isinstance(message, str) and message else "The provider broke its answer off."
    return b"event: error\ndata: " + dump_json({"type": "error", "error": {"type": kind, "message": text}}) + b"\n\n"


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = load_json(data)
    except ValueError:
        raise UpstreamGarbled(_GARBLED) from None
    return value if isinstance(value, dict) else {}

"""Vectors as OpenAI packs them: little-endian 32-bit floats in base64."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from llmhub_core.contracts import dump_json, load_json


def pack(vector: Sequence[float]) -> str:
    """TypeError if something in `vector` is no number."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def unpack(text: str) -> tuple[float, ...]:
    """ValueError if `text` is no packed vector."""
    floats = array("f")
    try:
        floats.frombytes(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise ValueError("a vector that is no base64") from None
    if sys.byteorder == "big":
        floats.byteswap()
    return tuple(floats)


def read_vector(said: Any) -> tuple[float, ...]:
    """A vector in either spelling; ValueError if it is none."""
    if isinstance(said, str):
        return unpack(said)
    if isinstance(said, list) and all(type(number) in (float, int) for number in said):
        return tuple(map(float, said))
    raise ValueError("a vector that is neither numbers nor base64")


def pack_answer(body: bytes) -> bytes:
    """A whole answer with its vectors packed, for a caller who asked for that where the provider passed over it:
    OpenAI's SDKs ask by themselves, and the one for Node reads numbers as base64, without an error, into zeros."""
    said = load_json(body)
    for item in said["data"]:
        vector = item.get("embedding")
        if isinstance(vector, list):
            try:
                item["embedding"] = pack(vector)
            except (TypeError, OverflowError):
                return body  # several vectors in one, as some servers give: there is no packed spelling of that
    return dump_json(said)

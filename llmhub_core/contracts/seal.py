"""What only one family of models can open, sealed into a field that the caller sends back anyway.

Thoughts come signed or encrypted, and the provider that made them wants them back unchanged; another one refuses
them. The hub keeps no memory of conversations, so the caller carries them: in a signature field, or behind the id of
a tool call, with the name of the dialect they came in. Nothing here is secret: the caller may read all of it.

A seal is a fixed word of 12 characters and base64url. It is itself valid base64, and the word survives being decoded
and encoded again (Google's SDK does that to signatures); characters and padding of either alphabet are accepted.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

from llmhub_core.contracts.wire import dump_json, load_json

WORD = "LLMhubSeal01"
SEALED = WORD.encode()
"""What a body must hold if there is a seal in it anywhere. Seals are shorter than LONG_STRING: `skim` keeps them."""

LARGEST = 1024 * 1024
"""Bytes that a seal may hold; more is not opened."""

_OTHER_ALPHABET = str.maketrans("+/", "-_")


def seal(origin: str, value: Any) -> str:
    """`value` (JSON) for the dialect `origin`; letters, digits, ``-`` and ``_``; a multiple of four characters."""
    packed = zlib.compress(dump_json([origin, value]))
    packed += b"\0" * (-len(packed) % 3)
    return WORD + base64.urlsafe_b64encode(packed).decode()


def unseal(text: str) -> tuple[str, Any] | None:
    """Origin and value; None if `text` is no seal, or a damaged one."""
    if not text.startswith(WORD):
        return None
    try:
        coded = text[len(WORD) :].translate(_OTHER_ALPHABET).rstrip("=")
        packed = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        reader = zlib.decompressobj()
        said = load_json(reader.decompress(packed, LARGEST))
        if not reader.eof or not isinstance(said, list) or len(said) != 2 or not isinstance(said[0], str):
            return None
        return said[0], said[1]
    except (binascii.Error, zlib.error, ValueError):
        return None


def seal_id(id: str, origin: str, value: Any) -> str:
    """A tool call's id that carries a seal behind it."""
    return f"{id}_{seal(origin, value)}"


def unseal_id(id: str) -> tuple[str, tuple[str, Any] | None]:
    """The id as the provider gave it, and what was sealed behind it."""
    plain, mark, rest = id.partition("_" + WORD)
    if not mark:
        return id, None
    return plain, unseal(WORD + rest)

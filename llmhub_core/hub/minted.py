"""Credentials that the hub itself makes: a prefix, 256 random bits, a checksum. Scanners know them by the prefix, and a
typing error is told from a credential that is not known."""

from __future__ import annotations

import secrets
import zlib

TOKEN_PREFIX = "lh-"  # noqa: S105
ADMIN_PREFIX = "lha-"
ROOT_KEY_PREFIX = "lhk-"
"""Of client tokens, of admin tokens, and of root keys."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BITS, _CHECK = 43, 6
"""Digits."""


def mint(prefix: str = TOKEN_PREFIX) -> str:
    """A new credential."""
    body = _base62(int.from_bytes(secrets.token_bytes(32), "big"), _BITS)
    return prefix + body + _base62(zlib.crc32(body.encode()), _CHECK)


def is_well_formed(text: str, prefix: str = TOKEN_PREFIX) -> bool:
    """Whether the checksum fits; says nothing about whether it is known."""
    body, check = text[len(prefix) : -_CHECK], text[-_CHECK:]
    return text.startswith(prefix) and len(body) == _BITS and _base62(zlib.crc32(body.encode()), _CHECK) == check


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(digits)

"""Client tokens: found by the full digest of what was presented, so that no two tokens are ever confused."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Iterable

from llmhub_core.contracts.exchange import Caller

PREFIX = "lh-"
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

ANYONE = Caller("anyone")
"""Who asks when the API is open."""


def digest(token: str) -> str:
    """The form in which a token rests: ``sha256:`` and 64 hexadecimal digits. A fast hash is right for 256
    random bits."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def mint() -> str:
    """A new token: 256 random bits and a checksum by which scanners and typing errors are told apart."""
    body = _base62(int.from_bytes(secrets.token_bytes(32), "big"), 43)
    return PREFIX + body + _base62(zlib.crc32(body.encode()), 6)


def is_well_formed(token: str) -> bool:
    """Whether the checksum fits; says nothing about whether the token is known."""
    body, check = token[len(PREFIX) : -6], token[-6:]
    return token.startswith(PREFIX) and len(body) == 43 and _base62(zlib.crc32(body.encode()), 6) == check


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(digits)


class Tokens:
    """All client tokens by digest."""

    def __init__(self, callers: Iterable[tuple[str, Caller]]) -> None:
        """Digests as `digest` writes them."""
        self._by_digest = {bytes.fromhex(text.removeprefix("sha256:")): caller for text, caller in callers}

    def __len__(self) -> int:
        return len(self._by_digest)

    @property
    def callers(self) -> tuple[Caller, ...]:
        """Everybody who has a token, once."""
        return tuple({caller.name: caller for caller in self._by_digest.values()}.values())

    def find(self, token: str) -> Caller | None:
        return self._by_digest.get(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest())

"""Client tokens: found by the full digest of what was presented, so that no two tokens are ever confused.

Two kinds of digests rest: ``sha256:`` in the file, which anybody can make, and ``hmac-sha256:`` in the database, by a
key that lies sealed beside it: a copy of the database cannot even tell whose token somebody has found.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable
from typing import NamedTuple

from llmhub_core.contracts.exchange import Caller
from llmhub_core.hub.minted import ADMIN_PREFIX, TOKEN_PREFIX, is_well_formed, mint

__all__ = [
    "ADMIN_PREFIX",
    "ANYONE",
    "PURPOSE",
    "TOKEN_PREFIX",
    "KnownToken",
    "Tokens",
    "digest",
    "is_well_formed",
    "keyed_digest",
    "mint",
    "same_digest",
]

ANYONE = Caller("anyone")
"""Who asks when the API is open."""

PURPOSE = "client tokens"
"""``vault.derive(PURPOSE)`` is the key of keyed digests."""

PLAIN, KEYED = "sha256:", "hmac-sha256:"


def digest(token: str) -> str:
    """The form in which a token rests in the file: ``sha256:`` and 64 hexadecimal digits. A fast hash is right for
    256 random bits."""
    return PLAIN + hashlib.sha256(_bytes(token)).hexdigest()


def keyed_digest(token: str, key: bytes) -> str:
    """The form in which a token rests in the database: ``hmac-sha256:`` and 64 hexadecimal digits."""
    return KEYED + hmac.digest(key, _bytes(token), "sha256").hex()


def same_digest(one: str, other: str) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogateescape")


class KnownToken(NamedTuple):
    """`digest` as it rests, whose it is, and until when it counts (seconds since 1970; None: without end). A token
    that is being rolled has two of them for one caller."""

    digest: str
    caller: Caller
    until: float | None = None


class Tokens:
    """All client tokens by digest. `key` makes the keyed digests; without one those are never found."""

    def __init__(self, known: Iterable[KnownToken], key: bytes = b"") -> None:
        self._key = key
        self._plain: dict[bytes, Caller] = {}
        self._keyed: dict[bytes, Caller] = {}
        self._until: dict[bytes, float] = {}
        for text, caller, until in known:
            keyed = text.startswith(KEYED)
            raw = bytes.fromhex(text.removeprefix(KEYED if keyed else PLAIN))
            (self._keyed if keyed else self._plain)[raw] = caller
            if until is not None:
                self._until[raw] = until

    def __len__(self) -> int:
        return len(self._plain) + len(self._keyed)

    @property
    def lasting(self) -> bool:
        """Whether none of them ends by itself: then whoever was found is found until there are other tokens."""
        return not self._until

    @property
    def callers(self) -> tuple[Caller, ...]:
        """Everybody who has a token, once."""
        every = (*self._plain.values(), *self._keyed.values())
        return tuple({caller.name: caller for caller in every}.values())

    def find(self, token: str) -> Caller | None:
        """Whose it is; None if it is not known, or no longer counts."""
        sent = token.encode("utf-8", "surrogateescape")
        raw = hashlib.sha256(sent).digest()
        caller = self._plain.get(raw)
        if caller is None and self._keyed and self._key:
            raw = hmac.digest(self._key, sent, "sha256")
            caller = self._keyed.get(raw)
        if self._until and caller is not None and self._until.get(raw, float("inf")) <= time.time():
            return None
        return caller

    def expired_at(self, token: str) -> float | None:
        """When a token that once was known ceased to count; None for any other."""
        sent = _bytes(token)
        raws = [hashlib.sha256(sent).digest(), *([hmac.digest(self._key, sent, "sha256")] if self._key else [])]
        ends = [self._until[raw] for raw in raws if raw in self._until]
        return min((end for end in ends if end <= time.time()), default=None)

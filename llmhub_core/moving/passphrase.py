"""A key made of words that somebody remembers, for secrets that travel."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from typing import Any

from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.vault import RootKey, Secret, Vault

LEAST = 12
"""Characters. Guessing costs who tries 0.3 seconds and 128 MiB each."""

COST, BLOCK, LANES = 2**17, 8, 1
_MOST_COST = 2**19
_MEMORY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Sealing:
    """How a file's secrets are sealed: what its head says, and the vault that opens them."""

    head: dict[str, Any]
    vault: Vault


def sealing(words: Secret) -> Sealing:
    """For a new file. StartError if the passphrase is too short."""
    if len(words.reveal()) < LEAST:
        raise StartError(f"The passphrase has fewer than {LEAST} characters; take a few words in a row.")
    salt = os.urandom(16)
    key = _key(words, salt, COST)
    salted = base64.b64encode(salt).decode()
    return Sealing({"kdf": "scrypt", "n": COST, "r": BLOCK, "p": LANES, "salt": salted, "key": key.id}, Vault((key,)))


def opening(head: Any, words: Secret) -> Sealing:
    """For a file that is there, as its head tells. StartError if the passphrase is another."""
    try:
        salt, cost = base64.b64decode(head["salt"]), int(head["n"])
        known = (head["kdf"], head["r"], head["p"]) == ("scrypt", BLOCK, LANES) and 2 <= cost <= _MOST_COST
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise StartError("The file says of its secrets that they are sealed in a way that this version does not know.")
    key = _key(words, salt, cost)
    if key.id != head.get("key"):
        raise StartError("The passphrase does not open this file.")
    return Sealing(head, Vault((key,)))


def _key(words: Secret, salt: bytes, cost: int) -> RootKey:
    text = words.reveal().encode("utf-8", "surrogatepass")
    return RootKey(Secret(hashlib.scrypt(text, salt=salt, n=cost, r=BLOCK, p=LANES, maxmem=_MEMORY, dklen=32).hex()))

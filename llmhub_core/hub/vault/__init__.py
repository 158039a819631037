"""Secrets: found where a reference says, held so that they do not slip out, sealed where they rest.

Rooms: `secret` (the text, and references to it), `sealing` (the vault itself), `program` (root keys that a program
gives), `opening` (root keys and the canary, when the hub starts), `roster` (which hubs run, and the keys they know),
`rotation` (everything sealed anew by the first root key, while hubs run).
"""

from llmhub_core.hub.vault.program import is_program, words_of
from llmhub_core.hub.vault.sealing import NEEDED, CannotOpen, RootKey, Vault, VaultClosed
from llmhub_core.hub.vault.secret import LARGEST_FILE, Place, Secret, find, resolve, split

__all__ = [
    "LARGEST_FILE",
    "NEEDED",
    "CannotOpen",
    "Place",
    "RootKey",
    "Secret",
    "Vault",
    "VaultClosed",
    "find",
    "is_program",
    "resolve",
    "split",
    "words_of",
]

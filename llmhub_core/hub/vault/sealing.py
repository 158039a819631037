"""Texts sealed with AES-256-GCM, each by a key of its own that is derived from a root key.

A sealed text says itself how it is opened: ``lhv1.KEY.DATA``. KEY is the id of the root key, DATA is base64url of
16 bytes of salt, 12 of nonce, the ciphertext and its tag. The salt makes the text's own key (HKDF-SHA256), so that no
two texts share one. What the text is (kind, name, field) is authenticated with it: moved to another row it cannot be
opened.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from llmhub_core.hub.vault.secret import Secret

FORMAT = "lhv1"
SALT, NONCE, TAG = 16, 12, 16
"""Bytes."""

LEAST = 32
"""Characters of a root key. It is no password: nothing slows guessing down, so it must be random."""


NEEDED = "needed"
"""Stands in the place of a sealed text that did not come along when its entry was carried here."""


BODY = "body"
"""Kind and field of what is kept of the words of a request, whose id is the name."""


class CannotOpen(Exception):
    """Its text is half a sentence about why, for the operator; it holds nothing of the secret."""


class VaultClosed(Exception):
    """Nothing can be sealed; its text is a sentence that says why and what to do."""


class RootKey:
    """`id` is made from the key and tells nothing about it; `origin` says where the key was found."""

    __slots__ = ("_material", "id", "origin")

    def __init__(self, secret: Secret, origin: str = "") -> None:
        """ValueError with half a sentence if it is too short to be random."""
        text = secret.reveal()
        if len(text) < LEAST:
            raise ValueError(f"is shorter than {LEAST} characters; `llm-hub secrets new` makes a root key")
        self._material = text.encode()
        self.id = derive(self._material, "key id", length=6).hex()
        self.origin = origin

    def __repr__(self) -> str:
        return f"RootKey({self.id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a root key is not pickled")

    def of_text(self, salt: bytes) -> bytes:
        """The key of one sealed text."""
        return derive(self._material, "sealed text", salt)


def derive(material: bytes, purpose: str, salt: bytes | None = None, length: int = 32) -> bytes:
    """A key for one purpose alone: HKDF-SHA256 (RFC 5869)."""
    # Slow to import, and not needed by most commands.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, salt, f"llm-hub {purpose}".encode()).derive(material)


@dataclass(frozen=True, slots=True, repr=False)
class Vault:
    """Of `keys` the first seals and all open. `closed` says why nothing can be sealed or opened, "" if it can.

    `stable` rests sealed in the database: keys that must outlive every root key are derived from it.
    """

    keys: Sequence[RootKey] = ()
    closed: str = ""
    stable: Secret | None = None

    def seal(self, kind: str, name: str, secret: Secret | str, field: str = "secret") -> str:
        """`secret` as it may rest; only the same kind, name and field open it again. VaultClosed if it cannot be."""
        text = secret.reveal() if isinstance(secret, Secret) else secret
        return self.seal_data(kind, name, text.encode("utf-8", "surrogatepass"), field)

    def seal_data(self, kind: str, name: str, data: bytes, field: str) -> str:
        """The same for what is no text."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not self.keys:
            raise VaultClosed(self.closed)
        key = self.keys[0]
        salt, nonce = os.urandom(SALT), os.urandom(NONCE)
        cipher = AESGCM(key.of_text(salt))
        box = cipher.encrypt(nonce, data, _what(key.id, kind, name, field))
        return f"{FORMAT}.{key.id}.{base64.urlsafe_b64encode(salt + nonce + box).decode().rstrip('=')}"

    def open(self, kind: str, name: str, sealed: str, field: str = "secret") -> Secret:
        """CannotOpen if none of the root keys fits, or if it was changed, cut, or sealed for another place."""
        return Secret(self.open_data(kind, name, sealed, field).decode("utf-8", "surrogatepass"))

    def open_data(self, kind: str, name: str, sealed: str, field: str) -> bytes:
        """The same for what `seal_data` sealed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        id, data = _parts(sealed)
        key = next((key for key in self.keys if key.id == id), None)
        if key is None:
            given = f"given are {', '.join(key.id for key in self.keys)}" if self.keys else "none is given"
            raise CannotOpen(f"was sealed with the root key {id}, and {given}")
        salt, nonce, box = data[:SALT], data[SALT : SALT + NONCE], data[SALT + NONCE :]
        try:
            return AESGCM(key.of_text(salt)).decrypt(nonce, box, _what(id, kind, name, field))
        except InvalidTag:
            raise CannotOpen("was changed, or belongs to another entry") from None

    def is_current(self, sealed: str) -> bool:
        """Whether the first root key sealed it."""
        return bool(self.keys) and sealed.startswith(f"{FORMAT}.{self.keys[0].id}.")

    def reseal(self, kind: str, name: str, sealed: str, field: str = "secret") -> str:
        """The same secret by the first root key; CannotOpen as for `open`."""
        return self.seal_data(kind, name, self.open_data(kind, name, sealed, field), field)

    def lasting(self, purpose: str) -> Vault:
        """A vault for what need not be sealed anew when root keys change: its one key is derived (see `derive`)."""
        if self.stable is None:
            return Vault((), self.closed)
        return Vault((RootKey(Secret(self.derive(purpose).hex())),))

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, the same for as long as the database lives, whatever root keys come and go.
        VaultClosed if the vault is."""
        if self.stable is None:
            raise VaultClosed(self.closed)
        return derive(self.stable.reveal().encode(), purpose)


def key_of(sealed: str) -> str:
    """The id of the root key that sealed it; CannotOpen if it is no sealed text."""
    return _parts(sealed)[0]


def _parts(sealed: str) -> tuple[str, bytes]:
    if sealed == NEEDED:
        raise CannotOpen("was not carried along; give it again")
    version, _, rest = sealed.partition(".")
    id, _, coded = rest.partition(".")
    if version != FORMAT:
        raise CannotOpen("is no sealed text of a format that this version knows")
    try:
        data = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) < SALT + NONCE + TAG or not id:
        raise CannotOpen("is a damaged sealed text")
    return id, data


def _what(key: str, kind: str, name: str, field: str) -> bytes:
    """What is authenticated beside the secret: a list in JSON, for no two lists are written alike."""
    return json.dumps([FORMAT, key, kind, name, field]).encode()

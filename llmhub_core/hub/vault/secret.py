"""A secret text that does not slip out, and the places where one is found."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

LARGEST_FILE = 64 * 1024
"""Bytes; a secret's file is small, /dev/zero is not."""

_SHOWN = "***"
_BETWEEN = re.compile(r"""[\s:,;"'{}\\]+""")
_PROCESS_KEY = os.urandom(32)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SURELY_A_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_INTERPOLATION = re.compile(r"\$\{?\w+\}?|\$\(.*\)|\{\{.*\}\}")


class Secret:
    """A secret text. Printing, formatting, pickling and debugging show ``***``; only `reveal` gives it out.

    Equal secrets are equal (compared in constant time) and hash alike, without the hash telling anything
    outside this process. An empty secret is false.
    """

    __slots__ = ("_digest", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=_PROCESS_KEY).digest()

    def reveal(self) -> str:
        return self._value

    def hidden_in(self, data: bytes) -> bytes:
        """`data` with stars wherever the secret stands, or one of the longer parts that it consists of (an account's
        key pair, a file of credentials)."""
        for part in self.parts():
            data = data.replace(part.encode("utf-8", "surrogatepass"), _SHOWN.encode())
        return data

    def parts(self) -> list[str]:
        """The whole of it, and those longer parts, longest first; nothing that is shorter than 8 characters."""
        parts = {self._value, *(part for part in _BETWEEN.split(self._value) if len(part) >= 16)}
        return sorted((part for part in parts if len(part) >= 8), key=len, reverse=True)

    @property
    def hint(self) -> str:
        """The last four characters, by which people tell keys apart; "" where four would be too much of it."""
        return self._value[-4:] if len(self._value) >= 20 else ""

    def __repr__(self) -> str:
        return f"Secret({_SHOWN})"

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return format(_SHOWN, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._digest, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __getstate__(self) -> None:
        """Nothing: the inherited one would hand the slots over."""

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (_SHOWN,)


Place = Literal["env", "file", "literal", "none"]


def split(reference: str) -> tuple[Place, str]:
    """Where a secret is, and its name there: ``env:NAME``, ``file:/path``, the secret itself, or none ("")."""
    reference = reference.strip()
    if not reference:
        return "none", ""
    if reference.startswith("env:"):
        return "env", reference[4:].strip()
    if reference.startswith("file:"):
        return "file", reference[5:].strip()
    return "literal", reference


def resolve(reference: str, environ: Mapping[str, str], base: Path) -> Secret:
    """The secret that `reference` stands for, without white space around it.

    Relative paths begin in the folder `base` (the config file's). LookupError, with a sentence that holds
    nothing of the secret, if it cannot be found; "" is the empty secret, for places that need none.
    """
    return Secret(find(reference, environ, base).strip())


def find(reference: str, environ: Mapping[str, str], base: Path) -> str:
    """As `resolve`, but the text as it was found (a file's last line end is no part of it)."""
    place, name = split(reference)
    if place == "env":
        text = _from_variable(name, environ)
    elif place == "file":
        text = _from_file(name, base)
    elif place == "none" and reference:
        raise LookupError("is nothing but white space")
    else:
        if _INTERPOLATION.fullmatch(name):
            raise LookupError("looks like a variable, but nothing is replaced in this file; write env:NAME")
        text = reference
    if place != "none" and not text.strip():
        raise LookupError(f"leads to {_place_in_words(place, name)} that is empty")
    return text


def _from_variable(name: str, environ: Mapping[str, str]) -> str:
    if not _VARIABLE.fullmatch(name):
        raise LookupError("must have the name of an environment variable after env:")
    if name not in environ:
        raise LookupError(f"leads to {_place_in_words('env', name)} that is not set")
    return environ[name]


def _from_file(name: str, base: Path) -> str:
    if not name:
        raise LookupError("must have a path after file:")
    try:
        with (base / name).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        where = "" if Path(name).is_absolute() else f" (relative paths begin in {base})"
        raise LookupError(f"leads to a file that cannot be read: {reason}{where}") from None
    if len(data) > LARGEST_FILE:
        raise LookupError(f"leads to a file larger than {LARGEST_FILE // 1024} KiB, which is no secret")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise LookupError("leads to a file that is not text in UTF-8") from None


def _place_in_words(place: Place, name: str) -> str:
    """Names the variable only if it can be nothing but a name: people paste keys after ``env:``."""
    if place == "file":
        return "a file"
    return f"the variable {name}" if _SURELY_A_NAME.fullmatch(name) else "a variable"

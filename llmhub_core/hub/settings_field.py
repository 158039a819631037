"""How one setting is declared: a dataclass field with everything that reading and documenting it need.

Plugins declare theirs the same way, with plain dataclass fields whose `metadata` knows these words:

    help        the sentence that the documentation shows
    unit        "seconds" (5, 2.5, "5 s", "2 min", "") or "bytes" (65536, "64 KiB")
    minimum     smallest number allowed
    maximum     largest number allowed
    parse       Callable[[value], value]; raises ValueError with half a sentence ("must be …")
    secret      True for a text, or texts, that may be env:NAME or file:/path: the plugin gets what they stand for
    required    True where a default stands only so that the field has a value
    blank       True where a required value may be "" all the same
    hidden      True for a field that no table sets
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

MOST = 10**12
"""No limit is larger: the stores count in 64 bits."""


def setting(
    default: Any,
    help: str,
    *,
    unit: Literal["seconds", "bytes", ""] = "",
    minimum: float | None = None,
    maximum: float | None = None,
    parse: Callable[[Any], Any] | None = None,
    required: bool = False,
    blank: bool = False,
    secret: bool = False,
) -> Any:
    """A dataclass field with everything that reading and documenting it need; a `secret` one is not in the repr."""
    metadata = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "parse": parse}
    metadata |= {"required": required, "blank": blank}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def limit(help: str) -> Any:
    return setting(None, help, minimum=1, maximum=MOST)

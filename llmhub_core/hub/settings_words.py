"""Words that configuration errors are made of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

KeyPath = tuple[str | int, ...]
"""Where a value stands: ("providers", 0, "keys", 1, "secret")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the value (or the key itself) at `path`. `text` never holds a secret."""

    path: KeyPath
    text: str
    at: Literal["key", "value"] = "value"


def quoted(text: str) -> str:
    """On one line, whatever it holds."""
    return '"' + "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text) + '"'


def closest(name: str, valid: Iterable[str]) -> str:
    """The one of `valid` that was probably meant; "" if none is near. The case of letters does not count."""
    by_fold = {one.casefold(): one for one in valid}
    near = difflib.get_close_matches(name.casefold(), sorted(by_fold), 1)
    return by_fold[near[0]] if near else ""


def nearest(name: str, valid: Iterable[str], listed: bool = True) -> str:
    """``; did you mean "x"?``, or the list of what there is if nothing is near; "" if there is nothing."""
    names = sorted(valid)
    near = closest(name, names)
    if near:
        return f"; did you mean {quoted(near)}?"
    if not names or not listed:
        return ""
    return "; there is " + listing(names)


def listing(names: Iterable[str], most: int = 12) -> str:
    """``a, b and c``; the rest of a long list is left out."""
    words = list(names)
    if len(words) > most:
        return ", ".join(words[:most]) + ", …"
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def in_words(path: KeyPath) -> str:
    """``providers[0].keys[1].secret``; a key that TOML wants in quotes keeps them."""
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += ("." if words else "") + (step if re.fullmatch(r"[A-Za-z0-9_-]+", step) else quoted(step))
    return words


def type_in_words(value: Any) -> str:
    """What TOML calls it."""
    for kind, word in (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "an integer"),
        (float, "a number with a point"),
        (list, "an array"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return word
    return "a date or time"

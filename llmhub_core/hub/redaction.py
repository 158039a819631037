"""Takes credentials out of texts: those that the hub knows, and what looks like one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable

from llmhub_core.contracts.credentials import (
    API_KEY,
    BEARER,
    FIELD_NAME,
    NAMED_SECRET,
    PASSWORD_IN_ADDRESS,
    PRIVATE_KEY,
    WEB_TOKEN,
)
from llmhub_core.hub.vault import Secret

REDACTED = "[redacted]"

_SHAPES = tuple(
    (tuple(hints.split()), re.compile(pattern))
    for hints, pattern in (
        ("-----begin", PRIVATE_KEY),
        ("eyj", WEB_TOKEN),
        ("sk- pk- rk- xai- pplx- lh- lha- lhk- glpat- xox sk_ pk_ rk_ gsk_ hf_ r8_ ghp_ gho_ ghs_ ghu_ ghr_ "
         "github_pat_ aiza ya29 akia asia", API_KEY),
        ("bearer basic", BEARER),
        ("://", PASSWORD_IN_ADDRESS),
        ("key secret passw passphrase authorization token credential", NAMED_SECRET),
    )
)  # fmt: skip
"""Each with what is in a text, all in small letters, that has one: a plain search is a hundred times as fast."""

_NAME = re.compile(FIELD_NAME, re.IGNORECASE)

_WORDS = re.compile(r"\S{8,}")
_ALL = re.compile(r"(?s).{8,}")
_BEGINNING = 8
"""Characters by which a known secret is looked for: shorter ones are none."""


def names_a_secret(name: str) -> bool:
    """Whether a field of that name holds one."""
    return len(name) <= 40 and _NAME.fullmatch(name) is not None


class Redaction:
    """`secrets` go wherever they stand, whole or in one of their longer parts; at the end of a text that breaks off
    also what came of them. Thousands of them cost no more than a few."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._known: dict[str, list[str]] = {}
        for part in {part for secret in secrets for part in secret.parts()}:
            self._known.setdefault(part[:_BEGINNING], []).append(part)
        for parts in self._known.values():
            parts.sort(key=len, reverse=True)
        self._where = _ALL if any(len(begins.split()) != 1 for begins in self._known) else _WORDS

        self._more: tuple[str, ...] = ()

    def also(self, secrets: Iterable[Secret]) -> Redaction:
        """The same with a few more."""
        other = copy.copy(self)
        other._more = tuple(part for secret in secrets for part in secret.parts())
        return other

    def text(self, text: str) -> str:
        """`text` without them."""
        if self._known:
            text = self._without_known(text)
        for part in self._more:
            text = text.replace(part, REDACTED)
        small = text.lower()
        for hints, shape in _SHAPES:
            if any(hint in small for hint in hints):
                text = shape.sub(_redacted, text)
        return text

    def _without_known(self, text: str) -> str:
        known, kept, since = self._known, [], 0
        for words in self._where.finditer(text):
            at, end = max(words.start(), since), words.end() - _BEGINNING
            while at <= end:
                parts = known.get(text[at : at + _BEGINNING])
                gone = 0 if parts is None else _length(text, at, parts)
                if not gone:
                    at += 1
                    continue
                kept += [text[since:at], REDACTED]
                since = at = at + gone
        return "".join([*kept, text[since:]]) if kept else text


def _length(text: str, at: int, parts: Iterable[str]) -> int:
    """Of the secret that stands at that place, or of what the end of the text has left of one; 0 if there is none."""
    for part in parts:
        if text.startswith(part, at):
            return len(part)
        if len(text) - at < len(part) and part.startswith(text[at:]):
            return len(text) - at
    return 0


def _redacted(found: re.Match[str]) -> str:
    """The group `secret` alone goes, where a shape has one."""
    secret = found.groupdict().get("secret")
    return REDACTED if secret is None else found[0][: found.start("secret") - found.start()] + REDACTED

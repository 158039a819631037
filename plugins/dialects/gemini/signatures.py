"""Thought signatures: Gemini's own as they are, other families' as seals in the same field."""

from __future__ import annotations

from typing import NamedTuple

from llmhub_plugins.dialects.gemini.words import NAME

from llmhub_core.contracts import SEALED, seal, unseal

SIGNATURE = "thoughtSignature"

SKIP_VALIDATION = "skip_thought_signature_validator"
"""What Google documents for calls that another model made (ai.google.dev/gemini-api/docs/thought-signatures):
models from 3 on refuse a turn whose first call has no signature, and accept this one. It is valid base64url, so that
SDKs, which hold signatures as bytes, give it back unchanged."""

_STAND_INS = frozenset({SKIP_VALIDATION, "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="})
"""As documented, and as clients send it that encode the word once more (recorded)."""

_LONGEST_SEAL = 60_000
_SEAL = SEALED.decode()


class Opened(NamedTuple):
    """What a `thoughtSignature` of a request holds; `origin` names the dialect that alone can use it."""

    signature: str | None
    redacted: str | None
    origin: str | None


def opened(written: str | None) -> Opened:
    """Gemini's own signature, or what was sealed into one; nothing for what only stands in for a signature."""
    if written in _STAND_INS:
        return Opened(None, None, None)
    found = unseal(written) if written is not None else None
    if found is None:
        damaged = written is not None and written.startswith(_SEAL)
        return Opened(None if damaged else written, None, NAME)
    origin, held = found
    if not isinstance(held, dict):
        held = {}
    return Opened(_text(held.get("signature")), _text(held.get("redacted")), origin)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def sealed(origin: str, signature: str | None, redacted: str | None = None) -> str | None:
    """The `thoughtSignature` of an answer's part; None where there is nothing to give back, or too much of it."""
    if origin == NAME:
        return signature
    if not origin:
        return None
    held = {"signature": signature, "redacted": redacted}
    found = seal(origin, {name: value for name, value in held.items() if value is not None})
    return found if len(found) <= _LONGEST_SEAL else None

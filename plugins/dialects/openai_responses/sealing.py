"""Encrypted reasoning and signed calls on their way through a caller, who sends them back as they came.

OpenAI binds `encrypted_content` to the id of its item and refuses it under another one, so the neutral signature holds
both. What another family of models signed or encrypted goes into the same fields as a seal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmhub_plugins.dialects.openai_responses.words import NAME

from llmhub_core.contracts import seal, seal_id, unseal, unseal_id

_LARGEST = 60_000
"""Characters of a seal that callers can be trusted to keep; one that is longer is left off."""


class Secret(NamedTuple):
    """What only the family of models `origin` can open; an `origin` of "" is nobody's."""

    origin: str
    signature: str | None = None
    redacted: str | None = None


def joined(id: str, encrypted: str | None) -> str | None:
    """The neutral signature of a reasoning item of this dialect."""
    return f"{id} {encrypted}" if encrypted and id else encrypted or None


def parted(signature: str | None) -> tuple[str, str | None]:
    """The reverse of `joined`: the item's id ("" if it had none) and its encrypted content."""
    id, _, encrypted = (signature or "").rpartition(" ")
    return id, encrypted or None


def is_foreign(origin: str | None) -> bool:
    """Whether a part of an answer comes from another family of models."""
    return bool(origin) and origin != NAME


def sealed_reasoning(secret: Secret) -> str | None:
    """The `encrypted_content` for another family's thoughts; None if there is too much of it."""
    held = {"signature": secret.signature, "redacted": secret.redacted}
    sealed = seal(secret.origin, {name: value for name, value in held.items() if value})
    return sealed if len(sealed) <= _LARGEST else None


def sealed_call_id(id: str, origin: str, signature: str | None) -> str:
    """A call's id with the signature that another family gave the call."""
    if not signature or not is_foreign(origin):
        return id
    sealed = seal_id(id, origin, {"signature": signature})
    return sealed if len(sealed) <= _LARGEST else id


def open_reasoning(id: str, encrypted: str | None) -> Secret:
    """Whose thoughts a reasoning item holds. What this family encrypted stays as it is."""
    opened = unseal(encrypted) if encrypted else None
    return Secret(NAME, joined(id, encrypted)) if opened is None else _secret(opened)


def open_call_id(id: str) -> tuple[str, Secret | None]:
    """The id as the provider gave it, and what was sealed behind it."""
    plain, opened = unseal_id(id)
    return plain, None if opened is None else _secret(opened)


def _secret(opened: tuple[str, Any]) -> Secret:
    origin, value = opened
    held = value if isinstance(value, dict) else {}
    signature, redacted = held.get("signature"), held.get("redacted")
    return Secret(
        origin,
        signature if isinstance(signature, str) else None,
        redacted if isinstance(redacted, str) else None,
    )

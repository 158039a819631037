"""Thoughts and signatures of other families, carried by the caller: sealed on the way out, opened on the way in.

Callers of this format send every thinking block and every tool's id back as they came. So the signature of a
thinking block and the id of a `tool_use` hold what another family's model wants back, with that family's name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import SEALED, seal, seal_id, unseal, unseal_id

_LARGEST = 60_000
"""Characters of a seal that callers can be trusted to keep; one that is longer is left off."""

_WORD = SEALED.decode()


class Secret(NamedTuple):
    """What a seal held, and whose it is."""

    origin: str
    signature: str | None = None
    redacted: str | None = None


def is_foreign(origin: str) -> bool:
    """Whether a part of an answer comes from another family of models."""
    return origin not in ("", NAME)


def sealed_thoughts(origin: str, signature: str | None, redacted: str | None) -> str:
    """The signature of a thinking block whose thoughts another family (or nobody we know: "") had. It is never
    empty: without a seal the block would be taken for one of this family's and be refused for its signature."""
    held = {"signature": signature, "redacted": redacted}
    sealed = seal(origin, {name: value for name, value in held.items() if value})
    return sealed if len(sealed) <= _LARGEST else seal(origin, {})


def sealed_id(id: str, origin: str, signature: str | None) -> str:
    """A call's id with the signature that another family gave the call."""
    if not signature or not is_foreign(origin):
        return id
    sealed = seal_id(id, origin, {"signature": signature})
    return sealed if len(sealed) <= _LARGEST else id


def open_thoughts(signature: str) -> Secret:
    """Whose thoughts a block holds, by its signature. What is damaged belongs to nobody."""
    if not signature.startswith(_WORD):
        return Secret(NAME, signature or None)
    return _secret(unseal(signature))


def open_id(id: str) -> tuple[str, Secret | None]:
    """The id as the provider gave it, and what was sealed behind it."""
    plain, opened = unseal_id(id)
    return plain, None if opened is None else _secret(opened)


def _secret(opened: tuple[str, Any] | None) -> Secret:
    origin, value = opened or ("", None)
    held = value if isinstance(value, dict) else {}
    signature, redacted = held.get("signature"), held.get("redacted")
    return Secret(
        origin,
        signature if isinstance(signature, str) else None,
        redacted if isinstance(redacted, str) else None,
    )

"""Which conversation a request belongs to, where a route wants to know."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from multidict import istr

from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.operations import CHAT
from llmhub_core.contracts.wire import dump_json, load_json

SESSION = istr("x-llmhub-session")

PREFIX = 4096
"""Bytes of tools, instructions and first messages that make a prompt's stable beginning: about the 1,024 tokens from
which on providers cache. A shorter prompt has nothing to lose."""

_IDS = ("prompt_cache_key", "session_id", "user", "safety_identifier")
_FIRST = ("tools", "system", "instructions", "systemInstruction", "system_instruction")
_TURNS = ("messages", "input", "contents")
_MOST_TURNS = 16
"""Turns looked at for the beginning."""


def affinity_of(exchange: Exchange, kind: str) -> str:
    """The conversation's key: of the header x-llmhub-session, of the ids that the formats have for it (`kind`
    session), or of how the prompt begins (prefix). "" if it has none."""
    session = exchange.headers.get(SESSION)
    if session:
        return _hashed(b"session", exchange.caller.name.encode("utf-8", "replace"), session.encode("utf-8", "replace"))
    if exchange.head.operation != CHAT:
        return ""
    try:
        body = load_json(exchange.body)
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    if kind == "session":
        named = _id(body)
        return _hashed(b"id", exchange.caller.name.encode("utf-8", "replace"), dump_json(named)) if named else ""
    beginning = _beginning(body)
    return _hashed(b"prefix", beginning) if len(beginning) >= PREFIX else ""


def _id(body: dict[str, Any]) -> str:
    for name in _IDS:
        value = body.get(name)
        if isinstance(value, str) and value:
            return value
    metadata = body.get("metadata")
    value = metadata.get("user_id") if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""


def _beginning(body: dict[str, Any]) -> bytes:
    parts = [body[name] for name in _FIRST if name in body]
    for name in _TURNS:
        turns = body.get(name)
        if isinstance(turns, list):
            parts += turns[:_MOST_TURNS]
        elif turns is not None:
            parts.append(turns)
    return dump_json(parts)[:PREFIX]


def _hashed(*parts: bytes) -> str:
    digest = blake2b(digest_size=12)
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()

"""Seals behind the ids of tool calls: Chat has no field for what only another family of models can open, and most of
its clients send no thoughts back. So each call's id carries the signed thoughts that came since the call before it,
and the call's own signature; nothing is lost of what a loop of tools needs.

    call_1_LLMhubSeal01…   →   ["anthropic", {"reasoning": [{"text", "signature", "redacted", "at"}], "signature": …}]

`at` is how many characters of the message's text stood before the thought, left out where there were none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    PartEnded,
    PartStarted,
    Reasoning,
    Text,
    ToolCall,
    seal_id,
    unseal_id,
)

LONGEST = 60_000
"""Characters of a seal; a longer one is left off, for ids stand in every later request."""


# Writing.


@dataclass(slots=True)
class Sealer:
    """One choice of an answer: what waits to be sealed behind its next call. `said` counts the text's characters."""

    said: int = 0
    origin: str = ""
    _waiting: list[dict[str, Any]] = field(default_factory=list)

    def think(self, part: PartStarted, text: str, ended: PartEnded) -> None:
        """Note a thought that only its own family can open."""
        thought = {"text": text, "signature": ended.signature, "redacted": ended.redacted, "at": self.said}
        self.origin = part.origin
        self._waiting.append({name: value for name, value in thought.items() if value})

    def id_of(self, call: PartStarted, signature: str | None) -> str:
        """The call's id with everything behind it that has to come back."""
        value: dict[str, Any] = {}
        if self._waiting:
            value["reasoning"] = self._waiting
            self._waiting = []
        if signature:
            value["signature"] = signature
        if not value:
            return call.id
        sealed = seal_id(call.id, call.origin or self.origin, value)
        return sealed if len(sealed) <= len(call.id) + LONGEST else call.id


def is_foreign(part: PartStarted) -> bool:
    """Whether the part's signature, if it has one, is another dialect's."""
    return part.origin not in ("", NAME)


# Reading.


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A call as it came from its provider, and the thoughts before it: with how much text before each."""

    call: ToolCall
    thoughts: tuple[tuple[int, Reasoning], ...] = ()


def unseal_call(call: ToolCall) -> Unsealed:
    """A caller's call opened; as it is where nothing is sealed, or the seal is damaged."""
    id, opened = unseal_id(call.id)
    if id == call.id:
        return Unsealed(call)
    origin, value = opened if opened is not None else ("", None)
    if not isinstance(value, dict):
        return Unsealed(ToolCall(id, call.name, call.arguments, call.extras, call.signature, call.origin))
    signature, thoughts = _text(value, "signature"), value.get("reasoning")
    return Unsealed(
        ToolCall(id, call.name, call.arguments, call.extras, signature, origin if signature else None),
        tuple(_thought(each, origin) for each in thoughts if isinstance(each, dict))
        if isinstance(thoughts, list)
        else (),
    )


def _thought(value: dict[str, Any], origin: str) -> tuple[int, Reasoning]:
    at = value.get("at")
    thought = Reasoning(_text(value, "text") or "", _text(value, "signature"), _text(value, "redacted"), origin)
    return at if isinstance(at, int) else 0, thought


def _text(value: dict[str, Any], name: str) -> str | None:
    text = value.get(name)
    return text if isinstance(text, str) else None


def with_thoughts(content: tuple[Any, ...], thoughts: list[tuple[int, Reasoning]]) -> list[Any]:
    """`content` with each thought where it stood: an answer may think again between two texts, and some providers
    want its parts back in the order in which they came."""
    if len(content) != 1 or not isinstance(content[0], Text):
        return [*(thought for _, thought in thoughts), *content]
    text, done = content[0], 0
    parts: list[Any] = []
    for at, thought in thoughts:
        if done < at <= len(text.text):
            parts.append(Text(text.text[done:at]))
            done = at
        parts.append(thought)
    if done == 0:
        return [*parts, text]
    return [*parts, Text(text.text[done:], text.extras)] if done < len(text.text) else parts

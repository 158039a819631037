"""Words and sums of the Responses API: names, finish reasons, usage, and what of a request only OpenAI understands."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from llmhub_core.contracts import Extras, FinishReason, Usage

NAME = "openai_responses"
COUNT = "openai_responses_count"

Json = dict[str, Any]

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
"""Members of `include` that the hub understands."""


class Own(dict[str, Any]):
    """Extras of this dialect: as a mapping, what others lose by not knowing it; in `quiet`, what they do not.

    Ids of items, wishes about storing, the shape that a text had: they are written back to a provider that speaks this
    dialect, and nobody else has a loss to report.
    """

    __slots__ = ("quiet",)

    def __init__(self, listed: Mapping[str, Any] = {}, quiet: Mapping[str, Any] = {}) -> None:
        super().__init__(listed)
        self.quiet = quiet

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and dict.__eq__(self, other) and self.quiet == other.quiet

    __hash__ = None


def kept(listed: Mapping[str, Any], quiet: Mapping[str, Any]) -> Extras:
    """Extras of a part, a message or a tool; shared where there is nothing to keep."""
    return {NAME: Own(listed, quiet)} if listed or quiet else _NOTHING


_NOTHING: Extras = {}


def listed(extras: Extras) -> Mapping[str, Any]:
    """What this dialect keeps in `extras` and other dialects lose."""
    own: Mapping[str, Any] = extras.get(NAME, _NOTHING)
    return own


def quiet(extras: Extras) -> Mapping[str, Any]:
    """What this dialect keeps in `extras` and other dialects lose nothing by."""
    own = extras.get(NAME)
    return own.quiet if isinstance(own, Own) else _NOTHING


def texts_of(parts: Any) -> list[str]:
    """The texts of a summary or of a reasoning item's content, whatever else stands there."""
    if not isinstance(parts, list):
        return []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def made_id(prefix: str) -> str:
    """An id of the form of OpenAI's own items and answers: ``msg_`` and 48 hex digits."""
    return f"{prefix}_{secrets.token_hex(24)}"


# Why an answer ended.

_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_DETAILS: dict[FinishReason, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


def finish(status: str, details: Any, called: bool) -> tuple[FinishReason, str]:
    """The hub's reason and the provider's word: the status, or why the answer is incomplete."""
    why = details.get("reason") if isinstance(details, dict) else None
    if status == "incomplete" and isinstance(why, str) and why:
        return _INCOMPLETE.get(why, "stop"), why
    return "tool_calls" if called else "stop", status


def incomplete_reason(reason: FinishReason) -> str | None:
    """`incomplete_details.reason`; None for an answer that is complete."""
    return _DETAILS.get(reason)


# Usage.


class _InputDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(Struct):
    reasoning_tokens: int | None = None


class WireUsage(Struct):
    """`usage` as providers write it; every member may be absent."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


_NO_INPUT, _NO_OUTPUT = _InputDetails(), _OutputDetails()
_MOST = 1_000_000_000

BILLED_TOOLS = frozenset({"web_search_call", "file_search_call"})
"""Kinds of items that stand for a search which the provider ran and bills by the piece."""


def read_usage(wire: WireUsage | None, searches: int) -> Usage | None:
    """The hub's arithmetic; None if the provider said nothing or something impossible (negative, astronomical)."""
    if wire is None or (wire.input_tokens is None and wire.output_tokens is None):
        return None
    given, written = wire.input_tokens_details or _NO_INPUT, wire.output_tokens_details or _NO_OUTPUT
    read, wrote, thought = wire.input_tokens or 0, wire.output_tokens or 0, written.reasoning_tokens or 0
    if min(read, wrote, thought) < 0 or max(read, wrote, thought) > _MOST:
        return None
    if thought and (wire.total_tokens == read + wrote + thought or thought > wrote):
        wrote += thought  # some servers count it beside the output, as xAI's Chat does
    return Usage(
        input_tokens=read,
        output_tokens=wrote,
        cached_tokens=_within(given.cached_tokens, read),
        cache_write_tokens=_within(given.cache_write_tokens, read),
        reasoning_tokens=_within(thought, wrote),
        server_tool_calls=searches,
    )


def _within(count: int | None, total: int) -> int:
    return max(0, min(count, total)) if count else 0


def usage_json(usage: Usage) -> Json:
    """`usage` as OpenAI writes it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }

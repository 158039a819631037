"""Words and sums of the Messages API that several rooms need: stop reasons and usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmhub_core.contracts import FinishReason, Usage

NAME = "anthropic"

REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "stop",
}
"""`stop_reason` to the neutral word; unknown ones mean `stop`."""

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}


def stop_reason(reason: FinishReason, native: str) -> str:
    """The `stop_reason` to show; the provider's own word where it is one of this format and means the same."""
    return native if REASONS.get(native) == reason else _STOP_REASONS[reason]


# Usage. Here `input_tokens` excludes what was read from and written to the cache; in Usage it is the total.


def read_usage(said: Mapping[str, Any]) -> Usage:
    """A `usage` object as Usage; members that are missing or null count as 0."""

    def count(members: Mapping[str, Any], name: str) -> int:
        value = members.get(name)
        return value if type(value) is int and value > 0 else 0

    def inner(name: str) -> Mapping[str, Any]:
        value = said.get(name)
        return value if isinstance(value, Mapping) else {}

    cached = count(said, "cache_read_input_tokens")
    split = inner("cache_creation")
    hour = count(split, "ephemeral_1h_input_tokens")
    # Writes are said as a sum and split by lifetime; where one of the two is missing, the other tells.
    written = count(said, "cache_creation_input_tokens") or count(split, "ephemeral_5m_input_tokens") + hour
    return Usage(
        input_tokens=count(said, "input_tokens") + cached + written,
        output_tokens=count(said, "output_tokens"),
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
        reasoning_tokens=count(inner("output_tokens_details"), "thinking_tokens"),
        server_tool_calls=count(inner("server_tool_use"), "web_search_requests"),
    )


def input_usage(usage: Usage) -> dict[str, Any]:
    """The input side of a `usage` object."""
    written, hour = usage.cache_write_tokens, usage.cache_write_1h_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": max(0, written - hour),
            "ephemeral_1h_input_tokens": hour,
        },
    }


_SAID_EARLY = ("service_tier", "inference_geo", "speed")
_SAID_LATE = ("server_tool_use", "iterations", "fallback_credit")


def usage_extras(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a `usage` object says beside the counts that Usage holds: what belongs to its beginning (the tier), and
    what is known at the end (searches by kind, the calls of which the answer is made)."""
    early = {name: said[name] for name in _SAID_EARLY if said.get(name) is not None}
    late = {name: said[name] for name in _SAID_LATE if said.get(name) is not None}
    if isinstance(searches := late.get("server_tool_use"), dict):  # of which old answers say only one kind
        late["server_tool_use"] = {"web_search_requests": 0, "web_fetch_requests": 0, **searches}
    return early, late


def output_usage(usage: Usage) -> dict[str, Any]:
    """The output side of a `usage` object; details only where there are any."""
    said: dict[str, Any] = {"output_tokens": usage.output_tokens}
    if usage.reasoning_tokens:
        said["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.server_tool_calls:
        said["server_tool_use"] = {"web_search_requests": usage.server_tool_calls, "web_fetch_requests": 0}
    return said

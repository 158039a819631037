"""`usage` of Chat and text completions. Every member is optional: old traffic has the three totals only, and others
add their own."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from llmhub_core.contracts import Usage


class _InputDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _ServerTools(Struct):
    web_search_requests: int | None = None


class WireUsage(Struct):
    """`usage` as providers write it. Beside OpenAI's members: `prompt_cache_hit_tokens` (DeepSeek),
    `num_cached_tokens` (Mistral), `cache_creation_input_tokens` (gateways before Claude), `num_search_queries`
    (Perplexity), `server_tool_use_details` (OpenRouter)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    num_cached_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    num_search_queries: int | None = None
    server_tool_use_details: _ServerTools | None = None


_NO_INPUT, _NO_OUTPUT, _NO_TOOLS = _InputDetails(), _OutputDetails(), _ServerTools()
_MOST = 1_000_000_000


def read_usage(wire: WireUsage | None) -> Usage | None:
    """The hub's arithmetic; None if the provider said nothing or something impossible (negative, astronomical)."""
    if wire is None or (wire.prompt_tokens is None and wire.completion_tokens is None):
        return None
    given, written = wire.prompt_tokens_details or _NO_INPUT, wire.completion_tokens_details or _NO_OUTPUT
    read, wrote = wire.prompt_tokens or 0, wire.completion_tokens or 0
    reasoning, heard = written.reasoning_tokens or 0, given.audio_tokens or 0
    if not (0 <= read <= _MOST and 0 <= wrote <= _MOST and 0 <= reasoning <= _MOST and 0 <= heard <= _MOST):
        return None
    total = wire.total_tokens
    if reasoning and (total == read + wrote + reasoning or reasoning > wrote):
        wrote += reasoning  # xAI (and Gemini behind gateways) count it beside the completion, all others inside
    if heard and (total == read + wrote + heard or heard > read):
        read += heard  # Mistral counts sound beside the prompt
    cached = given.cached_tokens or wire.prompt_cache_hit_tokens or wire.num_cached_tokens or 0
    newly_cached = given.cache_write_tokens or wire.cache_creation_input_tokens
    spoken = written.audio_tokens
    searches = (wire.server_tool_use_details or _NO_TOOLS).web_search_requests or wire.num_search_queries
    if not (cached or newly_cached or reasoning or heard or spoken or searches):
        return Usage(read, wrote)
    return Usage(
        input_tokens=read,
        output_tokens=wrote,
        cached_tokens=_within(cached, read),
        cache_write_tokens=_within(newly_cached, read),
        reasoning_tokens=_within(reasoning, wrote),
        audio_input_tokens=_within(heard, read),
        audio_output_tokens=_within(spoken, wrote),
        server_tool_calls=_within(searches, _MOST),
    )


def _within(count: int | None, total: int) -> int:
    return max(0, min(count, total)) if count else 0


def usage_json(usage: Usage) -> dict[str, Any]:
    """`usage` as OpenAI writes it."""
    given = {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.audio_input_tokens}
    if usage.cache_write_tokens:
        given["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": given,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_output_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }

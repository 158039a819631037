"""Words and sums of Chat Completions: finish reasons, usage, and what is fixed about its names."""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct

from llmhub_core.contracts import Extras, FinishReason, Usage

NAME = "openai_chat"

FUNCTION: Extras = {NAME: {}}
"""Extras of tools and calls that the caller said the old way (`functions`, `function_call`), to be answered likewise.
There is nothing inside, so that another dialect has nothing to report as lost."""

CONTENT_KINDS = frozenset(
    {
        "text",
        "refusal",
        "image_url",
        "input_audio",
        "file",
        "audio_url",
        "video_url",
        "document_url",
        "thinking",
        "reference",
    }
)
"""Kinds of parts in a message's content. Beside OpenAI's own those of Mistral (document_url, thinking, reference) and
of OpenRouter and vLLM (audio_url, video_url)."""

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_FINISH_WORDS: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


def finish_reason(native: str, called: bool) -> FinishReason:
    """A provider's word in the hub's. `called` says that the choice holds calls: OpenAI ends a call that the caller
    forced by name with ``stop``, which would leave other dialects' clients waiting for a reason to run it."""
    reason = _FINISH.get(native, "stop")
    return "tool_calls" if called and reason == "stop" else reason


def finish_word(reason: FinishReason) -> str:
    """The hub's word in this dialect's."""
    return _FINISH_WORDS.get(reason, "stop")


def invented_call_id() -> str:
    """For a call to which the provider gave no id: the form of OpenAI's own, ``call_`` and 24 characters."""
    return "call_" + secrets.token_hex(12)


# Usage. Every member is optional: old traffic has the three totals only, and others add their own.


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
    if min(read, wrote, reasoning, heard) < 0 or max(read, wrote, reasoning, heard) > _MOST:
        return None
    total = wire.total_tokens
    if reasoning and (total == read + wrote + reasoning or reasoning > wrote):
        wrote += reasoning  # xAI (and Gemini behind gateways) count it beside the completion, all others inside
    if heard and (total == read + wrote + heard or heard > read):
        read += heard  # Mistral counts sound beside the prompt
    cached = given.cached_tokens or wire.prompt_cache_hit_tokens or wire.num_cached_tokens or 0
    return Usage(
        input_tokens=read,
        output_tokens=wrote,
        cached_tokens=_within(cached, read),
        cache_write_tokens=_within(given.cache_write_tokens or wire.cache_creation_input_tokens, read),
        reasoning_tokens=_within(reasoning, wrote),
        audio_input_tokens=_within(heard, read),
        audio_output_tokens=_within(written.audio_tokens, wrote),
        server_tool_calls=_within(
            (wire.server_tool_use_details or _NO_TOOLS).web_search_requests or wire.num_search_queries, _MOST
        ),
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

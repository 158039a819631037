"""Why an answer ended, in the words of Chat and text completions and in the hub's."""

from __future__ import annotations

from llmhub_core.contracts import FinishReason

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_WORDS: dict[FinishReason, str] = {
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
    reason = _REASONS.get(native, "stop")
    return "tool_calls" if called and reason == "stop" else reason


def finish_word(reason: FinishReason) -> str:
    """The hub's word in OpenAI's."""
    return _WORDS.get(reason, "stop")

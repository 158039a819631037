"""What is fixed about the names of Chat Completions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from llmhub_core.contracts import Extras

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


def invented_call_id() -> str:
    """For a call to which the provider gave no id: the form of OpenAI's own, ``call_`` and 24 characters."""
    return "call_" + secrets.token_hex(12)


def as_extras(rest: Mapping[str, Any], *known: str) -> Extras:
    """What is left of a value besides `known`, as this dialect's extras."""
    rest = {name: value for name, value in rest.items() if value is not None and name not in known}
    return {NAME: rest} if rest else {}

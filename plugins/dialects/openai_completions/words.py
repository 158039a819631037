"""What is fixed about the names of text completions."""

from __future__ import annotations

NAME = "openai_completions"

CHAT = "openai_chat"
"""The one other format whose answers hold probabilities of tokens in a shape that is known here."""

DEFAULT_LIMIT = 16
"""Tokens written where the caller named no limit; OpenAI's API description says so."""

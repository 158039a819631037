"""Tokens: what an exchange used, in one arithmetic for all providers."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer. Totals include their parts; provider dialects convert to and from their own sums.

    input_tokens          everything read: fresh, cached and newly cached
    cached_tokens         … of these, read from the provider's cache
    cache_write_tokens    … of these, written to it (5 minutes and 1 hour together)
    cache_write_1h_tokens … of the written, those kept for an hour
    output_tokens         everything written, reasoning included
    reasoning_tokens      … of these, reasoning
    audio_*_tokens        … of input and output, audio
    server_tool_calls     searches and the like that the provider ran and bills by the piece
    estimated             True if the provider did not say and we counted bytes
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    server_tool_calls: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def updated(self, later: Usage) -> Usage:
        """With what `later` knows: providers report the sides of an answer at different times, the last word counts."""
        known = {name: value for name in _COUNTS if (value := getattr(later, name)) > 0}
        return msgspec.structs.replace(self, estimated=later.estimated, **known)

    def as_estimated(self) -> Usage:
        return msgspec.structs.replace(self, estimated=True)


_COUNTS = tuple(name for name in Usage.__struct_fields__ if name != "estimated")

BYTES_PER_TOKEN = 3.2
"""A floor that holds for English, code and most scripts; used where no tokenizer is at hand."""


def tokens_of_bytes(size: int) -> int:
    """A cautious estimate of the tokens in `size` bytes of text: never 0 for something."""
    return int(size / BYTES_PER_TOKEN) + 1 if size > 0 else 0

"""Who served a conversation last: providers keep prompts in caches of one account, and only there is the next turn
cheap and quick. Kept in memory, for as long as caches last."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from llmhub_core.contracts.usage import Usage

MOST = 20_000
"""Conversations remembered; those that have been silent longest are forgotten first."""

KEPT = 600.0
"""Seconds after which a prompt that nobody asked again is in no cache (OpenAI: 5 to 10 minutes, Anthropic: 5)."""

WORTH = 1024
"""Tokens of input below which providers cache nothing, so that nothing can be learned."""

MISSES = 3
"""Answers in a row without a cached token after which staying does not pay."""


@dataclass(slots=True)
class _Warm:
    label: str
    at: float
    misses: int = 0


class Affinity:
    """Least recently used goes first. Belongs to one process; several learn each for itself."""

    def __init__(self) -> None:
        self._warm: OrderedDict[str, _Warm] = OrderedDict()

    def __len__(self) -> int:
        return len(self._warm)

    def warm(self, key: str, measured: bool, now: float | None = None) -> str:
        """The label of the candidate that `key` was with last; "" if there is none, or if being `measured` it does
        not pay."""
        entry = self._warm.get(key)
        now = time.monotonic() if now is None else now
        if entry is None or now - entry.at > KEPT or (measured and entry.misses >= MISSES):
            return ""
        return entry.label

    def note(self, key: str, label: str, usage: Usage | None, now: float | None = None) -> None:
        """An answer of the candidate `label`, with what it used."""
        now = time.monotonic() if now is None else now
        entry = self._warm.pop(key, None)
        if entry is None or now - entry.at > KEPT:
            entry = _Warm(label, now)
            if len(self._warm) >= MOST:
                self._warm.popitem(last=False)
        elif usage is not None and not usage.estimated and usage.input_tokens >= WORTH:
            entry.misses = 0 if usage.cached_tokens else entry.misses + 1
        entry.label, entry.at = label, now
        self._warm[key] = entry

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


@dataclass(slots=True)
class Measured:
    """What came of affinity on a route: `followed` answers to conversations that were known, `kept` of them given by
    who had served the conversation before; tokens of all answers whose provider told them."""

    followed: int = 0
    kept: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0

    def add(self, followed: int, kept: int, input_tokens: int, cached_tokens: int) -> None:
        self.followed += followed
        self.kept += kept
        self.input_tokens += input_tokens
        self.cached_tokens += cached_tokens


class Affinity:
    """Least recently used goes first. Belongs to one process; several learn each for itself."""

    def __init__(self) -> None:
        self._warm: OrderedDict[str, _Warm] = OrderedDict()
        self.measured: dict[str, Measured] = {}
        """By route, since the start of this process."""

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

    def note(self, key: str, label: str, usage: Usage | None, now: float | None = None, route: str = "") -> None:
        """An answer of the candidate `label`, with what it used."""
        now = time.monotonic() if now is None else now
        entry = self._warm.pop(key, None)
        self._measure(route, label, entry if entry is not None and now - entry.at <= KEPT else None, usage)
        if entry is None or now - entry.at > KEPT:
            entry = _Warm(label, now)
            if len(self._warm) >= MOST:
                self._warm.popitem(last=False)
        elif usage is not None and not usage.estimated and usage.input_tokens >= WORTH:
            entry.misses = 0 if usage.cached_tokens else entry.misses + 1
        entry.label, entry.at = label, now
        self._warm[key] = entry

    def _measure(self, route: str, label: str, known: _Warm | None, usage: Usage | None) -> None:
        measured = self.measured.get(route)
        if measured is None:
            measured = self.measured[route] = Measured()
        told = usage if usage is not None and not usage.estimated else Usage()
        kept = known is not None and known.label == label
        measured.add(int(known is not None), int(kept), told.input_tokens, told.cached_tokens)

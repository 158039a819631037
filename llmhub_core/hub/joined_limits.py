"""Limits of a token and of what a request adds to them, in one tuple that stays the same."""

from __future__ import annotations

from llmhub_core.contracts.candidate import Limit

Limits = tuple[Limit, ...]

MOST_JOINED = 10_000


class JoinedLimits:
    """Quota stores know a tuple again by its identity."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Limits, Limits, Limits]] = {}

    def joined(self, own: Limits, limits: Limits) -> Limits:
        if not limits:
            return own
        key = (id(own), id(limits))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_JOINED:
                self._known.clear()
            known = self._known[key] = (own, limits, own + limits)
        return known[2]

    def clear(self) -> None:
        """The limits are others now."""
        self._known.clear()

"""When something that is used up will be spent, if it goes on as lately."""

from __future__ import annotations

from collections import deque

HORIZON = 900.0
"""Seconds that count as lately."""

SPACING = 30.0
"""Seconds between two samples that are kept; fewer are not worth their memory."""

LEAST = 60.0
"""Seconds that must have been watched before anything is said."""


class Trend:
    """How much was used, and when; times in seconds of any one clock."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, at: float, used: int) -> None:
        """`used` may fall: a little where a window slides; by half where it began anew, and what was before tells
        nothing of it."""
        samples = self._samples
        if samples and (2 * used < samples[-1][1] or at < samples[-1][0]):
            samples.clear()
        if len(samples) >= 2 and at - samples[-2][0] < SPACING:
            samples[-1] = (at, used)  # the newest is always known exactly
        else:
            samples.append((at, used))
        while len(samples) > 2 and at - samples[0][0] > HORIZON:
            samples.popleft()

    def rate(self) -> float:
        """Used up a second, lately, less what came back; 0.0 while that cannot be said."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began) if ended - began >= LEAST else 0.0

    def spent_in(self, left: int) -> float | None:
        """Seconds until `left` is gone at that rate; None if it is not used at all."""
        if left <= 0:
            return 0.0
        rate = self.rate()
        return left / rate if rate > 0 else None

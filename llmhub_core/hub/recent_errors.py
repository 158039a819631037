"""How many requests of each route failed within the last while: a window that moves in small steps."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from llmhub_core.contracts.exchange import Record

NO_ROUTE = "requests without a route"

SLICES = 30
"""Steps of a window."""


Told = Mapping[str, tuple[int, int, Mapping[str, int]]]
"""What one process tells another: by route, as `Counted`."""


@dataclass(slots=True)
class Counted:
    """Requests of a route within the last while."""

    requests: int = 0
    failed: int = 0
    codes: Counter[str] = field(default_factory=Counter)

    def add(self, requests: int, failed: int, codes: Mapping[str, int]) -> None:
        self.requests += requests
        self.failed += failed
        self.codes.update(codes)


class RecentErrors:
    """`window` is in seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._slices: deque[tuple[float, dict[str, Counted]]] = deque()

    def count(self, batch: Sequence[Record], routes: Container[str]) -> None:
        """Requests that a provider was to answer; those that arrived before the window began count no more."""
        now = time.monotonic()
        if not self._slices or now - self._slices[-1][0] > self._window / SLICES:
            self._slices.append((now, {}))
        counts, oldest = self._slices[-1][1], time.time() - self._window
        for record in batch:
            if record.arrived_at < oldest or record.outcome not in ("served", "failed"):
                continue
            route = record.route if record.route in routes else NO_ROUTE
            counted = counts.get(route)
            if counted is None:
                counted = counts[route] = Counted()
            counted.requests += 1
            if record.outcome == "failed":
                counted.failed += 1
                counted.codes[record.code] += 1

    def by_route(self) -> dict[str, Counted]:
        oldest = time.monotonic() - self._window
        while self._slices and self._slices[0][0] < oldest:
            self._slices.popleft()
        recent: dict[str, Counted] = {}
        for _, counts in self._slices:
            for route, counted in counts.items():
                recent.setdefault(route, Counted()).add(counted.requests, counted.failed, counted.codes)
        return recent

    def told(self) -> Told:
        return {route: (each.requests, each.failed, each.codes) for route, each in self.by_route().items()}

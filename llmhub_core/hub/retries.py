"""How many second tries may be in vain: a share of the requests, so that an outage does not multiply the load.

A try that served is given back: where one key or provider fails and the next one is well, everybody is served.
"""

from __future__ import annotations

import time

BURST = 10.0
"""Second tries that are always at hand after a quiet time …"""

EACH_SECOND = 1.0
"""… and come back in each second, whatever the share: where there is little traffic, a share of it is nothing."""

RECENT = 10.0
"""Seconds for which a request counts as recent."""


class _Budget:
    __slots__ = ("at", "left", "most", "requests")

    def __init__(self, requests: int, now: float) -> None:
        self.requests, self.at = requests, now
        self.left = self.most = BURST


class Retries:
    """A budget for each route, filled by its requests: looked at only when an attempt failed."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._budgets: dict[str, _Budget] = {}

    def take(self, route: str, requests: int, now: float | None = None) -> bool:
        """Whether one more try may be made; then it is taken. `requests` is how many the route has had in all."""
        now = time.monotonic() if now is None else now
        budget = self._budgets.get(route)
        if budget is None:
            if len(self._budgets) >= 10_000:  # names of ad hoc routes are the callers' to choose
                self._budgets.clear()
            budget = self._budgets[route] = _Budget(requests, now)
        passed, new = now - budget.at, max(0, requests - budget.requests)
        budget.at, budget.requests = now, requests
        recent = new if passed <= RECENT else new * RECENT / passed
        budget.most = max(BURST, self.share * recent, budget.most * 0.5 ** (passed / RECENT))
        budget.left = min(budget.most, budget.left + self.share * new + EACH_SECOND * passed)
        if self.share <= 0 or budget.left < 1.0:
            return False
        budget.left -= 1.0
        return True

    def give_back(self, route: str) -> None:
        """A try that was taken has served."""
        budget = self._budgets.get(route)
        if budget is not None:
            budget.left = min(budget.most, budget.left + 1.0)

"""What could have been served: by somebody who knows all limits and everything that goes wrong, but not how many tokens
an answer is going to have, nor the end of an outage before he looked. Requests are taken in the order in which they
came, and wait as long as they would."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import replace
from itertools import count

from accounts import Account
from playing import estimate_of
from scenario import Request, Scenario


class Oracle:
    def __init__(self, scenario: Scenario, pause: float) -> None:
        self.scenario = scenario
        self.accounts = [
            replace(account, outages=tuple((a, _known_again(a, b, pause), status) for a, b, status in account.outages))
            for some in scenario.accounts
            for account in some
        ]
        self.queue: deque[Request] = deque()
        self.callers: list[deque[float]] = [deque() for _ in scenario.callers]
        self.served = 0
        self.unlucky: set[int] = set()
        self._numbers = count()
        self._events: list[tuple[float, int, Account | None, tuple[float, int] | None, int]] = []

    def run(self) -> int:
        arrivals = deque(self.scenario.requests)
        now = 0.0
        while arrivals or self._events or self.queue:
            wake = self._soonest(now)
            now = min(
                arrivals[0].at if arrivals else math.inf,
                self._events[0][0] if self._events else math.inf,
                wake,
            )
            if math.isinf(now):
                break
            while self._events and self._events[0][0] <= now:
                _, _, account, use, used = heapq.heappop(self._events)
                assert account is not None
                account.running -= 1
                account.settle(use, used)
            while arrivals and arrivals[0].at <= now:
                self.queue.append(arrivals.popleft())
            self._serve(now)
        return self.served

    def _soonest(self, now: float) -> float:
        """When the first of the queue may have room, or is at the end of its patience."""
        best = math.inf
        for request in self.queue:
            best = min(best, request.at + self.scenario.patience + 1e-6)
            wait = self._caller_wait(request, now)
            if not wait:
                tokens = estimate_of(request)
                return min(best, now + max(min(self._wait(each, now, tokens) for each in self.accounts), 1e-3))
            best = min(best, now + wait)
        return best

    def _wait(self, account: Account, now: float, tokens: int) -> float:
        for since, until, _ in account.outages:
            if since <= now < until:
                return until - now
        if account.tpm and tokens > account.tpm:
            return math.inf
        return account.wait(now, tokens)

    def _caller_wait(self, request: Request, now: float) -> float:
        rpm, uses = self.scenario.callers[request.caller], self.callers[request.caller]
        if not rpm or len(uses) < rpm:
            return 0.0
        return max(0.0, uses[len(uses) - rpm] + 60.0 - now)

    def _serve(self, now: float) -> None:
        waiting = deque()
        blocked = False
        for request in self.queue:
            if request.at + self.scenario.patience < now:
                continue
            if blocked or self._caller_wait(request, now) > 0:
                waiting.append(request)
                continue
            tokens = estimate_of(request)
            account = next((each for each in self.accounts if self._wait(each, now, tokens) <= 0), None)
            if account is None:
                blocked = True
                waiting.append(request)
                continue
            self.callers[request.caller].append(now)
            use = account.take(now, tokens)
            if request.luck < account.noise and request.number not in self.unlucky:
                self.unlucky.add(request.number)
                account.settle(use, 0)
                account.running -= 1
                blocked = True
                waiting.append(request)
                continue
            seconds = account.takes(request.pace)
            heapq.heappush(self._events, (now + seconds, next(self._numbers), account, use, request.used))
            self.served += 1
        self.queue = waiting


def _known_again(since: float, until: float, pause: float) -> float:
    """When somebody who looks after a pause, and then after twice that, sees that an outage is over."""
    looked, wait = since, pause
    while looked < until:
        looked += wait
        wait *= 2
    return looked

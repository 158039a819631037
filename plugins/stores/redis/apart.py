"""What is taken while Redis is away, and everything that it has to be told when it is back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec
from llmhub_plugins.stores.redis import local
from llmhub_plugins.stores.redis.counters import UNKNOWN, Counter, Held, Plan, Taken
from llmhub_plugins.stores.redis.plans import Plans

from llmhub_core.contracts import Amount


class Settlement(msgspec.Struct, frozen=True, eq=False):
    """Told once or many times, it counts once."""

    plan: Plan
    lease: str
    at: int
    taken: tuple[Taken, ...]
    actual: Amount

    def tail(self) -> list[int | str]:
        tail: list[int | str] = [self.lease, self.at]
        for each in self.taken:
            bucket = UNKNOWN if isinstance(each.bucket, list) else each.bucket
            tail += (bucket, each.amount, each.counter.need(self.actual))
        return tail


class Adoption(msgspec.Struct, frozen=True, eq=False):
    """What was taken without Redis at `at`: reserved until `until`, or used for good (None). Monotonic seconds."""

    plan: Plan
    lease: str
    at: float
    until: float | None
    amounts: tuple[int, ...]

    def tail(self) -> list[int | str]:
        now = time.monotonic()
        long = 0 if self.until is None else max(int((self.until - now) * 1000), 1)
        return [self.lease, long, int((now - self.at) * 1000), *self.amounts]


class Apart:
    """`adoptions` and `settlements` wait to be told, in this order; `used` are the counters with uses of our own."""

    def __init__(self, new_id: Callable[[], str], plans: Plans) -> None:
        self.settlements: deque[Settlement] = deque()
        self.adoptions: deque[Adoption] = deque()
        self.used: set[Counter] = set()
        self._open: dict[str, tuple[Held, Plan, float, float]] = {}
        self._new_id = new_id
        self._plans = plans

    def reserve(self, held: Held, plan: Plan, lease: float, hubs: int, since: float | None) -> None:
        """LimitReached or Unavailable if this hub's share is used. `since` is when Redis went away, if it has."""
        now = time.monotonic()
        held.id = self._new_id()  # under the other one Redis may have heard of it, and will hear that it is nothing
        pairs = list(zip(plan.counters, plan.limits, strict=True))
        local.check(pairs, held.amount, hubs, now if since is None else since, now)
        for counter in plan.counters:
            need = counter.need(held.amount)
            if counter.kind == "g":
                counter.inside += 1
                held.held[counter] = UNKNOWN, need
            else:
                held.held[counter] = local.note(counter, need, now), need
                self.used.add(counter)
        held.local = True
        self._open[held.id] = held, plan, now, now + lease

    def settle(self, held: Held, taken: list[Taken], actual: Amount) -> None:
        now = time.monotonic()
        for each in taken:
            beyond = each.counter.need(actual) - each.amount
            if isinstance(each.bucket, list):
                if beyond > 0:
                    local.note(each.counter, beyond, now)
                else:
                    each.bucket[1] += beyond
                    each.counter.spent += beyond if each.counter.limit.kind == "money" else 0
        if not held.held:
            del self._open[held.id]

    def renew(self, lease: float) -> None:
        until = time.monotonic() + lease
        for id, (held, plan, at, before) in self._open.items():
            self._open[id] = held, plan, at, max(before, until)

    def collect(self) -> bool:
        """What was taken without Redis becomes what it has to be told; False if there is nothing. Reservations that are
        open are as any other from now on."""
        now = time.monotonic()
        for held, plan, at, until in self._open.values():
            amounts = {counter: need for counter, (_, need) in held.held.items()}
            for counter, (use, need) in held.held.items():
                if isinstance(use, list):
                    use[1] -= need
                held.held[counter] = UNKNOWN, need
            held.local = False
            if until > now:
                left = [Taken(counter, UNKNOWN, need) for counter, need in amounts.items()]
                mine = self._plans.of_taken(left, plan.limits)
                self.adoptions.append(Adoption(mine, held.id, at, until, tuple(amounts.values())))
        self._open.clear()
        for counter in self.used:
            local.forget(counter, counter.limit, now)
            plan = self._plans.of_counters([counter])
            for at, amount in counter.uses:
                if amount > 0:
                    self.adoptions.append(Adoption(plan, self._new_id(), at, None, (int(amount),)))
            counter.uses.clear()
        self.used.clear()
        return bool(self.adoptions or self.settlements)

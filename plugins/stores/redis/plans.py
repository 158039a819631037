"""Which counters a sequence of limits means, found again at once for the sequences that come each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_

from llmhub_plugins.stores.redis.counters import Counter, Plan, Taken, name_of

from llmhub_core.contracts import Limit

MOST_PLANS = 10_000


class Plans:
    """All counters of this process, and the plans made of them; `alone` is of none. When there are too many they are
    forgotten, and the counters too if they `may_forget`."""

    def __init__(self, prefix: str, may_forget: Callable[[], bool]) -> None:
        self.counters: dict[str, Counter] = {}
        self._prefix = prefix
        self._may_forget = may_forget
        self._born_key = f"{{{prefix}}}:born"
        self._plans: dict[int | tuple[int, ...], tuple[Sequence[Limit], Plan]] = {}
        self.alone = Plan(self._born_key, (), ())

    def counter(self, limit: Limit) -> Counter:
        name = name_of(limit)
        counter = self.counters.get(name)
        if counter is None:
            counter = self.counters[name] = Counter(self._prefix, limit)
        elif counter.limit is not limit:
            counter.limit = limit
        return counter

    def of(self, limits: Sequence[Limit]) -> Plan:
        """The same for the same tuple: limits come in the same ones each time."""
        known = self._plans.get(id(limits))
        if known is not None and known[0] is limits:
            return known[1]
        key: int | tuple[int, ...] = id(limits)
        if type(limits) is not tuple:  # what is in it may be known
            key = tuple(map(id, limits))
            known = self._plans.get(key)
            if known is not None and all(map(is_, known[0], limits)):
                return known[1]
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
            if self._may_forget():
                self.counters.clear()
        plan = Plan(self._born_key, limits, [self.counter(limit) for limit in limits])
        self._plans[key] = tuple(limits), plan
        return plan

    def of_counters(self, counters: Sequence[Counter]) -> Plan:
        return Plan(self._born_key, [counter.limit for counter in counters], counters)

    def of_taken(self, taken: Sequence[Taken], together: Sequence[Limit]) -> Plan:
        """Of what was taken, which is most often all of the limits that were taken `together`."""
        plan = self.of(together)
        counters = tuple([each.counter for each in taken])
        return plan if plan.counters == counters else self.of_counters(counters)

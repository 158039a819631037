"""Quotas counted in memory: exact for one process, forgotten with it.

What a reservation takes from a window counts from the moment of the reservation, which is when providers count
it; what turns out to be used beyond the reservation counts from the settlement on. Whatever is admitted within
any `window` seconds is therefore never more than the limit, and no use escapes because its stream was long.

A sliding window is a short queue of buckets: uses that come within 1/60 of the window share one, and a bucket
leaves when its latest use has left the window. That errs only towards counting too long, by 1/60 at the most,
and costs the same whether a limit is ten a minute or a million.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from datetime import time as time_of_day
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from llmhub_core.contracts import Amount, Level, Limit, LimitReached, QuotaStore, Reservation, hookimpl

DAY = 86_400
BUCKETS = 60
IDLE_COUNTERS = 1024
"""Above so many counters those with nothing in them are thrown away, so that limits of the past cost nothing."""
ROUNDING = 1e-6
"""Seconds added to a wait, so that a difference of floats never says a hair too little."""

Clock = Callable[[], float]


class _Bucket:
    """Uses close in time, which leave their window together at `leaves`; `taken` of them, reserved ones included."""

    __slots__ = ("leaves", "live", "opened", "taken")

    def __init__(self, opened: float) -> None:
        self.opened = opened
        self.leaves = opened
        self.taken = 0
        self.live = True


_NO_BUCKET = _Bucket(0.0)


class _Lease(Reservation):
    """A reservation, and what it holds: from which counter, how much, in which bucket."""

    __slots__ = ("held",)
    held: list[tuple[_Counter, int, _Bucket]]


_Expiry = tuple[float, int, _Lease]
"""When a lease expires, a number that tells equals apart, and the lease."""


class _Counter:
    """What of one limit is taken now, used and reserved together: how much of it is only reserved, the open leases
    know. `limit` is the latest one of this id, `amount` its amount.

    Before `rolls_at` there is nothing to forget, and before `fills_until` the `newest` bucket takes what comes, so
    that the hot path need not ask.
    """

    __slots__ = ("amount", "buckets", "fills_until", "kind", "limit", "newest", "rolls_at", "taken", "window")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.amount = limit.amount
        self.window = limit.window
        self.kind = _KINDS[limit.kind]
        self.rolls_at = math.inf
        self.fills_until = -math.inf
        self.buckets: deque[_Bucket] = deque()
        self.newest = _NO_BUCKET
        self.taken = 0

    def counts(self, limit: Limit) -> bool:
        """Whether `limit` can go on with these numbers: its amount may have changed, its nature may not."""
        mine = self.limit
        return (mine.kind, mine.window, mine.zone) == (limit.kind, limit.window, limit.zone)

    def roll(self, now: float) -> None:
        """Forget what has left the window."""

    def bucket(self, now: float) -> _Bucket:
        """The bucket for a use at `now`."""
        return _NO_BUCKET

    def time_left(self, bucket: _Bucket, now: float) -> float:
        return bucket.leaves - now

    def take(self, amount: int, now: float, lease: _Lease) -> _Bucket:
        bucket = self.bucket(now)
        bucket.taken += amount
        self.taken += amount
        return bucket

    def settle(self, amount: int, bucket: _Bucket, actual: int, now: float, lease: _Lease) -> None:
        """Replace the reserved `amount` by `actual`, in its own bucket if that still counts."""
        if actual > amount:
            self.charge(actual - amount, now)
        elif bucket.live:
            bucket.taken += actual - amount
            self.taken += actual - amount

    def charge(self, amount: int, now: float) -> None:
        """Count a use that nothing was reserved for."""
        self.bucket(now).taken += amount
        self.taken += amount

    def resets_in(self, now: float) -> float:
        return next((self.time_left(bucket, now) for bucket in self.buckets if bucket.taken), 0.0)

    def wait(self, excess: int, now: float, leases: list[_Expiry]) -> float:
        """Seconds until `excess` will have come back: buckets leave, and open leases may expire before them."""
        returns = [(self.time_left(bucket, now), bucket.taken) for bucket in self.buckets]
        seconds = _when_returned(excess, returns)
        early = [lease for expires, _, lease in leases if expires - now < seconds]
        for lease in early:
            for counter, amount, bucket in lease.held:
                if counter is self and bucket.live and lease.expires - now < self.time_left(bucket, now):
                    returns.append((lease.expires - now, amount))
                    returns.append((self.time_left(bucket, now), -amount))
        return _when_returned(excess, returns) if early else seconds


class _Sliding(_Counter):
    """A window that ends now, whenever now is."""

    __slots__ = ("width",)

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.width = limit.window / BUCKETS

    def roll(self, now: float) -> None:
        buckets = self.buckets
        while buckets and buckets[0].leaves <= now:
            bucket = buckets.popleft()
            bucket.live = False
            self.taken -= bucket.taken
        if buckets:
            self.rolls_at = buckets[0].leaves
        else:
            self.rolls_at, self.fills_until = math.inf, -math.inf

    def bucket(self, now: float) -> _Bucket:
        if now >= self.fills_until:
            self.newest = _Bucket(now)
            self.buckets.append(self.newest)
            self.fills_until = now + self.width
        bucket = self.newest
        bucket.leaves = now + self.window
        # Later uses move the bucket's end on and leave this as it is: looking too early costs only the look.
        if self.rolls_at > bucket.leaves:
            self.rolls_at = bucket.leaves
        return bucket


class _Day(_Counter):
    """A day from midnight to midnight in the limit's zone.

    Days are told by the clock on the wall, everything else by one that cannot be set. A day that has begun
    stays begun when the wall clock is set back.
    """

    __slots__ = ("wall", "zone")

    def __init__(self, limit: Limit, wall: Clock) -> None:
        super().__init__(limit)
        self.rolls_at = -math.inf  # the other clock knows
        self.wall = wall
        self.zone = ZoneInfo(limit.zone or "UTC")
        self.buckets.append(self._begin())

    def _begin(self) -> _Bucket:
        bucket = _Bucket(self.wall())
        tomorrow = datetime.fromtimestamp(bucket.opened, self.zone).date() + timedelta(days=1)
        bucket.leaves = datetime.combine(tomorrow, time_of_day(), self.zone).timestamp()
        return bucket

    def roll(self, now: float) -> None:
        if self.wall() >= self.buckets[0].leaves:
            self.buckets.popleft().live = False
            self.buckets.append(self._begin())
            self.taken = 0

    def bucket(self, now: float) -> _Bucket:
        self.roll(now)
        return self.buckets[0]

    def time_left(self, bucket: _Bucket, now: float) -> float:
        return bucket.leaves - self.wall()

    def resets_in(self, now: float) -> float:
        return self.time_left(self.buckets[0], now)


class _Gate(_Counter):
    """So many at once: each reservation is one, until it is settled."""

    __slots__ = ("inside",)

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.inside: set[_Lease] = set()

    def take(self, amount: int, now: float, lease: _Lease) -> _Bucket:
        self.inside.add(lease)
        self.taken += amount
        return _NO_BUCKET

    def settle(self, amount: int, bucket: _Bucket, actual: int, now: float, lease: _Lease) -> None:
        self.inside.discard(lease)
        self.taken -= amount

    def charge(self, amount: int, now: float) -> None:
        """What is over takes no room."""

    def resets_in(self, now: float) -> float:
        return min((lease.expires - now for lease in self.inside), default=0.0)

    def wait(self, excess: int, now: float, leases: list[_Expiry]) -> float:
        return _when_returned(excess, [(lease.expires - now, 1) for lease in self.inside])


_KINDS = {"requests": 0, "tokens": 1, "money": 2, "concurrency": 3}
"""Where a kind stands in what `_needs` returns."""


def _needs(amount: Amount) -> tuple[int, int, int, int]:
    """What `amount` takes from a limit of each kind; never less than nothing, whatever a provider reported."""
    requests, tokens, money = amount.requests, amount.tokens, amount.money
    return requests if requests > 0 else 0, tokens if tokens > 0 else 0, money if money > 0 else 0, 1


def _when_returned(excess: int, returns: list[tuple[float, int]]) -> float:
    """In how many seconds at least `excess` of the (seconds, amount) in `returns` is back."""
    returns.sort()
    for seconds, amount in returns:
        excess -= amount
        if excess <= 0:
            return seconds
    return math.inf


class MemoryQuotaStore(QuotaStore):
    """Everything happens between two awaits, so that no lock is needed; use it from one event loop only.

    `clock` measures windows and leases and must never go back; `wall` (seconds since 1970) says when days begin.
    A limit with a zone and a window other than a day slides.
    """

    name = "memory"
    waits = False

    def __init__(self, settings: Any, *, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        super().__init__(settings)
        self._clock = clock
        self._wall = wall
        self._numbers = count(1)
        self._counters: dict[str, _Counter] = {}
        # The counters of limits that come in the same tuple each time, by its identity: looking four of them up
        # by name costs as much as counting them.
        self._resolved: dict[int, tuple[Sequence[Limit], tuple[_Counter, ...]]] = {}
        self._forget_idle_at = IDLE_COUNTERS
        self._leases: list[_Expiry] = []  # a heap: what expires first is first
        self._open = 0

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        now = self._clock()
        if self._leases and self._leases[0][0] <= now:
            self._expire(now)
        if len(self._counters) >= self._forget_idle_at:
            self._forget_idle(now)
        known = self._resolved.get(id(limits))
        counters = known[1] if known is not None and known[0] is limits else self._resolve(limits)
        needs = _needs(amount)
        for counter in counters:
            if counter.rolls_at <= now:
                counter.roll(now)
            if counter.taken + needs[counter.kind] > counter.amount:
                raise self._limit_reached(limits, amount, now)
        number = next(self._numbers)
        taken = _Lease(f"memory-{number}", tuple(limits), amount, now + lease)
        held = taken.held = []
        for counter in counters:
            needed = needs[counter.kind]
            if now < counter.fills_until:  # what `take` does, in the ordinary case
                bucket = counter.newest
                bucket.leaves = now + counter.window
                bucket.taken += needed
                counter.taken += needed
            else:
                bucket = counter.take(needed, now, taken)
            held.append((counter, needed, bucket))
        if held:
            heapq.heappush(self._leases, (taken.expires, number, taken))
            self._open += 1
        return taken

    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        if reservation.settled:
            return
        if not isinstance(reservation, _Lease):
            raise TypeError("This reservation was made by another quota store.")
        now = self._clock()
        if self._leases and self._leases[0][0] <= now:
            self._expire(now)
        if limits is not None:
            self._settle_some(reservation, actual, {limit.id for limit in limits}, now)
            return
        reservation.settled = True
        used = _needs(actual)
        if reservation.held:
            for counter, needed, bucket in reservation.held:
                actually = used[counter.kind]
                if actually != needed or bucket is _NO_BUCKET:
                    counter.settle(needed, bucket, actually, now, reservation)
            reservation.held = []
            self._open -= 1
        else:  # given back when the lease expired; what was used all the same is counted now
            for counter in {self._counter(limit) for limit in reservation.limits}:
                counter.charge(used[counter.kind], now)
        if len(self._leases) > 2 * self._open + BUCKETS:
            self._leases = [entry for entry in self._leases if entry[2].held]
            heapq.heapify(self._leases)

    def _settle_some(self, lease: _Lease, actual: Amount, ids: set[str], now: float) -> None:
        used = _needs(actual)
        if lease.held:
            for counter, needed, bucket in lease.held:
                if counter.limit.id in ids:
                    counter.settle(needed, bucket, used[counter.kind], now, lease)
            lease.held = [entry for entry in lease.held if entry[0].limit.id not in ids]
            if not lease.held:
                self._open -= 1
        else:
            for counter in {self._counter(limit) for limit in lease.limits if limit.id in ids}:
                counter.charge(used[counter.kind], now)
        lease.limits = tuple(limit for limit in lease.limits if limit.id not in ids)
        lease.settled = not lease.limits

    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]:
        now = self._clock()
        self._expire(now)
        levels = []
        for limit in limits:
            counter = self._counter(limit)
            counter.roll(now)
            reserved = self._reserved(counter)
            levels.append(Level(limit, counter.taken - reserved, reserved, counter.resets_in(now)))
        return levels

    def _reserved(self, counter: _Counter) -> int:
        """What open leases hold of it; those whose bucket has left the window hold nothing that counts."""
        return sum(
            amount
            for _, _, lease in self._leases
            for held, amount, bucket in lease.held
            if held is counter and bucket.live
        )

    def _expire(self, now: float) -> None:
        """Give back what the leases hold that are over."""
        leases = self._leases
        while leases and leases[0][0] <= now:
            lease = heapq.heappop(leases)[2]
            if lease.held:
                for counter, needed, bucket in lease.held:
                    counter.settle(needed, bucket, 0, now, lease)
                lease.held = []
                self._open -= 1

    def _resolve(self, limits: Sequence[Limit]) -> tuple[_Counter, ...]:
        counters = tuple(dict.fromkeys(self._counter(limit) for limit in limits))
        if type(limits) is tuple:
            if len(self._resolved) >= IDLE_COUNTERS:
                self._resolved.clear()
            self._resolved[id(limits)] = (limits, counters)
        return counters

    def _counter(self, limit: Limit) -> _Counter:
        counter = self._counters.get(limit.id)
        if counter is None or not self._goes_on(counter, limit):
            counter = self._new_counter(limit)
        return counter

    def _goes_on(self, counter: _Counter, limit: Limit) -> bool:
        if not counter.counts(limit):
            return False
        if counter.limit is not limit:
            counter.limit, counter.amount = limit, limit.amount
            self._resolved.clear()
        return True

    def _new_counter(self, limit: Limit) -> _Counter:
        """A counter from zero: the limit is new, or its kind, window or zone is another one since a reload."""
        counter = (
            _Gate(limit)
            if limit.kind == "concurrency"
            else _Day(limit, self._wall)
            if limit.zone is not None and limit.window == DAY
            else _Sliding(limit)
        )
        self._counters[limit.id] = counter
        self._resolved.clear()
        return counter

    def _forget_idle(self, now: float) -> None:
        held = {counter for entry in self._leases for counter, _, _ in entry[2].held}
        for counter in self._counters.values():
            counter.roll(now)
        self._counters = {id: counter for id, counter in self._counters.items() if counter.taken or counter in held}
        self._resolved.clear()
        self._forget_idle_at = max(IDLE_COUNTERS, 2 * len(self._counters))

    def _limit_reached(self, limits: Sequence[Limit], amount: Amount, now: float) -> LimitReached:
        """The limit that keeps this reservation waiting longest; waiting so long, all of them have room."""
        slowest, longest = limits[0], -1.0
        needs = _needs(amount)
        for limit in limits:
            counter = self._counter(limit)
            counter.roll(now)
            needed = needs[_KINDS[limit.kind]]
            excess = counter.taken + needed - limit.amount
            if excess > 0:
                wait = counter.wait(excess, now, self._leases) if needed <= limit.amount else math.inf
                if wait > longest:
                    slowest, longest = limit, wait
        return LimitReached(slowest, None if longest == math.inf else longest + ROUNDING)


@hookimpl
def register_quota_stores() -> list[type[QuotaStore]]:
    return [MemoryQuotaStore]

"""How one limit is counted: in a window that slides, in a day, or at a gate."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from llmhub_core.contracts import Amount, Limit, Reservation

DAY = 86_400
BUCKETS = 60
LARGEST = 2**53 - 1
"""More than that in a bucket is written down as that: no number is too large for the journal."""

Clock = Callable[[], float]


class Bucket:
    """Uses close in time, which leave their window together at `leaves`; `taken` of them, reserved ones included."""

    __slots__ = ("leaves", "live", "noted", "noted_leaves", "opened", "taken")

    def __init__(self, opened: float) -> None:
        self.opened = opened
        self.leaves = opened
        self.taken = 0
        self.live = True
        self.noted = 0  # what the journal knows of `taken` and `leaves`
        self.noted_leaves = opened


NO_BUCKET = Bucket(0.0)


class Lease(Reservation):
    """A reservation, and what it holds: from which counter, how much, in which bucket."""

    __slots__ = ("held",)
    held: list[tuple[Counter, int, Bucket]]


Expiry = tuple[float, int, Lease]
"""When a lease expires, a number that tells equals apart, and the lease."""


class Counter:
    """What of one limit is taken now, used and reserved together: how much of it is only reserved, the open leases
    know. `limit` is the latest one of this id, `amount` its amount.

    Before `rolls_at` there is nothing to forget, and before `fills_until` the `newest` bucket takes what comes, so
    that the hot path need not ask. `changed` tells the journal of every change but a use that `newest` takes, which
    moves the end of that bucket and is seen by it.
    """

    __slots__ = (
        "amount",
        "buckets",
        "changed",
        "fills_until",
        "kind",
        "limit",
        "newest",
        "rolls_at",
        "taken",
        "window",
    )

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.amount = limit.amount
        self.window = limit.window
        self.kind = KINDS[limit.kind]
        self.rolls_at = math.inf
        self.fills_until = -math.inf
        self.buckets: deque[Bucket] = deque()
        self.newest = NO_BUCKET
        self.taken = 0
        self.changed = False

    def counts(self, limit: Limit) -> bool:
        """Whether `limit` can go on with these numbers: its amount may have changed, its nature may not."""
        mine = self.limit
        return (mine.kind, mine.window, mine.zone) == (limit.kind, limit.window, limit.zone)

    def roll(self, now: float) -> None:
        """Forget what has left the window."""

    def bucket(self, now: float) -> Bucket:
        """The bucket for a use at `now`."""
        return NO_BUCKET

    def time_left(self, bucket: Bucket, now: float) -> float:
        return bucket.leaves - now

    def resume(self, buckets: list[Bucket], shift: float) -> None:
        """Go on with the buckets of an earlier run, oldest first; its clock and ours differ by `shift`."""

    def take(self, amount: int, now: float, lease: Lease) -> Bucket:
        bucket = self.bucket(now)
        bucket.taken += amount
        self.taken += amount
        self.changed = True
        return bucket

    def settle(self, amount: int, bucket: Bucket, actual: int, now: float, lease: Lease) -> None:
        """Replace the reserved `amount` by `actual`, in its own bucket if that still counts."""
        if actual > amount:
            self.charge(actual - amount, now)
        elif bucket.live:
            bucket.taken += actual - amount
            self.taken += actual - amount
            self.changed = True

    def charge(self, amount: int, now: float) -> None:
        """Count a use that nothing was reserved for."""
        self.bucket(now).taken += amount
        self.taken += amount
        self.changed = True

    def resets_in(self, now: float) -> float:
        return next((self.time_left(bucket, now) for bucket in self.buckets if bucket.taken), 0.0)

    def wait(self, excess: int, now: float, leases: list[Expiry]) -> float:
        """Seconds until `excess` will have come back: buckets leave, and open leases may expire before them."""
        returns = [(self.time_left(bucket, now), bucket.taken) for bucket in self.buckets]
        seconds = when_returned(excess, returns)
        early = [lease for expires, _, lease in leases if expires - now < seconds]
        for lease in early:
            for counter, amount, bucket in lease.held:
                if counter is self and bucket.live and lease.expires - now < self.time_left(bucket, now):
                    returns.append((lease.expires - now, amount))
                    returns.append((self.time_left(bucket, now), -amount))
        return when_returned(excess, returns) if early else seconds


class Sliding(Counter):
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

    def bucket(self, now: float) -> Bucket:
        if now >= self.fills_until:
            self.newest = Bucket(now)
            self.buckets.append(self.newest)
            self.fills_until = now + self.width
        bucket = self.newest
        bucket.leaves = now + self.window
        # Later uses move the bucket's end on and leave this as it is: looking too early costs only the look.
        if self.rolls_at > bucket.leaves:
            self.rolls_at = bucket.leaves
        return bucket

    def resume(self, buckets: list[Bucket], shift: float) -> None:
        for bucket in buckets:
            bucket.opened += shift
            bucket.leaves += shift
        self.buckets = deque(buckets)
        self.taken = sum(bucket.taken for bucket in buckets)
        self.rolls_at = -math.inf
        self.newest = buckets[-1]  # and no second one that was opened at the same time
        self.fills_until = self.newest.opened + self.width


class Day(Counter):
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

    def _begin(self) -> Bucket:
        bucket = Bucket(self.wall())
        tomorrow = datetime.fromtimestamp(bucket.opened, self.zone).date() + timedelta(days=1)
        bucket.leaves = datetime.combine(tomorrow, time_of_day(), self.zone).timestamp()
        return bucket

    def roll(self, now: float) -> None:
        if self.wall() >= self.buckets[0].leaves:
            self.buckets.popleft().live = False
            self.buckets.append(self._begin())
            self.taken = 0

    def bucket(self, now: float) -> Bucket:
        self.roll(now)
        return self.buckets[0]

    def time_left(self, bucket: Bucket, now: float) -> float:
        return bucket.leaves - self.wall()

    def resume(self, buckets: list[Bucket], shift: float) -> None:
        """The last one is the day that had begun; the others are over."""
        *over, self.buckets[0] = buckets
        for bucket in over:
            bucket.live = False
        self.taken = self.buckets[0].taken

    def resets_in(self, now: float) -> float:
        return self.time_left(self.buckets[0], now)


class Gate(Counter):
    """So many at once: each reservation is one, until it is settled."""

    __slots__ = ("inside",)

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.inside: set[Lease] = set()

    def take(self, amount: int, now: float, lease: Lease) -> Bucket:
        self.inside.add(lease)
        self.taken += amount
        return NO_BUCKET

    def settle(self, amount: int, bucket: Bucket, actual: int, now: float, lease: Lease) -> None:
        self.inside.discard(lease)
        self.taken -= amount

    def charge(self, amount: int, now: float) -> None:
        """What is over takes no room."""

    def resets_in(self, now: float) -> float:
        return min((lease.expires - now for lease in self.inside), default=0.0)

    def wait(self, excess: int, now: float, leases: list[Expiry]) -> float:
        return when_returned(excess, [(lease.expires - now, 1) for lease in self.inside])


GATE = 3
KINDS = {"requests": 0, "tokens": 1, "money": 2, "concurrency": GATE}
"""Where a kind stands in what `needs_of` returns."""


def needs_of(amount: Amount) -> tuple[int, int, int, int]:
    """What `amount` takes from a limit of each kind; never less than nothing, whatever a provider reported."""
    requests, tokens, money = amount.requests, amount.tokens, amount.money
    return requests if requests > 0 else 0, tokens if tokens > 0 else 0, money if money > 0 else 0, 1


def when_returned(excess: int, returns: list[tuple[float, int]]) -> float:
    """In how many seconds at least `excess` of the (seconds, amount) in `returns` is back."""
    returns.sort()
    for seconds, amount in returns:
        excess -= amount
        if excess <= 0:
            return seconds
    return math.inf


def counter_for(limit: Limit, wall: Clock) -> Counter:
    if limit.kind == "concurrency":
        return Gate(limit)
    return Day(limit, wall) if limit.zone is not None and limit.window == DAY else Sliding(limit)

"""Every order of events: a quota store beside a slow and simple book, in a state machine of hypothesis'.

class MineMachine(QuotaMachine):
    def open(self, clock):
        return Mine(..., clock=clock.monotonic, wall=clock.wall)

TestEveryOrder = MineMachine.TestCase
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmhub_core.contracts import Amount, Limit, LimitReached, QuotaStore, Reservation

T = TypeVar("T")
DAY = 86_400
BUCKETS = 60
"""A use may count too long, by this part of its window at the most."""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """Both clocks in one: a monotonic one from 0, and the wall, which began at `started` and may be set."""

    def __init__(self, started: float = NOON) -> None:
        self.now = 0.0
        self.started = started

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.started + self.now

    def true(self) -> float:
        """The time of day of those whose clock nobody sets."""
        return NOON + self.now


@dataclass
class Use:
    """One use as a book would keep it: when, how much, of which limit, and on which day in `ZONE`."""

    limit: str
    at: float
    amount: int
    day: date


@dataclass(eq=False)
class Open:
    """A reservation in the book; `left` are its limits that are not settled yet."""

    reservation: Reservation
    left: list[Limit]
    uses: dict[str, Use] = field(default_factory=dict)


ZONE = ZoneInfo("Pacific/Auckland")
LIMITS = (
    Limit("rpm", "requests", 4, 60),
    Limit("tpm", "tokens", 100, 60),
    Limit("tpd", "tokens", 150, DAY, ZONE.key),
    Limit("usd", "money", 90, 600),
    Limit("gate", "concurrency", 3, 0),
)
some_limits = st.lists(st.sampled_from(LIMITS), min_size=1, max_size=5, unique=True)
some_amount = st.builds(
    Amount, requests=st.integers(0, 2), tokens=st.integers(0, 60), money=st.sampled_from((0, 7, 45, 91))
)
moments = st.one_of(st.integers(0, 200), st.integers(0, 64 * 700), st.integers(0, 64 * 90_000)).map(lambda n: n / 64)
leases = st.sampled_from((5.0, 45.0, 300.0, 7200.0, 200_000.0))


def needed(limit: Limit, amount: Amount) -> int:
    return 1 if limit.kind == "concurrency" else int(getattr(amount, limit.kind))


class QuotaMachine(RuleBasedStateMachine):
    """Reserves, settles (all, a part, late, twice), lets time pass and kills; the book adds up every single use."""

    gates_survive: ClassVar[bool] = True
    """Whether what a killed process held of a concurrency limit stays taken until its lease expires."""

    def open(self, clock: Clock) -> QuotaStore:
        """A store that nobody has started, over counts that are empty when the machine begins and kept afterwards."""
        raise NotImplementedError

    def crash(self, store: QuotaStore) -> None:
        """End `store` as a kill would, without a farewell."""
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.Runner()
        self.clock = Clock()
        self.store = self.open(self.clock)
        self.run(self.store.start())
        self.uses: list[Use] = []
        self.held: list[Open] = []
        self.orphans: list[Open] = []
        self.closed: list[Reservation] = []
        self.look = True

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.stop())
            self.loop.close()

    # the book

    def taken(self, limit: Limit, slack: float = 0.0) -> int:
        if limit.kind == "concurrency":
            return sum(limit in one.left for one in (*self.held, *self.orphans))
        if limit.zone:
            today = self.today()
            return sum(use.amount for use in self.uses if use.limit == limit.id and use.day == today)
        since = self.clock.now - limit.window - slack
        return sum(use.amount for use in self.uses if use.limit == limit.id and use.at > since)

    def today(self) -> date:
        """In the zone of the limit that has days."""
        return datetime.fromtimestamp(self.time_of_day(), ZONE).date()

    def time_of_day(self) -> float:
        """By the clock that says when the store's days begin."""
        return self.clock.wall()

    def use(self, limit: Limit, amount: int) -> Use:
        return Use(limit.id, self.clock.now, amount, self.today())

    def expire(self) -> None:
        for book in (self.held, self.orphans):
            for one in [one for one in book if one.reservation.expires <= self.expires_by()]:
                book.remove(one)
                if book is self.held:
                    self.closed.append(one.reservation)
                for limit in one.left:
                    if limit.id in one.uses:
                        one.uses[limit.id].amount = 0

    def expires_by(self) -> float:
        """Now, on the clock by which the store says when a reservation expires."""
        return self.clock.now

    # what may happen

    @rule(seconds=moments, look=st.booleans())
    def time_passes(self, seconds: float, look: bool) -> None:
        self.clock.now += seconds
        self.look = look
        self.expire()

    @rule(seconds=st.sampled_from((-3600.0, 3600.0)))
    def the_clock_on_the_wall_is_set(self, seconds: float) -> None:
        """Within a day: when the next one begins is for that clock to say."""
        before = self.today()
        self.clock.started += seconds
        if self.today() != before:
            self.clock.started -= seconds

    @rule(limits=some_limits, amount=some_amount, lease=leases, look=st.booleans())
    def reserve(self, limits: list[Limit], amount: Amount, lease: float, look: bool) -> None:
        before = self.run(self.store.levels(LIMITS)) if look else None
        try:
            self.admit(limits, amount, lease)
        except LimitReached as error:
            assert not look or self.run(self.store.levels(LIMITS)) == before, "all or nothing"
            self.check_refusal(error, limits, amount, lease)

    def admit(self, limits: list[Limit], amount: Amount, lease: float) -> None:
        one = Open(self.run(self.store.reserve(limits, amount, lease)), list(limits))
        for limit in limits:
            if limit.kind != "concurrency":
                one.uses[limit.id] = self.use(limit, needed(limit, amount))
        self.uses += one.uses.values()
        self.held.append(one)
        for limit in limits:
            assert self.taken(limit) <= limit.amount, "admitted too much"

    def check_refusal(self, error: LimitReached, limits: list[Limit], amount: Amount, lease: float) -> None:
        named, wait = error.limit, error.retry_after
        assert named in limits
        bucket = 0.0 if named.zone else named.window / BUCKETS
        assert self.taken(named, bucket) + needed(named, amount) > named.amount, "refused although there was room"
        if wait is None:
            assert needed(named, amount) > named.amount
            return
        assert wait > 0
        now = self.clock.now
        self.clock.now = now + wait - 1 / 128
        if self.clock.now > now:
            with pytest.raises(LimitReached):
                self.run(self.store.reserve(limits, amount, lease))
        self.clock.now = now + wait
        self.expire()
        self.admit(limits, amount, lease)

    @rule(data=st.data(), actual=some_amount)
    def settle(self, data: st.DataObject, actual: Amount) -> None:
        if self.held:
            one = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.run(self.store.settle(one.reservation, actual))
            self.closed.append(one.reservation)
            self.note(one, one.left, actual)

    @rule(data=st.data(), actual=some_amount)
    def settle_a_part(self, data: st.DataObject, actual: Amount) -> None:
        if self.held:
            one = self.held[data.draw(st.integers(0, len(self.held) - 1))]
            part = data.draw(st.lists(st.sampled_from(LIMITS), max_size=4, unique=True))
            self.run(self.store.settle(one.reservation, actual, part))
            self.note(one, [limit for limit in part if limit in one.left], actual)
            one.left = [limit for limit in one.left if limit not in part]
            assert one.reservation.settled == (not one.left)
            if not one.left:
                self.held.remove(one)
                self.closed.append(one.reservation)

    def note(self, one: Open, limits: list[Limit], actual: Amount) -> None:
        for limit in limits:
            if limit.kind != "concurrency":
                use, used = one.uses[limit.id], needed(limit, actual)
                if used > use.amount:
                    self.uses.append(self.use(limit, used - use.amount))
                use.amount = min(used, use.amount)

    @rule(data=st.data(), actual=some_amount)
    def settle_again_or_late(self, data: st.DataObject, actual: Amount) -> None:
        if not self.closed:
            return
        reservation = self.closed[data.draw(st.integers(0, len(self.closed) - 1))]
        was_settled, before = reservation.settled, self.run(self.store.levels(LIMITS))
        late = [] if was_settled else [*reservation.limits]
        self.run(self.store.settle(reservation, actual))
        if was_settled:
            assert self.run(self.store.levels(LIMITS)) == before
        for limit in late:
            if limit.kind != "concurrency":
                self.uses.append(self.use(limit, needed(limit, actual)))

    @rule(lease=leases)
    def the_holder_lives(self, lease: float) -> None:
        """What it holds lasts longer, and nothing that another one held before it was killed."""
        self.run(self.store.renew(lease))
        for one in self.held:
            assert one.reservation.expires >= self.expires_by() + lease - 0.002

    @rule()
    def the_process_is_killed(self) -> None:
        """Another one begins where it ended; nobody will settle what it held, and its leases expire."""
        self.crash(self.store)
        self.clock.now += 1 / 64  # nobody begins in the very moment in which another ends
        self.expire()
        self.store = self.open(self.clock)
        self.run(self.store.start())
        if not self.gates_survive:
            for one in self.held:
                one.left = [limit for limit in one.left if limit.kind != "concurrency"]
        self.orphans += self.held
        self.held, self.closed = [], []

    # what must hold always

    @invariant()
    def the_levels_are_those_of_the_book(self) -> None:
        if not hasattr(self, "store") or not self.look:
            return  # looking moves the windows on, and so may hide that nobody else does
        for one in self.run(self.store.levels(LIMITS)):
            counted = one.used + one.reserved
            slack = 0.0 if one.limit.zone else one.limit.window / BUCKETS
            assert one.used >= 0 <= one.reserved
            assert self.taken(one.limit) <= counted <= self.taken(one.limit, slack)
            assert one.resets_in >= 0.0
            if not self.held and not self.orphans:
                assert one.reserved == 0

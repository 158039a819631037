"""The quota store in memory: exact, all-or-nothing, and never a unit too much."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from llmhub_plugins.stores import memory
from llmhub_plugins.stores.memory import BUCKETS, DAY, MemoryQuotaStore

from llmhub_core.contracts import Amount, Level, Limit, LimitReached, NoSettings, QuotaStore, Reservation

T = TypeVar("T")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """Both clocks in one: a monotonic one from 0, and the wall."""

    def __init__(self, wall: float = NOON) -> None:
        self.now = 0.0
        self.started = wall

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.started + self.now


def make_store(clock: Clock) -> MemoryQuotaStore:
    return MemoryQuotaStore(NoSettings(), clock=clock.monotonic, wall=clock.wall)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryQuotaStore:
    return make_store(clock)


def requests(amount: int, window: int = 60, zone: str | None = None, id: str = "r") -> Limit:
    return Limit(id, "requests", amount, window, zone)


def tokens(amount: int, window: int = 60, zone: str | None = None, id: str = "t") -> Limit:
    return Limit(id, "tokens", amount, window, zone)


async def level(store: QuotaStore, limit: Limit) -> Level:
    (answer,) = await store.levels([limit])
    return answer


async def refused(store: QuotaStore, limits: list[Limit], amount: Amount | None = None) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        await store.reserve(limits, amount or Amount(), 600.0)
    return caught.value


# --- what counts, and for how long


async def test_a_request_counts_for_exactly_its_window_from_its_reservation(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    limit = requests(2)
    first = await store.reserve([limit], Amount(), 600.0)
    clock.now = 20.0
    await store.settle(first, Amount())
    await store.reserve([limit], Amount(), 600.0)
    assert (await refused(store, [limit])).retry_after == pytest.approx(40.0, abs=1e-5)
    clock.now = 59.999
    await refused(store, [limit])
    clock.now = 60.0
    await store.reserve([limit], Amount(), 600.0)
    assert (await refused(store, [limit])).retry_after == pytest.approx(20.0, abs=1e-5)


async def test_a_full_window_empties_also_when_nobody_looks(store: MemoryQuotaStore, clock: Clock) -> None:
    limit = requests(1)
    for moment in (0.0, 60.0, 150.0):
        clock.now = moment
        await store.reserve([limit], Amount(), 600.0)


async def test_uses_close_in_time_leave_together_with_the_latest(store: MemoryQuotaStore, clock: Clock) -> None:
    limit = requests(3)
    for moment in (0.0, 0.5, 0.75):
        clock.now = moment
        await store.reserve([limit], Amount(), 600.0)
    clock.now = 60.5
    assert (await refused(store, [limit])).retry_after == pytest.approx(0.25, abs=1e-5)
    clock.now = 60.75
    assert (await level(store, limit)).left == 3


async def test_settling_gives_back_what_the_estimate_was_too_much(store: MemoryQuotaStore) -> None:
    limit = tokens(1000)
    reservation = await store.reserve([limit], Amount(tokens=900), 600.0)
    assert (await level(store, limit)) == Level(limit, 0, 900, 60.0)
    await store.settle(reservation, Amount(tokens=100))
    assert (await level(store, limit)) == Level(limit, 100, 0, 60.0)
    await store.reserve([limit], Amount(tokens=900), 600.0)


async def test_what_is_used_beyond_the_estimate_counts_from_the_settlement(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    limit = tokens(1000)
    reservation = await store.reserve([limit], Amount(tokens=10), 600.0)
    clock.now = 90.0  # the reservation's own window is over, the stream was long
    await store.settle(reservation, Amount(tokens=1500))
    assert (await level(store, limit)) == Level(limit, 1490, 0, 60.0)
    assert (await level(store, limit)).left == 0
    await refused(store, [limit], Amount(tokens=1))
    clock.now = 150.0
    assert (await level(store, limit)) == Level(limit, 0, 0, 0.0)


async def test_settling_twice_changes_nothing(store: MemoryQuotaStore) -> None:
    limits = [tokens(1000), Limit("c", "concurrency", 1, 0)]
    reservation = await store.reserve(limits, Amount(tokens=500), 600.0)
    await store.settle(reservation, Amount(tokens=200))
    second = await store.reserve(limits, Amount(tokens=1), 600.0)
    before = await store.levels(limits)
    await store.settle(reservation, Amount(tokens=999))
    assert await store.levels(limits) == before
    assert not second.settled


async def test_nothing_reported_by_a_provider_makes_a_counter_negative(store: MemoryQuotaStore) -> None:
    limit = tokens(100)
    await store.settle(await store.reserve([limit], Amount(tokens=-50), 600.0), Amount(tokens=-50))
    assert (await level(store, limit)).left == 100


async def test_concurrency_is_given_back_by_settling_and_by_nothing_else_but_the_lease(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    gate = Limit("c", "concurrency", 2, 0)
    first = await store.reserve([gate], Amount(requests=0), 30.0)
    clock.now = 10.0
    await store.reserve([gate], Amount(), 100.0)
    assert (await refused(store, [gate])).retry_after == pytest.approx(20.0, abs=1e-5)
    assert (await level(store, gate)) == Level(gate, 0, 2, 20.0)
    await store.settle(first, Amount())
    third = await store.reserve([gate], Amount(), 5.0)
    clock.now = 14.999
    await refused(store, [gate])
    clock.now = 15.0
    await store.reserve([gate], Amount(), 100.0)
    await store.settle(third, Amount())  # too late: its place is another's
    await refused(store, [gate])


async def test_an_expired_lease_gives_back_and_a_late_settlement_still_counts(
    store: MemoryQuotaStore, clock: Clock
) -> None:
    limits = [tokens(1000, DAY, "UTC"), requests(1, 3600)]
    reservation = await store.reserve(limits, Amount(tokens=1000), 30.0)
    assert (await refused(store, limits, Amount(tokens=1))).retry_after == pytest.approx(30.0, abs=1e-5)
    clock.now = 30.0
    assert [one.left for one in await store.levels(limits)] == [1000, 1]
    await store.settle(reservation, Amount(tokens=400))
    assert [(one.used, one.reserved) for one in await store.levels(limits)] == [(400, 0), (1, 0)]


# --- days


async def test_a_day_begins_at_midnight_of_its_zone_also_when_it_has_25_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 10, 24, 23, 30, tzinfo=berlin)
    clock = Clock(evening.timestamp())
    store = make_store(clock)
    limit = requests(1, DAY, "Europe/Berlin")
    await store.reserve([limit], Amount(), 10.0**6)
    assert (await refused(store, [limit])).retry_after == pytest.approx(1800.0, abs=1e-5)
    clock.now = 1799.0
    await refused(store, [limit])
    clock.now = 1800.0
    await store.reserve([limit], Amount(), 10.0**6)
    assert (await refused(store, [limit])).retry_after == pytest.approx(25 * 3600.0, abs=1e-5)
    assert (await level(store, limit)).resets_in == 25 * 3600.0


async def test_a_wall_clock_set_back_begins_no_day_twice(clock: Clock, store: MemoryQuotaStore) -> None:
    limit = requests(1, DAY, "UTC")
    clock.started = datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC).timestamp()
    await store.reserve([limit], Amount(), 10.0**6)
    clock.started -= 3600.0
    await refused(store, [limit])
    clock.started += 3600.0
    await refused(store, [limit])


async def test_a_reservation_of_yesterday_leaves_today_alone(clock: Clock, store: MemoryQuotaStore) -> None:
    limit = tokens(100, DAY, "UTC")
    reservation = await store.reserve([limit], Amount(tokens=80), 10.0**6)
    clock.now = 12 * 3600.0
    await store.reserve([limit], Amount(tokens=90), 10.0**6)
    await store.settle(reservation, Amount(tokens=85))  # five more than yesterday knew of
    assert (await level(store, limit)) == Level(limit, 5, 90, 24 * 3600.0)


# --- many limits


async def test_one_full_limit_keeps_the_others_untouched(store: MemoryQuotaStore) -> None:
    wide, narrow = requests(10, id="wide"), tokens(5, id="narrow")
    error = await refused(store, [wide, narrow], Amount(tokens=6))
    assert (error.limit, error.retry_after, error.status) == (narrow, None, 429)
    assert (await level(store, wide)).left == 10


async def test_the_limit_that_keeps_waiting_longest_is_named(store: MemoryQuotaStore, clock: Clock) -> None:
    minute, hour = requests(1, 60, id="minute"), requests(1, 3600, id="hour")
    await store.reserve([minute, hour], Amount(), 10.0**6)
    error = await refused(store, [minute, hour])
    assert error.limit == hour
    clock.now = error.retry_after or 0.0
    await store.reserve([minute, hour], Amount(), 10.0**6)


async def test_a_limit_named_twice_counts_once(store: MemoryQuotaStore) -> None:
    limit = requests(2)
    await store.settle(await store.reserve([limit, limit], Amount(), 600.0), Amount())
    assert (await level(store, limit)).used == 1


async def test_limits_are_shared_by_id_and_not_by_object(store: MemoryQuotaStore) -> None:
    await store.reserve([requests(1)], Amount(), 600.0)
    await refused(store, [requests(1)])


async def test_a_reload_may_change_the_amount_and_keeps_what_was_counted(store: MemoryQuotaStore) -> None:
    await store.reserve([requests(1)], Amount(), 600.0)
    await store.reserve([requests(2)], Amount(), 600.0)
    await refused(store, [requests(2)])


async def test_a_limit_of_another_nature_starts_anew(store: MemoryQuotaStore) -> None:
    old = await store.reserve([requests(1)], Amount(), 600.0)
    await store.reserve([requests(1, 3600)], Amount(), 600.0)
    await store.settle(old, Amount())
    await refused(store, [requests(1, 3600)])


async def test_a_limit_of_nothing_refuses_for_ever(store: MemoryQuotaStore) -> None:
    assert (await refused(store, [requests(0)])).retry_after is None


async def test_no_limits_no_question(store: MemoryQuotaStore) -> None:
    reservation = await store.reserve([], Amount(), 600.0)
    await store.settle(reservation, Amount())
    assert reservation.settled


async def test_a_thousand_at_once_with_room_for_one(store: MemoryQuotaStore) -> None:
    limits = [requests(10), tokens(1)]
    answers = await asyncio.gather(
        *(store.reserve(limits, Amount(tokens=1), 600.0) for _ in range(1000)), return_exceptions=True
    )
    assert sum(isinstance(answer, Reservation) for answer in answers) == 1


async def test_a_reservation_of_another_store_is_refused(store: MemoryQuotaStore) -> None:
    with pytest.raises(TypeError):
        await store.settle(Reservation("x", (), Amount(), 1.0), Amount())


# --- what is kept


async def test_memory_stays_flat(store: MemoryQuotaStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDLE_COUNTERS", 16)
    store._forget_idle_at = 16
    minute = tokens(10**9)
    held = await store.reserve([requests(5, id="held"), requests(5, 1, id="short")], Amount(), 10.0**6)
    for number in range(5000):
        clock.now += 0.05
        passing = requests(5, 1, id=f"passing-{number}")
        await store.settle(await store.reserve([minute, passing], Amount(tokens=3), 600.0), Amount(tokens=2))
    assert len(store._counters) <= 100
    assert len(store._leases) <= BUCKETS + 3
    assert len(store._counters["t"].buckets) <= BUCKETS + 1
    assert (await level(store, minute)).used == pytest.approx(60 / 0.05 * 2, rel=1 / BUCKETS)
    await store.settle(held, Amount(requests=2))
    assert (await level(store, requests(5, 1, id="short"))).used == 1


# --- every order of events


def run(work: Coroutine[Any, Any, T]) -> T:
    """The store never waits, so that a coroutine of it is done at the first step."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("the store waited")


@dataclass
class Use:
    """One use as a slow and simple book would keep it: when, how much, and of which reservation."""

    limit: str
    at: float
    amount: int


@dataclass(eq=False)
class Open:
    reservation: Reservation
    estimate: Amount
    uses: dict[str, Use] = dataclass_field(default_factory=dict)


LIMITS = (
    Limit("rpm", "requests", 4, 60),
    Limit("tpm", "tokens", 100, 60),
    Limit("tpd", "tokens", 150, DAY, "Pacific/Auckland"),
    Limit("usd", "money", 90, 600),
    Limit("gate", "concurrency", 3, 0),
)
some_limits = st.lists(st.sampled_from(LIMITS), min_size=1, max_size=5, unique=True)
some_amount = st.builds(
    Amount, requests=st.integers(0, 2), tokens=st.integers(0, 60), money=st.sampled_from((0, 7, 45, 91))
)
moments = st.one_of(st.integers(0, 200), st.integers(0, 64 * 700), st.integers(0, 64 * 90_000)).map(lambda n: n / 64)


class QuotaMachine(RuleBasedStateMachine):
    """The store beside a book that remembers every single use and adds them all up each time."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.store = make_store(self.clock)
        self.uses: list[Use] = []
        self.open: list[Open] = []
        self.closed: list[Reservation] = []
        self.look = True

    # the book

    def taken(self, limit: Limit, slack: float = 0.0) -> int:
        if limit.kind == "concurrency":
            return sum(limit in one.reservation.limits for one in self.open)
        if limit.zone:
            zone = ZoneInfo(limit.zone)
            today = datetime.fromtimestamp(self.clock.wall(), zone).date()
            return sum(
                use.amount
                for use in self.uses
                if use.limit == limit.id and datetime.fromtimestamp(self.clock.started + use.at, zone).date() == today
            )
        since = self.clock.now - limit.window - slack
        return sum(use.amount for use in self.uses if use.limit == limit.id and use.at > since)

    def expire(self) -> None:
        for one in [one for one in self.open if one.reservation.expires <= self.clock.now]:
            self.open.remove(one)
            self.closed.append(one.reservation)
            for use in one.uses.values():
                use.amount = 0

    @staticmethod
    def needed(limit: Limit, amount: Amount) -> int:
        return 1 if limit.kind == "concurrency" else int(getattr(amount, limit.kind))

    # what may happen

    @rule(seconds=moments, look=st.booleans())
    def time_passes(self, seconds: float, look: bool) -> None:
        self.clock.now += seconds
        self.look = look
        self.expire()

    @rule(
        limits=some_limits,
        amount=some_amount,
        lease=st.sampled_from((5.0, 45.0, 300.0, 7200.0, 200_000.0)),
        look=st.booleans(),
    )
    def reserve(self, limits: list[Limit], amount: Amount, lease: float, look: bool) -> None:
        before = run(self.store.levels(LIMITS)) if look else None
        try:
            self.admit(limits, amount, lease)
        except LimitReached as error:
            assert not look or run(self.store.levels(LIMITS)) == before, "all or nothing"
            self.check_refusal(error, limits, amount, lease)

    def admit(self, limits: list[Limit], amount: Amount, lease: float) -> None:
        reservation = run(self.store.reserve(limits, amount, lease))
        one = Open(reservation, amount)
        for limit in limits:
            one.uses[limit.id] = Use(limit.id, self.clock.now, self.needed(limit, amount))
        self.uses += [use for id, use in one.uses.items() if id != "gate"]
        self.open.append(one)
        for limit in limits:
            assert self.taken(limit) <= limit.amount, "admitted too much"

    def check_refusal(self, error: LimitReached, limits: list[Limit], amount: Amount, lease: float) -> None:
        named, wait = error.limit, error.retry_after
        assert named in limits
        bucket = 0.0 if named.zone else named.window / BUCKETS
        assert self.taken(named, bucket) + self.needed(named, amount) > named.amount, "refused although there was room"
        if wait is None:
            assert self.needed(named, amount) > named.amount
            return
        assert wait > 0
        now = self.clock.now
        self.clock.now = now + wait - 1 / 128
        if self.clock.now > now:
            with pytest.raises(LimitReached):
                run(self.store.reserve(limits, amount, lease))
        self.clock.now = now + wait
        self.expire()
        self.admit(limits, amount, lease)

    @rule(data=st.data(), actual=some_amount)
    def settle(self, data: st.DataObject, actual: Amount) -> None:
        if not self.open:
            return
        one = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        run(self.store.settle(one.reservation, actual))
        self.closed.append(one.reservation)
        for limit in one.reservation.limits:
            if limit.kind != "concurrency":
                use, used = one.uses[limit.id], self.needed(limit, actual)
                if used > use.amount:
                    self.uses.append(Use(limit.id, self.clock.now, used - use.amount))
                use.amount = min(used, use.amount)

    @rule(data=st.data(), actual=some_amount)
    def settle_again_or_late(self, data: st.DataObject, actual: Amount) -> None:
        if not self.closed:
            return
        reservation = self.closed[data.draw(st.integers(0, len(self.closed) - 1))]
        was_settled, before = reservation.settled, run(self.store.levels(LIMITS))
        run(self.store.settle(reservation, actual))
        if was_settled:
            assert run(self.store.levels(LIMITS)) == before
            return
        for limit in reservation.limits:
            if limit.kind != "concurrency":
                self.uses.append(Use(limit.id, self.clock.now, self.needed(limit, actual)))

    # what must hold always

    @invariant()
    def the_levels_are_those_of_the_book(self) -> None:
        if (
            not hasattr(self, "store") or not self.look
        ):  # looking rolls the windows on, and so may hide that nobody else does
            return
        for one in run(self.store.levels(LIMITS)):
            counted = one.used + one.reserved
            slack = 0.0 if one.limit.zone else one.limit.window / BUCKETS
            assert one.used >= 0 <= one.reserved
            assert self.taken(one.limit) <= counted <= self.taken(one.limit, slack)
            assert one.resets_in >= 0.0
            if not self.open:
                assert one.reserved == 0


QuotaMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestEveryOrderOfEvents = QuotaMachine.TestCase

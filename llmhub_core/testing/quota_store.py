"""The suite that every quota store must pass.

    class TestMine(QuotaStoreSuite):
        @classmethod
        def make(cls):
            return Mine(Mine.Settings(url="mine://localhost"))

A store whose clock a test can move overrides `pass_time`; the others wait in earnest, a few seconds in all.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmhub_core.contracts import Amount, Level, Limit, LimitReached, QuotaStore, Reservation
from llmhub_core.testing.quota_holds import HoldsSuite
from llmhub_core.testing.quota_processes import Race

LEASE = 600.0

MANY = 1100
"""So many times the largest number that stores count in (2⁵³ − 1) is more than 64 bits hold."""


def a_limit(kind: Any = "requests", amount: int = 3, window: int = 60, zone: str | None = None) -> Limit:
    """A limit with an id of its own, so that a store that remembers is no trouble."""
    return Limit(f"test:{uuid.uuid4().hex}", kind, amount, 0 if kind == "concurrency" else window, zone)


def is_settled(reservation: Reservation) -> bool:
    return reservation.settled


class QuotaStoreSuite(HoldsSuite):
    """Subclass it, say how a store is made, and pytest runs every test below against it."""

    @staticmethod
    async def level(store: QuotaStore, limit: Limit) -> Level:
        (level,) = await store.levels([limit])
        assert level.limit == limit
        return level

    async def standing(self, store: QuotaStore, limit: Limit) -> tuple[int, int]:
        """(used, reserved)"""
        level = await self.level(store, limit)
        return level.used, level.reserved

    async def refused(self, store: QuotaStore, limits: list[Limit], amount: Amount | None = None) -> LimitReached:
        with pytest.raises(LimitReached) as caught:
            await store.reserve(limits, amount or Amount(), LEASE)
        return caught.value

    # reserve

    async def test_what_nobody_used_is_empty(self, store: QuotaStore) -> None:
        limits = [a_limit(), a_limit("tokens", 1000), a_limit("concurrency")]
        levels = await store.levels(limits)
        assert [(level.limit, level.used, level.reserved) for level in levels] == [(limit, 0, 0) for limit in limits]
        assert [*await store.levels([])] == []

    async def test_without_limits_everything_is_allowed(self, store: QuotaStore) -> None:
        reservation = await store.reserve([], Amount(1, 10**12, 10**15), LEASE)
        await store.settle(reservation, Amount())

    async def test_each_limit_counts_its_own_kind(self, store: QuotaStore) -> None:
        kinds = ("requests", "tokens", "money", "concurrency")
        limits = [a_limit(kind, 10_000) for kind in kinds]
        reservation = await store.reserve(limits, Amount(1, 200, 3000), LEASE)
        assert [await self.standing(store, limit) for limit in limits] == [(0, 1), (0, 200), (0, 3000), (0, 1)]
        await store.settle(reservation, Amount(1, 200, 3000))
        assert [await self.standing(store, limit) for limit in limits] == [(1, 0), (200, 0), (3000, 0), (0, 0)]

    async def test_the_last_unit_is_given_and_not_one_more(self, store: QuotaStore) -> None:
        limit = a_limit(amount=3)
        for _ in range(3):
            await store.reserve([limit], Amount(), LEASE)
        assert (await self.refused(store, [limit])).limit == limit
        assert (await self.level(store, limit)).left == 0

    async def test_all_or_nothing(self, store: QuotaStore) -> None:
        roomy, tight = a_limit(amount=100), a_limit("tokens", 10)
        for limits in ([roomy, tight], [tight, roomy]):
            refusal = await self.refused(store, limits, Amount(1, 11))
            assert refusal.limit == tight
            assert await self.standing(store, roomy) == (0, 0)
            assert await self.standing(store, tight) == (0, 0)

    async def test_limits_with_one_id_share_one_count(self, store: QuotaStore) -> None:
        limit = a_limit(amount=2)
        await store.reserve([limit], Amount(), LEASE)
        await store.reserve([replace(limit)], Amount(), LEASE)
        await self.refused(store, [limit])

    async def test_a_race_has_as_many_winners_as_there_is_room(self, store: QuotaStore) -> None:
        limits = [a_limit(amount=10), a_limit("concurrency", 20)]

        async def one() -> Reservation | None:
            try:
                return await store.reserve(limits, Amount(), LEASE)
            except LimitReached:
                return None

        won = [each for each in await asyncio.gather(*(one() for _ in range(50))) if each is not None]
        assert len(won) == 10
        assert len({each.id for each in won}) == 10
        await asyncio.gather(*(store.settle(each, Amount()) for each in won))
        assert await self.standing(store, limits[1]) == (0, 0)

    # settle

    async def test_less_than_reserved_gives_the_rest_back(self, store: QuotaStore) -> None:
        limit = a_limit("tokens", 100)
        reservation = await store.reserve([limit], Amount(1, 90), LEASE)
        await store.settle(reservation, Amount(1, 20))
        assert await self.standing(store, limit) == (20, 0)
        await store.reserve([limit], Amount(1, 80), LEASE)

    async def test_more_than_reserved_is_counted_though_it_is_too_much(self, store: QuotaStore) -> None:
        limit = a_limit("tokens", 100)
        reservation = await store.reserve([limit], Amount(1, 10), LEASE)
        await store.settle(reservation, Amount(1, 150))
        level = await self.level(store, limit)
        assert (level.used, level.left) == (150, 0)
        await self.refused(store, [limit], Amount(1, 1))

    async def test_a_second_settlement_changes_nothing(self, store: QuotaStore) -> None:
        limits = [a_limit("tokens", 100), a_limit("concurrency", 2)]
        reservation = await store.reserve(limits, Amount(1, 50), LEASE)
        other = await store.reserve(limits, Amount(1, 10), LEASE)
        for actual in (Amount(1, 30), Amount(1, 99), Amount(0, 0)):
            await store.settle(reservation, actual)
        assert [await self.standing(store, limit) for limit in limits] == [(30, 10), (0, 1)]
        await store.settle(other, Amount(1, 10))

    async def test_nothing_used_gives_everything_back(self, store: QuotaStore) -> None:
        limits = [a_limit(), a_limit("tokens", 100), a_limit("concurrency", 2)]
        reservation = await store.reserve(limits, Amount(1, 50), LEASE)
        await store.settle(reservation, Amount(0, 0, 0))
        assert [await self.standing(store, limit) for limit in limits] == [(0, 0)] * 3

    async def test_numbers_beyond_all_measure_break_nothing(self, store: QuotaStore) -> None:
        tokens, money = a_limit("tokens", 2**53 - 1), a_limit("money", 10**15)
        held = [await store.reserve([tokens], Amount(1, 1), LEASE) for _ in range(MANY)]
        last = await store.reserve([tokens], Amount(1, 2**53 - 1 - MANY), LEASE)
        assert await self.standing(store, tokens) == (0, 2**53 - 1)
        await asyncio.gather(*(store.settle(each, Amount(1, 2**62)) for each in held))
        level = await self.level(store, tokens)
        assert (level.left, level.used >= 0) == (0, True)
        await self.refused(store, [tokens], Amount(1, 1))
        await store.settle(last, Amount(1, 2**62))
        level = await self.level(store, tokens)
        assert (level.left, level.reserved) == (0, 0)
        assert level.used >= 2**53 - 1
        await self.refused(store, [tokens], Amount(1, 1))
        reservation = await store.reserve([money], Amount(1, 0, 5), LEASE)
        await store.settle(reservation, Amount(1, -7, -(10**18)))
        assert await self.standing(store, money) == (0, 0)

    # settling a part

    async def test_a_part_is_settled_and_the_rest_stays_reserved(self, store: QuotaStore) -> None:
        own = [a_limit(amount=10), a_limit("tokens", 1000), a_limit("concurrency", 5)]
        account = [a_limit(amount=10), a_limit("tokens", 500), a_limit("concurrency", 2)]
        reservation = await store.reserve([*own, *account], Amount(1, 300), LEASE)
        await store.settle(reservation, Amount(1, 0), account)
        assert not is_settled(reservation)
        assert [await self.standing(store, limit) for limit in account] == [(1, 0), (0, 0), (0, 0)]
        assert [await self.standing(store, limit) for limit in own] == [(0, 1), (0, 300), (0, 1)]
        await store.settle(reservation, Amount(1, 70))
        assert is_settled(reservation)
        assert [await self.standing(store, limit) for limit in account] == [(1, 0), (0, 0), (0, 0)], "settled before"
        assert [await self.standing(store, limit) for limit in own] == [(1, 0), (70, 0), (0, 0)]

    async def test_a_part_settled_twice_changes_nothing(self, store: QuotaStore) -> None:
        first, second = a_limit("tokens", 1000), a_limit("tokens", 1000)
        reservation = await store.reserve([first, second], Amount(1, 300), LEASE)
        for actual in (Amount(1, 100), Amount(1, 900), Amount(0, 0)):
            await store.settle(reservation, actual, [first])
            assert await self.standing(store, first) == (100, 0)
        await store.settle(reservation, Amount(1, 500), [second])
        assert is_settled(reservation)
        await store.settle(reservation, Amount(1, 999))
        assert [await self.standing(store, limit) for limit in (first, second)] == [(100, 0), (500, 0)]

    async def test_limits_that_are_not_part_of_it_are_passed_over(self, store: QuotaStore) -> None:
        mine, other = a_limit(amount=5), a_limit(amount=5)
        reservation = await store.reserve([mine], Amount(), LEASE)
        await store.settle(reservation, Amount(), [other])
        await store.settle(reservation, Amount(), [])
        assert not is_settled(reservation)
        assert [await self.standing(store, limit) for limit in (mine, other)] == [(0, 1), (0, 0)]
        await store.settle(reservation, Amount())

    async def test_a_part_settled_late_was_used_all_the_same(self, store: QuotaStore) -> None:
        first, second, gate = a_limit("tokens", 1000), a_limit("tokens", 1000), a_limit("concurrency", 1)
        reservation = await store.reserve([first, second, gate], Amount(1, 300), 0.3)
        await self.pass_time(store, 0.4)
        await store.settle(reservation, Amount(1, 100), [first, gate])
        await store.settle(reservation, Amount(1, 200), [first, gate])
        assert [await self.standing(store, each) for each in (first, second, gate)] == [(100, 0), (0, 0), (0, 0)]
        await store.settle(reservation, Amount(1, 400))
        await store.settle(reservation, Amount(1, 500))
        assert [await self.standing(store, each) for each in (first, second, gate)] == [(100, 0), (400, 0), (0, 0)]

    async def test_both_sides_are_taken_in_one_step(self, store: QuotaStore) -> None:
        own, account = (a_limit(amount=30), a_limit("concurrency", 30)), (a_limit(amount=7), a_limit("tokens", 10**6))
        joined = own + account

        async def one() -> bool:
            try:
                reservation = await store.reserve(joined, Amount(1, 10), LEASE)
            except LimitReached as reached:
                assert reached.limit == account[0]
                return False
            await asyncio.sleep(0.01)
            await store.settle(reservation, Amount(1, 5))
            return True

        assert sum(await asyncio.gather(*(one() for _ in range(40)))) == 7
        assert [await self.standing(store, limit) for limit in joined] == [(7, 0), (0, 0), (7, 0), (35, 0)]

    async def test_who_leaves_while_reserving_keeps_nothing(self, store: QuotaStore) -> None:
        limits = [a_limit(amount=100), a_limit("concurrency", 100)]
        for steps in range(12):
            asking = asyncio.create_task(store.reserve(limits, Amount(), LEASE))
            for _ in range(steps):
                await asyncio.sleep(0 if steps % 2 else 0.0002)
            asking.cancel()
            for answer in await asyncio.gather(asking, return_exceptions=True):
                if isinstance(answer, Reservation):
                    await store.settle(answer, Amount(0))
        deadline = time.monotonic() + 5.0
        while [await self.standing(store, limit) for limit in limits] != [(0, 0), (0, 0)]:
            assert time.monotonic() < deadline, "what was reserved for somebody who left is still reserved"
            await asyncio.sleep(0.02)

    # time

    async def test_a_lease_expires_by_itself(self, store: QuotaStore) -> None:
        limits = [a_limit("concurrency", 1), a_limit("tokens", 100)]
        reservation = await store.reserve(limits, Amount(1, 100), 0.3)
        await self.refused(store, limits)
        await self.pass_time(store, 0.4)
        assert [await self.standing(store, limit) for limit in limits] == [(0, 0), (0, 0)]
        again = await store.reserve(limits, Amount(1, 60), LEASE)
        await store.settle(reservation, Amount(1, 40))  # late, but it was used
        assert await self.standing(store, limits[0]) == (0, 1), "a late settlement takes nobody else's place"
        await store.settle(again, Amount(1, 60))

    async def test_who_lives_keeps_what_it_reserved(self, store: QuotaStore) -> None:
        limits = [a_limit("concurrency", 1), a_limit("tokens", 100), a_limit(amount=5)]
        reservation = await store.reserve(limits, Amount(1, 60), 0.5)
        before = reservation.expires
        for _ in range(2):
            await store.renew(1.0)
            await self.pass_time(store, 0.6)
            assert [await self.standing(store, limit) for limit in limits] == [(0, 1), (0, 60), (0, 1)]
        assert reservation.expires > before + 0.5
        await store.settle(reservation, Amount(1, 50), limits[:1])
        await store.renew(1.0)
        assert [await self.standing(store, limit) for limit in limits] == [(0, 0), (0, 60), (0, 1)]
        await store.settle(reservation, Amount(1, 50))
        await store.renew(60.0)
        assert [await self.standing(store, limit) for limit in limits] == [(0, 0), (50, 0), (1, 0)]

    async def test_nobody_keeps_what_another_one_reserved(self, store: QuotaStore) -> None:
        if not self.shared:
            pytest.skip("this store is for one process")
        limits = [a_limit("concurrency", 1), a_limit("tokens", 100)]
        dead = self.make()
        await dead.start()
        await dead.reserve(limits, Amount(1, 60), 0.4)
        await store.renew(LEASE)
        await self.pass_time(store, 0.5)
        await store.renew(LEASE)
        assert [await self.standing(store, limit) for limit in limits] == [(0, 0), (0, 0)]
        await dead.stop()

    async def test_a_window_that_passed_is_forgotten(self, store: QuotaStore) -> None:
        limit = a_limit(amount=1, window=1)
        await store.settle(await store.reserve([limit], Amount(), LEASE), Amount())
        refusal = await self.refused(store, [limit])
        assert refusal.retry_after is not None
        assert 0 < refusal.retry_after <= 1.1
        await self.pass_time(store, refusal.retry_after + 0.1)
        await store.reserve([limit], Amount(), LEASE)

    async def test_a_wait_is_named_only_if_waiting_helps(self, store: QuotaStore) -> None:
        limit = a_limit("tokens", 100)
        assert (await self.refused(store, [limit], Amount(1, 101))).retry_after is None
        await store.settle(await store.reserve([limit], Amount(1, 100), LEASE), Amount(1, 100))
        wait = (await self.refused(store, [limit], Amount(1, 1))).retry_after
        assert wait is not None
        assert 0 < wait <= 61
        assert 0 < (await self.level(store, limit)).resets_in <= 61

    @pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Kathmandu"])
    async def test_days_begin_at_midnight_of_their_zone(self, store: QuotaStore, zone: str) -> None:
        limit = a_limit(amount=1, window=86_400, zone=zone)
        await store.settle(await store.reserve([limit], Amount(), LEASE), Amount())
        wait = (await self.refused(store, [limit])).retry_after
        assert wait is not None
        assert 0 < wait <= 25 * 3600 + 1

    async def test_what_this_machine_takes_for_the_time_changes_no_window(
        self, store: QuotaStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = [a_limit(amount=9, window=5), a_limit("concurrency", 9)]
        real = time.time
        for step in (0.0, 3600.0, -3600.0, 0.0):
            monkeypatch.setattr(time, "time", lambda step=step: real() + step)
            await store.reserve(limits, Amount(), 60.0)
        assert [await self.standing(store, limit) for limit in limits] == [(0, 4), (0, 4)]
        resets = (await self.level(store, limits[0])).resets_in
        assert 0 < resets <= 5.1

    # processes

    def test_processes_that_are_killed_overspend_nothing_and_leak_nothing(self, tmp_path: Path) -> None:
        if not self.shared:
            pytest.skip("this store is for one process")
        Race(self.make(), tmp_path, processes=4, amounts=(1, 10, 100, 1000), kills=3, lease=4.0).run(within=40.0)

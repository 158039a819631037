"""The suites that every store must pass.

    class TestMine(QuotaStoreSuite):
        @classmethod
        def make(cls):
            return Mine(Mine.Settings(url="mine://localhost"))

A store whose clock a test can move overrides `pass_time`; the others wait in earnest, a few seconds in all.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from llmhub_core.contracts import (
    Amount,
    Level,
    Limit,
    LimitReached,
    MetadataStore,
    QuotaStore,
    Record,
    Reservation,
    UsageQuestion,
    UsageRow,
)
from llmhub_core.testing.plugin import PluginSuite
from llmhub_core.testing.records import NOON, a_record, hostile_record

LEASE = 600.0


def a_limit(kind: Any = "requests", amount: int = 3, window: int = 60, zone: str | None = None) -> Limit:
    """A limit with an id of its own, so that a store that remembers is no trouble."""
    return Limit(f"test:{uuid.uuid4().hex}", kind, amount, 0 if kind == "concurrency" else window, zone)


class QuotaStoreSuite(PluginSuite):
    """Subclass it, say how a store is made, and pytest runs every test below against it."""

    @classmethod
    def make(cls) -> QuotaStore:
        raise NotImplementedError

    @classmethod
    def plugin_class(cls) -> type[QuotaStore]:
        return type(cls.make())

    async def pass_time(self, store: QuotaStore, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @pytest.fixture
    async def store(self) -> AsyncIterator[QuotaStore]:
        store = self.make()
        await store.start()
        yield store
        await store.stop()

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


class MetadataStoreSuite(PluginSuite):
    """Subclass it, say how a store over an EMPTY database is made, and pytest runs every test below against it."""

    def make(self, tmp_path: Any) -> MetadataStore:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, tmp_path: Any) -> AsyncIterator[MetadataStore]:
        store = self.make(tmp_path)
        await store.start()
        await store.migrate()
        yield store
        await store.stop()

    # the schema

    async def test_a_new_database_is_brought_up_to_date(self, tmp_path: Any) -> None:
        store = self.make(tmp_path)
        await store.start()
        before = await store.schema()
        assert before.current == ""
        assert before.wanted
        assert not before.is_current
        after = await store.migrate()
        assert after.is_current
        assert after == await store.schema() == await store.migrate(), "migrating twice is harmless"
        await store.stop()

    # records

    async def test_nothing_is_there_at_first(self, store: MetadataStore) -> None:
        assert [*await store.latest(10)] == []
        assert await store.find_record("r-1") is None
        assert [*await store.usage(UsageQuestion(0, 4e9))] == []
        await store.append([])

    async def test_a_record_comes_back_as_it_went_in(self, store: MetadataStore) -> None:
        full = a_record("r-full", **{name: place for place, name in enumerate(_numbers(), 1)}, usage_estimated=True)
        empty = Record("r-empty", NOON, "", "", "", "", False)
        await store.append([full, empty])
        assert await store.find_record("r-full") == full
        assert await store.find_record("r-empty") == empty

    async def test_sending_again_is_safe(self, store: MetadataStore) -> None:
        first = a_record("r-1")
        await store.append([first])
        await store.append([a_record("r-1", output_tokens=999, caller="other"), a_record("r-2")])
        await store.append([first])
        assert await store.find_record("r-1") == first
        (row,) = await store.usage(UsageQuestion(0, 4e9, ("provider",)))
        assert (row.requests, row.output_tokens) == (2, 40)

    async def test_one_batch_may_say_it_twice(self, store: MetadataStore) -> None:
        await store.append([a_record("r-1"), a_record("r-1")])
        (row,) = await store.usage(UsageQuestion(0, 4e9, ("provider",)))
        assert row.requests == 1

    async def test_odd_characters_stop_nothing(self, store: MetadataStore) -> None:
        # One record that cannot be stored would hold up all that are to be stored after it.
        await store.append([hostile_record("r-odd"), a_record("r-1")])
        assert await store.find_record("r-1") == a_record("r-1")
        odd = await store.find_record("r-odd")
        assert odd is not None
        assert odd.total_ms == hostile_record("r-odd").total_ms
        assert await store.find_record("r'; --\n%_") is None

    async def test_the_latest_come_first_page_by_page(self, store: MetadataStore) -> None:
        # Three share each moment: the id decides among them.
        sent = [a_record(f"r-{n:02}", arrived_at=NOON + n // 3) for n in range(20)]
        await store.append(sent[::2])
        await store.append(sent[1::2])
        wanted = sorted(sent, key=lambda record: (record.arrived_at, record.id), reverse=True)
        seen: list[Record] = []
        before = None
        while page := await store.latest(7, before):
            assert len(page) <= 7
            seen += page
            before = (page[-1].arrived_at, page[-1].id)
            await store.append([a_record(f"new-{len(seen)}", arrived_at=NOON + 1000 + len(seen))])
        assert [record.id for record in seen] == [record.id for record in wanted]
        assert seen == wanted

    # usage

    async def test_usage_is_summed_by_what_was_asked(self, store: MetadataStore) -> None:
        await store.append([
            a_record("r-1", cost=5),
            a_record("r-2", cost=7, caller="bob"),
            a_record("r-3", cost=None, provider="c"),
            a_record("r-4", cost=None, outcome="failed", status=502, input_tokens=0, output_tokens=0, cached_tokens=0),
            a_record("r-5", cost=None, outcome="refused", status=429, input_tokens=0, output_tokens=0, cached_tokens=0),
        ])  # fmt: skip
        rows = {row.group: row for row in await store.usage(UsageQuestion(0, 4e9, ("provider",)))}
        assert [*rows] == [("b",), ("c",)] or {*rows} == {("b",), ("c",)}
        b, c = rows[("b",)], rows[("c",)]
        assert (b.requests, b.served, b.failed, b.cost, b.unpriced) == (4, 2, 1, 12, 0)
        assert (c.requests, c.served, c.failed, c.cost, c.unpriced) == (1, 1, 0, 0, 1)
        assert (b.input_tokens, b.output_tokens, b.cached_tokens) == (200, 40, 120)
        both = await store.usage(UsageQuestion(0, 4e9, ("caller", "provider")))
        assert {row.group: row.requests for row in both} == {("anyone", "b"): 3, ("anyone", "c"): 1, ("bob", "b"): 1}

    async def test_groups_of_every_kind(self, store: MetadataStore) -> None:
        await store.append([a_record("r-1"), a_record("r-2"), a_record("r-3", arrived_at=NOON + 90_000)])
        for by, groups in (("provider", 1), ("model", 1), ("key", 1), ("caller", 1), ("hour", 2), ("day", 2)):
            rows = await store.usage(UsageQuestion(0, 4e9, (by,)))  # type: ignore[arg-type]
            assert len(rows) == groups, by
            assert sum(row.requests for row in rows) == 3
            assert sum(row.cost for row in rows) == 3 * 1_234_567

    async def test_a_question_has_a_first_moment_and_an_end(self, store: MetadataStore) -> None:
        times = (NOON - 0.001, NOON, NOON + 0.5, NOON + 10, NOON + 10.001)
        await store.append([a_record(f"r-{place}", arrived_at=time) for place, time in enumerate(times)])
        assert await self._requests(store, NOON, NOON + 10) == 2
        assert await self._requests(store, NOON - 1, NOON) == 1
        assert await self._requests(store, NOON, NOON) == 0
        assert await self._requests(store, 0, 4e9) == 5

    @staticmethod
    async def _requests(store: MetadataStore, since: float, until: float) -> int:
        rows: list[UsageRow] = [*await store.usage(UsageQuestion(since, until, ("provider",)))]
        return sum(row.requests for row in rows)


def _numbers() -> list[str]:
    return [name for name in Record.__struct_fields__ if name.endswith(("_tokens", "_calls"))]

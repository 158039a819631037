"""What every quota store must do with what is held against keys and accounts; `quota_store` has the whole suite."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from llmhub_core.contracts import Hold, QuotaStore
from llmhub_core.testing.plugin import PluginSuite


class HoldsSuite(PluginSuite):
    """A part of `QuotaStoreSuite`."""

    shared: ClassVar[bool] = False
    """Whether several processes may count in the same place: those that `make` shows, by its settings."""

    kept: ClassVar[bool] = True
    """Whether the next store that `make` returns finds what this one held."""

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

    # holds

    async def held(self, store: QuotaStore, subject: str, within: float = 2.0) -> Hold | None:
        """What is held against it; a store may be told in the background."""
        deadline = time.monotonic() + within
        while True:
            found = next((hold for hold in await store.holds() if hold.subject == subject), None)
            if found is not None or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.01)

    async def lifted(self, store: QuotaStore, subject: str) -> None:
        deadline = time.monotonic() + 2.0
        while any(hold.subject == subject for hold in await store.holds()):
            assert time.monotonic() < deadline, "still held"
            await asyncio.sleep(0.01)

    def keeps_holds(self, store: QuotaStore) -> None:
        if type(store).hold is QuotaStore.hold:
            pytest.skip("this store leaves each process to itself")

    async def test_what_is_held_is_told_until_it_is_over(self, store: QuotaStore) -> None:
        self.keeps_holds(store)
        subject = f"key:p/{uuid.uuid4().hex}"
        await store.hold(Hold(subject, "cooling", "rate_limit_exceeded", 0.5, 3.0))
        hold = await self.held(store, subject)
        assert hold is not None
        assert (hold.state, hold.reason) == ("cooling", "rate_limit_exceeded")
        assert hold.lasts is not None
        assert 0 < hold.lasts <= 0.5
        assert 2.9 <= hold.age <= 4.0
        await self.pass_time(store, 0.6)
        assert await self.held(store, subject, 0.0) is None

    async def test_deadlines_only_grow_until_they_are_lifted(self, store: QuotaStore) -> None:
        self.keeps_holds(store)
        subject = f"group:p/{uuid.uuid4().hex}"
        for lasts, state in ((100.0, "cooling"), (5.0, "cooling"), (None, "invalid"), (9999.0, "exhausted")):
            await store.hold(Hold(subject, state, "", lasts))  # type: ignore[arg-type]
        deadline = time.monotonic() + 2.0
        while (hold := await self.held(store, subject)) is None or hold.state != "invalid":
            assert time.monotonic() < deadline
        assert hold.lasts is None
        await store.hold(Hold(subject, "active"))
        await self.lifted(store, subject)
        await store.hold(Hold(subject, "cooling", "", 5.0))
        hold = await self.held(store, subject)
        assert hold is not None
        assert hold.lasts is not None
        assert 0 < hold.lasts <= 5.0

    async def test_a_stepped_clock_changes_no_deadline(
        self, store: QuotaStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.keeps_holds(store)
        subject, real = f"key:p/{uuid.uuid4().hex}", time.time
        await store.hold(Hold(subject, "cooling", "", 60.0))
        assert await self.held(store, subject) is not None
        for step in (3600.0, -3600.0, 0.0):
            monkeypatch.setattr(time, "time", lambda step=step: real() + step)
            hold = await self.held(store, subject)
            assert hold is not None
            assert hold.lasts is not None
            assert 50 < hold.lasts <= 60

    async def test_another_process_hears_within_100_ms(self) -> None:
        if not self.shared:
            pytest.skip("this store is for one process")
        one, other = self.make(), self.make()
        self.keeps_holds(one)
        told: list[tuple[Hold, float]] = []
        heard = asyncio.Event()

        def tell(hold: Hold) -> None:
            told.append((hold, time.monotonic()))
            heard.set()

        own: list[Hold] = []
        one.watch(own.append)
        other.watch(tell)
        await one.start()
        await other.start()
        try:
            await asyncio.sleep(0.3)  # until everybody listens
            subject, took = f"key:p/{uuid.uuid4().hex}", []
            for state, lasts in (("cooling", 60.0), ("invalid", None), ("active", None), ("exhausted", 5.0)):
                heard.clear()
                began = time.monotonic()
                await one.hold(Hold(subject, state, "why", lasts))  # type: ignore[arg-type]
                async with asyncio.timeout(5.0):
                    await heard.wait()
                hold, at = told[-1]
                assert (hold.subject, hold.state) == (subject, state)
                assert hold.lasts == lasts if lasts is None else 0 <= lasts - (hold.lasts or 0) < 1
                took.append(at - began)
            assert sorted(took)[1] <= 0.1, took  # the half of them, for this machine may be busy
            assert own == []
        finally:
            await one.stop()
            await other.stop()

    async def test_the_next_process_finds_what_was_held(self) -> None:
        store = self.make()
        self.keeps_holds(store)
        if not self.kept:
            pytest.skip("this store forgets with its process")
        subject, over = f"key:p/{uuid.uuid4().hex}", f"key:p/{uuid.uuid4().hex}"
        await store.start()
        await store.hold(Hold(subject, "invalid", "no", None, 7.0))
        await store.hold(Hold(over, "cooling", "no", 60.0))
        await store.hold(Hold(over, "active"))
        await store.stop()
        again = self.make()
        await again.start()
        try:
            hold = await self.held(again, subject)
            assert hold is not None
            assert (hold.state, hold.reason, hold.lasts) == ("invalid", "no", None)
            assert 7.0 <= hold.age < 30.0
            assert await self.held(again, over, 0.0) is None
        finally:
            await again.stop()

    # who tries again

    @asynccontextmanager
    async def several(self, count: int) -> AsyncIterator[list[QuotaStore]]:
        """As processes that count in the same place."""
        stores = [self.make() for _ in range(count)]
        for store in stores:
            await store.start()
        yield stores
        for store in stores:
            await store.stop()

    def claims(self, store: QuotaStore) -> None:
        if not self.shared or type(store).claim is QuotaStore.claim:
            pytest.skip("each process tries for itself")

    async def test_who_is_alone_always_may_try(self, store: QuotaStore) -> None:
        subject = f"key:p/{uuid.uuid4().hex}"
        assert [await store.claim(subject, 5.0) for _ in range(3)] == [0.0] * 3

    async def test_one_of_all_may_try_until_its_claim_is_over(self) -> None:
        self.claims(self.make())
        async with self.several(5) as stores:
            for lasts in (0.4, 0.3):  # the second time those of whom one had it
                subject = f"key:p/{uuid.uuid4().hex}"
                answers = await asyncio.gather(*(store.claim(subject, lasts) for store in stores for _ in range(3)))
                mine = [place // 3 for place, left in enumerate(answers) if left == 0.0]
                assert len(mine) == 3, "whoever has it may claim it again"
                assert len({*mine}) == 1
                assert all(0.0 < left <= lasts for left in answers if left), answers
                other = stores[(mine[0] + 1) % 5]
                assert await other.claim(f"{subject}x", 5.0) == 0.0, "of another subject"
                await self.pass_time(other, lasts + 0.1)
                assert await other.claim(subject, 5.0) == 0.0, "its holder may have died"
                assert await stores[mine[0]].claim(subject, 5.0) > 4.0

    async def test_nobody_tries_what_another_was_refused_meanwhile(self) -> None:
        self.claims(self.make())
        async with self.several(2) as (one, other):
            for subject, again in ((f"key:p/{uuid.uuid4().hex}", 0.5), (f"group:p/{uuid.uuid4().hex}", 0.3)):
                assert await one.claim(subject, 60.0) == 0.0
                await one.hold(Hold(subject, "cooling", "", again))
                assert await self.held(other, subject) is not None
                assert 0.0 < await other.claim(subject, 60.0) <= again, "not as long as the claim would have"
                await self.pass_time(other, again + 0.1)
                assert await other.claim(subject, 60.0) == 0.0
                assert await one.claim(subject, 60.0) > 59.0
                await one.hold(Hold(subject, "cooling", "", again))
                assert await self.free(one, subject), "who was refused knows better"
                await one.hold(Hold(subject, "active"))
                await self.lifted(other, subject)
                assert await self.free(other, subject)

    async def test_what_lasts_until_it_is_lifted_may_be_tried_by_one(self) -> None:
        self.claims(self.make())
        async with self.several(2) as (one, other):
            subject = f"key:p/{uuid.uuid4().hex}"
            await one.hold(Hold(subject, "invalid", "no"))
            assert await self.held(other, subject) is not None
            assert await other.claim(subject, 5.0) == 0.0
            assert await one.claim(subject, 5.0) > 4.0

    async def test_what_became_of_it_is_told_though_the_rest_itself_is_forgotten(self) -> None:
        one, other = self.make(), self.make()
        self.claims(one)
        told: list[Hold] = []
        other.watch(told.append)
        await one.start()
        await other.start()
        try:
            await asyncio.sleep(0.3)  # until everybody listens
            subject = f"key:p/{uuid.uuid4().hex}"
            assert await one.claim(subject, 60.0) == 0.0
            began = time.monotonic()
            await one.hold(Hold(subject, "active"))
            while not told:
                assert time.monotonic() < began + 5.0
                await asyncio.sleep(0.005)
            assert [(hold.subject, hold.state) for hold in told] == [(subject, "active")]
        finally:
            await one.stop()
            await other.stop()

    async def free(self, store: QuotaStore, subject: str) -> bool:
        """Whether it may be claimed, soon: a store may be told in the background."""
        deadline = time.monotonic() + 2.0
        while await store.claim(subject, 1.0):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

"""The suite for the part of a metadata store that keeps the sealed bodies of requests.

class TestMine(BodySuite):
    @pytest.fixture
    async def store(self):
        store = Mine(Mine.Settings(url="mine://localhost"))
        await store.start()
        await store.migrate()
        yield store
        await store.stop()
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmhub_core.contracts import BodyStore, MetadataStore, SealedBody
from llmhub_core.testing.records import HOSTILE, NOON, a_record


def a_body(id: str = "r-1", **changes: object) -> SealedBody:
    return replace(SealedBody(id, NOON, "k1", f"lhv1.k1.{id}"), **changes)  # type: ignore[arg-type]


def bodies_of(store: MetadataStore) -> BodyStore:
    assert store.bodies is not None
    return store.bodies


class BodySuite:
    """Subclass it, give it a fixture `store`, and pytest runs every test below against it."""

    @pytest.fixture
    async def store(self) -> MetadataStore:
        raise NotImplementedError

    async def test_nothing_is_there_at_first(self, store: MetadataStore) -> None:
        bodies = bodies_of(store)
        await bodies.keep_bodies([])
        for id in ("r-1", HOSTILE, ""):
            assert await bodies.find_body(id) is None
            assert not await bodies.has_body(id)
            assert not await bodies.forget_body(id)
        assert dict(await bodies.bodies_by_key()) == {}
        assert [*await bodies.bodies_of_others("k1", 10)] == []
        assert not await bodies.prune_bodies(4e9)

    async def test_a_body_comes_back_as_it_went_in(self, store: MetadataStore) -> None:
        bodies, large = bodies_of(store), a_body("r-large", sealed="x" * 3_000_000)
        await bodies.keep_bodies([a_body(), large])
        assert await bodies.find_body("r-1") == a_body()
        assert await bodies.find_body("r-large") == large
        assert await bodies.has_body("r-1")
        assert await bodies.forget_body("r-1")
        assert not await bodies.forget_body("r-1")
        assert await bodies.find_body("r-1") is None

    async def test_sending_again_is_safe(self, store: MetadataStore) -> None:
        bodies = bodies_of(store)
        await bodies.keep_bodies([a_body()])
        await bodies.keep_bodies([a_body(sealed="other"), a_body("r-2")])
        assert await bodies.find_body("r-1") == a_body()
        assert await bodies.has_body("r-2")

    async def test_old_ones_go_in_steps(self, store: MetadataStore) -> None:
        bodies = bodies_of(store)
        await bodies.keep_bodies([a_body(f"r-{n:04}", at=NOON + n) for n in range(500)])
        steps = 1
        while await bodies.prune_bodies(NOON + 450):
            steps += 1
        assert steps > 1
        assert not await bodies.has_body("r-0449")
        assert await bodies.has_body("r-0450")

    async def test_they_go_with_their_records(self, store: MetadataStore) -> None:
        bodies = bodies_of(store)
        await store.append([a_record(f"r-{n}", arrived_at=NOON + 7200 * n) for n in range(3)])
        await bodies.keep_bodies([a_body(f"r-{n}", at=NOON + 7200 * n) for n in range(3)])
        while await store.prune(NOON + 7200):
            pass
        assert [await bodies.has_body(f"r-{n}") for n in range(3)] == [False, True, True]
        assert await store.find_record("r-0") is None

    async def test_a_change_of_root_keys_reaches_them(self, store: MetadataStore) -> None:
        bodies = bodies_of(store)
        await bodies.keep_bodies([a_body(f"r-{n}", key=f"k{n % 2}") for n in range(5)])
        assert dict(await bodies.bodies_by_key()) == {"k0": 3, "k1": 2}
        first = await bodies.bodies_of_others("k1", 2)
        rest = await bodies.bodies_of_others("k1", 2, first[-1].id)
        assert [each.id for each in (*first, *rest)] == ["r-0", "r-2", "r-4"]
        now = [replace(each, key="k1", sealed="anew") for each in first]
        stale = replace(rest[0], sealed="what it was before")
        assert await bodies.replace_bodies([*first, stale], [*now, replace(stale, key="k1", sealed="lost")]) == 2
        assert await bodies.find_body("r-0") == now[0]
        assert await bodies.find_body("r-4") == rest[0], "somebody changed it meanwhile"
        assert dict(await bodies.bodies_by_key()) == {"k0": 1, "k1": 4}

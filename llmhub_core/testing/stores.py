"""The suites that every store must pass: QuotaStoreSuite (written in quota_store.py) and MetadataStoreSuite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmhub_core.contracts import MetadataStore, Record, UsageQuestion, UsageRow
from llmhub_core.testing.plugin import PluginSuite
from llmhub_core.testing.quota_store import QuotaStoreSuite
from llmhub_core.testing.records import NOON, a_record, hostile_record

__all__ = ["MetadataStoreSuite", "QuotaStoreSuite"]


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
        some = await store.usage(UsageQuestion(0, 4e9, ("caller", "provider"), {"provider": ("c", "nobody")}))
        assert {row.group: row.requests for row in some} == {("anyone", "c"): 1}
        others = await store.usage(UsageQuestion(0, 4e9, ("provider",), {"caller": ("bob",)}))
        assert {row.group: row.requests for row in others} == {("b",): 1}

    async def test_the_largest_groups_or_the_latest(self, store: MetadataStore) -> None:
        await store.append([
            a_record(f"r-{caller}-{number}", caller=caller, arrived_at=NOON + number * 7200)
            for caller, requests in (("ann", 2), ("bob", 5), ("cem", 1), ("dea", 2))
            for number in range(requests)
        ])  # fmt: skip
        rows = await store.usage(UsageQuestion(0, 4e9, ("caller",), most=3))
        assert [(row.group, row.requests) for row in rows] == [(("bob",), 5), (("ann",), 2), (("dea",), 2)]
        every = [row.group for row in await store.usage(UsageQuestion(0, 4e9, ("hour",)))]
        assert len(every) == 5
        latest = await store.usage(UsageQuestion(0, 4e9, ("hour",), most=2))
        assert [(row.group, row.requests) for row in latest] == [(group, 1) for group in every[-2:]]
        assert len(await store.usage(UsageQuestion(0, 4e9, ("caller", "hour"), most=4))) == 4

    async def test_groups_of_every_kind(self, store: MetadataStore) -> None:
        await store.append([a_record("r-1"), a_record("r-2"), a_record("r-3", arrived_at=NOON + 90_000)])
        once = {"provider": 1, "model": 1, "key": 1, "caller": 1, "minute": 2, "hour": 2, "day": 2}
        for by, groups in once.items():
            rows = await store.usage(UsageQuestion(0, 4e9, (by,)))  # type: ignore[arg-type]
            assert len(rows) == groups, by
            assert sum(row.requests for row in rows) == 3
            assert sum(row.cost for row in rows) == 3 * 1_234_567

    async def test_values_of_a_tag(self, store: MetadataStore) -> None:
        """Each request has one, also where it has no tags, or others."""
        tags: list[dict[str, str]] = [
            {"team": "red"},
            {"team": "red", "app": "x=y"},
            {"team": ""},
            {"app": "größer"},
            {},
        ]
        await store.append([
            a_record(f"r-{place}", tags=each, arrived_at=NOON + 86_400 * (place == 1))
            for place, each in enumerate(tags)
        ])  # fmt: skip
        for tag, values in (
            ("team", {"red": 2, "": 3}),
            ("app", {"x=y": 1, "größer": 1, "": 3}),
            ("none", {"": 5}),
        ):
            rows = await store.usage(UsageQuestion(0, 4e9, ("tag",), tag=tag))
            assert {row.group: row.requests for row in rows} == {(value,): many for value, many in values.items()}
            assert sum(row.cost for row in rows) == 5 * 1_234_567
        by_day = await store.usage(UsageQuestion(0, 4e9, ("day", "tag"), tag="team"))
        assert sorted((row.group[1], row.requests) for row in by_day) == [("", 3), ("red", 1), ("red", 1)]
        some = await store.usage(UsageQuestion(0, 4e9, ("tag",), {"tag": ("red", "nobody")}, tag="team"))
        assert [(row.group, row.requests) for row in some] == [(("red",), 2)]
        (largest,) = await store.usage(UsageQuestion(0, 4e9, ("tag",), most=1, tag="team"))
        assert (largest.group, largest.requests) == (("",), 3)
        assert [*await store.tags(NOON, NOON + 1)] in (["app", "team"], [])

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

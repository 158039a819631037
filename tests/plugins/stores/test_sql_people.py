"""Users, sessions, failures, the audit and the list of requests, in both databases."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from databases import Store, opened, store_of
from sqlalchemy import text
from test_sql import HOUR, TEN, record, some_records

from llmhub_core.contracts import MetadataStore, PeopleStore, Record, RecordFilter
from llmhub_core.testing.people import PeopleSuite


class TestPeople(PeopleSuite):
    @pytest.fixture
    async def people(self, url: str) -> AsyncIterator[PeopleStore]:
        async with opened(store_of(url)) as opened_store:
            assert opened_store.people is not None
            yield opened_store.people


# --- the list of requests


def chosen(batch: list[Record], **wanted: Any) -> list[Record]:
    """What the list must hold, the slow way."""
    found = [
        one
        for one in batch
        if all(getattr(one, name) == value for name, value in wanted.items() if name not in ("since", "until"))
        and wanted.get("since", 0.0) <= one.arrived_at < wanted.get("until", float("inf"))
    ]
    return sorted(found, key=lambda one: (one.arrived_at, one.id), reverse=True)


FILTERS: list[dict[str, Any]] = [
    {},
    {"caller": "ann"},
    {"caller": "Łukasz", "model": "slow"},
    {"provider": "openai"},
    {"provider": ""},
    {"outcome": "failed"},
    {"outcome": "served", "provider": "anthropic"},
    {"outcome": "refused", "since": TEN + HOUR, "until": TEN + 2 * HOUR},
    {"since": TEN + HOUR},
    {"until": TEN + HOUR},
    {"caller": "nobody"},
    {"caller": "' OR 1=1 --"},
    {"caller": "%"},
    {"model": "fast", "until": TEN},
]


async def pages(store: MetadataStore, wanted: RecordFilter, size: int) -> list[Record]:
    found: list[Record] = []
    before = None
    while page := await store.requests(wanted, size, before):
        assert len(page) <= size
        found += page
        before = page[-1].arrived_at, page[-1].id
    return found


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_pages_of_what_was_asked(store: Store, wanted: dict[str, Any]) -> None:
    batch = some_records(500)
    random.Random(2).shuffle(batch)
    await store.append(batch)
    assert await pages(store, RecordFilter(**wanted), 37) == chosen(batch, **wanted)
    # The contract's own way, for stores without an index, says the same.
    assert [*await MetadataStore.requests(store, RecordFilter(**wanted), 1000)] == chosen(batch, **wanted)


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_what_is_rare_is_found_wherever_it_lies(store: Store, wanted: dict[str, Any]) -> None:
    """Over years, in single hours far from each other and in hours side by side."""
    batch = some_records(60, span=800 * 24 * HOUR) + some_records(60, seed=2, span=9 * 24 * HOUR)
    await store.append(batch)
    assert await pages(store, RecordFilter(**wanted), 7) == chosen(batch, **wanted)
    assert await pages(store, RecordFilter(caller="nobody"), 7) == []


async def test_equal_times_are_told_apart_by_id(store: Store) -> None:
    batch = [record(number, arrived_at=TEN + number // 9, caller="ann") for number in range(50)]
    await store.append(batch)
    assert await pages(store, RecordFilter(caller="ann"), 4) == chosen(batch)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"caller": "ann"}, "ix_records_caller"),
        ({"model": "fast", "since": TEN}, "ix_records_arrived_at"),
        ({"outcome": "failed"}, "ix_records_unusual"),
        ({"outcome": "served"}, "ix_records_arrived_at"),
        ({}, "ix_records_arrived_at"),
    ],
    ids=str,
)
async def test_each_question_has_its_index(store: Store, wanted: dict[str, Any], index: str) -> None:
    from llmhub_plugins.stores.sql.request_query import requests_statement

    await store.append(some_records(3000))
    engine = store._database._engine
    statement = requests_statement(RecordFilter(**wanted), 50, (TEN + HOUR, "x")).compile(
        dialect=engine.dialect, compile_kwargs={"literal_binds": True}
    )
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # A table this small fits one page, and would be read through whatever indexes it has.
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            plan = await connection.exec_driver_sql(f"EXPLAIN {statement}".replace("%", "%%"))
        else:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
        said = "\n".join(str(row) for row in plan)
    assert index in said, said


# --- what the chain shows


async def test_a_deleted_or_changed_entry_of_the_audit_is_seen(store: Store) -> None:
    from llmhub_core.contracts import AuditEntry

    assert store.people is not None
    for number in range(5):
        await store.people.note(AuditEntry(TEN, "ann", "", "do", str(number)))

    async def sound() -> bool:
        assert store.people is not None
        entries = [*reversed(await store.people.audit(100))]
        links = pairwise(entries)
        return all(one.digest == one.proof() for one in entries) and all(a.digest == b.previous for a, b in links)

    assert await sound()
    async with store._database._engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE audit SET actor = 'bob' WHERE number = 3")
    assert not await sound()
    async with store._database._engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE audit SET actor = 'ann' WHERE number = 3")
    assert await sound()
    async with store._database._engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM audit WHERE number = 3")
    assert not await sound()


async def test_people_survive_a_restart(url: str) -> None:
    from llmhub_core.testing.people import NOW, a_session, a_user

    async with opened(store_of(url)) as first:
        assert first.people is not None
        await first.people.add_user(a_user())
        await first.people.keep_session(a_session())
        await first.people.count_failure("name:x", NOW, 0)
    async with opened(store_of(url)) as second:
        assert second.people is not None
        assert await second.people.find_session("d1") == (a_session(), a_user())
        assert (await second.people.failures("name:x")).count == 1
        assert await second.people.change_user(replace(a_user(), role="owner"))

"""Everything that a store keeps, row by row: out of each database, into each."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from databases import Store, opened, store_of

from llmhub_core.contracts import PARTS, Alert, Archive, AuditEntry, Entry, Part, Row, User
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.records import NOON, a_record, records


def archive_of(store: Store) -> Archive:
    assert store.archive is not None
    return store.archive


async def fill(store: Store, count: int = 2500) -> None:
    """Something in every part that a hub fills by itself, and records of every kind."""
    assert store.people is not None
    assert store.configuration is not None
    assert store.alerts is not None
    await store.people.add_user(User("u1", "ünï\0", "owner", "v", NOON))
    for number in range(3):
        await store.people.note(AuditEntry(NOON + number, "host", "", "user.add", f"u{number}"))
        await store.configuration.put(Entry("provider", f"p{number}", '{"kind":"echo"}'))
    await store.configuration.keep_fact("vault.stable", "sealed")
    await store.alerts.open_alert(Alert("a1", "r", "s", "error", "w", "a", "p", NOON))
    await store.append(records())
    await store.append([a_record(f"n{number:06d}", arrived_at=NOON + number % 7000) for number in range(count)])


async def everything(store: Store) -> dict[str, list[Any]]:
    async with archive_of(store).snapshot() as snapshot:
        found: dict[str, list[Any]] = {"records": [each async for batch in snapshot.records() for each in batch]}
        for part in PARTS:
            found[part] = [row async for batch in snapshot.rows(part) for row in batch]
            found[part].sort(key=repr)
            assert await snapshot.count(part) == len(found[part])
        assert await snapshot.count("records") == len(found["records"])
    return found


async def copy(source: Store, target: Store) -> None:
    async with archive_of(source).snapshot() as snapshot, archive_of(target).intake() as intake:
        for part in PARTS:
            await intake.clear(part)
            async for batch in snapshot.rows(part):
                assert await intake.add(part, batch) == len(batch)
        async for records in snapshot.records():
            assert await intake.add_records(records) == len(records)


@pytest.mark.parametrize("other", ["sqlite", "postgresql"])
async def test_a_copy_is_the_same(store: Store, other: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    await fill(store)
    template = request.getfixturevalue(f"{other}_template")
    url = f"sqlite:///{tmp_path / 'other.db'}"
    if other == "postgresql":
        url = str(request.getfixturevalue("postgres").new_database(template=template))
    async with opened(store_of(url)) as target:
        await copy(store, target)
        there, here = await everything(target), await everything(store)
        for part in set(there) - {"configuration"}:
            assert there[part] == here[part], part
        unnumbered = [{**row, "revision": 0} for row in here["configuration"]]
        assert [{**row, "revision": 0} for row in there["configuration"]] == unnumbered
        assert await archive_of(target).sums() == await archive_of(store).sums()
        async with archive_of(target).intake() as intake, archive_of(store).snapshot() as snapshot:
            async for batch in snapshot.records():
                assert await intake.add_records(batch) == 0, "what is there stays"


async def test_a_snapshot_sees_nothing_that_comes_later(store: Store) -> None:
    await fill(store, 5)
    async with archive_of(store).snapshot() as snapshot:
        before = await snapshot.count("records")
        await store.append([a_record("later", arrived_at=NOON + 9000)])
        assert store.people is not None
        await store.people.add_user(User("u2", "late", "admin", "v", NOON))
        assert await snapshot.count("records") == before
        assert "later" not in [each.id async for batch in snapshot.records() for each in batch]
        assert [row["id"] async for batch in snapshot.rows("users") for row in batch] == ["u1"]
        assert sum([row["requests"] async for batch in snapshot.rows("usage_hours") for row in batch]) == before
    assert await archive_of(store).known(["later", "r-1", "nobody"]) == {"later", "r-1"}


async def test_an_intake_is_all_or_nothing(store: Store) -> None:
    row: dict[Part, Row] = {"users": {"id": "u", "name": "n", "role": "owner", "verifier": "", "created_at": 1.0}}
    with pytest.raises(RuntimeError):
        async with archive_of(store).intake() as intake:
            assert await intake.add("users", [{**row["users"], "disabled": False}]) == 1
            assert await intake.add_records([a_record()]) == 1
            raise RuntimeError("the power goes")
    async with archive_of(store).snapshot() as snapshot:
        assert await snapshot.count("users") == await snapshot.count("records") == 0


async def test_what_stands_under_the_same_keys_is_found(store: Store) -> None:
    await fill(store, 3)
    async with archive_of(store).snapshot() as snapshot:
        hours = [row async for batch in snapshot.rows("usage_hours") for row in batch]
    async with archive_of(store).intake() as intake:
        assert await intake.find("usage_hours", [*hours, {**hours[0], "caller": "nobody"}]) == [*hours, None]


async def test_configuration_that_is_put_in_is_a_change(store: Store) -> None:
    assert store.configuration is not None
    await store.configuration.put(Entry("provider", "here", "{}"))
    before = await store.configuration.revision()
    row = {"kind": "route", "name": "r", "body": "{}", "sealed": "", "revision": 99, "changed_at": 1.0}
    async with archive_of(store).intake() as intake:
        await intake.add("configuration", [row])
    revision, entries = await store.configuration.entries()
    assert revision == before + 1
    assert [(each.name, each.revision) for each in entries] == [("here", before), ("r", before + 1)]


async def test_what_came_later_is_told_in_the_order_of_storing(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    async with opened(store_of(f"sqlite:///{path}")) as store:
        await store.append([a_record("b", arrived_at=NOON), a_record("a", arrived_at=NOON + 5)])
        async with archive_of(store).snapshot() as snapshot:
            mark = snapshot.mark
        assert mark is not None
        assert await archive_of(store).newer(mark, 10) == (mark, [])
        await store.append([a_record("d", arrived_at=NOON - 9), a_record("c", arrived_at=NOON + 1)])
        mark, first = await archive_of(store).newer(mark, 1)
        mark, second = await archive_of(store).newer(mark, 10)
        assert [each.id for each in (*first, *second)] == ["d", "c"]
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("DELETE FROM records")
            database.commit()
        with pytest.raises(LookupError, match="numbered anew"):
            await archive_of(store).newer(mark, 10)


async def test_nothing_goes_while_somebody_follows(store: Store) -> None:
    await store.append([a_record("a", arrived_at=NOON), a_record("b", arrived_at=NOON + 9 * 3600)])
    assert await store.prune(NOON + 5 * 3600), "a mark first"
    await archive_of(store).hold(60.0)
    assert not await store.prune(NOON + 5 * 3600)
    assert await store.find_record("a") is not None
    await archive_of(store).hold(0.0)
    while await store.prune(NOON + 5 * 3600):
        pass
    assert await store.find_record("a") is None
    assert await store.find_record("b") is not None


async def test_postgres_does_not_tell_what_came_later(postgres: Postgres, postgresql_template: str) -> None:
    async with opened(store_of(postgres.new_database(template=postgresql_template))) as store:
        async with archive_of(store).snapshot() as snapshot:
            assert snapshot.mark is None
        with pytest.raises(LookupError, match="in which order"):
            await archive_of(store).newer(0, 10)

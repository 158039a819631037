"""PostgreSQL as it is in life: a role that may not change the schema, and a server that stops under load."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from databases import needs_postgresql
from houses import COMPLETION, ask, one_provider
from llmhub_plugins.stores.sql import PostgresSettings, PostgresStore

from llmhub_core.contracts import Record, StartError, UsageQuestion
from llmhub_core.testing.house import House
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.records import a_record
from llmhub_core.testing.upstream import FakeUpstream, json_answer


@pytest.fixture
def server() -> Iterator[Postgres]:
    needs_postgresql()
    with Postgres.running() as server:
        yield server


async def test_the_role_of_a_running_hub_may_not_change_the_schema(server: Postgres) -> None:
    owner = PostgresStore(PostgresSettings(url=server.new_database("hub")))
    server.sql("hub", "CREATE ROLE runs LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    runs = PostgresStore(PostgresSettings(url=server.url("hub", "runs")))
    await runs.start()
    with pytest.raises(StartError, match=r"permission denied[\s\S]*Run llm-hub migrate as a role that may"):
        await runs.migrate()
    await owner.start()
    await owner.migrate()
    await owner.stop()
    server.sql("hub", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO runs")
    assert (await runs.schema()).is_current
    assert (await runs.migrate()).is_current, "where there is nothing to do, nothing is forbidden"
    await runs.append([a_record("r-1")])
    assert await runs.find_record("r-1") == a_record("r-1")
    (row,) = await runs.usage(UsageQuestion(0, 4e9, ()))
    assert row.requests == 1
    assert runs.people is not None
    assert [*await runs.people.users()] == []
    await runs.stop()


async def outage(
    server: Postgres,
    folder: Path,
    upstream: FakeUpstream,
    client: aiohttp.ClientSession,
    rate: float,
    seconds: float,
    frozen: bool = False,
) -> None:
    """Requests at `rate` while the server stops, or does nothing, for `seconds`: each is answered, and each is there
    once afterwards."""
    ends, begins = (server.freeze, server.thaw) if frozen else (server.stop, server.start)
    upstream.script(json_answer(COMPLETION))
    url = server.new_database("hub")
    config = f'[storage]\nmetadata = "{url}"\n[metadata_stores.postgresql]\ntimeout = 1.0\n'
    async with House(config + one_provider(upstream.url), folder=folder) as house:
        ids: list[str] = []

        async def one() -> None:
            answered = await ask(client, house.url)
            assert answered.status == 200
            ids.append(answered.headers["x-request-id"])

        async def traffic(until: float) -> None:
            async with asyncio.TaskGroup() as requests:
                while time.monotonic() < until:
                    requests.create_task(one())
                    await asyncio.sleep(1 / rate)

        await traffic(time.monotonic() + 1)
        await asyncio.to_thread(ends)
        await traffic(time.monotonic() + seconds)
        waited = house.hub.ledger.backlog
        assert waited > rate * seconds / 10
        await asyncio.to_thread(begins)
        await traffic(time.monotonic() + 1)
        began = time.monotonic()
        async with asyncio.timeout(60):
            await house.hub.idle()
            await house.hub.ledger.flushed()
        print(f"{waited} records waited; in the store {time.monotonic() - began:.1f} s after the last request")
        found: list[Record] = []
        while page := await house.hub.store.latest(10_000, (found[-1].arrived_at, found[-1].id) if found else None):
            found += page
        assert sorted(record.id for record in found) == sorted(ids)
        (row,) = await house.hub.store.usage(UsageQuestion(0, 4e9, ()))
        assert row.requests == len(ids)


async def test_a_server_that_stops_under_load_costs_nothing(
    server: Postgres, tmp_path: Path, upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    await outage(server, tmp_path, upstream, client, rate=40, seconds=4)


async def test_a_server_that_freezes_under_load_costs_nothing(
    server: Postgres, tmp_path: Path, upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    """Connections stay open and nothing comes: what is written is given up after `timeout` and sent again."""
    await outage(server, tmp_path, upstream, client, rate=40, seconds=4, frozen=True)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("frozen", [False, True])
async def test_a_server_that_is_away_for_five_minutes_costs_nothing(
    server: Postgres, tmp_path: Path, upstream: FakeUpstream, client: aiohttp.ClientSession, frozen: bool
) -> None:
    """pytest -m soak tests/plugins/stores/test_postgres_away.py -s; OUTAGE_SECONDS for another time."""
    seconds = float(os.environ.get("OUTAGE_SECONDS", "300"))
    await outage(server, tmp_path, upstream, client, rate=150, seconds=seconds, frozen=frozen)


async def test_what_waited_is_drained_quickly(server: Postgres, tmp_path: Path) -> None:
    """20,000 records out of the journal, read back and written; five thousand a second on a machine with nothing else
    to do, and a tenth of that is asked here."""
    from llmhub_core.hub.ledger import Ledger
    from llmhub_core.hub.pricing import Pricing

    store = PostgresStore(PostgresSettings(url=server.new_database("hub")))
    await store.start()
    await store.migrate()
    pricing = Pricing({}, {})
    before = Ledger(tmp_path, store, pricing.complete)
    await before.start()
    for number in range(20_000):
        before._journal.add(b'{"type":"outcome","record":%b}' % _encoded(f"r-{number:06}", number))
    before._journal.flush()
    for task in before._tasks:
        task.cancel()
    await asyncio.gather(*before._tasks, return_exceptions=True)
    ledger = Ledger(tmp_path, store, pricing.complete)
    began, used = time.monotonic(), time.process_time()
    await ledger.start()
    assert ledger.backlog == 20_000
    await ledger.flushed()
    took = time.monotonic() - began
    print(f"{20_000 / took:,.0f} records a second, {1e6 * (time.process_time() - used) / 20_000:.0f} CPU-µs each")
    await ledger.stop()
    (row,) = await store.usage(UsageQuestion(0, 4e9, ()))
    await store.stop()
    assert row.requests == 20_000
    assert took < 40


def _encoded(id: str, number: int) -> bytes:
    import msgspec

    return msgspec.json.encode(a_record(id, caller=f"c-{number % 50}", attempts=[]))

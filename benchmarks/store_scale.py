"""How the metadata stores bear millions of records: how fast they come in, and how long each question takes.

    python benchmarks/store_scale.py --records 10000000 sqlite
    python benchmarks/store_scale.py --records 1000000 postgresql

Records are spread over a year (`--days`), of 200 callers, 12 models, 5 providers and 20 keys, and written in batches by
the store's own `append`. Of each question the first and the middle one of
seven answers are told, and the CPU time that was taken for it, by this process and by the server where there is one:
that is the same whatever else the machine does, and on a quiet one the answer takes no longer. PostgreSQL is started
for this alone, from Debian's package, in the same folder; `--folder` says where (10 GB for ten million records) and
keeps what is there: the next run then asks only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from llmhub_plugins.stores.sql import PostgresSettings, PostgresStore, SqliteSettings, SqliteStore

from llmhub_core.contracts import Attempt, MetadataStore, Record, RecordFilter, UsageQuestion
from llmhub_core.testing.postgres import Postgres

HOUR, DAY = 3600.0, 86_400.0
BATCH = 10_000
AGAIN = 7
NOW = time.time() // HOUR * HOUR + HOUR


class Traffic:
    """Records of a year, in order. One in ten thousand is answered by a provider that is nobody's first choice, one in
    a million is of a caller who hardly ever asks."""

    def __init__(self, records: int, days: float) -> None:
        self.records, self.began, self.step = records, NOW - days * DAY, days * DAY / records
        draw = self._draw = random.Random(20)
        callers = [f"team-{number:03}" for number in range(200)]
        shares = [1 / (place + 3) for place in range(len(callers))]
        self._callers = draw.choices(callers, shares, k=100_003)
        self._ends: list[tuple[Any, ...]] = []
        for _ in range(20_011):
            model = draw.randrange(12)
            provider = f"provider-{(model + draw.choice((0, 0, 0, 1))) % 5}"
            outcome = draw.choices(("served", "failed", "cancelled", "refused"), (960, 25, 10, 5))[0]
            total = draw.random() * 5000
            key, served = f"key-{draw.randrange(4)}", f"big-model-{model}"
            reason, status = ("ok", 200) if outcome == "served" else ("upstream_error", 502)
            attempt = Attempt(provider, served, key, 0.25, reason, status, total / 2, total)
            self._ends.append((f"model-{model:02}", outcome, provider, served, key, [attempt], total))

    def batch(self, first: int) -> list[Record]:
        bits, callers, ends = self._draw.getrandbits, self._callers, self._ends
        made = []
        for number in range(first, min(first + BATCH, self.records)):
            at = self.began + number * self.step
            model, outcome, provider, served, key, attempts, total = ends[number % len(ends)]
            caller = callers[number % len(callers)]
            if number % 10_000 == 0:
                provider = "last-resort"
            if number % 1_000_000 == 500_000:
                caller = "hardly-ever"
            plain = outcome == "served"
            made.append(
                Record(
                    f"req_{int(at * 1000):012x}{bits(80):020x}", at, caller, "openai_chat", "chat", model, True, model,
                    outcome, 200 if plain else 502, "" if plain else "upstream_error", "" if plain else "provider",
                    provider, served, key, "verbatim", "stop", attempts, [], [], total / 2, total,
                    bits(12), bits(9), bits(10), cost=bits(20),
                )
            )  # fmt: skip
        return made


class Work:
    """CPU seconds of this process, and of a server's processes. Those of a server that came and went count too, as far
    as their parent has heard of it, to a hundredth of a second."""

    def __init__(self, server: int | None) -> None:
        self._server = server  # the id of its first process

    def seconds(self) -> float:
        return time.process_time() + (0.0 if self._server is None else of_family(self._server))


def of_family(pid: int) -> float:
    """CPU seconds of a process and of those that it started, which may have ended."""
    ticks = sum(sum(_ticks(child)[:2]) for child in _children(pid)) + sum(_ticks(str(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def of_children(pid: int) -> float:
    """CPU seconds of those that still run."""
    return sum(sum(_ticks(child)[:2]) for child in _children(pid)) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[str]:
    return [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def _ticks(pid: str) -> list[int]:
    """A process's own and its ended children's."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return [0, 0, 0, 0]
    return [int(fact) for fact in facts[11:15]]


async def fill(store: MetadataStore, traffic: Traffic, work: Work) -> None:
    appending, working, began = 0.0, 0.0, time.monotonic()
    for first in range(0, traffic.records, BATCH):
        batch = traffic.batch(first)
        before, used = time.monotonic(), work.seconds()
        await store.append(batch)
        appending += time.monotonic() - before
        working += work.seconds() - used
        done = first + len(batch)
        if done % 500_000 == 0 or done == traffic.records:
            print(f"  {done:,} records in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(
        f"append: {traffic.records / appending:,.0f} records a second, in batches of {BATCH:,}; "
        f"{1e6 * working / traffic.records:.0f} CPU-µs each"
    )


Asking = Callable[[], Awaitable[Any]]


async def questions(store: MetadataStore, traffic: Traffic) -> AsyncIterator[tuple[str, Asking]]:
    def usage(since: float, *by: Any, until: float = NOW) -> Asking:
        return lambda: store.usage(UsageQuestion(since, until, by))

    def page(before: Any = None, **wanted: Any) -> Asking:
        return lambda: store.requests(RecordFilter(**wanted), 51, before)

    for span, days in (("24 hours", 1), ("30 days", 30), ("a year", 365)):
        since = NOW - days * DAY
        for by in (
            ("hour",),
            ("day",),
            ("model",),
            ("provider", "key"),
            ("caller",),
            ("day", "model"),
            ("caller", "model"),
        ):
            if (span, by) == ("a year", ("hour",)):
                continue  # more lines than the admin API gives
            yield f"usage of {span} by {' and '.join(by)}", usage(since, *by)
    yield "usage of the last hour by minute", usage(NOW - HOUR, "minute")
    yield "usage of 24 hours and a bit by model", usage(NOW - DAY - 1234.5, "model", until=NOW - 777.7)
    yield "usage of 30 days and a bit by caller", usage(NOW - 30 * DAY - 1234.5, "caller", until=NOW - 777.7)
    yield "requests: the latest", page()
    middle = traffic.began + traffic.records // 2 * traffic.step
    yield "requests: in the middle of all", page((middle, "req_"))
    yield "requests: the earliest page", page((traffic.began + 51 * traffic.step, "req_"))
    yield "requests: of one day long ago", page(since=middle, until=middle + DAY)
    filters: dict[str, dict[str, Any]] = {
        "of the busiest caller": {"caller": "team-000"},
        "of a caller": {"caller": "team-150"},
        "of a caller who hardly ever asks": {"caller": "hardly-ever"},
        "of a caller who never asked": {"caller": "nobody"},
        "for a model": {"model": "model-07"},
        "answered by a provider": {"provider": "provider-3"},
        "answered by the last resort": {"provider": "last-resort"},
        "that failed": {"outcome": "failed"},
        "served": {"outcome": "served"},
        "of a caller, that failed": {"caller": "team-150", "outcome": "failed"},
        "of a caller, by the last resort": {"caller": "team-020", "provider": "last-resort"},
        "of a caller, for a model, by a provider": {
            "caller": "team-100",
            "model": "model-07",
            "provider": "provider-3",
        },
        "of a caller who never asked, that were refused": {"caller": "nobody", "outcome": "refused"},
    }
    for name, wanted in filters.items():
        yield f"requests {name}", page(**wanted)
        yield f"requests {name}, from the middle on", page((middle, "req_"), **wanted)
    some = await store.requests(RecordFilter(), 1, (middle, "req_"))
    yield "one request", lambda: store.find_record(some[0].id)

    async def overview() -> None:
        await store.usage(UsageQuestion(NOW - 2 * DAY, NOW, ("hour",)))
        for by in ("model", "provider", "caller"):
            await store.usage(UsageQuestion(NOW - DAY, NOW, (by,)))  # type: ignore[arg-type]
        await store.usage(UsageQuestion(NOW - 2 * HOUR, NOW, ("provider",)))
        await store.requests(RecordFilter(), 10)

    yield "the overview page: all six of its questions", overview


async def ask(store: MetadataStore, traffic: Traffic, work: Work) -> None:
    middles, cpu = [], []
    print(f"{'first':>8} {'middle':>8} {'CPU':>8}  ms")
    async for name, asking in questions(store, traffic):
        took, used = [], 0.0
        for _ in range(AGAIN):
            began = time.perf_counter()
            await asking()
            took.append(1000 * (time.perf_counter() - began))
            used = used or work.seconds()  # the first has to read from the disk
        middles.append(statistics.median(took))
        cpu.append(1000 * (work.seconds() - used) / (AGAIN - 1))
        print(f"{took[0]:8.1f} {middles[-1]:8.1f} {cpu[-1]:8.1f}  {name}", flush=True)
    print(
        f"{len(middles)} questions; the slowest {max(middles):.0f} ms, "
        f"the middle one {statistics.median(middles):.1f} ms; "
        f"of CPU {max(cpu):.0f} and {statistics.median(cpu):.1f} ms"
    )


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[SqliteStore | PostgresStore, Work]]:
    patient = 600.0  # whatever it takes is to be told
    if kind == "sqlite":
        yield SqliteStore(SqliteSettings(url=f"sqlite:///{folder / 'hub.db'}", query_timeout=patient)), Work(None)
        return
    with Postgres.running(folder, "-c shared_buffers=512MB -c max_wal_size=4GB") as server:
        url = server.url("hub") if server.has("hub") else server.new_database("hub")
        yield PostgresStore(PostgresSettings(url=url, timeout=patient, query_timeout=patient)), Work(server.pid)


@asynccontextmanager
async def started(store: SqliteStore | PostgresStore) -> AsyncIterator[MetadataStore]:
    await store.start()
    try:
        await store.migrate()
        yield store
    finally:
        await store.stop()


async def measure(store: SqliteStore | PostgresStore, traffic: Traffic, work: Work) -> None:
    async with started(store) as filled:
        if not await filled.latest(1):
            await fill(filled, traffic, work)
        await ask(filled, traffic, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", choices=["sqlite", "postgresql"])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--folder", type=Path, help="where the database lies, and stays")
    options = parser.parse_args()
    traffic = Traffic(options.records, options.days)
    with tempfile.TemporaryDirectory(prefix="llmhub-scale-") as passing:
        folder = options.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        with database(options.store, folder) as (store, work):
            asyncio.run(measure(store, traffic, work))


if __name__ == "__main__":
    main()

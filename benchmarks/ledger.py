#!/usr/bin/env python3
"""Measure what recording one request costs: on the event loop, and in the thread that writes to SQLite.

On the loop: the intent, the record, its price, and the outcome, into a journal on disk. In the thread: batches into a
fresh file. `--instructions` counts instructions with valgrind instead, which is repeatable to one per cent.
"""

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmhub_plugins.stores.sql import SqliteSettings, SqliteStore

from llmhub_core.contracts import (
    Attempt,
    Caller,
    Candidate,
    CandidateStats,
    Deployment,
    Exchange,
    Plan,
    ProviderKey,
    RequestHead,
    Usage,
    Where,
)
from llmhub_core.gateway.refusal import new_id
from llmhub_core.hub import ledger as ledger_room
from llmhub_core.hub.ledger import Ledger
from llmhub_core.hub.pricing import Pricing

BATCH = ledger_room.BATCH
COUNTED = 2000


class Dialect:
    name = "openai_chat"


def exchange(caller: Caller, stats: CandidateStats) -> Exchange:
    """A request that its first candidate served, as the chain leaves it."""
    made = Exchange(new_id(), Dialect(), {}, Where({}, {}))  # type: ignore[arg-type]
    made.caller, made.body = caller, b"x" * 900
    made.head = RequestHead("bench", stream=False)
    made.plan = Plan("bench", "priority", [stats])
    begun = made.elapsed_ms()
    made.first_byte = time.perf_counter()
    made.attempts.append(Attempt("openai", "gpt-4o-mini", "main", begun, "ok", 200, made.first_byte_ms(), begun + 1))
    made.served_by, made.usage = stats, Usage(212, 29)
    made.lane, made.finish = "verbatim", "stop"
    made.ended("served", 200)
    return made


class Bench:
    def __init__(self, ledger: Ledger, pricing: Pricing) -> None:
        self._ledger, self._pricing = ledger, pricing
        deployment = Deployment("openai", "gpt-4o-mini")
        self._stats = CandidateStats(Candidate(deployment, ProviderKey("openai", "main")))
        self._caller = Caller("bench")

    def prepare(self, count: int) -> list[Exchange]:
        return [exchange(self._caller, self._stats) for _ in range(count)]

    def meter(self, exchanges: list[Exchange]) -> None:
        """What the chain does about each of them: `Ledger.intend` and `Hub.finish`."""
        for each in exchanges:
            self._ledger.intend(each)
            record = each.record()
            self._pricing.price((record,))
            self._ledger.close(record)


def as_served() -> None:
    """The garbage collector as `llm-hub serve` sets it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def writer_clock() -> Callable[[], float]:
    """The CPU clock of the store's thread."""
    (writer,) = (thread for thread in threading.enumerate() if thread.name.startswith("llmhub-sqlite"))
    assert writer.ident is not None
    clock = time.pthread_getcpuclockid(writer.ident)
    return lambda: time.clock_gettime(clock)


async def measure(count: int, part: str) -> None:
    with tempfile.TemporaryDirectory(prefix="llmhub-ledger-") as folder:
        store = SqliteStore(SqliteSettings(url=f"sqlite:///{folder}/hub.db"))
        await store.start()
        await store.migrate()
        pricing = Pricing({}, {"openai": "openai"})
        await pricing.learn([("openai", "gpt-4o-mini")])
        ledger_room.SHIP_EVERY = 3600.0  # shipped when we say
        ledger = Ledger(Path(folder) / "journal", store, pricing.complete)
        await ledger.start()
        bench = Bench(ledger, pricing)
        try:
            bench.meter(bench.prepare(BATCH // 2))  # warm
            await ledger.flushed()
            as_served()
            if part:
                await count_instructions(bench, ledger, part)
            else:
                await count_time(bench, ledger, count)
        finally:
            await ledger.stop()
            await store.stop()


async def count_instructions(bench: Bench, ledger: Ledger, part: str) -> None:
    exchanges = bench.prepare(COUNTED)
    if part == "loop":
        with counted():
            bench.meter(exchanges)
    else:
        bench.meter(exchanges)
        with counted():
            await ledger.flushed()


@contextmanager
def counted() -> Iterator[None]:
    command = "callgrind_control -i {} {} >/dev/null 2>&1"  # by a shell, for subprocess would count itself
    os.system(command.format("on", os.getpid()))  # noqa: S605
    yield
    os.system(command.format("off", os.getpid()))  # noqa: S605


async def count_time(bench: Bench, ledger: Ledger, count: int) -> None:
    in_writer = writer_clock()
    loop, shipping, writing = [], [], []
    for _ in range(count // BATCH):
        exchanges = bench.prepare(BATCH)
        begun = time.thread_time()
        bench.meter(exchanges)
        metered, everything, writer = time.thread_time(), time.process_time(), in_writer()
        await ledger.flushed()
        loop.append(metered - begun)
        shipping.append(time.process_time() - everything)
        writing.append(in_writer() - writer)
    for name, parts in (("on the loop", loop), ("shipping, all threads", shipping), ("… the store's thread", writing)):
        mean, middle = (1e6 * value / BATCH for value in (statistics.fmean(parts), statistics.median(parts)))
        print(f"{name:24}{mean:7.1f} CPU-µs a request; the middle one of {len(parts)} batches {middle:5.1f}")


def under_valgrind(part: str) -> int:
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, __file__, "--inside", part]
    done = subprocess.run(command, env={**os.environ, "PYTHONMALLOC": "pymalloc"}, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "Collected" in line]
    if not said:
        sys.exit(done.stderr)
    return int(said[0].split()[-1]) // COUNTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--instructions", action="store_true", help="count instructions with valgrind")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.instructions:
        for part, name in (("loop", "on the loop"), ("shipping", "shipping")):
            print(f"{name:24}{under_valgrind(part):7,} instructions a request")
    else:
        asyncio.run(measure(options.records, options.inside))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measure what open dashboards cost callers: the time of their requests, and the hub's CPU, with none and with many.

A hub is started with a month of records. Callers send requests at a steady rate, over a connection each; windows with
no dashboard and with --dashboards of them take turns, so that both see the same machine. An open dashboard is a stream
of events, and every few seconds somebody looks at a page: the overview, lists that are paged and filtered, usage,
keys, health. Whoever looks at dashboards is a process of its own that takes what CPU is left, so that callers wait for
the hub and not for it. The figures are of all windows of a kind together; compare the two, never runs of two machines.

Exit status 1: something was not answered. Figures never change it.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from llmhub_core.admin.accounts import Accounts
from llmhub_core.testing.house import House
from llmhub_core.testing.records import a_record

PASSWORD = "four words in one"
PAGES = (
    "/", "/requests", "/requests?outcome=failed", "/requests?model=m3", "/usage?by=model&from=7d", "/keys", "/health",
    "/alerts", "/providers", "/routes", "/admin/api/requests?limit=200", "/admin/api/usage?by=provider,hour&from=24h",
    "/admin/api/quotas", "/admin/api/health",
)  # fmt: skip
CONFIG = """
[[providers]]
name = "echo"
kind = "echo"
delay = 0.02
{keys}
[[routes]]
model = "fast"
deployments = [{{ provider = "echo", model = "small", input_price = 1, output_price = 2 }}]
"""
BODY = {"model": "fast", "messages": [{"role": "user", "content": "Say hello, and what the weather is like."}]}
DAY = 86_400


@dataclass
class Window:
    took: list[float] = field(default_factory=list)
    cpu: float = 0.0
    failed: int = 0
    pages: list[float] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    p99s: list[float] = field(default_factory=list)
    """Of each window by itself: their middle bears that others use the machine too."""

    def add(self, other: "Window") -> None:
        self.took += other.took
        if other.took:
            self.p99s.append(statistics.quantiles(other.took, n=100)[98])
        self.cpu += other.cpu
        self.failed += other.failed
        self.pages += other.pages
        for path, seconds in other.slowest.items():
            self.slowest[path] = max(seconds, self.slowest.get(path, 0.0))


def cpu_of(pid: int) -> float:
    """Seconds of CPU that the process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def fill(folder: Path, config: str, records: int) -> None:
    """A month of records, and somebody who signs in."""
    async with House(config, folder=folder) as house:
        assert house.hub.store.people is not None
        accounts = Accounts(house.hub.store.people)
        await accounts.add("ann", "owner", PASSWORD)
        accounts.close()
        now, chance = time.time(), random.Random(1)
        made = (
            a_record(
                f"r-{number:09}", arrived_at=now - 30 * DAY * (records - number) / records, provider="echo",
                model=f"m{chance.randrange(6)}", caller=f"c{chance.randrange(20)}", key="k0",
            )
            for number in range(records)
        )  # fmt: skip
        while batch := list(itertools.islice(made, 2000)):
            await house.hub.store.append(batch)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[str, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmhub_core", "serve", "--config", str(folder / "config.toml"),
        "--data-dir", str(folder / "data"), "--port", "0", "--log-level", "error",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        greeting = (await process.stdout.readline()).decode()
        found = re.search(r"listens on (\S+) \(", greeting)
        assert found is not None, greeting
        yield found[1], process.pid
    finally:
        process.terminate()
        await process.wait()


async def call(client: aiohttp.ClientSession, url: str, window: Window, until: float, rate: float) -> None:
    loop = asyncio.get_running_loop()
    at = loop.time() + random.random() / rate
    while at < until:
        await asyncio.sleep(at - loop.time())
        async with client.post(url + "/v1/chat/completions", json=BODY) as answer:
            await answer.read()
        # From when it was due: a hub that stalls makes all wait that come meanwhile.
        window.took.append(loop.time() - at)
        window.failed += answer.status != 200
        at += 1 / rate


async def signed_in(url: str) -> aiohttp.ClientSession:
    client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"origin": url})
    async with client.post(f"{url}/admin/api/session", json={"name": "ann", "password": PASSWORD}) as answer:
        assert answer.status == 200, await answer.text()
    return client


async def watch(client: aiohttp.ClientSession, url: str, every: float, window: Window, until: float) -> None:
    """An open dashboard, and now and then a page."""
    loop = asyncio.get_running_loop()

    async def listen() -> None:
        async with client.get(url + "/admin/api/events", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            assert answer.status == 200, await answer.text()
            async for _ in answer.content:
                pass

    listening = asyncio.create_task(listen())
    at = loop.time() + random.random() * every
    try:
        while at < until:
            await asyncio.sleep(at - loop.time())
            path = random.choice(PAGES)
            began = time.perf_counter()
            async with client.get(url + path) as answer:
                await answer.read()
            seconds = time.perf_counter() - began
            window.pages.append(seconds)
            window.slowest[path] = max(seconds, window.slowest.get(path, 0.0))
            window.failed += answer.status != 200
            at += every
        await asyncio.sleep(max(0.0, until - loop.time()))
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def watch_all(args: argparse.Namespace) -> Window:
    """All dashboards, in this process."""
    os.nice(19)
    window = Window()
    people = [await signed_in(args.watch) for _ in range(args.dashboards)]
    print("ready", flush=True)
    until = asyncio.get_running_loop().time() + args.seconds
    async with asyncio.TaskGroup() as group:
        for each in people:
            group.create_task(watch(each, args.watch, args.every, window, until))
    for each in people:
        await each.close()
    return window


async def measure(url: str, pid: int, args: argparse.Namespace, dashboards: int, seconds: float) -> Window:
    window, loop = Window(), asyncio.get_running_loop()
    watching = None
    if dashboards:
        watching = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--watch", url, "--dashboards", str(dashboards), "--every", str(args.every),
            "--seconds", str(seconds), stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        assert watching.stdout is not None
        await watching.stdout.readline()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        before, until = cpu_of(pid), loop.time() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(args.callers):
                group.create_task(call(client, url, window, until, args.rate / args.callers))
        window.cpu = cpu_of(pid) - before
    if watching is not None:
        told, _ = await watching.communicate()
        window.add(Window(**json.loads(told)))
    return window


async def run(args: argparse.Namespace) -> int:
    keys = "".join(
        f'[[providers.keys]]\nname = "k{n}"\nsecret = "sk-{n}-0123456789"\n' for n in range(1, args.keys + 1)
    )
    with tempfile.TemporaryDirectory(prefix="llmhub-dashboards-") as place:
        folder = Path(args.folder or place)
        config = CONFIG.format(keys=keys)
        if not (folder / "data").exists():
            folder.mkdir(exist_ok=True)  # noqa: ASYNC240 — nothing runs yet
            await fill(folder, config, args.records)
        async with serving(folder) as (url, pid):
            await measure(url, pid, args, args.dashboards, 5)  # warm
            windows = {0: Window(), args.dashboards: Window()}
            for _ in range(args.rounds):
                for dashboards, window in windows.items():
                    window.add(await measure(url, pid, args, dashboards, args.seconds))
    rows = []
    for dashboards, window in windows.items():
        parts = statistics.quantiles(window.took, n=1000)
        rows.append(
            {
                "dashboards": dashboards,
                "requests": len(window.took),
                "p50_ms": round(parts[499] * 1000, 2),
                "p95_ms": round(parts[949] * 1000, 2),
                "p99_ms": round(parts[989] * 1000, 2),
                "middle_p99_ms": round(statistics.median(window.p99s) * 1000, 2),
                "cpu_percent": round(window.cpu / (args.rounds * args.seconds) * 100, 1),
                "page_p50_ms": round(statistics.median(window.pages) * 1000, 1) if window.pages else None,
                "page_max_ms": round(max(window.pages) * 1000, 1) if window.pages else None,
                "failed": window.failed,
            }
        )
    for row in rows:
        print(json.dumps(row))
    for path, seconds in sorted(windows[args.dashboards].slowest.items(), key=lambda each: -each[1])[:5]:
        print(f"slowest {seconds * 1000:7.1f} ms  {path}")
    for name in ("p95_ms", "p99_ms", "middle_p99_ms"):
        more = rows[1][name] / rows[0][name] - 1  # type: ignore[operator]
        print(f"{name} with {args.dashboards} dashboards: {more:+.1%}")
    return 1 if any(window.failed for window in windows.values()) else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dashboards", type=int, default=20)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two pages of one dashboard")
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second, of all callers")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a window")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--folder", help="where the filled database is kept for the next run")
    parser.add_argument("--watch", help=argparse.SUPPRESS)  # what the process with the dashboards is told
    args = parser.parse_args()
    if args.watch:
        print(json.dumps(asdict(asyncio.run(watch_all(args)))))
        sys.exit()
    sys.exit(asyncio.run(run(args)))


if __name__ == "__main__":
    main()

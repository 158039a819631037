#!/usr/bin/env python3
"""Measure what open dashboards cost callers: the time of their requests, and the hub's CPU, with none and with many.

A hub is started with a month of records. Callers send requests at a steady rate, over a connection each; windows with
no dashboard and with --dashboards of them take turns, so that both see the same machine. An open dashboard is a stream
of events, and every few seconds somebody looks at a page: the overview, lists that are paged and filtered, usage,
keys, health.

It is the hub that callers shall wait for, and nothing else. So whoever looks at dashboards is a process of its own that
takes what CPU is left; hub and callers go before everything else on the machine, if root says so; and a window in which
another machine on the same host took more than --stolen of the CPU is thrown away and tried again.

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
import uvloop

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
LEAD = 2.0
"""Seconds before a window in which dashboards are opened: what is measured is that they are open."""

TRIES = 6
"""Windows of which one must have been quiet, or the noisy one counts."""


@dataclass
class Window:
    took: list[float] = field(default_factory=list)
    cpu: float = 0.0
    failed: int = 0
    pages: list[float] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    stolen: float = 0.0
    """Share of the machine's CPU that its host gave to others."""
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


def ticks() -> tuple[int, int]:
    """Of the whole machine so far: all, and those that its host gave to others."""
    counted = [*map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])]
    return sum(counted), counted[7]


def go_first(first: bool) -> bool:
    """Before everything else on the machine, or again like the rest. False if that is not ours to say."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO if first else os.SCHED_OTHER, os.sched_param(1 if first else 0))
    except PermissionError:
        return False
    return True


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
async def serving(folder: Path, python: str = sys.executable) -> AsyncIterator[tuple[str, int]]:
    process = await asyncio.create_subprocess_exec(
        python, "-m", "llmhub_core", "serve", "--config", str(folder / "config.toml"),
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


class Caller(asyncio.Protocol):
    """A connection on which one request after the other is sent. By hand, for what a library takes for itself would be
    a part of every figure."""

    def __init__(self, url: str) -> None:
        body = json.dumps(BODY).encode()
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {url.removeprefix('http://')}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if end and (length := re.search(rb"(?i)content-length: (\d+)", head)) and len(body) == int(length[1]):
            self._answer.set_result(head.startswith(b"HTTP/1.1 200 "))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_result(False)

    async def ask(self) -> bool:
        """Whether it was answered."""
        self._read, self._answer = b"", asyncio.get_running_loop().create_future()
        self._transport.write(self._request)  # type: ignore[attr-defined]
        return await self._answer


async def call(url: str, window: Window, until: float, rate: float) -> None:
    loop = asyncio.get_running_loop()
    host, _, port = url.removeprefix("http://").rpartition(":")
    transport, caller = await loop.create_connection(lambda: Caller(url), host, int(port))
    at = loop.time() + random.random() / rate
    while at < until:
        await asyncio.sleep(at - loop.time())
        window.failed += not await caller.ask()
        # From when it was due: a hub that stalls makes all wait that come meanwhile.
        window.took.append(loop.time() - at)
        at += 1 / rate
    transport.close()


async def signed_in(url: str) -> aiohttp.ClientSession:
    client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"origin": url})
    async with client.post(f"{url}/admin/api/session", json={"name": "ann", "password": PASSWORD}) as answer:
        assert answer.status == 200, await answer.text()
    return client


async def watch(client: aiohttp.ClientSession, url: str, every: float, window: Window, until: float) -> None:
    """An open dashboard, and now and then a page."""
    loop = asyncio.get_running_loop()

    async def listen() -> None:
        await asyncio.sleep(random.random() * LEAD * 0.8)  # people do not come all at once
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


async def watch_all(args: argparse.Namespace) -> None:
    """All dashboards, in this process: for as long, and on that hub, as each line of standard input says."""
    go_first(False)
    os.nice(19)
    people = {url: [await signed_in(url) for _ in range(args.dashboards)] for url in args.watch}
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        url, seconds, every = line.split()
        window, until = Window(), asyncio.get_running_loop().time() + float(seconds)
        async with asyncio.TaskGroup() as group:
            for each in people[url]:
                group.create_task(watch(each, url, float(every), window, until))
        print(json.dumps(asdict(window)), flush=True)
    for each in itertools.chain.from_iterable(people.values()):
        await each.close()


@asynccontextmanager
async def watchers(urls: list[str], dashboards: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--dashboards", str(dashboards), "--watch", *urls,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.stdin.close()
        await process.wait()


async def measure(
    asked: tuple[str, int], looked_at: str, looking: asyncio.subprocess.Process, args: argparse.Namespace
) -> Window:
    """One window; with dashboards open on the hub at `looked_at`, unless it is ""."""
    window, loop, (url, pid) = Window(), asyncio.get_running_loop(), asked
    assert looking.stdin is not None
    assert looking.stdout is not None
    if looked_at:
        looking.stdin.write(f"{looked_at} {args.seconds + LEAD} {args.every}\n".encode())
        await asyncio.sleep(LEAD)
    before, (all_ticks, stolen), until = cpu_of(pid), ticks(), loop.time() + args.seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(args.callers):
            group.create_task(call(url, window, until, args.rate / args.callers))
    window.cpu = cpu_of(pid) - before
    now, stolen_now = ticks()
    window.stolen = (stolen_now - stolen) / max(1, now - all_ticks)
    if looked_at:
        window.add(Window(**json.loads(await looking.stdout.readline())))
    return window


async def quiet(
    asked: tuple[str, int], looked_at: str, looking: asyncio.subprocess.Process, args: argparse.Namespace
) -> Window:
    for _ in range(TRIES):
        window = await measure(asked, looked_at, looking, args)
        if window.stolen <= args.stolen:
            break
    return window


async def run(args: argparse.Namespace) -> int:
    keys = "".join(
        f'[[providers.keys]]\nname = "k{n}"\nsecret = "sk-{n}-0123456789"\n' for n in range(1, args.keys + 1)
    )
    windows = {0: Window(), args.dashboards: Window()}
    if not go_first(True):
        print("only root may let hub and callers go first: they share the CPU with all else", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="llmhub-dashboards-") as place:
        folder = Path(args.folder or f"{place}/hub")
        if not (folder / "data").exists():
            folder.mkdir(exist_ok=True)  # noqa: ASYNC240 — nothing runs yet
            await fill(folder, CONFIG.format(keys=keys), args.records)
        async with serving(folder) as asked, watchers([asked[0]], args.dashboards) as looking:
            await measure(asked, asked[0], looking, argparse.Namespace(**{**vars(args), "every": 0.5}))  # warm
            for _ in range(args.rounds):
                for dashboards, window in windows.items():
                    window.add(await quiet(asked, asked[0] if dashboards else "", looking, args))
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
    parser.add_argument("--stolen", type=float, default=0.02, help="share of the CPU that others on the host may take")
    parser.add_argument("--folder", help="where the filled database is kept for the next run")
    parser.add_argument("--watch", nargs="+", help=argparse.SUPPRESS)  # what the process with the dashboards is told
    args = parser.parse_args()
    if args.watch:
        asyncio.run(watch_all(args))
        sys.exit()
    sys.exit(uvloop.run(run(args)))


if __name__ == "__main__":
    main()

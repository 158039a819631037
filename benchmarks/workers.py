#!/usr/bin/env python3
"""How much more several workers serve than one, with quotas in a real Redis: python benchmarks/workers.py

One hub after the other, with each number of --workers in turn, --reps times; hub, Redis, load and pretend provider
share the first two cores. What counts is the ratio of the medians of requests a second, and it needs a quiet machine:
what other programs took meanwhile is told. Every request reserves and settles limits of its token and of its key, and
is metered.

Needs Linux, two cores, a C compiler and redis-server. Exit status 1: no or wrong answers, or limits that do not add up.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Broken, Cores, Server, compile_tools, cores_busy_us, free_port, spent_us, upstream, usage
from scenarios import EVENTS, SCENARIOS, WORD, check, raw_request
from targets import HUB, Target, hub

START_SECONDS = 120
CALM_US = 50_000
"""CPU time in a second below which a hub only waits for requests."""
SERVE = "{python} -m llmhub_core serve --config {dir}/hub.toml --port {port} --data-dir {dir}/data --workers "


@dataclasses.dataclass(frozen=True)
class Figure:
    requests_per_second: float
    hub_us: float
    redis_us: float
    others: float


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Its address and process id. Nothing is written to the disk."""
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Broken("redis-server does not start")
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0", process.pid
    finally:
        process.kill()
        process.wait()


def target(workers: int, redis: str) -> Target:
    # On two cores Redis waits for its turn, and with the usual time-out it would look like a Redis that is away.
    storage = f'[storage]\nquota = "{redis}"\n[quota_stores.redis]\nprefix = "w{workers}"\ntimeout = 2.0\n'
    return dataclasses.replace(hub(f"{workers} workers", f"{SERVE}{workers}"), files={"hub.toml": storage + HUB})


def wait(server: Server) -> None:
    begin = time.monotonic()
    while True:
        try:
            check(SCENARIOS["whole"], server)
        except Broken as error:
            if server.ended() or time.monotonic() - begin > START_SECONDS:
                raise Broken(f"{error}\n{server.last_words()}") from error
            time.sleep(0.1)
        else:
            break
    calm = False
    while not calm:  # until all workers have started
        before = server.usage()
        time.sleep(1.0)
        calm = spent_us(before, server.usage()) < CALM_US or time.monotonic() - begin > START_SECONDS


def load(server: Server, scratch: Path, conns: int, seconds: float) -> dict[str, float]:
    scenario = SCENARIOS["whole"]
    request = scratch / "request"
    request.write_bytes(raw_request(scenario, server))
    words = [scratch / "load", server.port, request, conns, seconds, 0, WORD, scenario.word_times, scenario.end]
    done = subprocess.run(list(map(str, words)), check=True, capture_output=True, timeout=seconds + 60)
    result: dict[str, float] = json.loads(done.stdout)
    for fault in ("failed", "not_200", "incomplete", "wrong"):
        if result[fault]:
            raise Broken(f"{result[fault]:.0f} answers {fault}\n{server.last_words()}")
    return result


def measure(workers: int, options: argparse.Namespace, scratch: Path, cores: Cores) -> Figure:
    with (
        tempfile.TemporaryDirectory(dir=scratch) as folder,
        tempfile.TemporaryDirectory(dir=scratch) as place,
        upstream(scratch, EVENTS, 1000) as (port, provider),
        redis_server(Path(place)) as (redis, redis_pid),
    ):
        server = Server(target(workers, redis), port, cores, Path(folder))
        try:
            wait(server)
            load(server, scratch, options.conns, min(2.0, options.secs))
            hub_before, redis_before, rest_before = server.usage(), usage(redis_pid), usage(provider)
            busy = cores_busy_us(cores)
            result = load(server, scratch, options.conns, options.secs)
            hub_us = spent_us(hub_before, server.usage())
            redis_us = spent_us(redis_before, usage(redis_pid))
            known = hub_us + redis_us + spent_us(rest_before, usage(provider))
            others = cores_busy_us(cores) - busy - known
        finally:
            server.stop()
    many = max(1.0, result["requests"])
    return Figure(many / result["seconds"], hub_us / many, redis_us / many, others / 1e6 / result["seconds"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--workers", default="1,4", help="numbers with commas between; others are compared with the first"
    )
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", type=float, default=6.0)
    parser.add_argument("--conns", type=int, default=64)
    options = parser.parse_args()
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not there (your system's redis-server package)")
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("two cores are needed")
    os.sched_setaffinity(0, set(allowed[:2]))
    cores = Cores(allowed[0], allowed[1], shared=True)
    numbers = [int(number) for number in options.workers.split(",")]
    figures: dict[int, list[Figure]] = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as scratch:
        compile_tools(Path(scratch))
        for _ in range(options.reps):
            for number in numbers:
                try:
                    figure = measure(number, options, Path(scratch), cores)
                except Broken as error:
                    print(f"BROKEN {number} workers: {error}", file=sys.stderr)
                    return 1
                figures[number].append(figure)
                print(f"{number} workers: {figure.requests_per_second:,.0f} requests/s; load and other programs "
                      f"used {figure.others:.2f} cores", file=sys.stderr)  # fmt: skip
    print("| workers | requests/s | × | hub: CPU-µs/request | Redis: CPU-µs/request |\n|---:|---:|---:|---:|---:|")
    first = statistics.median(each.requests_per_second for each in figures[numbers[0]])
    for number, some in figures.items():
        rate = statistics.median(each.requests_per_second for each in some)
        hub_us, redis_us = (statistics.median(getattr(each, name) for each in some) for name in ("hub_us", "redis_us"))
        print(f"| {number} | {rate:,.0f} | {rate / first:.2f} | {hub_us:.0f} | {redis_us:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

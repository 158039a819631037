#!/usr/bin/env python3
"""Measure what llm-hub costs beside other gateways, as CPU time per request and per streamed event.

Each target runs alone on one core; the load and a pretend provider that costs next to nothing run on the other. The
targets take turns, --reps times. The table on stdout gives medians, and ratios of medians to nginx as a plain proxy:
compare ratios of one run, never absolute times of two. Method and results: docs/benchmarks.md.

Needs Linux, two cores, a C compiler, and nginx for the ratios. Exit status 1: a target did not start, or gave wrong,
failed or unfinished answers; figures never change it.
"""

import argparse
import dataclasses
import http.client
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import scenarios
from harness import Broken, Cores, Server, compile_tools, cores_busy_us, spent_us, upstream, usage
from report import Report, Row
from scenarios import SCENARIOS, WORD, Scenario, check, raw_request
from targets import INSTALLERS, KNOWN, Target, choose, missing

START_SECONDS = 120
FEW = 4  # connections for requests of megabytes


@dataclasses.dataclass(frozen=True)
class Plan:
    targets: list[Target]
    scenarios: list[Scenario]
    reps: int
    secs: float
    conns: int
    streams: int
    gap_us: int
    warm_up: bool
    cores: Cores


class Bench:
    def __init__(self, plan: Plan, scratch: Path, upstream_port: int, upstream_pid: int) -> None:
        self._plan = plan
        self._scratch = scratch
        self._upstream_port = upstream_port
        self._upstream_pid = upstream_pid
        self.rows: list[Row] = []
        self.faults: list[str] = []

    def run(self) -> None:
        # A fresh process each time: its memory is its own, and no idle target disturbs the one that is measured.
        for repetition in range(self._plan.reps):
            for target in self._plan.targets:
                if not any(fault.startswith(f"{target.name}: ") for fault in self.faults):
                    self._measure_target(target, repetition)

    def _measure_target(self, target: Target, repetition: int) -> None:
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix=f"{target.name}-") as folder:
            server = Server(target, self._upstream_port, self._plan.cores, Path(folder))
            try:
                start_s = self._wait(server)
                for scenario in self._plan.scenarios:
                    if scenario.suits(target):
                        self._note(self._measure(server, scenario, repetition, start_s))
            except Broken as error:
                self._blame(f"{target.name}: {error}\n{server.last_words()}".strip())
            finally:
                server.stop()

    def _wait(self, server: Server) -> float:
        """Seconds until the first good answer."""
        begin = time.monotonic()
        while True:
            try:
                check(SCENARIOS["whole"], server)
                return time.monotonic() - begin
            except Broken as error:
                if server.ended():
                    raise Broken("ended while starting") from error
                if time.monotonic() - begin > START_SECONDS:
                    raise Broken(f"not ready after {START_SECONDS} s: {error}") from error
            time.sleep(0.02)

    def _measure(self, server: Server, scenario: Scenario, repetition: int, start_s: float) -> Row:
        check(scenario, server)
        if self._plan.warm_up:
            self._load(server, scenario, min(1.0, self._plan.secs / 3))
        asked, used, busy, own = self._answers(), server.usage(), cores_busy_us(self._plan.cores), self._own_us()
        result = self._load(server, scenario, self._plan.secs)
        target_us = spent_us(used, server.usage())
        others_us = cores_busy_us(self._plan.cores) - busy - target_us - (self._own_us() - own)
        seconds, requests = result.pop("seconds"), int(result.pop("requests"))
        del result["bytes"]
        events = requests * scenarios.EVENTS if scenario.streamed else 0
        return Row(
            target=server.target.name,
            scenario=scenario.name,
            repetition=repetition,
            requests=requests,
            events=events,
            cpu_us_request=round(target_us / max(1, requests), 2),
            cpu_us_event=round(target_us / events, 3) if events else 0.0,
            requests_per_second=round(requests / seconds, 1),
            target_busy=round(target_us / 1e6 / seconds, 3),
            others_busy=round(max(0.0, others_us) / 1e6 / seconds, 3),
            pss_mb=round(server.pss_mb(), 1),
            start_s=round(start_s, 3),
            upstream_requests=self._answers() - asked,
            **{name: int(value) for name, value in result.items()},
        )

    def _load(self, server: Server, scenario: Scenario, seconds: float) -> dict[str, float]:
        request = self._scratch / "request"
        request.write_bytes(raw_request(scenario, server))
        conns = self._plan.streams if scenario.streamed else self._plan.conns
        if scenario.image_bytes:
            conns = min(conns, FEW)
        stagger_us = self._plan.gap_us // conns if scenario.streamed else 0
        shape = [scenario.word_times, scenario.end]
        words = [self._scratch / "load", server.port, request, conns, seconds, stagger_us, WORD, *shape]
        done = subprocess.run(list(map(str, words)), check=True, capture_output=True, timeout=seconds + 60)
        result: dict[str, float] = json.loads(done.stdout)
        return result

    def _own_us(self) -> float:
        """CPU time of everything that is neither the target nor another program."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)  # the load clients that have ended
        here = (time.process_time() + children.ru_utime + children.ru_stime) * 1e6
        return here + spent_us({}, usage(self._upstream_pid))

    def _answers(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream_port, timeout=10)
        connection.request("GET", "/count")
        count: int = json.loads(connection.getresponse().read())["answers"]
        connection.close()
        return count

    def _note(self, row: Row) -> None:
        self.rows.append(row)
        cost = f"{row.cpu_us_event:8.1f} CPU-µs/event" if row.events else f"{row.cpu_us_request:8.1f} CPU-µs/request"
        print(f"{row.repetition} {row.target:10} {row.scenario:10} {cost}, {row.requests} requests", file=sys.stderr)
        if row.disturbed:
            print(f"  warning: other programs used {row.others_busy:.2f} cores meanwhile", file=sys.stderr)
        if row.faults or not row.requests:
            names = ("failed", "not_200", "incomplete", "wrong", "unfinished")
            counts = ", ".join(f"{getattr(row, name)} {name}" for name in names)
            self._blame(f"{row.target}: {row.scenario}: {row.requests} answers, {counts}")
        elif row.upstream_requests < row.requests:
            missing_answers = row.requests - row.upstream_requests
            self._blame(f"{row.target}: {row.scenario}: {missing_answers} answers did not come from the upstream")

    def _blame(self, fault: str) -> None:
        self.faults.append(fault)
        print(f"BROKEN {fault}", file=sys.stderr)


def pick_cores(text: str | None) -> Cores:
    allowed = sorted(os.sched_getaffinity(0))
    if text:
        first, second = (int(number) for number in text.split(","))
        return Cores(first, second)
    if len(allowed) == 1:
        print("warning: only one core; target and load share it, and figures mean little", file=sys.stderr)
    return Cores(allowed[0], allowed[1 % len(allowed)])


def make_plan(options: argparse.Namespace) -> Plan:
    unknown = set(options.scenarios.split(",")) - SCENARIOS.keys()
    if unknown:
        raise SystemExit(f"unknown scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    quick: bool = options.quick
    return Plan(
        targets=choose(options.targets or ["nginx,aiohttp,llmhub"]),
        scenarios=[SCENARIOS[name] for name in options.scenarios.split(",")],
        reps=options.reps or (1 if quick else 3),
        secs=options.secs or (0.3 if quick else 4.0),
        conns=options.conns,
        streams=options.streams,
        gap_us=1_000 if quick else 10_000,
        warm_up=not quick,
        cores=pick_cores(options.cores),
    )


def setting(plan: Plan) -> str:
    streams = f"{plan.streams} streams of {scenarios.EVENTS} events {plan.gap_us / 1000:g} ms apart"
    place = f"Python {platform.python_version()}, Linux {platform.release()}"
    return f"{plan.reps} repetitions of {plan.secs:g} s; {plan.conns} connections; {streams}; {place}."


def install(name: str) -> None:
    if name not in INSTALLERS:
        raise SystemExit(f"cannot install {name!r}: only {', '.join(INSTALLERS)}")
    INSTALLERS[name]()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--targets",
        action="append",
        metavar="NAMES|NAME=COMMAND",
        help=f"of {', '.join(KNOWN)}, with commas between (default nginx,aiohttp,llmhub); or one more target by its "
        "command, which may use {port} {upstream} {dir} {python}; called like llmhub if it reads {dir}/hub.toml; "
        "may be given several times",
    )
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), metavar="NAMES", help="default: all, %(default)s")
    parser.add_argument("--reps", type=int, help="repetitions (default 3)")
    parser.add_argument("--secs", type=float, help="seconds of each measurement (default 4)")
    parser.add_argument("--conns", type=int, default=32, help="connections for whole answers (default %(default)s)")
    parser.add_argument("--streams", type=int, default=16, help="streams at a time (default %(default)s)")
    parser.add_argument("--events", type=int, default=scenarios.EVENTS, help="of a stream (default %(default)s)")
    parser.add_argument("--cores", metavar="TARGET,LOAD", help="the two cores (default: the first two allowed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: does it run, not how fast is it")
    parser.add_argument("--install", metavar="NAME", help=f"install {' or '.join(INSTALLERS)} for later runs, and end")
    return parser.parse_args()


def end_by_signal(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that every target is stopped on the way out


def main() -> int:
    options = parse()
    if options.install:
        install(options.install)
        return 0
    scenarios.EVENTS = options.events
    plan = make_plan(options)
    absent = [reason for reason in map(missing, plan.targets) if reason]
    if absent:
        raise SystemExit("\n".join(absent))
    signal.signal(signal.SIGTERM, end_by_signal)
    os.sched_setaffinity(0, {plan.cores.load})  # the load and the pretend provider inherit it
    with tempfile.TemporaryDirectory(prefix="llmhub-bench-") as folder:
        scratch = Path(folder)
        compile_tools(scratch)
        with upstream(scratch, scenarios.EVENTS, plan.gap_us) as (port, pid):
            bench = Bench(plan, scratch, port, pid)
            bench.run()
    print(Report(bench.rows).markdown(), setting(plan), sep="\n\n")
    if any(row.disturbed for row in bench.rows):
        print("\n(!) Other programs used the cores meanwhile: trust the ratios only, or measure again.")
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in bench.rows], indent=1) + "\n")
    return 1 if bench.faults else 0


if __name__ == "__main__":
    sys.exit(main())

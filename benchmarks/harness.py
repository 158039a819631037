"""Starting and stopping targets, and what they use: CPU time of a whole process tree, memory, other programs' CPU."""

import contextlib
import functools
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from targets import HERE, Target, environment

PROC = Path("/proc")
Usage = Mapping[tuple[int, int], int]  # (process, thread) -> ns on a CPU


class Broken(Exception):
    """The target does not do what it is for, so that there is nothing to measure."""


@dataclass(frozen=True)
class Cores:
    target: int
    load: int
    shared: bool = False  # the target may use both


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def compile_tools(scratch: Path) -> None:
    for name in ("upstream", "load"):
        subprocess.run(["cc", "-O2", "-o", str(scratch / name), str(HERE / f"{name}.c")], check=True)


def tree(root: int) -> set[int]:
    """The process, its descendants, and whoever is left in its session after a parent has gone."""
    parents: dict[int, int] = {}
    members = {root}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the name in brackets, which may hold anything: state, parent, group, session.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        if int(fields[3]) == root:
            members.add(int(entry.name))
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in members}
        grown = not children <= members
        members |= children
    return members


def usage(root: int) -> Usage:
    times: dict[tuple[int, int], int] = {}
    for pid in tree(root):
        for file in (PROC / str(pid) / "task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread may end at any time
                times[pid, int(file.parent.name)] = int(file.read_text().split()[0])
    return times


def spent_us(before: Usage, after: Usage) -> float:
    """CPU-µs between two readings. A thread that ended in between is lost; gateways keep theirs."""
    return sum(ns - before.get(thread, 0) for thread, ns in after.items()) / 1000


def pss_mb(root: int) -> float:
    """Memory in MB, with pages shared by several processes divided between them."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def cores_busy_us(cores: Cores) -> float:
    """CPU-µs that the two cores have spent on anything, time stolen by other virtual machines included."""
    wanted = {f"cpu{cores.target}", f"cpu{cores.load}"}
    ticks = 0
    for line in (PROC / "stat").read_text().splitlines():
        name, *values = line.split()
        if name in wanted:
            user, nice, system, _idle, _iowait, *rest = (int(value) for value in values[:8])
            ticks += user + nice + system + sum(rest)
    return ticks * 1e6 / os.sysconf("SC_CLK_TCK")


class Server:
    """A target while it runs: its folder, port and process."""

    def __init__(self, target: Target, upstream_port: int, cores: Cores, scratch: Path) -> None:
        self.target = target
        self.dir = scratch
        self.port = free_port() if target.command else upstream_port
        self._values = {
            "python": sys.executable,
            "bench": str(HERE),
            "dir": str(scratch),
            "port": str(self.port),
            "upstream": str(upstream_port),
        }
        for name, text in target.files.items():
            (scratch / name).write_text(self.fill(text))
        self._log = scratch / "log"
        self.process = self._start(cores) if target.command else None

    def fill(self, text: str) -> str:
        # Not str.format: nginx's configuration and JSON are full of braces.
        for name, value in self._values.items():
            text = text.replace("{" + name + "}", value)
        return text

    def _start(self, cores: Cores) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            return subprocess.Popen(
                shlex.split(self.fill(self.target.command)),
                cwd=self.dir,
                env=environment(self.target, self.fill),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=functools.partial(os.sched_setaffinity, 0, {cores.target, *([cores.load] * cores.shared)}),
            )

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def last_words(self) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return text[-1500:].strip()

    def usage(self) -> Usage:
        return usage(self.process.pid) if self.process else {}

    def pss_mb(self) -> float:
        return pss_mb(self.process.pid) if self.process else 0.0

    def stop(self) -> None:
        if not self.process:
            return
        members = tree(self.process.pid)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        for pid in members & tree(self.process.pid):  # whoever did not heed it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def upstream(scratch: Path, events: int, gap_us: int) -> Iterator[tuple[int, int]]:
    """The pretend provider, on the core of this process; gives its port and process id."""
    port = free_port()
    process = subprocess.Popen([str(scratch / "upstream"), str(port), str(events), str(gap_us)])
    try:
        deadline = time.monotonic() + 5
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Broken("the pretend provider does not start")
            time.sleep(0.01)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()

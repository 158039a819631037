"""Many processes that take from the same limits, some of them killed: what a shared quota store must bear.

    Race(store, folder, processes=8, amounts=(1, 1000), kills=20, lease=5.0).run(within=60.0)

Each process is this module, run as a program; it makes its store as the given one was made: class and settings.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from llmhub_core.contracts import Amount, HubError, Limit, LimitReached, QuotaStore

CALLERS = 25
"""In each process, at the same time, unless the race says otherwise."""


@dataclass(frozen=True)
class Task:
    """What a process is told. Everything settled leaves a byte in `log`: the number of its limit."""

    cls: type[QuotaStore]
    settings: object
    limits: tuple[Limit, ...]
    gate: Limit
    lease: float
    log: Path
    seed: int
    callers: int


class Race:
    """Takes until nothing is left of any limit while processes are killed and replaced; then adds up.

    Fails if more was used than a limit allows, if something stays reserved after the leases of the dead, or if
    some of a limit is still left at the end of the time.
    """

    def __init__(
        self,
        store: QuotaStore,
        folder: Path,
        *,
        processes: int,
        amounts: tuple[int, ...],
        kills: int,
        lease: float,
        seed: int = 0,
        callers: int = CALLERS,
    ) -> None:
        self.store = store
        self.lease = lease
        self.kills = kills
        self.random = random.Random(seed)  # noqa: S311
        name = uuid.uuid4().hex
        limits = tuple(Limit(f"race:{name}:{amount}", "requests", amount, 86_400) for amount in amounts)
        # Tighter than what all callers together ask for, so that places that leak would end the race.
        gate = Limit(f"race:{name}:gate", "concurrency", processes * callers // 2, 0)
        self.task = Task(type(store), store.settings, limits, gate, lease, folder / "settled", seed, callers)
        self.running: list[subprocess.Popen[bytes]] = []
        self.started = 0
        self.began = time.monotonic()
        for _ in range(processes):
            self._spawn()

    def run(self, within: float) -> None:
        try:
            asyncio.run(self._watch(time.monotonic() + within))
        finally:
            for process in self.running:
                process.kill()
            for process in self.running:
                process.wait()

    def _spawn(self) -> None:
        self.started += 1
        process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE)  # noqa: S603
        assert process.stdin is not None
        task = Task(**{**vars(self.task), "seed": self.task.seed * 1000 + self.started})
        process.stdin.write(pickle.dumps(task))
        process.stdin.close()
        self.running.append(process)

    async def _watch(self, deadline: float) -> None:
        store, task = self.store, self.task
        await store.start()
        killed = 0
        while True:
            levels = await store.levels(task.limits)
            for level in levels:
                assert level.used + level.reserved <= level.limit.amount, "overspent"
            if all(level.used == level.limit.amount for level in levels):
                break
            assert time.monotonic() < deadline, f"left unused: {[(each.limit.amount, each.left) for each in levels]}"
            for process in self.running:
                assert process.poll() is None, "a process ended by itself"
            if killed < self.kills and self._settled() and self.random.random() < 0.3:
                killed += 1
                victim = self.running.pop(self.random.randrange(len(self.running)))
                victim.kill()
                victim.wait()
                self._spawn()
            await asyncio.sleep(0.02)
        await self._add_up(killed)
        await store.stop()

    def _settled(self) -> bytes:
        return self.task.log.read_bytes() if self.task.log.exists() else b""

    async def _add_up(self, killed: int) -> None:
        """Nothing is left, so that only what the dead held in the gate may still be reserved."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()
        await asyncio.sleep(self.lease)
        for level in await self.store.levels([*self.task.limits, self.task.gate]):
            assert level.reserved == 0, "leaked"
            assert level.used == (0 if level.limit == self.task.gate else level.limit.amount)
        task, settled = self.task, self._settled()
        for place, limit in enumerate(task.limits):
            noted = settled.count(place)
            assert noted <= limit.amount, "overspent"
            # Who is killed between settling and noting it has no time to note it.
            assert noted >= limit.amount - (killed + len(self.running)) * task.callers
        used = sum(limit.amount for limit in task.limits)
        took = time.monotonic() - self.began
        print(f"{len(self.running)} processes of {task.callers} callers, {killed} killed: {used} of {used} used, "
              f"{len(settled)} settled and noted, none too many, none left reserved, in {took:.0f} s")  # fmt: skip


async def _take(store: QuotaStore, task: Task, log: int, left: set[int], random: random.Random) -> None:
    while left:
        place = random.choice(sorted(left))
        try:
            reservation = await store.reserve((task.limits[place], task.gate), Amount(), task.lease)
        except LimitReached as reached:
            if reached.limit == task.limits[place] and (reached.retry_after or 0) > 10 * task.lease:
                left.discard(place)  # all of it is used, and none is only reserved by somebody who may be dead
            await asyncio.sleep(random.random() * 0.05)
            continue
        await asyncio.sleep(random.random() * 0.01)
        if random.random() < 0.1:
            await store.settle(reservation, Amount(0))
            continue
        if random.random() < 0.3:
            await store.settle(reservation, Amount(), [task.gate])
        await store.settle(reservation, Amount())
        os.write(log, bytes([place]))


async def _work(task: Task) -> None:
    store = task.cls(task.settings)
    await store.start()
    log = os.open(task.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    left, chance = set(range(len(task.limits))), random.Random(task.seed)  # noqa: S311
    await asyncio.gather(*(_take(store, task, log, left, chance) for _ in range(task.callers)))
    await asyncio.sleep(3600)  # until the race is over


if __name__ == "__main__":
    try:
        asyncio.run(_work(pickle.load(sys.stdin.buffer)))  # noqa: S301
    except HubError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None

"""Time that passes only when everybody waits: an hour of traffic in a second, and the same hour each time.

    with virtual_time() as clock:
        clock.run(main())

Inside, the module `time` and the event loop know this time and no other, and so does all code that asks them.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

T = TypeVar("T")

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()


class Clock:
    """`now` is monotonic; the clock on the wall is `ahead` of it, and may be set by adding to that."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ahead = NOON

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.ahead

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(main)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        self._virtual = clock
        super().__init__(_Jump(clock))

    def time(self) -> float:
        return self._virtual.now


class _Jump(selectors.SelectSelector):
    """Nothing ever arrives from outside: waiting is over at once, and the time is then as late as it would be."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for somebody else"
        if timeout > 0:
            self._clock.now += timeout
        return []


@contextmanager
def virtual_time() -> Iterator[Clock]:
    clock = Clock()
    real = {name: getattr(time, name) for name in ("monotonic", "perf_counter", "time")}
    vars(time).update(monotonic=clock.monotonic, perf_counter=clock.monotonic, time=clock.wall)
    try:
        yield clock
    finally:
        vars(time).update(real)

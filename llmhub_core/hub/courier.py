"""Carries notices to channels, apart from everything else: each channel has its own line, and tries again by and by."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmhub_core.contracts.alerts import NotDelivered, Notice
from llmhub_core.contracts.observer import Observer

log = logging.getLogger("llmhub.alerts")

PAUSES = (1.0, 5.0, 30.0, 120.0)
"""Seconds before each further try; after the last the notice is given up."""

PATIENCE = 30.0
"""Seconds that a channel has for one try."""

LONGEST_WAIT = 600.0
"""The most that a receiver's own word for when to come back is heeded."""

MOST_WAITING = 100
"""Notices that wait for one channel; of more the oldest are dropped, and counted."""

LAST_WORDS = 3.0
"""Seconds that are left for what waits when the hub stops."""


def is_channel(observer: Observer) -> bool:
    return type(observer).deliver is not Observer.deliver


@dataclass(frozen=True, slots=True)
class Report:
    """How a channel fares, since the start of this process. `problem` is why the last try failed, "" if it did not."""

    name: str
    delivered: int
    waiting: int
    given_up: int
    last_at: float | None
    problem: str


class Channel:
    """One observer that carries notices, and how that goes. `problem` is why the last try failed, "" if it did not."""

    def __init__(self, observer: Observer, delivered: Callable[[Notice], None]) -> None:
        self._observer = observer
        self._tell = delivered
        self._waiting: deque[Notice] = deque()
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._trying = asyncio.Lock()
        self.delivered = 0
        self.given_up = 0
        self.problem = ""
        self.last_at: float | None = None

    @property
    def name(self) -> str:
        return self._observer.name

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def report(self) -> Report:
        return Report(self.name, self.delivered, self.waiting, self.given_up, self.last_at, self.problem)

    def put(self, notice: Notice) -> None:
        if len(self._waiting) >= MOST_WAITING:
            # The first may be under way, but then it has been in vain for long.
            self._waiting.popleft()
            self._give_up("too many notices wait for it")
        self._waiting.append(notice)
        self._empty.clear()
        self._more.set()

    async def run(self) -> None:
        while True:
            while self._waiting:
                notice = self._waiting[0]
                await self._carry(notice)
                if self._waiting and self._waiting[0] is notice:
                    self._waiting.popleft()
            self._empty.set()
            self._more.clear()
            await self._more.wait()

    async def emptied(self) -> None:
        await self._empty.wait()

    async def _carry(self, notice: Notice) -> None:
        for pause in (*PAUSES, None):
            try:
                await self.attempt(notice)
            except NotDelivered as error:
                if pause is None or not error.again:
                    self._give_up(str(error))
                    return
                await asyncio.sleep(max(pause, min(error.retry_after or 0.0, LONGEST_WAIT)))
            else:
                self._tell(notice)
                return

    async def attempt(self, notice: Notice) -> None:
        """One try, now; NotDelivered with a sentence that may be shown."""
        try:
            async with self._trying, asyncio.timeout(PATIENCE):
                await self._observer.deliver(notice)
        except NotDelivered as error:
            self.problem = str(error)
            raise
        except TimeoutError:
            self.problem = f"It did not answer within {PATIENCE:.0f} s."
            raise NotDelivered(self.problem) from None
        except Exception as error:
            # Its text may hold an address with a password in it.
            self.problem = f"It failed ({type(error).__name__})."
            raise NotDelivered(self.problem) from None
        self.problem, self.last_at = "", time.time()
        self.delivered += 1

    def _give_up(self, why: str) -> None:
        self.given_up += 1
        log.error("the channel %s did not deliver a notice: %s", self.name, why)


class Courier:
    """`delivered` is told of each notice that one channel has carried. Construct → start → `send` → stop."""

    def __init__(self, observers: Sequence[Observer], delivered: Callable[[Notice], None]) -> None:
        self.channels = [Channel(each, delivered) for each in observers if is_channel(each)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(channel.run()) for channel in self.channels]

    async def stop(self) -> None:
        """What waits is tried for a moment; an alert that nobody was told of is told after the next start."""
        try:
            async with asyncio.timeout(LAST_WORDS):
                for channel in self.channels:
                    await channel.emptied()
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def reports(self) -> list[Report]:
        return [channel.report() for channel in self.channels]

    def send(self, notice: Notice) -> None:
        for channel in self.channels:
            channel.put(notice)

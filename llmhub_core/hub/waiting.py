"""Lines of requests that wait for a key or a limit: first come, first served, one line a subject.

Only the first of a line tries; it is called when something was given back, when the time is over that it was told to
wait, and each second (another process may have given something back). Who has what it waited for leaves the line, and
the next one is called at once.
"""

from __future__ import annotations

import asyncio
from bisect import insort

LOOK_AGAIN = 1.0
"""Seconds after which the first in line looks without having been called."""


class Ticket:
    """A place in a line, kept while its holder tries. Leave it in any case: `leave` may be called more than once."""

    __slots__ = ("_bell", "_called", "_number", "_waiting", "subject")

    def __init__(self, waiting: Waiting, number: int, subject: str) -> None:
        self.subject = subject
        self._waiting = waiting
        self._number = number
        self._bell: asyncio.Future[None] | None = None
        self._called = False

    def __lt__(self, other: Ticket) -> bool:
        return self._number < other._number

    async def turn(self, seconds: float) -> None:
        """Until it is the ticket's turn to try: it is the first, and was called or waited for `seconds`."""
        line = self._waiting.lines.setdefault(self.subject, [])
        if self not in line:
            insort(line, self)
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        while not (self._called and line[0] is self):
            timer = None
            self._bell = loop.create_future()
            if line[0] is self:
                timer = loop.call_later(min(max(0.0, due - loop.time()), LOOK_AGAIN), self.call)
            try:
                await self._bell
            finally:
                self._bell = None
                if timer is not None:
                    timer.cancel()
        self._called = False

    def call(self) -> None:
        """Let the holder try, now or when it is done trying."""
        self._called = True
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def leave(self) -> None:
        """The holder has what it waited for, or waits no longer: the next one's turn."""
        line = self._waiting.lines.get(self.subject)
        if line is None or self not in line:
            return
        was_first = line[0] is self
        line.remove(self)
        if not line:
            del self._waiting.lines[self.subject]
        elif was_first:
            line[0].call()


class Waiting:
    """All lines; `most` may stand in each. `lines` is empty in the ordinary case, which costs one look."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lines: dict[str, list[Ticket]] = {}
        self._numbers = 0

    def ticket(self, subject: str) -> Ticket | None:
        """A place at the end of the line; None if that is full."""
        if len(self.lines.get(subject, ())) >= self.most:
            return None
        self._numbers += 1
        return Ticket(self, self._numbers, subject)

    def call(self) -> None:
        """Something was given back: the first of each line may try."""
        for line in [*self.lines.values()]:
            line[0].call()

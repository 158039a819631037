"""Guesses after refusals that tell nothing (`provisional`), of each account and model: made, held to, let go.

The process that was refused counts what had been admitted, and tells all that count in the same place: they hold to it
as well, and go by the same counts from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from llmhub_core.contracts.quota_store import Hold
from llmhub_core.hub.provisional import OVER, Provisional, Running

QUIET = 0.5
"""Seconds after a refusal at which is counted what went through: by then those refused with it have given back."""

GIVEN_BACK = 0.01
"""Seconds after which the one that was refused has given back itself what it had taken."""

MOST = 200
"""Accounts and models of which is guessed at a time what they take after a refusal: each costs a look a second."""

SHORT_REST = 1.0
"""Seconds of rest after a refusal of one too many at once, where it is known how many that is."""

REFUSED = "refused:"
"""What is told to others has this before the subject, and the counts as its reason."""

NEWS = 5.0
"""Seconds after which what is told is none: it was told to those that ran then."""


class Count(NamedTuple):
    """What is taken of a model of an account: in the last minute, and at once."""

    subject: str
    requests: int
    tokens: int
    at_once: int


class Counting(Protocol):
    """Who knows what is taken, and holds requests to what is guessed."""

    clock: Callable[[], float]

    def counts(self, subjects: Sequence[str]) -> Awaitable[list[Count]]:
        """None if that is not known at the moment."""
        ...

    def binds(self, subject: str) -> bool:
        """Whether anybody is held to anything."""
        ...

    def rests(self, subject: str) -> tuple[bool, bool]:
        """Whether it may not be used at all, and whether nobody tried that since it may."""
        ...

    def guessed(self, subject: str) -> None:
        """The guess is another one now."""
        ...

    def counted(self, count: Count) -> None:
        """So much had gone through at a refusal."""
        ...


class Guesses:
    """`tell` is called with what all processes have to know."""

    def __init__(self, counting: Counting, tell: Callable[[Hold], None]) -> None:
        self._counting = counting
        self._tell = tell
        self._guesses: dict[str, Provisional] = {}
        self._refused: dict[str, int] = {}
        """Refusals of what is being counted, the first one aside."""
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._guesses)

    def get(self, subject: str) -> Provisional | None:
        return self._guesses.get(subject)

    def subjects(self) -> set[str]:
        return {*self._guesses}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refused(self, subject: str) -> float | None:
        """A request was refused and nothing told. The seconds of rest that will do, where that is known."""
        if subject in self._refused:
            self._refused[subject] += 1
        else:
            self._refused[subject] = 0
            task = asyncio.create_task(self._count(subject))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        guess = self._guesses.get(subject)
        return SHORT_REST if guess is not None and guess.is_about_at_once else None

    async def _count(self, subject: str) -> None:
        """See what had been admitted when a request was refused: without those that are refused with it."""
        try:
            await asyncio.sleep(GIVEN_BACK)
            before = await self._counting.counts([subject])
            self._refused[subject] = 0
            await asyncio.sleep(QUIET)
            for was, count in zip(before, await self._counting.counts([subject]), strict=False):
                with_it = self._refused[subject]
                requests = max(count.requests, was.requests - with_it)
                told = requests, was.at_once, with_it, count.at_once
                self._guess(subject, *told)
                self._tell(Hold(REFUSED + subject, "cooling", " ".join(map(str, told)), OVER))
                guess = self._guesses.get(subject)
                if guess is None or not guess.is_about_at_once:  # else it says nothing of what a minute takes
                    self._counting.counted(count._replace(requests=requests))
        finally:
            del self._refused[subject]

    def adopt(self, hold: Hold) -> None:
        """What another process told."""
        subject = hold.subject.removeprefix(REFUSED)
        told = hold.reason.split()
        if hold.age < NEWS and len(told) == 4 and all(each.isdecimal() for each in told):
            self._guess(subject, *map(int, told))

    def _guess(self, subject: str, requests: int, *running: int) -> None:
        guess = self._guesses.get(subject)
        if not self._counting.binds(subject) or (guess is None and len(self._guesses) >= MOST):
            return
        if guess is None:
            guess = self._guesses[subject] = Provisional()
        guess.refused(requests, Running(*running), self._counting.clock())
        self._counting.guessed(subject)

    async def look(self) -> None:
        """Let more through where that goes well."""
        counting = self._counting
        for count in await counting.counts([subject for subject in self._guesses if subject not in self._refused]):
            subject, guess, now = count.subject, self._guesses.get(count.subject), counting.clock()
            if guess is None or subject in self._refused:
                continue
            if guess.over(now) or not counting.binds(subject):
                del self._guesses[subject]
            else:
                guess.looked(count.requests, count.at_once, *counting.rests(subject), now)
            counting.guessed(subject)

"""What an account seems to take just after it refused and told no number: held to for a minute, and let go bit by bit.

One refusal is no proof of a limit, but a good guess for the next moments: as many requests as had gone through in the
last minute, and as many at once as were running. That keeps all who wait from finding out one after the other what the
first one did. It is a rest that ends slowly, not a limit: nothing of it is kept, or shown as learned.

Pure, as `limit_estimates`: no store; moments are seconds of any clock. Whoever drives it says how much went through at
a refusal (`refused`) and now and then how much does now (`looked`).
"""

from __future__ import annotations

from typing import NamedTuple

from llmhub_core.hub.limit_estimates import more

WINDOW = 60.0
"""Seconds after a refusal for which no more requests are let through in a minute than before it."""

AT_ONCE, LONGEST_AT_ONCE = 2.0, 64.0
"""… and no more at once than were running; twice as long each time that as many were too many again."""

LAG = 1.5
"""Seconds after a rest within which whoever waited has been let through, where the guess has room for him."""

LIKE = 0.1
"""Share by which counts at two refusals may differ if they are about the same limit; by one of a few."""

A_FEW = 4

APART = 4.0
"""Seconds between refusals that tell anything of each other: much of what runs, or went through, is the same before."""

TOGETHER = 0.75
"""Seconds within which counts of several processes are about the same refusal."""

OVER = 600.0
"""Seconds after the last refusal at which nothing is known any more."""


class Guess:
    """No more than `amount`, None: any number. After a pause one more is tried, then two, then four, until one is
    refused again or more than at the last refusal (`base`) was plainly admitted. The pause is `shortest` seconds, and
    doubles up to `longest` while refusals come at the same count, which `times` counts; one that does not halves it."""

    __slots__ = (
        "agreed_at", "amount", "base", "before", "doubted", "grows_at", "longest", "pause", "shortest", "step", "times"
    )  # fmt: skip

    def __init__(self, shortest: float, longest: float) -> None:
        self.shortest = self.pause = shortest
        self.longest = longest
        self.amount: int | None = None
        self.base = 0
        self.step = 1
        self.grows_at = 0.0
        self.doubted = False
        self.times = 0
        self.agreed_at = 0.0
        self.before = (0, False, self.pause, 0, 0.0)

    def corrected(self, count: int, now: float) -> None:
        """It was refused at another count than was said last."""
        self.base, self.doubted, self.pause, self.times, self.agreed_at = self.before
        self.refused(count, now)

    def refused(self, count: int, now: float) -> None:
        """A request was refused where `count` had been admitted."""
        self.before = self.base, self.doubted, self.pause, self.times, self.agreed_at
        again = bool(self.base) and alike(count, self.base)
        if not again:
            self.base, self.times, self.agreed_at = count, self.times // 2, now
        elif not 0.0 <= now - self.agreed_at < APART:
            self.times, self.agreed_at = self.times + 1, now
        self.pause = min(2.0 * self.pause, self.longest) if again else self.shortest
        # With nothing there it was about something else; and what was disproved needs to be seen twice.
        self.amount = count if count and (again or not self.doubted) else None
        self.doubted = self.doubted and not again
        self.step = 1
        self.wait(now)

    def wait(self, now: float) -> None:
        """The pause begins now: until then nothing could be let through."""
        self.grows_at = now + self.pause

    def looked(self, count: int, now: float) -> None:
        """So much is admitted now, and nobody was refused since."""
        if self.amount is None:
            return
        if more(count, self.base):
            self.amount, self.doubted = None, True
        elif count >= self.amount and not 0.0 < self.grows_at - now <= self.pause:
            self.amount, self.step = count + self.step, 2 * self.step


def alike(count: int, base: int) -> bool:
    """Whether two refusals seem to be about the same limit."""
    return abs(count - base) <= max(base * LIKE, 1.0 if base >= A_FEW else 0.0)


class Running(NamedTuple):
    """What was running when requests were refused: at that moment, of which so many `refused` are this process's own,
    and what was `left` of it when all that were refused were gone."""

    then: int
    refused: int
    left: int

    def joined(self, other: Running) -> Running:
        """Of two processes that tell of the same moment."""
        return Running(min(self.then, other.then), self.refused + other.refused, max(self.left, other.left))

    @property
    def amount(self) -> int:
        """So many had been admitted."""
        return max(self.left, self.then - self.refused, 0)


class Provisional:
    """Of one model of one account: requests in a minute, and requests at once. Nobody knows what it refused for; one
    of the two is soon disproved."""

    __slots__ = ("_refused_at", "_requests", "_running", "_tried", "_woke_at", "at_once", "requests")

    def __init__(self) -> None:
        self.requests = Guess(WINDOW, WINDOW)
        self.at_once = Guess(AT_ONCE, LONGEST_AT_ONCE)
        self._refused_at: float | None = None
        self._requests, self._running = 0, Running(0, 0, 0)
        self._woke_at: float | None = None
        self._tried = False

    def refused(self, requests: int, running: Running, now: float) -> None:
        """After `requests` were admitted within the last minute. Those who were refused together in several processes
        each tell of their own."""
        if self._refused_at is not None and 0.0 <= now - self._refused_at < TOGETHER:
            self._requests, self._running = min(requests, self._requests), self._running.joined(running)
            tell = Guess.corrected
        else:
            self._requests, self._running, self._refused_at = requests, running, now
            tell = Guess.refused
        tell(self.requests, self._requests, now)
        tell(self.at_once, self._running.amount, now)
        # The one that agrees with itself more often is the one it is about.
        if self.at_once.times > self.requests.times:
            self.requests.amount = None
        elif self.requests.times > self.at_once.times:
            self.at_once.amount = None
        self._woke_at, self._tried = None, False

    @property
    def is_about_at_once(self) -> bool:
        """Whether refusals agree in how many are too many at once."""
        return self.at_once.amount is not None and self.at_once.times > self.requests.times

    def looked(self, requests: int, at_once: int, rests: bool, untried: bool, now: float) -> None:
        """So much is admitted now; `rests` while the account may not be used at all, `untried` while that is over and
        nobody was let through since."""
        if rests:
            return
        if self._woke_at is None:
            self._woke_at = now
            self.at_once.wait(now)
        elif not self._tried and now - self._woke_at >= LAG:
            self._tried = True
            if untried:  # the rest is over, and the guess lets nobody try that: then one more may
                self.requests.grows_at = now
        self.requests.looked(requests, now)
        self.at_once.looked(at_once, now)

    @property
    def amounts(self) -> tuple[int | None, int | None]:
        """Requests in a minute, and at once."""
        return self.requests.amount, self.at_once.amount

    def over(self, now: float) -> bool:
        """Whether it says nothing any more."""
        return self._refused_at is None or not 0.0 <= now - self._refused_at < OVER

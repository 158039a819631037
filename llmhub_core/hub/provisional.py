"""What an account seems to take just after it refused and told no number: held to for a minute, and let go bit by bit.

One refusal is no proof of a limit, but a good guess for the next moments: as many requests as had gone through in the
last minute, and as many at once as were running. That keeps all who wait from finding out one after the other what the
first one did. It is a rest that ends slowly, not a limit: nothing of it is kept, shown as learned, or shared.

Pure, as `limit_estimates`: no store; moments are seconds of any clock. Whoever drives it says how much went through at
a refusal (`refused`) and now and then how much does now (`looked`).
"""

from __future__ import annotations

from llmhub_core.hub.limit_estimates import more

WINDOW = 60.0
"""Seconds after a refusal for which no more requests are let through in a minute than before it."""

AT_ONCE, LONGEST_AT_ONCE = 2.0, 64.0
"""… and no more at once than were running; twice as long each time that as many were too many again."""

LAG = 1.5
"""Seconds after a rest within which whoever waited has been let through, where the guess has room for him."""

LIKE = 0.1
"""Share by which counts at two refusals may differ if they are about the same limit."""

OVER = 600.0
"""Seconds after the last refusal at which nothing is known any more."""


class Guess:
    """No more than `amount`, None: any number. After a pause one more is tried, then two, then four, until one is
    refused again or more than at the last refusal (`base`) was plainly admitted. The pause is `shortest` seconds, and
    doubles up to `longest` while refusals come at the same count, which `times` counts."""

    __slots__ = ("amount", "base", "doubted", "grows_at", "longest", "pause", "shortest", "step", "times")

    def __init__(self, shortest: float, longest: float) -> None:
        self.shortest = self.pause = shortest
        self.longest = longest
        self.amount: int | None = None
        self.base = 0
        self.step = 1
        self.grows_at = 0.0
        self.doubted = False
        self.times = 0

    def refused(self, count: int, now: float) -> None:
        """A request was refused where `count` had been admitted."""
        again = bool(self.base) and abs(count - self.base) <= self.base * LIKE
        self.times = self.times + 1 if again else 0
        self.pause = min(2.0 * self.pause, self.longest) if again else self.shortest
        self.base = count
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


class Provisional:
    """Of one model of one account: requests in a minute, and requests at once. Nobody knows what it refused for; one
    of the two is soon disproved."""

    __slots__ = ("_picks", "_refused_at", "_tried", "_woke_at", "at_once", "requests")

    def __init__(self) -> None:
        self.requests = Guess(WINDOW, WINDOW)
        self.at_once = Guess(AT_ONCE, LONGEST_AT_ONCE)
        self._refused_at = 0.0
        self._woke_at: float | None = None
        self._tried = False
        self._picks = 0

    def refused(self, requests: int, at_once: int, picks: int, now: float) -> None:
        """After `requests` were admitted within the last minute, while `at_once` of them were running; `picks` are
        the attempts that ever began."""
        self.requests.refused(requests, now)
        self.at_once.refused(at_once, now)
        # The one that agrees with itself more often is the one it is about.
        if self.at_once.times > self.requests.times:
            self.requests.amount = None
        elif self.requests.times > self.at_once.times:
            self.at_once.amount = None
        self._refused_at, self._woke_at, self._tried, self._picks = now, None, False, picks

    def looked(self, requests: int, at_once: int, picks: int, rests: bool, now: float) -> None:
        """So much is admitted now; `rests` while the account may not be used at all."""
        if rests:
            return
        if self._woke_at is None:
            self._woke_at = now
            self.at_once.wait(now)
        elif not self._tried and now - self._woke_at >= LAG:
            self._tried = True
            if picks == self._picks:  # the rest is over, and the guess lets nobody try that: then one more may
                self.requests.grows_at = now
        self.requests.looked(requests, now)
        self.at_once.looked(at_once, now)

    @property
    def amounts(self) -> tuple[int | None, int | None]:
        """Requests in a minute, and at once."""
        return self.requests.amount, self.at_once.amount

    def over(self, now: float) -> bool:
        """Whether it says nothing any more."""
        return not 0.0 <= now - self._refused_at < OVER

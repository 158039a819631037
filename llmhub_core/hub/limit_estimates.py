"""What a provider's limits seem to be: from what it tells, and from how much was used when it refused.

Pure: no clock, no store. Times are seconds since 1970 or of any clock that goes on at the same pace; everything is a
plain structure, so that it can be kept and read again as JSON.

Two kinds of evidence, two estimates:

    Told      numbers in headers and error bodies. One that is told `CONFIRMED` times counts; another one counts in
              its place when it was told as often in a row.
    Counted   a limit that is never told. At a refusal whoever drives it says how much went through within the window
              (`refused`), and every few seconds how much is used now (`looked`). Two refusals at about the same count,
              a window or more apart, make an estimate; where that is what holds requests back, a little more is tried
              now and then (additive at first, faster while it goes well), and less often each time it goes wrong.

How to drive `Counted`, for a simulation or the hub: keep a count of what was admitted within the last `window` seconds
(refused attempts left out); call ``refused(count, now)`` at a 429 that names no limit, ``looked(count, now)`` every few
seconds, and admit no more than ``bound(now)`` within the window, anything while that is None. `Hidden` does so for
requests and tokens together, for nobody knows which of them a refusal was about: the one whose refusals came at the
more even counts is taken for it.

A single event never tightens anything: neither one odd header, nor a burst of refusals, nor an outage.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Literal

import msgspec

from llmhub_core.contracts.rates import SeenLimit

Source = Literal["header", "body", "counts"]
Kind = Literal["requests", "tokens"]

CONFIRMED = 3
"""Times that a number has to be told before it counts."""

APART = 1.0
"""Seconds within which the same number told again is no further event: callers are refused together."""

TRUSTED = 3600.0
"""Seconds after which a number that was not told again holds nobody back (two windows, if that is longer): it may have
been raised, and only asking tells."""

ALIKE = 1.1
"""Refusals at counts that differ by no more than this are about the same limit."""

LEAST = 2
"""Refusals at fewer than this are about something else: a spent day, an outage."""

KEPT = 8
"""Refusals that are remembered, the latest ones."""

PRESSED = 0.9
"""Share of an estimate from which on it is what holds requests back."""

STEP, LONGEST_STEP = 0.05, 0.25
"""By how much an estimate is raised to see whether it is too low; twice as much each time it went well."""

PAUSE, LONGEST_PAUSE = 4.0, 64.0
"""Windows between a refusal and the next try of more; twice as many each time it went wrong."""

BOUNDLESS = 10**12
"""The amount of a limit that only counts."""

CLEARLY = 0.6
"""Share of the one spread that the other must stay below to be taken for the more even one."""

FORGOTTEN = 86_400.0
"""Seconds after the last refusal at which a counted limit is taken for gone."""


class Told(msgspec.Struct):
    """A limit as a provider tells it, of one `kind` in one `window`.

    amount          0 while nothing was told
    samples         how often this amount was told, moments apart
    first_seen      when it was told for the first time, and for the last; seconds, as all moments here
    other           an amount that was told since, and how often in a row
    left, resets_at what was told last of where it stands; None if that was not told
    last_reset      the last told reset that is past
    """

    kind: Kind
    window: int
    source: Source
    zone: str | None = None
    amount: int = 0
    samples: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    other: int = 0
    other_samples: int = 0
    other_seen: float = 0.0
    left: int | None = None
    resets_at: float | None = None
    last_reset: float | None = None

    def tell(self, seen: SeenLimit, source: Source, now: float) -> None:
        """`seen` was told in a header or a body."""
        self._stand(seen, now)
        if seen.amount == self.amount:
            if abs(now - self.last_seen) >= APART:  # what others saw may come later than it was
                self.samples += 1
            self.last_seen, self.other, self.other_samples = max(now, self.last_seen), 0, 0
            self.source = source
            return
        if not self.amount:
            self.amount, self.samples, self.source = seen.amount, 1, source
            self.first_seen = self.last_seen = now
            return
        if seen.amount != self.other:
            self.other, self.other_samples, self.other_seen = seen.amount, 1, now
        elif abs(now - self.other_seen) >= APART:
            self.other_samples, self.other_seen = self.other_samples + 1, now
        if self.other_samples >= CONFIRMED:
            self.amount, self.samples, self.source = self.other, self.other_samples, source
            self.first_seen = self.last_seen = now
            self.other = self.other_samples = 0

    def _stand(self, seen: SeenLimit, now: float) -> None:
        if seen.left is not None:
            self.left = seen.left
        if seen.zone is not None:
            self.zone = seen.zone
        if self.resets_at is not None and self.resets_at <= now:
            self.last_reset = self.resets_at
        if seen.resets_in is not None:
            self.resets_at = now + seen.resets_in

    @property
    def confidence(self) -> float:
        """0 to 1: how much of what was told lately agrees."""
        return min(self.samples, CONFIRMED) / (CONFIRMED + self.other_samples)

    def bound(self, now: float) -> int | None:
        """What requests should hold to; None while that is not known well enough."""
        fresh = now - self.last_seen <= max(TRUSTED, 2.0 * self.window)
        return self.amount if self.samples >= CONFIRMED and fresh else None


class Refusal(msgspec.Struct, array_like=True):
    """`count` is what had gone through within the window when a request was refused."""

    at: float
    count: int


class Counted(msgspec.Struct):
    """A limit that nobody tells, by what went through when requests were refused. `amount` is 0 while unknown.

    raised     whether `amount` is more than refusals speak for, to see whether it holds
    try_at     not before this is more tried
    """

    kind: Kind
    window: int = 60
    amount: int = 0
    refusals: list[Refusal] = []
    first_seen: float = 0.0
    last_seen: float = 0.0
    step: float = STEP
    pause: float = PAUSE
    raised: bool = False
    try_at: float = 0.0

    def refused(self, count: int, now: float) -> None:
        """A request was refused, after `count` had gone through within the window."""
        if count < LEAST or now - self.last_seen < self.window:
            return  # the same event still, or none of this kind
        if not self.first_seen:
            self.first_seen = now
        self.last_seen = now
        self.refusals = [*self.refusals, Refusal(now, count)][-KEPT:]
        self.pause = min(self.pause * 2.0, LONGEST_PAUSE) if self.raised else self.pause
        self.raised, self.step = False, STEP
        self.try_at = now + self.pause * self.window
        self.amount = self._agreed() or self.amount

    def looked(self, count: int, now: float) -> None:
        """`count` are used within the window that ends now, and nobody was refused for it."""
        if self.first_seen and now - self.last_seen > FORGOTTEN:
            self.forget()
        # What went through disproves that less was the limit.
        if any(more(count, each.count) for each in self.refusals):
            self.refusals = [each for each in self.refusals if not more(count, each.count)]
            self.amount = self.amount and max(self.amount, count)
        if not self.amount or count < self.amount * PRESSED or now < self.try_at:
            return
        if self.raised:  # that went well
            self.step, self.pause = min(self.step * 2.0, LONGEST_STEP), PAUSE
        self.amount = max(self.amount + 1, int(self.amount * (1.0 + self.step)))
        self.raised, self.try_at = True, now + self.window

    def forget(self) -> None:
        """As if there never was a refusal."""
        self.amount, self.refusals, self.raised, self.first_seen = 0, [], False, 0.0
        self.step, self.pause = STEP, PAUSE

    def _agreed(self) -> int:
        """The lowest count that two refusals have about in common; 0 if there is none."""
        counts = sorted(each.count for each in self.refusals)
        pairs = pairwise(counts)
        return next((low for low, high in pairs if not more(high, low)), 0)

    @property
    def samples(self) -> int:
        """Refusals that agree with the amount."""
        return sum(not more(each.count, self.amount) and not more(self.amount, each.count) for each in self.refusals)

    @property
    def confidence(self) -> float:
        """0 to 1: how many of the refusals agree with the amount, and how many there are."""
        return self.samples / (len(self.refusals) + 1) if self.amount else 0.0

    @property
    def spread(self) -> float:
        """How far the counts at refusals usually lie from the amount, as a share of it."""
        return median(abs(each.count - self.amount) for each in self.refusals) / self.amount if self.refusals else 0.0

    def bound(self, now: float) -> int | None:
        """What requests should hold to; None while that is not known well enough."""
        return self.amount if self.amount and now - self.last_seen <= FORGOTTEN else None


def more(count: int, than: int) -> bool:
    """Whether it is clearly more: by a tenth, and by two at least."""
    return count > max(than * ALIKE, than + 1)


class Hidden(msgspec.Struct):
    """Requests and tokens in a minute, of a provider that refuses and does not say what for."""

    requests: Counted = msgspec.field(default_factory=lambda: Counted("requests"))
    tokens: Counted = msgspec.field(default_factory=lambda: Counted("tokens"))

    def refused(self, requests: int, tokens: int, now: float) -> None:
        """A request was refused, after so many requests and tokens had gone through within the window."""
        self.requests.refused(requests, now)
        self.tokens.refused(tokens, now)

    def looked(self, requests: int, tokens: int, now: float) -> None:
        """So many are used within the window that ends now."""
        self.requests.looked(requests, now)
        self.tokens.looked(tokens, now)

    @property
    def last_seen(self) -> float:
        """When a refusal was about one of them; 0 if never."""
        return max(self.requests.last_seen, self.tokens.last_seen)

    @property
    def limit(self) -> Counted | None:
        """The one that the refusals are about, as it seems; None while nothing is known."""
        requests, tokens = self.requests, self.tokens
        if not (requests.amount and tokens.amount):
            return requests if requests.amount else tokens if tokens.amount else None
        # Where all requests are about as large, both are even, and requests are what most places count.
        return tokens if tokens.spread < requests.spread * CLEARLY else requests

    def bound(self, now: float) -> tuple[Kind, int] | None:
        """What requests should hold to within a minute."""
        limit = self.limit
        amount = None if limit is None else limit.bound(now)
        return None if limit is None or amount is None else (limit.kind, amount)


def likely(told: list[Told]) -> list[Told]:
    """Without those that only a misread window tells: the same amount in two windows is one limit, whose window was
    guessed twice, and the one that was told more often counts."""
    return [
        each
        for each in told
        if not any(
            (other.kind, other.amount) == (each.kind, each.amount)
            and (other.samples, -other.window) > (each.samples, -each.window)
            for other in told
        )
    ]

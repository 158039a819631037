"""While Redis is away each process counts for itself, with a share that all together can hardly exceed.

What a provider or a token may use in a window is divided by the number of hubs, and at first so is what was left when
Redis was heard last. Of money a hub may spend a twentieth of the limit, or half of its share of what was left if that
is less, and then nothing. Everything taken is written down with its time, for Redis to be told when it is back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmhub_core.contracts import Amount, Limit, LimitReached, Unavailable

if TYPE_CHECKING:
    from llmhub_plugins.stores.redis.counters import Counter

BUCKETS = 60
SOONEST, LATEST = 1.0, 30.0
"""Seconds that are told to callers: Redis may be back at any time."""
MONEY = 20
"""The part of a budget, one in so many, that may be spent at the most without Redis."""


def check(counters: Sequence[tuple[Counter, Limit]], amount: Amount, hubs: int, since: float, now: float) -> None:
    """LimitReached or Unavailable if there is no room; nothing is taken yet. `since` is when Redis went away."""
    for counter, limit in counters:
        need = counter.need(amount)
        if limit.kind == "money":
            if counter.spent >= _allowance(counter, limit, hubs):
                raise Unavailable(
                    "Budgets cannot be counted at the moment; try again soon.",
                    code="quota_backend_unavailable",
                    retry_after=5.0,
                )
        elif need > limit.amount:
            raise LimitReached(limit, None)
        elif not _has_room(counter, limit, need, hubs, since, now):
            raise LimitReached(limit, _wait(counter, limit, since, now))


def _allowance(counter: Counter, limit: Limit, hubs: int) -> int:
    return 0 if counter.left is None else min(limit.amount // MONEY, max(counter.left, 0) // (2 * hubs))


def _has_room(counter: Counter, limit: Limit, need: int, hubs: int, since: float, now: float) -> bool:
    share = max(1, limit.amount // hubs)
    if counter.kind == "g":
        return counter.inside < share
    forget(counter, limit, now)
    taken = sum(use[1] for use in counter.uses)
    left = _left_at_first(counter, limit, since, now)
    if left is not None:
        share = min(share, left // hubs)
    # A share may be smaller than one large request: that one may go alone.
    return taken + need <= share or (taken <= 0 < share and (left is None or need <= left))


def _left_at_first(counter: Counter, limit: Limit, since: float, now: float) -> int | None:
    """What was left when Redis went away, as long as that says something: one window."""
    if counter.left is None or counter.seen < since - limit.window or now >= since + limit.window:
        return None
    return max(counter.left, 0)


def _wait(counter: Counter, limit: Limit, since: float, now: float) -> float:
    if counter.kind == "g":
        return SOONEST
    first = counter.uses[0][0] if counter.uses else since
    return min(max(first + limit.window - now, SOONEST), LATEST)


def forget(counter: Counter, limit: Limit, now: float) -> None:
    """What has left the window."""
    uses = counter.uses
    while uses and uses[0][0] + limit.window <= now:
        uses.popleft()


def note(counter: Counter, amount: int, now: float) -> list[float]:
    """Write down a use; those that come within a sixtieth of the window share an entry, which bears the later time."""
    uses = counter.uses
    if counter.limit.kind == "money":
        counter.spent += amount
    if uses and now - uses[-1][0] < counter.limit.window / BUCKETS / 2:
        uses[-1][1] += amount
        return uses[-1]
    uses.append([now, amount])
    return uses[-1]

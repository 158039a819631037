"""Limits as the script knows them, and questions in Redis' own protocol, packed as far as they are always the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from datetime import time as time_of_day
from hashlib import sha1
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llmhub_core.contracts import Amount, Limit, Reservation

DAY = 86_400
LARGEST = 2**53 - 1
"""Lua counts in doubles: more than that of anything is counted as that."""
UNKNOWN = -1
"""A bucket that the script has to look for."""

encode = msgspec.msgpack.Encoder().encode

SOURCE = Path(__file__).with_name("quotas.lua").read_text("utf-8")


class Counter:
    """A limit, and what this process knows of it. Another nature of the same limit is another counter.

    left, seen    what was left of it in the latest answer, and when that came (monotonic seconds); None before
    inside        of a gate: how many reservations of this process are in it
    uses, spent   only while Redis is away: what was taken, as [when, how much], and of money the sum
    """

    __slots__ = ("inside", "key", "kind", "left", "limit", "name", "seen", "spent", "uses")

    def __init__(self, prefix: str, limit: Limit) -> None:
        self.limit = limit
        self.name = name_of(limit)
        self.kind = _kind_of(limit)
        self.key = packed(f"{{{prefix}}}:{self.name}")
        self.left: int | None = None
        self.seen = 0.0
        self.inside = 0
        self.uses: deque[list[float]] = deque()
        self.spent = 0

    def need(self, amount: Amount) -> int:
        """What `amount` takes from it; never less than nothing, whatever a provider reported."""
        if self.kind == "g":
            return 1
        value: int = getattr(amount, self.limit.kind)
        return min(max(value, 0), LARGEST)


def name_of(limit: Limit) -> str:
    return f"{limit.kind}/{limit.window}/{limit.zone or ''}/{limit.id}"


def _kind_of(limit: Limit) -> str:
    if limit.kind == "concurrency":
        return "g"
    return "d" if limit.zone is not None and limit.window == DAY else "s"


class Held(Reservation):
    """A reservation, and what it holds of each counter: [bucket, amount]. `at` is when it was made, in milliseconds by
    the server. While it is `local` Redis knows nothing of it, and the bucket is an entry of the counter's `uses`."""

    __slots__ = ("__weakref__", "at", "held", "local")
    held: dict[Counter, tuple[int | list[float], int]]
    at: int
    local: bool

    def let_go(self, ids: set[str] | None) -> list[Taken]:
        """Take the counters of these limits, or all, out of it. Nobody gets them twice."""
        gone = [counter for counter in self.held if ids is None or counter.limit.id in ids]
        if ids is not None:
            self.limits = tuple(limit for limit in self.limits if limit.id not in ids)
        self.settled = self.settled or ids is None or not self.limits
        for counter in gone:
            if counter.kind == "g":
                counter.inside -= 1
        return [Taken(counter, *self.held.pop(counter)) for counter in gone]


class Taken(msgspec.Struct, frozen=True, gc=False):
    counter: Counter
    bucket: int | list[float]
    amount: int


class Script:
    """A Lua source, named by its hash; Redis is sent the whole of it only if it does not know it yet."""

    def __init__(self, source: str) -> None:
        self.by_hash = packed("EVALSHA", sha1(source.encode()).hexdigest())  # noqa: S324 — that is how Redis names it
        self.whole = packed("EVAL", source)


class Plan:
    """Counters that are asked for together. `limits` are as they came, without those that are named twice; `gates` are
    those of the counters that somebody leaves again."""

    __slots__ = ("_blocks", "_count", "_keys", "_version", "counters", "gates", "limits")

    def __init__(self, born: str, limits: Sequence[Limit], counters: Sequence[Counter]) -> None:
        once = dict(zip(counters, limits, strict=True))
        self.counters = tuple(once)
        self.limits = tuple(once.values())
        self.gates = tuple(counter for counter in once if counter.kind == "g")
        self._count = b"*%d\r\n" % (7 + len(once))
        self._keys = b"".join((packed(len(once) + 1, born), *(counter.key for counter in self.counters)))
        self._blocks = b""
        self._version = -1

    def words(self, script: bytes, question: bytes, days: Days, tail: Sequence[int | str]) -> bytes:
        """The command that asks a packed `question`."""
        if self._version != days.version:
            self._blocks = packed_list([_block(limit, days) for limit in self.limits])
            self._version = days.version
        return b"".join((self._count, script, self._keys, question, self._blocks, packed_list(tail)))


def _block(limit: Limit, days: Days) -> tuple[str | int, ...]:
    kind = _kind_of(limit)
    begins, ends = days.of(limit.zone or "UTC") if kind == "d" else (0, 0)
    return kind, min(limit.amount, LARGEST), limit.window * 1000, begins, ends


class Days:
    """When today began and ends, in each zone, by the server's clock: no other clock is asked but for the first guess.
    The script says when a day is over; then `version` is another one."""

    def __init__(self, now: float) -> None:
        self.version = 0
        self._now = int(now * 1000)
        self._known: dict[str, tuple[int, int]] = {}

    def told(self, now: int) -> None:
        """It is `now` (milliseconds), and not the day we thought."""
        self.version += 1
        self._now = now
        self._known.clear()

    def of(self, zone: str) -> tuple[int, int]:
        found = self._known.get(zone)
        if found is None:
            where = ZoneInfo(zone)
            today = datetime.fromtimestamp(self._now / 1000, where).date()
            begins, ends = (
                int(datetime.combine(each, time_of_day(), where).timestamp() * 1000)
                for each in (today, today + timedelta(days=1))
            )
            found = self._known[zone] = begins, ends
        return found


def packed(*values: str | int) -> bytes:
    """Arguments of a command as Redis reads them."""
    return b"".join(_argument(str(value).encode()) for value in values)


def packed_list(values: Sequence[Any]) -> bytes:
    """One argument, which the script unpacks: that is quicker on both sides than many."""
    return _argument(encode(values))


def _argument(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def command(*words: str) -> bytes:
    """A whole command."""
    return b"*%d\r\n%b" % (len(words), packed(*words))

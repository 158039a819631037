"""How limits are counted in SQL. Times are whole milliseconds on a clock that all processes of the machine share.

A use belongs to a bucket: a sixtieth of a sliding window, a day, or the one bucket of a gate. A bucket counts until
the latest use that may be in it has left the window, and so too long by a sixtieth at the most.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from llmhub_core.contracts import Amount, Level, Limit, LimitReached, Reservation, StartError

Clock = Callable[[], float]

DAY = 86_400
BUCKETS = 60
NEVER = 2**62
LARGEST = 2**53 - 1
"""More than that of anything, and in any bucket, is counted as that: whatever a provider reported, sums fit."""
ROUNDING = 1e-4
"""Seconds added to a wait, so that a difference of floats never says a hair too little."""
SWEEP = 60_000
"""Milliseconds between two looks for what no longer counts."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS quota_clock (boot TEXT NOT NULL, ahead REAL NOT NULL, seen INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS quota_uses (
    counter TEXT NOT NULL, bucket INTEGER NOT NULL, taken INTEGER NOT NULL, leaves INTEGER NOT NULL,
    PRIMARY KEY (counter, bucket)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quota_held (
    lease TEXT NOT NULL, counter TEXT NOT NULL, bucket INTEGER NOT NULL, amount INTEGER NOT NULL,
    expires INTEGER NOT NULL, PRIMARY KEY (lease, counter)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quota_holds (
    number INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT NOT NULL, subject TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL, reason TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER
);
CREATE TABLE IF NOT EXISTS quota_claims (
    subject TEXT PRIMARY KEY, process TEXT NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS quota_held_expires ON quota_held (expires);
CREATE INDEX IF NOT EXISTS quota_held_counter ON quota_held (counter, expires);
"""
HOLD = "INSERT INTO quota_held VALUES (?, ?, ?, ?, ?)"
RENEW = "UPDATE quota_held SET expires = max(expires, ?) WHERE lease = ?"
LET_GO = "DELETE FROM quota_held WHERE lease = ? AND counter = ?"
EXPIRED = "SELECT lease, counter, bucket, amount FROM quota_held WHERE expires <= ?"
HELD_OF = "SELECT expires, bucket, amount FROM quota_held WHERE counter = ?"
ADD = (
    "INSERT INTO quota_uses VALUES (?, ?, ?, ?) "
    "ON CONFLICT (counter, bucket) DO UPDATE SET taken = min(taken + excluded.taken, 9007199254740991)"  # LARGEST
)
REDUCE = "UPDATE quota_uses SET taken = max(taken - ?, 0) WHERE counter = ? AND bucket = ?"
TAKEN_IN = "SELECT coalesce(sum(taken), 0) FROM quota_uses WHERE counter = ? AND bucket = ?"
TAKEN_SINCE = "SELECT coalesce(sum(taken), 0) FROM quota_uses WHERE counter = ? AND leaves > ?"
BUCKETS_SINCE = "SELECT leaves, taken FROM quota_uses WHERE counter = ? AND leaves > ? AND taken > 0 ORDER BY leaves"
FORGET = "DELETE FROM quota_uses WHERE leaves <= ? OR (leaves = ? AND taken = 0)"


class Held(Reservation):
    """A reservation, and what it holds of each counter: (bucket, amount)."""

    __slots__ = ("__weakref__", "held")
    held: dict[Counter, tuple[int, int]]

    def let_go(self, ids: set[str] | None) -> list[tuple[Counter, int, int]]:
        """Take the counters of these limits, or all, out of it: (counter, bucket, amount). Nobody gets them twice."""
        held = getattr(self, "held", {})
        gone = [counter for counter in held if ids is None or counter.limit.id in ids]
        if ids is not None:
            self.limits = tuple(limit for limit in self.limits if limit.id not in ids)
        self.settled = self.settled or ids is None or not self.limits
        return [(counter, *held.pop(counter)) for counter in gone]


class Counter:
    """A limit that slides. Another nature of the same limit is another counter."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.name = f"{limit.kind}/{limit.window}/{limit.zone or ''}/{limit.id}"
        self.window = limit.window * 1000

    def bucket(self, counts: Counts) -> int:
        return counts.now * BUCKETS // self.window

    def leaves(self, bucket: int) -> int:
        return -(-(bucket + 1) * self.window // BUCKETS) + self.window

    def counts(self, bucket: int, counts: Counts) -> bool:
        return self.leaves(bucket) > counts.now

    def taken(self, counts: Counts) -> int:
        return counts.number(TAKEN_SINCE, self.name, counts.now)

    def returns(self, counts: Counts) -> list[tuple[int, int]]:
        """When how much comes back by itself, soonest first: (milliseconds from now, amount)."""
        rows = counts.rows(BUCKETS_SINCE, self.name, counts.now)
        return [(leaves - counts.now, taken) for leaves, taken in rows]

    def back(self, bucket: int, counts: Counts) -> int:
        """In how many milliseconds the bucket no longer counts."""
        return self.leaves(bucket) - counts.now

    def resets_in(self, counts: Counts) -> int:
        return min((left for left, _ in self.returns(counts)), default=0)


class DayCounter(Counter):
    """From midnight to midnight of a zone. A clock set back finds the earlier day as it was left."""

    def bucket(self, counts: Counts) -> int:
        return counts.day(self.limit.zone or "UTC")[0]

    def leaves(self, bucket: int) -> int:
        return bucket + 3 * DAY * 1000  # only for FORGET, which goes by another clock

    def counts(self, bucket: int, counts: Counts) -> bool:
        return bucket == self.bucket(counts)

    def taken(self, counts: Counts) -> int:
        return counts.number(TAKEN_IN, self.name, self.bucket(counts))

    def returns(self, counts: Counts) -> list[tuple[int, int]]:
        return [(self.resets_in(counts), self.taken(counts))]

    def back(self, bucket: int, counts: Counts) -> int:
        return self.resets_in(counts)

    def resets_in(self, counts: Counts) -> int:
        return counts.day(self.limit.zone or "UTC")[1] - counts.wall_now


class GateCounter(Counter):
    """So many at once."""

    def bucket(self, counts: Counts) -> int:
        return 0

    def leaves(self, bucket: int) -> int:
        return NEVER

    def taken(self, counts: Counts) -> int:
        return counts.number(TAKEN_IN, self.name, 0)

    def returns(self, counts: Counts) -> list[tuple[int, int]]:
        return []

    def resets_in(self, counts: Counts) -> int:
        return min((expires - counts.now for expires, _, _ in counts.rows(HELD_OF, self.name)), default=0)


def counter_of(limit: Limit) -> Counter:
    if limit.kind == "concurrency":
        return GateCounter(limit)
    return DayCounter(limit) if limit.zone is not None and limit.window == DAY else Counter(limit)


def need_of(limit: Limit, amount: Amount) -> int:
    """What `amount` takes from `limit`; never less than nothing, whatever a provider reported."""
    if limit.kind == "concurrency":
        return 1
    return min(max(int(getattr(amount, limit.kind)), 0), LARGEST)


class Counts:
    """The open file. Between `begin` and `commit` the time stands still, and nobody else changes anything."""

    def __init__(self, path: Path, clock: Clock, wall: Clock) -> None:
        if not path.exists():
            # Private from its first moment; SQLite gives its side files the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._clock = clock
        self._wall = wall
        self._file = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._set_up()
        except BaseException:
            self._file.close()
            raise
        self._ask = self._file.cursor().execute
        self._days: dict[str, tuple[int, int]] = {}
        self._swept = 0
        self.now = 0
        self.wall_now = 0

    def _set_up(self) -> None:
        ask = self._file.execute
        (mode,) = ask("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StartError("SQLite cannot keep its write-ahead log beside the quota file; put it on a local disk.")
        ask("PRAGMA synchronous = NORMAL")
        ask("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            ask(statement)
        self._ahead = self._set_clock()
        ask("COMMIT")

    def _set_clock(self) -> float:
        """Seconds by which the time in the file is ahead of the steady clock: set when the machine was started (or the
        file made), so that it is about the time of day, and never changed until the next start."""
        boot, steady = _boot(), self._clock()
        known = self._file.execute("SELECT boot, ahead, seen FROM quota_clock").fetchone()
        if known is not None and known[0] == boot and (steady + known[1]) * 1000 >= known[2] - SWEEP:
            return float(known[1])
        ahead = self._wall() - steady
        if known is not None:
            ahead = max(ahead, known[2] / 1000 - steady)  # it does not go back, whatever the machine thinks
        self._file.execute("DELETE FROM quota_clock")
        self._file.execute("INSERT INTO quota_clock VALUES (?, ?, ?)", (boot, ahead, int((steady + ahead) * 1000)))
        return ahead

    def close(self) -> None:
        self._file.close()

    def time(self) -> int:
        """Milliseconds on the clock of the file; may be asked from any thread."""
        return int((self._clock() + self._ahead) * 1000)

    # transactions

    def begin(self) -> None:
        """Also gives back what has expired. sqlite3.OperationalError if another process writes."""
        self._ask("BEGIN IMMEDIATE")
        self.now = self.time()
        self.wall_now = int(self._wall() * 1000)
        for lease, name, bucket, amount in self._ask(EXPIRED, (self.now,)).fetchall():
            self._ask(LET_GO, (lease, name))
            self._ask(REDUCE, (amount, name, bucket))
        if self.now - self._swept > SWEEP:
            self._swept = self.now
            self._ask(FORGET, (self.now, NEVER))
            self._ask("UPDATE quota_clock SET seen = max(seen, ?)", (self.now,))

    def commit(self) -> None:
        self._ask("COMMIT")

    def roll_back(self) -> None:
        if self._file.in_transaction:
            self._ask("ROLLBACK")

    def number(self, question: str, *values: object) -> int:
        return int(self._ask(question, values).fetchone()[0])

    def rows(self, question: str, *values: object) -> list[Any]:
        return self._ask(question, values).fetchall()

    def run(self, statement: str, *values: object) -> int:
        """How many rows it concerned."""
        return self._ask(statement, values).rowcount

    def day(self, zone: str) -> tuple[int, int]:
        """When today began in `zone` and when it ends, on the clock on the wall."""
        begins, ends = self._days.get(zone, (0, 0))
        if not begins <= self.wall_now < ends:
            where = ZoneInfo(zone)
            today = datetime.fromtimestamp(self.wall_now / 1000, where).date()
            begins, ends = (
                int(datetime.combine(each, time_of_day(), where).timestamp() * 1000)
                for each in (today, today + timedelta(days=1))
            )
            self._days[zone] = begins, ends
        return begins, ends

    # what is asked

    def reserve(self, id: str, limits: Sequence[Limit], amount: Amount, lease: float) -> Held:
        counters = {limit.id: counter_of(limit) for limit in limits}
        needs = [(counter, need_of(counter.limit, amount)) for counter in counters.values()]
        if any(counter.taken(self) + need > counter.limit.amount for counter, need in needs):
            raise self._reached(needs)
        held = Held(id, tuple(limits), amount, (self.now + int(lease * 1000)) / 1000)
        held.held = {}
        for counter, need in needs:
            bucket = counter.bucket(self)
            self._add(counter, bucket, need)
            self._ask(HOLD, (id, counter.name, bucket, need, self.now + int(lease * 1000)))
            held.held[counter] = bucket, need
        return held

    def settle(self, id: str, held: list[tuple[Counter, int, int]], actual: Amount) -> None:
        for counter, bucket, amount in held:
            used = need_of(counter.limit, actual)
            is_gate = isinstance(counter, GateCounter)
            if not self._ask(LET_GO, (id, counter.name)).rowcount:
                amount = 0  # given back when the lease expired; what was used all the same is counted now
                used = 0 if is_gate else used
            elif is_gate:
                used = 0
            if used > amount:
                self._add(counter, counter.bucket(self), used - amount)
            elif used < amount:
                self._ask(REDUCE, (amount - used, counter.name, bucket))

    def renew(self, held: Sequence[Held], lease: float) -> None:
        until = self.now + int(lease * 1000)
        for one in held:
            if self._ask(RENEW, (until, one.id)).rowcount:
                one.expires = max(one.expires, until / 1000)

    def levels(self, limits: Sequence[Limit]) -> list[Level]:
        levels = []
        for limit in limits:
            counter = counter_of(limit)
            held = self.rows(HELD_OF, counter.name)
            reserved = sum(amount for _, bucket, amount in held if counter.counts(bucket, self))
            resets_in = max(counter.resets_in(self), 0) / 1000
            levels.append(Level(limit, counter.taken(self) - reserved, reserved, resets_in))
        return levels

    def _add(self, counter: Counter, bucket: int, amount: int) -> None:
        if amount:
            self._ask(ADD, (counter.name, bucket, amount, counter.leaves(bucket)))

    def _reached(self, needs: list[tuple[Counter, int]]) -> LimitReached:
        """The limit that keeps this reservation waiting longest; waiting so long, all of them have room."""
        slowest, longest = needs[0][0].limit, -1.0
        for counter, need in needs:
            excess = counter.taken(self) + need - counter.limit.amount
            if excess > 0:
                wait = self._wait(counter, excess) if need <= counter.limit.amount else math.inf
                if wait > longest:
                    slowest, longest = counter.limit, wait
        return LimitReached(slowest, None if longest == math.inf else longest / 1000 + ROUNDING)

    def _wait(self, counter: Counter, excess: int) -> float:
        """Milliseconds until so much will have come back: buckets leave, and leases may expire before them."""
        returns = counter.returns(self)
        for expires, bucket, amount in self.rows(HELD_OF, counter.name):
            if counter.counts(bucket, self) and expires - self.now < counter.back(bucket, self):
                returns += [(expires - self.now, amount), (counter.back(bucket, self), -amount)]
        for milliseconds, amount in sorted(returns):
            excess -= amount
            if excess <= 0:
                return milliseconds
        return math.inf


def _boot() -> str:
    """What is another one after each start of the machine, where the system tells it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""

"""Quotas counted in a SQLite file: exact for several processes of one machine, and kept over restarts.

Every process has a thread of its own that writes: it takes what waits, as many as there are, into one short
transaction, and each of them takes from all its limits or from none. Reservations are rows that expire, so that a
killed process gives back what it held.

Windows and leases go by the machine's steady clock, which all its processes share and nobody can set; only days go
by the clock on the wall. A commit survives the death of any process; a power cut may take back the latest ones.

Rooms: `counts` (how limits are counted, in SQL), `holds` (who must rest), `writer` (the thread).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakSet

from llmhub_plugins.stores.sqlite_quota.counts import Counts, Held
from llmhub_plugins.stores.sqlite_quota.holds import LATEST, Watcher, claim, holds_now, put
from llmhub_plugins.stores.sqlite_quota.writer import Writer

from llmhub_core.contracts import Amount, Hold, Level, Limit, QuotaStore, Reservation, StartError, Unavailable, hookimpl

Clock = Callable[[], float]

SETTLING = 60.0
"""Seconds for which a settlement tries to be written: what was used must not be forgotten."""

CLAIMING = 0.5
"""Seconds after which a request tries by itself what it cannot claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteQuotaSettings:
    """`url` as in ``sqlite:////absolute/path.db`` or ``sqlite:///relative.db``."""

    url: str = field(
        default="sqlite:///quota.db",
        metadata={"help": "The file, on a local disk: sqlite:////absolute/path.db, or sqlite:///relative.db."},
    )
    busy_timeout: float = field(
        default=5.0,
        metadata={"help": "Seconds to wait while another process writes; then requests with limits are refused."},
    )


class SqliteQuotaStore(QuotaStore):
    """One file, for all processes of one machine.

    `clock` measures windows and leases, must never go back and be the same in all processes; `wall` (seconds since
    1970) says when days begin. A reserve that cannot be written in time raises Unavailable.
    """

    name = "sqlite"
    Settings = SqliteQuotaSettings

    def __init__(self, settings: Any, *, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        super().__init__(settings)
        path = _path_of(settings.url)
        self._path = path
        self._writer = Writer(path, lambda: Counts(path, clock, wall))
        self._told: Callable[[Hold], None] | None = None
        self._watcher: Watcher | None = None
        self._patience: float = settings.busy_timeout
        self._process = f"{os.getpid():x}-{os.urandom(4).hex()}"
        self._numbers = count(1)
        self._mine: WeakSet[Held] = WeakSet()

    async def start(self) -> None:
        """StartError if the file cannot be used."""
        await self._writer.start(max(5.0, self._patience))
        if self._told is not None:
            self._watcher = Watcher(self._path, self._process, self._writer.time, self._told)
            self._watcher.start(await self._writer.ask(lambda counts: counts.number(LATEST), max(5.0, self._patience)))

    async def stop(self) -> None:
        """What waits to be written is written first."""
        if self._watcher is not None:
            await self._watcher.stop()
        await self._writer.stop()

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        id = f"{self._process}-{next(self._numbers)}"
        if not limits:
            return Held(id, (), amount, lease)
        held = await self._writer.ask(lambda counts: counts.reserve(id, limits, amount, lease), self._patience, _undo)
        self._mine.add(held)
        return held

    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        if not isinstance(reservation, Held):
            raise TypeError("This reservation was made by another quota store.")
        taken = reservation.let_go(None if limits is None else {limit.id for limit in limits})
        if taken:
            await self._writer.ask(lambda counts: counts.settle(reservation.id, taken, actual), SETTLING)

    async def renew(self, lease: float) -> None:
        if mine := [held for held in self._mine if held.held]:
            await self._writer.ask(lambda counts: counts.renew(mine, lease), self._patience)

    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]:
        return await self._writer.ask(lambda counts: counts.levels(limits), self._patience)

    async def hold(self, hold: Hold) -> None:
        await self._writer.ask(lambda counts: put(counts, self._process, hold), SETTLING)

    async def holds(self) -> Sequence[Hold]:
        return await self._writer.ask(holds_now, max(5.0, self._patience))

    async def claim(self, subject: str, lasts: float) -> float:
        try:
            return await self._writer.ask(lambda counts: claim(counts, self._process, subject, lasts), CLAIMING)
        except Unavailable:
            return 0.0

    def watch(self, told: Callable[[Hold], None]) -> None:
        self._told = told


def _undo(held: Held) -> Callable[[Counts], None] | None:
    """For a reservation that came when nobody waited for it any more."""
    taken = held.let_go(None)
    return lambda counts: counts.settle(held.id, taken, Amount(0))


def _path_of(url: str) -> Path:
    """What follows ``sqlite:///`` is the path as it is, nothing in it is an escape."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path == ":memory:" or "?" in path:
        raise StartError(
            f"{url!r} does not name a file for quotas. Write sqlite:////absolute/path.db or sqlite:///relative.db; "
            'for quotas in memory write "memory:".'
        )
    return Path(path).absolute()


@hookimpl
def register_quota_stores() -> list[type[QuotaStore]]:
    return [SqliteQuotaStore]

"""What is held against keys and accounts, in the same file, and a thread that sees what other processes change.

A change is a row with a number that only grows, so that looking asks for nothing but the rows since the last look.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from llmhub_plugins.stores.sqlite_quota.counts import Counts

from llmhub_core.contracts import Hold

log = logging.getLogger("llmhub.quota")

LOOK = 0.04
"""Seconds between two looks: what another process holds is known here within a tenth of a second."""
LIFTED_KEPT = 3_600_000
"""Milliseconds for which the file remembers that something was lifted, for those who have not seen it yet."""


OF = "SELECT number, process, subject, state, reason, since, until FROM quota_holds WHERE subject = ?"
SINCE = "SELECT number, process, subject, state, reason, since, until FROM quota_holds WHERE number > ? ORDER BY number"
LATEST = "SELECT coalesce(max(number), 0) FROM quota_holds"
PUT = "REPLACE INTO quota_holds (process, subject, state, reason, since, until) VALUES (?, ?, ?, ?, ?, ?)"
FORGET = "DELETE FROM quota_holds WHERE until <= ?"

CLAIMED = "SELECT until FROM quota_claims WHERE subject = ? AND process <> ?"
CLAIM = "REPLACE INTO quota_claims (subject, process, until) VALUES (?, ?, ?)"
CLAIM_OVER = "DELETE FROM quota_claims WHERE subject = ?"
CLAIMS_OVER = "DELETE FROM quota_claims WHERE until <= ?"

Row = tuple[int, str, str, str, str, int, int | None]


def put(counts: Counts, process: str, hold: Hold) -> None:
    """Within a transaction: deadlines only grow until somebody lifts them."""
    now = counts.now
    rows = counts.rows(OF, hold.subject)
    was = next((row for row in rows if row[6] is None or row[6] > now), None)
    lifted = was is None or was[3] == "active"
    counts.run(FORGET, now - LIFTED_KEPT)
    if hold.state == "active":
        tried = counts.run(CLAIM_OVER, hold.subject)
        if tried or not lifted:  # who waits for what becomes of it has forgotten the hold itself
            counts.run(PUT, process, hold.subject, "active", "", now, now + LIFTED_KEPT)
        return
    until = None if hold.lasts is None else now + int(hold.lasts * 1000)
    if was is not None and not lifted and (was[6] is None or (until is not None and until <= was[6])):
        return
    counts.run(CLAIM_OVER, hold.subject)
    counts.run(PUT, process, hold.subject, hold.state, hold.reason, now - int(hold.age * 1000), until)


def claim(counts: Counts, process: str, subject: str, lasts: float) -> float:
    """Within a transaction. What others hold for a time is not over; what lasts until it is lifted may be tried."""
    now = counts.now
    others = [row[6] for row in counts.rows(OF, subject) if row[1] != process and row[3] != "active" and row[6]]
    others += [until for (until,) in counts.rows(CLAIMED, subject, process)]
    left = max((until - now for until in others), default=0)
    if left > 0:
        return left / 1000
    counts.run(CLAIMS_OVER, now)
    counts.run(CLAIM, subject, process, now + int(lasts * 1000))
    return 0.0


def holds_now(counts: Counts) -> list[Hold]:
    found = [_hold(row, counts.now) for row in counts.rows(SINCE, -1)]
    return [hold for hold in found if hold is not None and hold.state != "active"]


def _hold(row: Row, now: int) -> Hold | None:
    """None if it is over."""
    _, _, subject, state, reason, since, until = row
    if until is not None and until <= now:
        return None
    if state == "active":
        return Hold(subject, "active")
    return Hold(subject, state, reason, None if until is None else (until - now) / 1000, max(0, now - since) / 1000)  # type: ignore[arg-type]


class Watcher:
    """A thread with a connection of its own, which only reads: nobody waits for it, and it waits for nobody."""

    def __init__(self, path: Path, process: str, now: Callable[[], int], told: Callable[[Hold], None]) -> None:
        self._path = path
        self._process = process
        self._now = now
        self._told = told
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmhub-holds", daemon=True)

    def start(self, latest: int) -> None:
        """`latest` is the number of the last change that is known already."""
        self._latest = latest
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        if self._thread.is_alive():
            self._stopping.set()
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        file = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        failing = False
        while not self._stopping.wait(LOOK):
            try:
                rows = file.execute(SINCE, (self._latest,)).fetchall()
            except sqlite3.Error as error:
                if not failing:
                    log.warning("what other processes hold cannot be seen: %s", error)
                failing = True
                continue
            failing = False
            if rows:
                self._latest = rows[-1][0]
                self._tell(rows)
        file.close()

    def _tell(self, rows: list[Row]) -> None:
        holds = [_hold(row, self._now()) for row in rows if row[1] != self._process]
        try:
            for hold in holds:
                if hold is not None:
                    self._loop.call_soon_threadsafe(self._told, hold)
        except RuntimeError:
            self._stopping.set()  # the loop is closed

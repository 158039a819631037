"""Everything from one database into another while the hub serves: copied, followed, and at the end taken over.

The sums of usage are carried as they were at one moment, and the records up to that moment without them. Each later
record is appended as the hub itself would append it, which counts it once, however often it comes. So a move may be
killed at any point and run again: it goes on where the target says that it was.

All else is little, and is carried whole at the end, when no hub has the source open any more. A hub that starts on the
target waits for that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmhub_core.contracts.archive import ARCHIVE_BATCH, PARTS, Archive, Part
from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.hub import moved
from llmhub_core.hub.folder import take_database

USAGE: tuple[Part, ...] = ("usage_hours", "usage_totals")
GROWS: Part = "audit"
"""Rows are only ever added to it."""
REST = tuple(part for part in PARTS if part not in USAGE)

PASSING = ("facts", "usage_totals")
"""Not compared at the end: notes of each database about itself, and short sums that are forgotten after their time."""

WATCH_EVERY = 0.25
"""Seconds between two looks for new records, and whether a hub still runs on the source."""

HOLD = 300.0
"""Seconds for which no record of the source is let go, said again in half of that: the number of the newest is given
again once that one is gone, and what bears it then would be missed."""


@dataclass(frozen=True, slots=True)
class Side:
    """A started store, as it is told of (without a password), and its parts."""

    store: MetadataStore
    shown: str
    archive: Archive
    facts: ConfigurationStore


def side(store: MetadataStore, shown: str) -> Side:
    """StartError if it cannot take part in a move."""
    if store.archive is None or store.configuration is None:
        raise StartError(f"{shown} cannot be copied row by row; take sqlite and postgresql.")
    return Side(store, shown, store.archive, store.configuration)


@dataclass(slots=True)
class Mover:
    """`source_url` is where its lock lies; `tell` is told how far it is, `caught_up` once when all that is left is to
    have the hub start on the target."""

    source: Side
    target: Side
    source_url: str
    tell: Callable[[str, int, int], None] = lambda what, done, total: None
    caught_up: Callable[[], None] = lambda: None
    followed: int = 0
    _state: dict[str, Any] = field(default_factory=dict)
    _held_until: float = 0.0

    async def run(self) -> Mapping[str, int]:
        """What is there at the end, counted on both sides. StartError if it cannot go on."""
        try:
            await self._begin()
            if "to" not in await moved.state(self.source.facts):
                await self._copy_sums()
                await self._copy_old()
                lock = await self._follow()
                try:
                    await self._take_over()
                finally:
                    os.close(lock)
        except LookupError as error:
            raise StartError(
                f"What came later cannot be told from what is copied: {error.args[0]}. Begin anew, in an empty one."
            ) from None
        sums = await self.target.archive.sums()
        await moved.note(self.target.facts, {})
        return sums

    async def _begin(self) -> None:
        there, here = await moved.state(self.target.facts), await moved.state(self.source.facts)
        if here.get("to", self.target.shown) != self.target.shown or (here and not there):
            raise StartError(f"{self.source.shown} was moved to {here['to']} already.")
        if there and there["from"] != self.source.shown:
            raise StartError(f"A move from {there['from']} into {self.target.shown} has begun; end that one.")
        if not there:
            sums = await self.target.archive.sums()
            filled = [name for name in ("records", "usage_hours", "users", "configuration", "audit") if sums[name]]
            if filled:
                raise StartError(
                    f"{self.target.shown} holds something already ({', '.join(filled)}). Name an empty database; "
                    "llm-hub export and import bring two together."
                )
            there = {"from": self.source.shown}
            await moved.note(self.target.facts, there)
        self._state = there
        await self._hold()
        newest = there.get("newest", 0)
        if newest and await self._id_of(newest) != there["id"]:
            raise LookupError("the newest record that was copied is gone, and its number may be another's")

    async def _hold(self) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # Ctrl-C came in a call to a database, and went no further
            raise asyncio.CancelledError
        now = time.monotonic()
        if now >= self._held_until - HOLD / 2:
            await self.source.archive.hold(HOLD)
            self._held_until = now + HOLD

    async def _id_of(self, number: int) -> str:
        _, found = await self.source.archive.newer(number - 1, 1, number)
        return found[0].id if found else ""

    async def _note(self, **more: int | str) -> None:
        self._state |= more
        await moved.note(self.target.facts, self._state)

    async def _copy_sums(self) -> None:
        if "mark" in self._state:
            return
        async with self.source.archive.snapshot() as snapshot:
            if snapshot.mark is None:
                raise StartError(
                    f"{self.source.shown} cannot be followed while it is written to, only SQLite can. "
                    "Stop the hub, and take llm-hub export and llm-hub import."
                )
            async with self.target.archive.intake() as intake:
                for part in USAGE:
                    await intake.clear(part)
                    done, total = 0, await snapshot.count(part)
                    async for rows in snapshot.rows(part):
                        done += await intake.add(part, rows)
                        self.tell("sums of usage", done, total)
            await self._note(mark=snapshot.mark, at=0, newest=snapshot.mark, id=await self._id_of(snapshot.mark))

    async def _copy_old(self) -> None:
        at, mark = self._state["at"], self._state["mark"]
        while at < mark:
            last, records = await self.source.archive.newer(at, ARCHIVE_BATCH, mark)
            async with self.target.archive.intake() as intake:
                await intake.add_records(records)
            at = last if records else mark
            await self._note(at=at)
            await self._hold()
            self.tell("requests", at, mark)

    async def _follow(self) -> int:
        """Until no hub has the source open; the lock that keeps it so."""
        told = False
        while True:
            while await self._step():
                pass
            lock = self._lock()
            if lock is not None:
                return lock
            if not told:
                told = True
                self.caught_up()
            await asyncio.sleep(WATCH_EVERY)

    async def _step(self) -> bool:
        """A batch of what came later; False if there is nothing."""
        await self._hold()
        at, records = await self.source.archive.newer(self._state["at"], ARCHIVE_BATCH)
        if records:
            await self.target.store.append(records)
            await self._note(at=at, newest=at, id=records[-1].id)
            self.followed += len(records)
        return bool(records)

    def _lock(self) -> int | None:
        try:
            return take_database(self.source_url, alone=True, counts_in="")
        except StartError:
            return None

    async def _take_over(self) -> None:
        """Nobody writes to either side now."""
        while await self._step():
            pass
        async with self.source.archive.snapshot() as snapshot, self.target.archive.intake() as intake:
            for part in REST:
                if part != GROWS:
                    await intake.clear(part, keep=(moved.FACT,) if part == "facts" else ())
                async for rows in snapshot.rows(part):
                    await intake.add(part, rows)
        await self._verify()
        await moved.note(self.source.facts, {"to": self.target.shown})

    async def _verify(self) -> None:
        here, there = await self.source.archive.sums(), await self.target.archive.sums()
        # What retention let go here after it was copied is still there.
        wrong = [
            f"{name}: {count:,} here, {there[name]:,} there"
            for name, count in here.items()
            if name not in PASSING and (there[name] < count if name == "records" else there[name] != count)
        ]
        if wrong:
            raise StartError(
                f"The two databases do not agree ({'; '.join(wrong)}), so nothing was switched: the hub may go on with "
                f"{self.source.shown}. Was anything else written to {self.target.shown}? Empty it, and begin anew."
            )

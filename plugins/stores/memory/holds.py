"""What is held against keys and accounts, by the clock of the store: kept in the journal, each line whole in itself."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from llmhub_plugins.stores.memory.counters import Clock

from llmhub_core.contracts import Hold
from llmhub_core.contracts.candidate import KeyState


class HoldNote(msgspec.Struct, array_like=True, gc=False):
    """As the journal has it; `until` None: until it is lifted, state ``active``: it was."""

    subject: str
    state: KeyState
    reason: str
    since: float
    until: float | None


class Holds:
    """Deadlines only grow until somebody lifts them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._notes: dict[str, HoldNote] = {}

    def put(self, hold: Hold) -> HoldNote | None:
        """What is to be written down; None if nothing changed."""
        now = self._clock()
        was = self._notes.get(hold.subject)
        if was is not None and _over(was, now):
            was = None
        if hold.state == "active":
            if self._notes.pop(hold.subject, None) is None:
                return None
            return HoldNote(hold.subject, "active", "", now, now)
        until = None if hold.lasts is None else now + hold.lasts
        if was is not None and (was.until is None or (until is not None and until <= was.until)):
            return None
        note = self._notes[hold.subject] = HoldNote(hold.subject, hold.state, hold.reason, now - hold.age, until)
        return note

    def all(self) -> list[HoldNote]:
        """What holds now; the rest is forgotten."""
        now = self._clock()
        self._notes = {subject: note for subject, note in self._notes.items() if not _over(note, now)}
        return list(self._notes.values())

    def listed(self) -> list[Hold]:
        now = self._clock()
        return [
            Hold(note.subject, note.state, note.reason, None if note.until is None else note.until - now,
                 max(0.0, now - note.since))
            for note in self.all()
        ]  # fmt: skip

    def restore(self, notes: Iterable[HoldNote], shift: float) -> None:
        """Those of an earlier run, in order; `shift` is what to add to the times of its clock."""
        for note in notes:
            self._notes.pop(note.subject, None)
            if note.state != "active":
                until = None if note.until is None else note.until + shift
                self._notes[note.subject] = HoldNote(note.subject, note.state, note.reason, note.since + shift, until)


def _over(note: HoldNote, now: float) -> bool:
    return note.until is not None and note.until <= now

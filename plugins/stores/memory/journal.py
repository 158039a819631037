"""What of the counters is written down: one line a second with what changed, in absolute numbers.

A line is a CRC-32 in hexadecimal, a space and JSON; one that a crash cut short fails its checksum, and everything
before it is whole. The file is written anew, beside the old one and then in its place, when it has grown.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from llmhub_plugins.stores.memory.counters import GATE, LARGEST, Bucket, Clock, Counter, counter_for
from llmhub_plugins.stores.memory.holds import HoldNote

from llmhub_core.contracts import Limit

SMALL = 256 * 1024
"""Bytes below which a file is not worth being written anew."""
GROWTH = 4
"""How many times what it holds a file may measure."""


class CounterNote(msgspec.Struct, array_like=True, gc=False):
    """A limit and the buckets of it that changed, each as (opened, leaves, taken)."""

    id: str
    kind: str
    amount: int
    window: int
    zone: str | None
    buckets: list[tuple[float, float, int]]


class LeaseNote(msgspec.Struct, array_like=True, gc=False):
    """An open lease, and what it holds: of which limit, how much, in the bucket opened when."""

    number: int
    expires: float
    held: list[tuple[str, int, float]]


class Note(msgspec.Struct, omit_defaults=True, gc=False):
    """A line. `boot`, `clock` and `wall` tell when it was written, by both clocks; `closed` are numbers of leases."""

    counters: list[CounterNote] = []
    leases: list[LeaseNote] = []
    closed: list[int] = []
    holds: list[HoldNote] = []
    boot: str = ""
    clock: float = 0.0
    wall: float = 0.0


def note_of(counter: Counter, everything: bool = False) -> CounterNote | None:
    """What the journal does not know of it yet; None if it knows all."""
    newest = counter.newest
    if counter.kind == GATE or not (everything or counter.changed or newest.leaves != newest.noted_leaves):
        return None
    counter.changed = False
    buckets = []
    for bucket in counter.buckets:
        if everything or bucket.taken != bucket.noted or bucket.leaves != bucket.noted_leaves:
            bucket.noted, bucket.noted_leaves = bucket.taken, bucket.leaves
            buckets.append((bucket.opened, bucket.leaves, min(bucket.taken, LARGEST)))
    limit = counter.limit
    return CounterNote(limit.id, limit.kind, limit.amount, limit.window, limit.zone, buckets) if buckets else None


class Journal:
    """The file at `path`. Raises OSError when the disk refuses; what a rewriting leaves half done is not used."""

    def __init__(self, path: Path, clock: Clock, wall: Clock) -> None:
        self._path = path
        self._clock = clock
        self._wall = wall
        self._boot = _boot()
        self._fd = -1
        self._size = 0
        self._whole = 0
        self.wants_rewriting = False

    def write(self, note: Note) -> None:
        """Hand a line to the operating system: from here on the death of this process cannot lose it."""
        note.boot, note.clock, note.wall = self._boot, self._clock(), self._wall()
        entry = msgspec.json.encode(note)
        line = b"%08x %b\n" % (zlib.crc32(entry), entry)
        if os.write(self._fd, line) != len(line):
            raise OSError(28, "no space is left on the disk")
        self._size += len(line)
        self.wants_rewriting = self._whole > 0 and self._size > max(SMALL, GROWTH * self._whole)

    def sync(self) -> None:
        """Blocks: call it in a thread."""
        os.fdatasync(self._fd)

    @contextlib.contextmanager
    def rewriting(self) -> Iterator[None]:
        """Within, lines go to a new file; at the end it takes the place of the old one."""
        old, fresh = self._fd, self._path.with_name(f"{self._path.name}.part")
        self._fd = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = self._whole = 0
        try:
            yield
            fresh.replace(self._path)
        except BaseException:
            os.close(self._fd)
            self._fd, self.wants_rewriting = old, True
            raise
        self._whole, self.wants_rewriting = self._size, False
        if old >= 0:
            os.close(old)

    def close(self) -> None:
        os.close(self._fd)

    def read(self) -> list[Note]:
        """The whole lines of the file, in order."""
        notes = []
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        for line in lines:
            checksum, _, entry = line.rstrip(b"\n").partition(b" ")
            if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(entry):
                with contextlib.suppress(msgspec.MsgspecError):  # of a version that wrote something else
                    notes.append(msgspec.json.decode(entry, type=Note))
        return notes

    def elapsed(self, note: Note) -> float:
        """Seconds since it was written. A clock that nobody can set tells it, unless the machine was started anew."""
        passed = self._clock() - note.clock
        if note.boot == self._boot != "" and passed >= 0:
            return passed
        return max(0.0, self._wall() - note.wall)


def _boot() -> str:
    """What is another one after each start of the machine, where the system tells it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


Held = list[tuple[Counter, int, Bucket]]


def restored(notes: list[Note], shift: float, wall: Clock) -> tuple[dict[str, Counter], list[tuple[float, Held]]]:
    """The counters by id, and the open leases with what they hold. `shift` is what to add to the times of a run whose
    clock began elsewhere; days are told by the clock on the wall, which is the same."""
    counters: dict[str, Counter] = {}
    buckets: dict[str, dict[float, Bucket]] = {}
    for note in notes:
        for known in note.counters:
            limit = Limit(known.id, known.kind, known.amount, known.window, known.zone)  # type: ignore[arg-type]
            counter = counters.get(known.id)
            if counter is None or not counter.counts(limit):
                counters[known.id] = counter_for(limit, wall)
                buckets[known.id] = {}
            for opened, leaves, taken in known.buckets:
                bucket = buckets[known.id].setdefault(opened, Bucket(opened))
                bucket.leaves, bucket.taken = leaves, taken
    for id, counter in counters.items():
        counter.resume(sorted(buckets[id].values(), key=lambda bucket: bucket.opened), shift)
    return counters, [
        (lease.expires + shift, _held(lease, counters, buckets)) for lease in _open_leases(notes) if lease.held
    ]


def _open_leases(notes: list[Note]) -> Iterable[LeaseNote]:
    found: dict[int, LeaseNote] = {}
    for note in notes:
        found.update((lease.number, lease) for lease in note.leases)
        for number in note.closed:
            found.pop(number, None)
    return found.values()


def _held(lease: LeaseNote, counters: dict[str, Counter], buckets: dict[str, dict[float, Bucket]]) -> Held:
    gone = Bucket(0.0)
    gone.live = False
    return [
        (counters[id], amount, buckets[id].get(opened, gone)) for id, amount, opened in lease.held if id in counters
    ]

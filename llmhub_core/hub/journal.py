"""An append-only file on the local disk: what stands in it survives kill -9, and power loss after the next fsync.

One line an entry: CRC-32 in hexadecimal, a space, JSON. A line that was cut by a crash fails its checksum
and is passed over; everything before it is whole.
"""

from __future__ import annotations

import os
from binascii import hexlify
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from struct import Struct
from zlib import crc32

_four_bytes = Struct(">I").pack


@dataclass(slots=True, eq=False)
class Segment:
    """One file. It may go when all its records are in the store and none of its intents waits for an outcome."""

    path: Path
    size: int = 0
    waiting: int = 0
    shipped: bool = False
    unread: bool = False
    """Its records are in no memory, and have to be read from it before they can be shipped."""
    skip: int = 0
    """Its first entries that tell of nothing that is not in the store: so many."""


class Journal:
    """Segments in `folder`, numbered; only the newest is written to. Raises OSError when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number = max((int(segment.path.stem) for segment in segments_in(folder)), default=0)
        self._fd = -1
        self._dirty = False
        self._torn = False
        self._added: list[bytes] = []
        self._unsynced: deque[tuple[int, Path]] = deque()  # complete, but open until they are synced
        self.bad: list[Path] = []
        """Files that could not be synced: what the disk has of them nobody knows."""
        self.size = 0
        self.segment = self._open()

    def _open(self) -> Segment:
        self._number += 1
        path = self.folder / f"{self._number:010d}.log"
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._torn = False
        self.size = 0
        return Segment(path)

    def add(self, entry: bytes) -> None:
        """One entry that goes with the next `flush`, for each of these is a call of the kernel."""
        self._added.append(b"%b %b\n" % (hexlify(_four_bytes(crc32(entry))), entry))

    def flush(self) -> bool:
        """Hand what was added to the operating system; from here on the death of this process cannot lose it. False if
        there was nothing. What the disk refuses is not tried again, for a part of it may be written."""
        if not self._added:
            return False
        lines = b"".join(self._added)
        self._added.clear()
        if self._torn:
            lines = b"\n" + lines  # or the first of them would be lost with the torn one
        written = os.write(self._fd, lines)
        self.size += written
        self._dirty = True
        self._torn = written != len(lines)
        if self._torn:  # the disk is full in the middle of a line; its checksum makes it harmless
            raise OSError("the journal could only be written in part; is the disk full?")
        return True

    def sync(self) -> None:
        """fsync, if something was written since. Blocks: call it in a thread. Never repeated after an error,
        for a second fsync would report success for pages that were lost."""
        failed: OSError | None = None
        while self._unsynced:
            fd, path = self._unsynced.popleft()
            try:
                os.fdatasync(fd)
            except OSError as error:
                self.bad.append(path)
                failed = error
            finally:
                os.close(fd)
        if self._dirty:
            self._dirty = False
            path = self.segment.path
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self.bad.append(path)
                failed = error
        if failed is not None:
            raise failed

    def probe(self) -> None:
        """Whether the disk takes something again: an empty line, which reading passes over. Blocks, as `sync`."""
        self.size += os.write(self._fd, b"\n")
        os.fdatasync(self._fd)

    def rotate(self) -> Segment:
        """Begin a new segment and return the one that is now complete."""
        done, old, size = self.segment, self._fd, self.size
        self.segment = self._open()
        done.size = size
        self._dirty = False
        self._unsynced.append((old, done.path))
        return done

    def earlier(self) -> list[Segment]:
        """Segments that an earlier run left behind, oldest first."""
        return [segment for segment in segments_in(self.folder) if segment.path != self.segment.path]

    def close(self) -> None:
        """Close; what was added and not written is gone. An empty last segment is removed."""
        while self._unsynced:
            os.close(self._unsynced.popleft()[0])
        os.close(self._fd)
        if self.size == 0:
            self.segment.path.unlink(missing_ok=True)


def name_of(folder: Path, make: bool = False) -> str:
    """By which a store knows the journal in `folder` among those of all hubs; "" if it has no name. With `make` it is
    given one. It lies beside the folder."""
    path = folder.with_name(f"{folder.name}.name")
    try:
        if make and not path.exists():
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(token_hex(12))
        return path.read_text().strip()
    except OSError:
        return ""


def segments_in(folder: Path) -> list[Segment]:
    """Oldest first."""
    paths = sorted(path for path in folder.glob("*.log") if path.stem.isdigit())
    return [Segment(path, path.stat().st_size) for path in paths]


def read_entries(path: Path) -> Iterator[bytes]:
    """The whole entries of a segment, in order."""
    with path.open("rb") as lines:
        for line in lines:
            checksum, _, entry = line.rstrip(b"\n").partition(b" ")
            if line.endswith(b"\n") and len(checksum) == 8 and checksum == b"%08x" % crc32(entry):
                yield entry

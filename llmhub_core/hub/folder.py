"""The data folder and who may use what of it: one hub the folder, one process each journal in it.

Locks are the operating system's, so that the death of a process gives them back at once. A journal whose lock is free
is that of a process which is dead, whatever its folder is called.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from llmhub_core.contracts.errors import StartError

MOST_JOURNALS = 1024
SHORT_TRIES = 20


def take(data: Path, workers: int = 1) -> int:
    """Make the folder this process's: one hub each, for two would each believe the counters in it to be their own.

    The descriptor holds it until it is closed. StartError if another hub runs on it. The file says who it is, for
    `holder`.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(data / "lock")
    if lock < 0:
        raise StartError(
            f"Another llm-hub runs on the data folder {data}; stop it, or give this one a folder of its own "
            "with --data-dir."
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d %d\n" % (os.getpid(), workers), 0)
    return lock


def holder(data: Path) -> tuple[int, int] | None:
    """The process that runs a hub on the folder, and how many workers it has; None if none runs."""
    try:
        lock = _lock(data / "lock")
    except OSError:
        return None
    if lock >= 0:
        os.close(lock)
        return None
    words = (data / "lock").read_text().split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


class Claims:
    """What a process has taken, until `release`. Of several workers of one hub the supervisor has the folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._locks: list[int] = []

    def take(self, alone: bool, database: str, counts_alone: bool, counts_in: str) -> Path:
        """All that a hub needs, and where its journal is. StartError with the reason if something is taken.

        alone         the hub is this one process
        database      the address of its metadata
        counts_alone  nobody else sees how it counts quotas
        counts_in     where it counts them, as `counting_place` says
        """
        try:
            if alone:
                self._locks.append(take(self._data))
            lock = take_database(database, counts_alone, counts_in)
            if lock >= 0:
                self._locks.append(lock)
            return self._journal(alone)
        except StartError:
            self.release()
            raise

    def _journal(self, alone: bool) -> Path:
        """``journal`` for a hub that is one process, else the first ``worker-N/journal`` that nobody has: during a
        rolling restart the one that goes and the one that comes each have theirs."""
        names = ["journal"] if alone else [f"worker-{number}/journal" for number in range(1, MOST_JOURNALS + 1)]
        for name in names:
            folder = self._data / name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(folder / "lock")
            if lock >= 0:
                self._locks.append(lock)
                return folder
        raise StartError(f"Every journal in {self._data} is in use by a process that still runs; stop it first.")

    def abandoned(self) -> list[Path]:
        """Journals with something in them whose process is gone; they are this one's from now on."""
        found = []
        for folder in (self._data / "journal", *sorted(self._data.glob("worker-*/journal"))):
            if any(folder.glob("*.log")):
                lock = _lock(folder / "lock")
                if lock >= 0:
                    self._locks.append(lock)
                    found.append(folder)
        return found

    def release(self) -> None:
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()


def counting_place(url: str, data: Path) -> str:
    """Where quotas are counted, without passwords: two hubs count together only if it is the same for both."""
    host = os.uname().nodename
    if url.startswith("sqlite:///"):
        return f"{host}:{Path(url.removeprefix('sqlite:///')).resolve()}"
    parts = urlsplit(url)
    if not parts.hostname:
        return f"the memory of {host}:{data.resolve()}"
    name = f"{host}'s {parts.hostname}" if parts.hostname in ("127.0.0.1", "::1", "localhost") else parts.hostname
    return f"{parts.scheme}://{name}:{parts.port or ''}{parts.path}"


def take_database(url: str, alone: bool, counts_in: str) -> int:
    """A file database is one hub's, unless quotas are counted where several can see them (`alone` False), and all of
    them count there. -1 if it is no file, StartError with the reason if it is taken."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        return -1
    try:
        lock, others = _beside_others(Path(f"{path}.lock"), alone, counts_in)
    except OSError:
        return -1  # the store itself says what is wrong with the place
    if others not in ("", counts_in):
        os.close(lock)
        raise StartError(
            f"Another llm-hub runs on the database {path} and counts quotas in {others}, this one in {counts_in}, "
            "so that each would grant the whole limit. Set storage.quota of both to the same store, or give this one "
            "a database of its own."
        )
    if lock < 0:
        raise StartError(
            f"Another llm-hub runs on the database {path}, and quotas in memory are counted by each hub for itself. "
            'Set storage.quota of both to a store that they share ("sqlite:////srv/quota.db", "redis://…"), or give '
            "this one a database of its own."
        )
    return lock


def _beside_others(path: Path, alone: bool, counts_in: str) -> tuple[int, str]:
    """The lock, -1 if it is not to be had, and where those count who have it too, "" if nobody has. The first one
    writes that into the file, before others may look."""
    lock = _lock(path)
    if lock >= 0:
        os.ftruncate(lock, 0)
        os.pwrite(lock, counts_in.encode(), 0)
        if alone:
            return lock, ""
        os.close(lock)
        lock = -1
    for _ in range(0 if alone else SHORT_TRIES):  # who is just writing has it alone for a moment
        if (lock := _lock(path, shared=True)) >= 0:
            break
        time.sleep(0.01)
    return lock, "" if lock < 0 else os.pread(lock, 4096, 0).decode("utf-8", "replace")


def _lock(path: Path, shared: bool = False) -> int:
    """-1 if somebody else has it, be it in this process."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return -1
    return lock

"""The file that `llm-hub export` writes: a line of JSON for each thing, between a head and an end.

The head says what made it, the end how many lines of each kind there are and their SHA-256, so that a file that was cut
or changed is told before anything of it is used. Named ``.gz`` it is compressed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from llmhub_core.contracts.archive import ARCHIVE_BATCH
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.exchange import Record

FORMAT = 4
HEAD, END = "llm-hub export", "end"

KINDS = (
    "token_secret",
    "entry",
    "user",
    "admin_token",
    "audit",
    "alert",
    "alert_mute",
    "usage_hour",
    "usage_total",
    "record",
)
"""In the order in which they come."""

Line = dict[str, Any]

_lines = msgspec.json.Decoder(dict[str, msgspec.Raw])
_records = msgspec.json.Decoder(Record)


class Writer:
    """Made by `writing`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self.counts: Counter[str] = Counter()

    def head(self, facts: Line) -> None:
        self._write({HEAD: FORMAT, **facts})

    def add(self, kind: str, thing: Line | Record) -> None:
        self.counts[kind] += 1
        self._write({kind: thing})

    def end(self) -> None:
        self._write({END: {"lines": dict(self.counts), "sha256": self._sum.hexdigest()}})

    def _write(self, line: Line) -> None:
        text = msgspec.json.encode(line) + b"\n"
        self._sum.update(text)
        self._file.write(text)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """The file comes to bear its name when it is whole, and is its owner's alone. StartError if there is one."""
    if path.exists():
        raise StartError(f"There is a file {path} already; choose another name.")
    partial = path.with_name(f"{path.name}.part")
    with suppress(FileNotFoundError):
        partial.unlink()
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(os.fdopen(descriptor, "wb", buffering=1 << 20))
            file: Any = raw
            if path.suffix == ".gz":
                file = stack.enter_context(gzip.GzipFile(path.name, "wb", 6, raw))
            writer = Writer(file)
            yield writer
            writer.end()
            if file is not raw:
                file.close()
            raw.flush()
            os.fsync(raw.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


class Reader:
    """A file that was found whole: `head`, and how many lines of each kind there are."""

    def __init__(self, path: Path) -> None:
        """Reads it once from end to end; StartError with the reason if it cannot be used."""
        self.path = path
        self.head: Line = {}
        self.counts: Counter[str] = Counter()
        try:
            self._check()
        except (OSError, EOFError) as error:
            raise StartError(f"{path} cannot be read: {getattr(error, 'strerror', '') or error}.") from None

    def _check(self) -> None:
        digest, told, number = hashlib.sha256(), None, 0
        with self._open() as lines:
            for number, line in enumerate(lines, 1):
                if told is not None:
                    raise StartError(f"{self.path}, line {number}: something follows the end.")
                found = self._decoded(number, line)
                if number == 1:
                    self._take_head(found)
                elif END in found:
                    told = msgspec.json.decode(found[END])
                    continue
                else:
                    self._mind_kind(number, found)
                digest.update(line)
        if told is None:
            raise StartError(f"{self.path} ends in the middle, after line {number}: it was not written to the end.")
        if told != {"lines": dict(self.counts), "sha256": digest.hexdigest()}:
            raise StartError(f"{self.path} was changed after it was written: its checksum is another.")

    def _decoded(self, number: int, line: bytes) -> dict[str, msgspec.Raw]:
        try:
            return _lines.decode(line)
        except msgspec.DecodeError:
            if number == 1:
                raise StartError(f"{self.path} is no file of llm-hub export.") from None
            raise StartError(f"{self.path}, line {number}, is not whole.") from None

    def _take_head(self, found: dict[str, msgspec.Raw]) -> None:
        self.head = {name: msgspec.json.decode(value) for name, value in found.items()}
        if HEAD not in self.head:
            raise StartError(f"{self.path} is no file of llm-hub export.")
        if self.head[HEAD] != FORMAT:
            raise StartError(
                f"{self.path} has format {self.head[HEAD]}, this version reads {FORMAT}; "
                f"llm-hub {self.head.get('version', 'of another version')} made it."
            )

    def _mind_kind(self, number: int, found: dict[str, msgspec.Raw]) -> None:
        (kind,) = found if len(found) == 1 else ("",)
        if kind not in KINDS:
            raise StartError(f"{self.path}, line {number}, says something that this version does not know.")
        self.counts[kind] += 1

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with self.path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]

    def batches(self, *kinds: str) -> Iterator[tuple[str, list[Any]]]:
        """Things of one kind after the other; records as `Record`, all others as mappings. Nothing behind the last of
        them is read: requests come last, and may be very many."""
        batch: list[Any] = []
        now, left = "", sum(self.counts[kind] for kind in kinds)
        if not left:
            return
        with self._open() as lines:
            for line in lines:
                ((kind, value),) = list(_lines.decode(line).items())[:1]
                if kind not in kinds:
                    continue
                if kind != now or len(batch) == ARCHIVE_BATCH:
                    if batch:
                        yield now, batch
                    now, batch = kind, []
                batch.append(_records.decode(value) if kind == "record" else msgspec.json.decode(value))
                left -= 1
                if not left:
                    break
        if batch:
            yield now, batch

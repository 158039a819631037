"""What all processes know of limits, as it is kept: one text, a line for each account and model.

Whatever did not change is neither read nor written anew, and what did a little at a time: there may be ten thousand
lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from llmhub_core.hub.learned import MOST, Book, Learned, Seen, add, read_book

T = TypeVar("T")

AT_A_STRETCH = 0.0005
"""Seconds after which requests have their turn."""


async def in_slices(some: Iterable[T]) -> AsyncIterator[T]:
    """Each of them, with a pause whenever that has taken a while."""
    due = time.perf_counter() + AT_A_STRETCH
    for each in some:
        yield each
        if time.perf_counter() >= due:
            await asyncio.sleep(0)
            due = time.perf_counter() + AT_A_STRETCH


BREAK = ",\n"
"""Between two lines: a JSON text has none within a name or a number."""

TOGETHER = 200


class KeptLimits:
    """The text as this process knows it."""

    def __init__(self) -> None:
        self.text = ""
        self._lines: dict[str, str] = {}

    async def take_over(self, text: str, book: Book, unshared: list[Seen]) -> set[str]:
        """Let `book` know what others wrote, and on top of it what was seen here and nobody was told. Says of which
        subjects."""
        lines = await _lines_of(text)
        changed = {subject async for subject in in_slices(lines) if self._lines.get(subject) != lines[subject]}
        gone = self._lines.keys() - lines.keys()
        mine: dict[str, list[Seen]] = {}
        async for seen in in_slices(unshared):
            if seen.subject in changed:
                mine.setdefault(seen.subject, []).append(seen)
        async for subject in in_slices(changed):
            learned = _read(lines[subject])
            if learned is not None:
                add(mine.get(subject, ()), {subject: learned})
                book[subject] = learned
        for subject in gone - {seen.subject for seen in unshared}:
            book.pop(subject, None)
        self.text, self._lines = text, lines
        return changed | gone

    async def written(self, book: Book, subjects: Collection[str]) -> tuple[str, dict[str, str]]:
        """The text with what is known of `subjects` now, and its lines, for `kept` when it is."""
        lines = dict(self._lines)
        async for subject in in_slices([*subjects]):
            if subject in book:
                lines[subject] = _line(subject, book[subject])
        if len(lines) > MOST:
            oldest = sorted(lines, key=lambda subject: book[subject].last_seen if subject in book else 0.0)
            for subject in oldest[: len(lines) - MOST]:
                del lines[subject]
        pieces = [BREAK.join(some) async for some in in_slices(_batched([*lines.values()], TOGETHER))] or [""]
        pieces[0] = "{" + pieces[0]
        pieces[-1] += "}"
        return BREAK.join(pieces), lines

    def kept(self, text: str, lines: dict[str, str]) -> None:
        self.text, self._lines = text, lines


def _line(subject: str, learned: Learned) -> str:
    return (msgspec.json.encode(subject) + b":" + msgspec.json.encode(learned)).decode()


def _read(line: str) -> Learned | None:
    """None for what another version kept otherwise."""
    return next(iter(read_book("{" + line + "}").values()), None)


async def _lines_of(text: str) -> dict[str, str]:
    """By subject. Earlier versions kept all in one line."""
    lines: dict[str, str] = {}
    if BREAK not in text:
        return {subject: _line(subject, learned) for subject, learned in read_book(text).items()}
    async for piece in in_slices(_pieces_of(text)):
        with contextlib.suppress(msgspec.MsgspecError, StopIteration):
            lines[_subject_of(piece)] = piece
    return lines


def _pieces_of(text: str) -> Iterator[str]:
    begin = 1
    while (end := text.find(BREAK, begin)) >= 0:
        yield text[begin:end]
        begin = end + len(BREAK)
    yield text[begin:-1]


def _batched(some: Sequence[str], many: int) -> Iterator[Sequence[str]]:
    return (some[begin : begin + many] for begin in range(0, len(some), many))


def _subject_of(line: str) -> str:
    subject, found, _ = line.partition('":')
    if found and "\\" not in subject:
        return subject[1:]
    return next(iter(msgspec.json.decode("{" + line + "}", type=dict[str, msgspec.Raw])))

"""The other processes of this hub, where it has some: what one wants to know of all, and what all have to be told.

Each worker has one line to the supervisor, which carries a call to the others and their answers back. A message is a
line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("llmhub.workers")

PATIENCE = 1.0
"""Seconds for the others to answer; what has not come then is left out."""

LONGEST_LINE = 64 * 1024 * 1024

Answerer = Callable[[Any], Any]
"""Takes and gives what JSON can say; one that has to wait gives a coroutine."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Which of the hub's processes this is, from 1; 0 for a hub that is only one. `first` is the one that begins: it
    brings the schema up to date and offers set-up, once for all."""

    number: int = 0
    of: int = 1
    first: bool = True

    @property
    def is_chief(self) -> bool:
        """The one that does what is done once for all, such as telling people of alerts."""
        return self.number <= 1


ALONE = Worker()


class Siblings:
    """Without a line, as in a hub that is one process, there is nobody to ask and to tell."""

    def __init__(self) -> None:
        self._answerers: dict[str, Answerer] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[asyncio.Event, list[Any], list[int]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self.retire = asyncio.Event()
        """Set when this worker shall go, because another is in its place."""
        self.lost = asyncio.Event()
        """Set when the supervisor is dead."""

    def answer(self, word: str, answerer: Answerer) -> None:
        """What this process says when another asks, or does when another tells."""
        self._answerers[word] = answerer

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """To the supervisor."""
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader), name="siblings")

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        for task in self._answering:
            task.cancel()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def say(self, **message: Any) -> None:
        """To the supervisor."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    def tell(self, word: str, what: Any = None) -> None:
        """All others, without waiting."""
        self.say(kind="call", id=0, word=word, what=what)

    async def ask(self, word: str, what: Any = None, patience: float = PATIENCE) -> list[tuple[int, Any]]:
        """What each of the others answers, with its number; those that have nothing to say are left out, and waited
        for all the same."""
        if self._writer is None:
            return []
        number = next(self._numbers)
        done, answers, due = asyncio.Event(), list[Any](), list[int]()
        self._asked[number] = done, answers, due
        self.say(kind="call", id=number, word=word, what=what)
        try:
            async with asyncio.timeout(patience):
                await done.wait()
        except TimeoutError:
            log.warning("not all workers answered about %s", word)
        finally:
            del self._asked[number]
        return sorted(answers, key=lambda answer: int(answer[0]))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                try:
                    self._take(json.loads(line))
                except Exception:
                    log.exception("a word of another worker could not be heeded")
        self.lost.set()

    async def _answer(self, message: dict[str, Any]) -> None:
        value = None
        try:
            answerer = self._answerers.get(message["word"])
            value = None if answerer is None else answerer(message["what"])
            if inspect.isawaitable(value):
                value = await value
        except Exception:
            log.exception("a word of another worker could not be heeded: %s", message["word"])
        if message["id"]:
            self.say(kind="answer", id=message["id"], to=message["of"], value=value)

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "retire":
            self.retire.set()
        elif kind == "call":
            task = asyncio.create_task(self._answer(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif message["id"] in self._asked:  # else the answer came too late
            done, answers, due = self._asked[message["id"]]
            if kind == "called":
                due.append(message["count"])
            elif message["value"] is not None:
                answers.append((message["number"], message["value"]))
            else:
                due[0] -= 1
            if due and len(answers) >= due[0]:
                done.set()

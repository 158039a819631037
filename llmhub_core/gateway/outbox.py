"""What one turn of the event loop has to say, said together when the turn is over.

Under load one turn thinks about many requests. Sending each one's words where it is thought of wakes whoever reads
them once for each, and journals each intent with a call of the kernel of its own; together they cost a quarter less.
Nobody waits longer than until the loop would have turned to the next event anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from llmhub_core.contracts.errors import HubError
from llmhub_core.hub.ledger import unrecorded


class Line(Protocol):
    """A connection to a provider, as the outbox sees it."""

    closed: bool

    def write(self, head: bytes, body: bytes) -> None: ...

    def fail(self, error: HubError) -> None: ...


class Outbox:
    """`journal` hands to the operating system what is intended; requests to providers go out behind it, and not at all
    if it says False: then they fail with `meter_full`. Belongs to one event loop."""

    __slots__ = ("_answers", "_calls", "_journal", "_loop")

    def __init__(self, journal: Callable[[], bool] = lambda: True) -> None:
        self._journal = journal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: list[tuple[Line, bytes, bytes]] = []
        self._answers: list[tuple[asyncio.Transport, bytes]] = []

    def call(self, line: Line, head: bytes, body: bytes) -> None:
        """A request to a provider. One whose line is closed before the turn is over is not sent."""
        if not (self._calls or self._answers):
            self._flush_soon()
        self._calls.append((line, head, body))

    def answer(self, transport: asyncio.Transport, data: bytes) -> None:
        """To a caller. Whoever writes to the same transport or closes it before the turn is over flushes first."""
        if not (self._calls or self._answers):
            self._flush_soon()
        self._answers.append((transport, data))

    def _flush_soon(self) -> None:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is there now."""
        calls, answers = self._calls, self._answers
        if not (calls or answers):
            return
        self._calls, self._answers = [], []
        noted = self._journal()
        for line, head, body in calls:
            if not noted:
                line.fail(unrecorded())
            elif not line.closed:
                line.write(head, body)
        for transport, data in answers:
            if not transport.is_closing():
                transport.write(data)

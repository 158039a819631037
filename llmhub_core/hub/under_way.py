"""Requests that are under way, counted apart for each configuration that they began with."""

from __future__ import annotations

import asyncio


class UnderWay:
    """`count` is raised by whoever begins one, who calls `left` at its end."""

    __slots__ = ("_idle", "count")

    def __init__(self) -> None:
        self.count = 0
        self._idle: asyncio.Event | None = None  # made when somebody waits

    def left(self) -> None:
        self.count -= 1
        if self._idle is not None and not self.count:
            self._idle.set()

    async def over(self) -> None:
        """Until there is none."""
        while self.count:
            self._idle = self._idle or asyncio.Event()
            self._idle.clear()
            await self._idle.wait()

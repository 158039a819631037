"""The control plane works in slices: callers' requests run on the same loop, and go first after each.

A thread of its own would not help: whoever computes there keeps the interpreter for milliseconds each time that the
loop lets go of it, and that is at every call of the system.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

SLICE = 0.0005
"""Seconds of work; whoever comes meanwhile waits for its end."""

PAUSE = 0.001
"""Seconds in which nobody of the control plane works, after each slice of anybody's that somebody waited for."""

ALONE = 0.0001
"""A turn of the loop that took no longer had nothing else to do."""

_free_at = 0.0


async def unhurried(items: Iterable[T]) -> AsyncIterator[T]:
    """The same, with pauses: for all that grows with what is configured, or asked for. `items` must not be something
    that others change meanwhile."""
    ends = perf_counter() + SLICE
    for item in items:
        yield item
        if perf_counter() >= ends:
            await pause()
            ends = perf_counter() + SLICE


async def gathered(items: Iterable[T]) -> list[T]:
    """All of them; for very many that are made quickly, of which each would be handed on for more than it costs."""
    found = []
    ends = perf_counter() + SLICE
    for item in items:
        found.append(item)
        if perf_counter() >= ends:
            await pause()
            ends = perf_counter() + SLICE
    return found


async def pause() -> None:
    """Let others go first. If there were any, it takes until it is this one's turn again: slices of several pages
    follow each other, each after a pause."""
    global _free_at
    began = perf_counter()
    await asyncio.sleep(0)
    now = perf_counter()
    if now - began < ALONE:
        return
    _free_at = max(_free_at + SLICE, now) + PAUSE
    await asyncio.sleep(_free_at - now)

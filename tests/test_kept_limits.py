"""What is learned of limits as all processes keep it: only what changed is read and written, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from llmhub_core.contracts.rates import SeenLimit
from llmhub_core.hub.kept_limits import KeptLimits, in_slices
from llmhub_core.hub.learned import Book, Seen, add

ODD = 'model:group:p/a/a "name",\n\\with: all'


def seen(subject: str, amount: int = 5, at: float = 100.0) -> Seen:
    return Seen(subject, at, SeenLimit("requests", amount, 60))


def book_of(*some: Seen) -> Book:
    book: Book = {}
    add(some, book)
    return book


async def text_of(book: Book) -> str:
    return (await KeptLimits().written(book, book))[0]


async def test_what_one_writes_another_reads() -> None:
    book = book_of(seen("model:key:p/a/m"), seen(ODD, 7), seen("model:key:p/b/m", 9))
    text = await text_of(book)
    assert msgspec.json.decode(text), "one JSON text"
    other: Book = {}
    assert await KeptLimits().take_over(text, other, []) == book.keys()
    assert other == book


async def test_only_what_changed_is_taken_over_and_what_was_seen_here_stays() -> None:
    mine = seen("model:key:p/c/m", 3)
    kept, book = KeptLimits(), book_of(mine)
    first = book_of(*(seen(f"model:key:p/{name}/m") for name in "ab"))
    await kept.take_over(await text_of(first), book, [mine])
    same = book["model:key:p/a/m"]
    add([seen("model:key:p/b/m", at=200.0), seen("model:key:p/c/m", 3, at=210.0)], first)
    changed = await kept.take_over(await text_of(first), book, [mine])
    assert changed == {"model:key:p/b/m", "model:key:p/c/m"}
    assert book["model:key:p/a/m"] is same
    assert book["model:key:p/b/m"].told[0].samples == 2
    assert book["model:key:p/c/m"].told[0].samples == 2, "theirs and ours"
    del first["model:key:p/a/m"]
    assert await kept.take_over(await text_of(first), book, [mine]) == {"model:key:p/a/m"}
    assert "model:key:p/a/m" not in book


async def test_a_text_of_an_earlier_version_and_one_that_is_none_are_read() -> None:
    book = book_of(seen("model:key:p/a/m"), seen("model:key:p/b/m"))
    for text, expected in ((msgspec.json.encode(book).decode(), book), ("{", {}), ("{x,\n:}", {}), ("", {})):
        other: Book = {}
        await KeptLimits().take_over(text, other, [])
        assert other == expected


async def test_ten_thousand_lines_hold_nobody_up(monkeypatch: Any) -> None:
    longest = 0.0
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        nonlocal longest
        began = time.thread_time()
        run(handle)
        longest = max(longest, time.thread_time() - began)

    monkeypatch.setattr(asyncio.events.Handle, "_run", timed)
    done = 0
    async for _ in in_slices(range(20_000)):
        done += len(msgspec.json.encode(seen("model:key:p/a/m")))
    assert done
    assert longest < 0.02

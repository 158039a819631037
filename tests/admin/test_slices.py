"""Pages and answers of the control plane are made in slices: callers' requests are served in between."""

from __future__ import annotations

import asyncio
import time

import pytest
from browsers import Browser, MakeBrowser

from llmhub_core.admin import slices
from llmhub_core.admin.slices import unhurried


async def test_others_go_first_after_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 0.002)
    found: list[int] = []
    seen: list[int] = []

    async def others() -> None:
        while len(found) < 10:
            await asyncio.sleep(0)
            seen.append(len(found))

    watching = asyncio.create_task(others())
    async for number in unhurried(range(10)):
        time.sleep(0.001)  # noqa: ASYNC251 — work
        found.append(number)
    await watching
    assert found == list(range(10))
    assert len(set(seen) - {0, 10}) >= 3, "they were let go only at the ends"


async def test_slices_of_several_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pages at once leave callers as much as one."""
    monkeypatch.setattr(slices, "SLICE", 0.0)
    monkeypatch.setattr(slices, "ALONE", 0.0)
    monkeypatch.setattr(slices, "PAUSE", 0.01)
    ends: list[float] = []

    async def page() -> None:
        async for _ in unhurried(range(2)):
            ends.append(time.monotonic())

    await asyncio.gather(*(page() for _ in range(10)))
    after = sorted(ends)[10:]
    assert after[-1] - after[0] > 0.07


async def test_nobody_pauses_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 0.0)
    monkeypatch.setattr(slices, "ALONE", 1.0)
    monkeypatch.setattr(slices, "PAUSE", 10.0)
    assert [number async for number in unhurried(range(100))] == list(range(100))


@pytest.mark.alone
@pytest.mark.parametrize("path", ["/", "/keys", "/settings", "/admin/api/settings?format=csv"])
async def test_pages_are_made_in_slices(browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    ann: Browser = await browser("owner")
    whole = await (await ann.ask("GET", path)).text()
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(slices, "SLICE", 0.0)
    monkeypatch.setattr(slices, "pause", pause)
    answer = await ann.ask("GET", path)
    assert answer.status == 200
    assert len(await answer.text()) == pytest.approx(len(whole), rel=0.02)
    assert pauses > 50

"""The quotas page: the fullest limits first, by name, owner and state, page by page."""

from __future__ import annotations

import re

import pytest
from browsers import Browser, MakeBrowser
from clusters import spoil

from llmhub_core.contracts.errors import UpstreamLimited
from llmhub_core.contracts.quota_store import Amount
from llmhub_core.dashboard import quota_page
from llmhub_core.testing.house import House


async def shown(ann: Browser, path: str) -> list[list[str]]:
    """Each row of the table, its cells as text."""
    answer = await ann.ask("GET", path)
    html = await answer.text()
    assert answer.status == 200, html
    rows = [re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.S) for row in html.split("<tr>")[2:]]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in rows]


async def test_the_fullest_first_and_what_is_chosen(house: House, browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    assert [row[3] for row in await shown(ann, "/quotas")] == ["fine"] * 5
    quota = house.hub.quota
    limits = [limit for key in house.hub.catalog.places["echo"].keys for limit in key.limits]
    for limit in limits:
        used = Amount(requests=60) if limit.window == 60 else Amount(tokens=95_000)
        if limit.kind != "concurrency":
            await quota.settle(await quota.reserve([limit], used, 60.0), used)
    first, second, *rest = await shown(ann, "/quotas")
    assert first[:4] == ["echo/main key", "requests a minute", "60 of 60 · 0 left", "spent"]
    assert first[4].startswith("in ")
    assert second[:4] == ["echo/main key", "tokens a day", "95k of 100k · 5k left", "nearly spent"]
    assert "last reset" in second[4]
    assert {row[3] for row in rest} == {"fine"}
    assert [row[1] for row in await shown(ann, "/quotas?state=low")] == ["requests a minute", "tokens a day"]
    assert [row[0] for row in await shown(ann, "/quotas?of=token")] == ["game-server client token"] * 2
    assert [row[0] for row in await shown(ann, "/quotas?find=GAME")] == ["game-server client token"] * 2
    assert "No limit fits these filters" in await (await ann.ask("GET", "/quotas?find=nobody")).text()
    assert (await ann.ask("GET", "/quotas?page=x")).status == 400

    await spoil(house, "main", UpstreamLimited("slow", retry_after=400))
    assert {row[3].partition(" for ")[0] for row in await shown(ann, "/quotas?find=main")} == {"rests"}


@pytest.mark.alone
async def test_many_limits_come_page_by_page(
    house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await browser("viewer")
    every = await shown(ann, "/quotas")
    monkeypatch.setattr(quota_page, "LINES", 2)
    pages = [await shown(ann, f"/quotas?page={number}") for number in (1, 2, 3)]
    assert [len(each) for each in pages] == [2, 2, 1]
    assert [row for each in pages for row in each] == every
    text = await (await ann.ask("GET", "/quotas?page=2")).text()
    assert 'href="/quotas" rel="prev"' in text
    assert 'href="/quotas?page=3" rel="next"' in text
    assert await shown(ann, "/quotas?page=99") == pages[2]

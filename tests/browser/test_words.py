"""What was asked and answered, on the page of its request, in a real browser."""

from __future__ import annotations

import os

import aiohttp
import pytest
from playwright.async_api import expect
from test_payloads import ALL, MADE
from watching import CONFIG, Visit, add_people

from llmhub_core.testing.house import House


@pytest.mark.parametrize("width", [1280, 375])
async def test_an_owner_shows_it_and_forgets_it(visit: Visit, width: int) -> None:
    async with House(CONFIG + '[bodies]\nstore = "all"\n') as house, aiohttp.ClientSession() as client:
        await add_people(house)
        said = f"{ALL} {'word ' * 400}"
        body = {"model": "fast", "messages": [{"role": "user", "content": said}], "stream": True}
        async with client.post(house.url + "/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            await answer.read()
        (record,) = await house.records()
        await house.hub.body_keeper.flushed()
        ann = await visit(house, "owner", viewport={"width": width, "height": 900})
        await ann.go(f"/requests/{record.id}")
        await expect(ann.page.locator("pre.words")).to_have_count(0)
        await ann.press("Show it")
        await expect(ann.page.locator("pre.words")).to_have_count(2)
        assert "onerror=alert(1)" in await ann.page.locator("pre.words").first.inner_text()
        assert await ann.page.locator(MADE).count() == 0
        assert await ann.accessibility() == []
        assert await ann.overflow() <= 0
        if "LLMHUB_SHOTS" in os.environ:
            await ann.page.screenshot(path=f"{os.environ['LLMHUB_SHOTS']}/words-{width}.png", full_page=True)
        await ann.page.locator("summary", has_text="Forget it").click()
        await ann.press("Forget it")
        await expect(ann.page.get_by_text("Not kept.")).to_be_visible()
        ann.well()

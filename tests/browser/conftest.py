"""Debian's Chromium, one for all tests, and hubs to look at: each one process over SQLite, or (``pytest -m
browser_cluster``) four over PostgreSQL and Redis. Skipped where there is no Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import busy_month
import pytest
import pytest_asyncio
from clusters import OpenHouse
from playwright.async_api import Browser, async_playwright, expect
from watching import CONFIG, Visit, Watched, add_people, watched

from llmhub_core.admin import passwords
from llmhub_core.testing.house import House

expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for the whole run: the browser belongs to the loop that started it."""
    for item in items:
        if "tests/browser/" in str(item.path):
            if "kind_of_house" not in getattr(item, "callspec", item).__dict__.get("params", {}):
                item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(300))
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Any:
    """The cost is part of each verifier, so only the time is another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "COST", 4)
        for name in ("LLMHUB_OWNER", "LLMHUB_OWNER_PASSWORD", "LLMHUB_OWNER_PASSWORD_FILE"):
            patch.delenv(name, raising=False)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = os.environ.get("LLMHUB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium; LLMHUB_CHROMIUM names one")
    # As root, which containers often are, Chromium refuses its own sandbox.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def busy(open_house: OpenHouse) -> AsyncIterator[House]:
    """After a busy month. For all tests: look, and change nothing."""
    async with open_house(busy_month.TROUBLED) as house:
        await add_people(house)
        await busy_month.fill(house.hub)
        await busy_month.trouble(house.hub)
        await busy_month.stored(house.control)
        house.control.page_process.enabled = True  # as where the hub serves
        yield house


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty(open_house: OpenHouse) -> AsyncIterator[House]:
    """With people and a provider, and nothing that has happened. For all tests: look, and change nothing."""
    async with open_house('[[providers]]\nname = "echo"\nkind = "echo"\nmodels = ["small"]\n') as house:
        await add_people(house)
        house.control.page_process.enabled = True
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def house(open_house: OpenHouse) -> AsyncIterator[House]:
    """One of the test's own, to act on."""
    async with open_house(CONFIG) as house:
        await add_people(house)
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """``await visit(house, "owner")``: somebody before a page of that hub; the rest are a context's options."""
    async with AsyncExitStack() as stack:

        async def make(house: House, role: str = "", **options: Any) -> Watched:
            context = await chromium.new_context(
                **{"timezone_id": "Europe/Paris", "locale": "en-GB", "reduced_motion": "reduce", **options}
            )
            stack.push_async_callback(context.close)
            made = await watched(context, house.url)
            if role:
                await made.sign_in(role)
            return made

        yield make

"""A running hub with people in it, and browsers that are signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of

from llmhub_core.admin import passwords
from llmhub_core.admin.accounts import Accounts
from llmhub_core.testing.house import House


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is part of each verifier, so only the time is another."""
    monkeypatch.setattr(passwords, "COST", 4)
    for name in ("LLMHUB_OWNER", "LLMHUB_OWNER_PASSWORD", "LLMHUB_OWNER_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """With a viewer, an admin and an owner, each named after the role."""
    async with House(CONFIG) as house:
        accounts = Accounts(people_of(house))
        for role in ("viewer", "admin", "owner"):
            await accounts.add(role, role, PASSWORD)  # type: ignore[arg-type]
        accounts.close()
        yield house


@pytest.fixture
async def browser(house: House) -> AsyncIterator[MakeBrowser]:
    sessions: list[aiohttp.ClientSession] = []

    async def make(role: str = "", url: str = "") -> Browser:
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        sessions.append(session)
        made = Browser(url or house.url, session)
        if role:
            assert (await made.sign_in(role)).status == 200
        return made

    yield make
    for session in sessions:
        await session.close()

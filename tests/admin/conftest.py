"""A running hub with people in it, and browsers that are signed in.

The same tests try a hub that is one process over SQLite (``alone``), and one that is four over PostgreSQL and Redis
(``cluster``), in which each request may reach another process than the one before. Of the latter the ordinary run
has only those that are marked `everywhere`; ``pytest -m cluster`` runs all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse

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
async def house(open_house: OpenHouse) -> AsyncIterator[House]:
    """With a viewer, an admin and an owner, each named after the role."""
    async with open_house(CONFIG) as house:
        accounts = Accounts(people_of(house))
        for role in ("viewer", "admin", "owner"):
            await accounts.add(role, role, PASSWORD)  # type: ignore[arg-type]
        accounts.close()
        yield house


@pytest.fixture
async def browser(house: House, kind_of_house: str) -> AsyncIterator[MakeBrowser]:
    sessions: list[aiohttp.ClientSession] = []

    async def make(role: str = "", url: str = "") -> Browser:
        connector = aiohttp.TCPConnector(force_close=kind_of_house == "cluster")
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), connector=connector)
        sessions.append(session)
        made = Browser(url or house.url, session)
        if role:
            assert (await made.sign_in(role)).status == 200
        return made

    yield make
    for session in sessions:
        await session.close()

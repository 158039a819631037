"""The clients' processes, and the hub before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from hubs import every_provider, hub
from played_provider import PlayedProvider
from programs import CLIENTS, Client, Program

from llmhub_core.testing.upstream import FakeUpstream


@pytest.fixture(scope="session")
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Client], Program]]:
    """The process of a client, the same for all tests."""
    programs: dict[str, Program] = {}

    def of(client: Client) -> Program:
        if client.name not in programs:
            programs[client.name] = Program(client, tmp_path_factory.mktemp(client.name))
        return programs[client.name]

    # Some take seconds to start: meanwhile the tests of others run.
    wanted = {item.callspec.params.get("client") for item in request.session.items if hasattr(item, "callspec")}
    for client in CLIENTS:
        if client in wanted:
            of(client).start()
    yield of
    for each in programs.values():
        each.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playing() -> AsyncIterator[FakeUpstream]:
    """All providers of `hub_url`."""
    async with FakeUpstream() as fake:
        fake.on(PlayedProvider())
        yield fake


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub_url(playing: FakeUpstream) -> AsyncIterator[str]:
    async with hub(every_provider(playing.url)) as house:
        yield house.url

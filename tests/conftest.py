"""What most tests need: a client, a fake provider, a hub with that provider behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from llmhub_core.testing.upstream import FakeUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture(scope="session")
def traffic() -> Path:
    """The recorded provider traffic that lies beside some checkouts; tests that need it skip elsewhere."""
    folder = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[2] / "shared" / "traffic"))
    if not (folder / "replay.py").is_file():
        pytest.skip("recorded provider traffic is not part of the repository; LLMHUB_TRAFFIC names its folder")
    return folder

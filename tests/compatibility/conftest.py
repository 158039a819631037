"""One hub for all cells of the table."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from grid import Grid


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grid() -> AsyncIterator[Grid]:
    async with Grid() as grid:
        yield grid

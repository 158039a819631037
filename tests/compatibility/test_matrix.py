"""Every SDK before every provider, and the page that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid import Cell, Grid, cells
from matrix_page import page

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("cell", list(cells()), ids=str)
async def test_what_is_asked_arrives_both_ways(grid: Grid, cell: Cell) -> None:
    outcome = await grid.outcome(cell)
    if outcome.failure is not None:
        raise outcome.failure


@pytest.mark.timeout(300)
async def test_the_page_says_what_the_run_gives(grid: Grid) -> None:
    made = page({cell: await grid.outcome(cell) for cell in cells()})
    assert PAGE.read_text("utf-8") == made, "docs/compatibility.md is stale; run: python -m tests.compatibility"

"""``python -m tests.compatibility`` writes docs/compatibility.md and docs/parameters.md anew."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "compatibility")]

import matrix_page  # noqa: E402
import parameter_page  # noqa: E402

if __name__ == "__main__":
    (ROOT / "docs" / "parameters.md").write_text(parameter_page.page(), "utf-8")
    logging.disable(logging.WARNING)  # keys are refused on purpose
    (ROOT / "docs" / "compatibility.md").write_text(asyncio.run(matrix_page.made()), "utf-8")

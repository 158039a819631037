"""Work that is done now and then, and at once when there is a reason."""

from __future__ import annotations

import asyncio
import contextlib


async def woken(wake: asyncio.Event, within: float) -> None:
    """Until `wake` is set, `within` seconds at most; it is cleared then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await wake.wait()
    wake.clear()

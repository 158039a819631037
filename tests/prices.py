"""The table of prices, read once in the process at hand and not in one of its own for each hub."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llmhub_core.hub import price_table
from llmhub_core.hub.price_lookup import Name
from llmhub_core.hub.tariff import Tariff


async def look_up_here(names: Sequence[Name]) -> list[Tariff | None]:
    """As `price_lookup.look_up`."""
    return msgspec.convert(price_table.tariffs(names), list[Tariff | None])

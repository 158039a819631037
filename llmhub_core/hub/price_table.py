"""A program of its own that reads the genai-prices table: for what was asked on standard input, it says all prices.

The table and what it needs (pydantic, httpx2) take a third of a second and 30 MB, of which a hub wants a few lines now
and then. So this file imports nothing of the hub; `hub/pricing.py` starts it and reckons with the answer.

Asked is a JSON list of [provider, model] by the table's names of providers, answered one of the same length. An entry
is null where the table knows no price, else the model's prices as `Tariff` in `hub/tariff.py` reads them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

COUNTS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "output_reasoning_tokens", "web_searches", "input_audio_tokens", "output_audio_tokens",
)  # fmt: skip
"""What is counted of a request, by the table's names."""

NICENESS = 10
"""Requests come first."""


def tariffs(wanted: Iterable[Sequence[str]]) -> list[Any]:
    """An answer for each (provider, model): None, or its tariff as plain values."""
    return [_tariff(provider, model) for provider, model in wanted]


def _tariff(provider: str, model: str) -> dict[str, Any] | None:
    from genai_prices import data_snapshot

    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    if not isinstance(found.prices, list):
        return _told([(None, found.prices)])
    return _told(_still_to_come([(each.constraint, each.prices) for each in found.prices], datetime.now(UTC).date()))


def _still_to_come(prices: list[tuple[Any, Any]], today: date) -> list[tuple[Any, Any]]:
    """Without those that later ones have replaced for good: the last that is in force counts."""
    for place in range(len(prices) - 1, -1, -1):
        constraint, values = prices[place]
        if constraint is None or getattr(constraint, "start_date", date.max) <= today:
            return [(None, values), *prices[place + 1 :]]
    return prices


def _told(prices: list[tuple[Any, Any]]) -> dict[str, Any] | None:
    try:
        return {"prices": [[*_when(constraint), _units(values)] for constraint, values in prices]}
    except ValueError:  # an odd entry of the table, of which it makes no price either
        return None


def _when(constraint: Any) -> tuple[float, list[float] | None]:
    """Since when, in seconds since 1970, and between which seconds of each day (UTC) a price is in force."""
    if constraint is None:
        return 0.0, None
    if hasattr(constraint, "start_date"):
        return datetime.combine(constraint.start_date, time(), UTC).timestamp(), None
    return 0.0, [_second_of_day(constraint.start_time), _second_of_day(constraint.end_time)]


def _second_of_day(at: time) -> float:
    if at.tzinfo is not None:
        at = datetime.combine(date(1970, 1, 2), at).astimezone(UTC).time()
    return at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6


def _units(values: Any) -> list[Any]:
    """Each thing that has a price, the more special ones first: [name, how many the price is for, price, prices from
    so many input tokens on, places of the more special ones among what is counted here, counts that contradict]."""
    from genai_prices.units import _get_registry
    from genai_prices.validation import validate_priced_units

    registry = _get_registry()
    prices = {key: price for key, price in values.__dict__.items() if price is not None}
    ordered = sorted(
        (unit for unit in registry.units.values() if unit.price_key in prices),
        key=lambda unit: (-len(unit.dimensions), unit.usage_key),
    )
    validate_priced_units(ordered, registry)
    told = []
    for unit in ordered:
        price, tiers = prices[unit.price_key], []
        if hasattr(price, "tiers"):
            price, tiers = price.base, [[tier.start, str(tier.price)] for tier in price.tiers]
        within = [place for place, each in enumerate(ordered) if each is not unit and _is_part(each, unit)]
        clashes = [] if unit.usage_key in COUNTS else _clashes(unit, registry)
        told.append([unit.usage_key, unit.per, str(price), tiers, within, clashes])
    return told


def _is_part(part: Any, whole: Any) -> bool:
    return bool(whole.dimensions.items() <= part.dimensions.items())


def _clashes(unit: Any, registry: Any) -> list[list[str]]:
    """Counts of which a thing that is not counted itself should have had one too, if all of them are there: a part of
    it, or two things that it has in common."""
    counted = [registry.units[name] for name in sorted(COUNTS)]
    parts = [[each.usage_key] for each in counted if _is_part(each, unit)]
    pairs = [
        [one.usage_key, other.usage_key]
        for place, one in enumerate(counted)
        for other in counted[place + 1 :]
        if one.is_compatible_with(other)
        and not _is_part(one, other)
        and not _is_part(other, one)
        and unit.dimensions == {**one.dimensions, **other.dimensions}
    ]
    return parts + pairs


if __name__ == "__main__":
    os.nice(NICENESS)
    json.dump(tariffs(json.load(sys.stdin)), sys.stdout)

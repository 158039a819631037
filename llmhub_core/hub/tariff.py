"""What a model costs by the table, and what that makes of a request's counts: exactly what the table itself says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import gcd

import msgspec

from llmhub_core.contracts.exchange import Record

NANO = 1_000_000_000
PER_MILLION = NANO // 1_000_000  # 10⁻⁹ USD a token for a price of 1 USD a million tokens
FINE = 1_000_000  # parts of 10⁻⁹ USD in which prices of single tokens are whole numbers

_HALF = Decimal("0.5")
_DAY = 86_400
_BY_OTHERS = frozenset({"requests", "output_reasoning_tokens"})
"""What has a price for more than the counts that Rates looks at."""


class Contradiction(ValueError):
    """Counts of which no price can be made, such as more cached tokens than tokens."""


class Unit(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A thing that has a price: `price` USD for `per` of it, or the last of `tiers` whose number of input tokens is
    exceeded, for all of it. Those `within` (places in the list) are counted in it, and are paid for by themselves.
    None of it is counted while one of `clashes` is: then it should have been."""

    name: str
    per: int
    price: Decimal
    tiers: list[tuple[int, Decimal]]
    within: list[int]
    clashes: list[list[str]]


class Prices(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """In force `since` then (seconds since 1970), and if `daily` only between these seconds of the day, UTC."""

    since: float
    daily: tuple[float, float] | None
    units: list[Unit]

    def in_force(self, at: float) -> bool:
        if at < self.since:
            return False
        if self.daily is None:
            return True
        (begin, end), second = self.daily, at % _DAY
        return begin <= second < end if begin <= end else second >= begin or second < end

    def cost(self, counts: Mapping[str, int]) -> int:
        """In 10⁻⁹ USD. Contradiction if the counts make no sense together."""
        if min(counts.values()) < 0:
            raise Contradiction
        total = Decimal(0)
        own: list[int] = []
        for unit in self.units:
            if unit.name == "requests":
                count = 1
            else:
                if any(all(counts[name] > 0 for name in clash) for clash in unit.clashes):
                    raise Contradiction
                count = counts.get(unit.name, 0) - sum(own[place] for place in unit.within)
                if count < 0:
                    raise Contradiction
            own.append(count)
            price = unit.price
            for start, higher in unit.tiers:
                if counts["input_tokens"] > start:
                    price = higher
            total += price * count / unit.per
        return int(total * NANO + _HALF)


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """A model's prices: the last one in force counts, the first if none is."""

    prices: list[Prices]

    @property
    def steady(self) -> bool:
        """Whether they are the same at any time."""
        return len(self.prices) == 1

    def cost(self, record: Record) -> int:
        """In 10⁻⁹ USD; Contradiction."""
        at = record.arrived_at
        prices = next((each for each in reversed(self.prices) if each.in_force(at)), self.prices[0])
        return prices.cost(
            {
                "input_tokens": record.input_tokens,
                "output_tokens": record.output_tokens,
                "cache_read_tokens": record.cached_tokens,
                "cache_write_tokens": record.cache_write_tokens,
                "cache_write_1h_tokens": record.cache_write_1h_tokens,
                "output_reasoning_tokens": record.reasoning_tokens,
                "web_searches": record.server_tool_calls,
                "input_audio_tokens": record.audio_input_tokens,
                "output_audio_tokens": record.audio_output_tokens,
            }
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices a token, in whole parts of 10⁻⁹ USD (`parts` of them make one), good for inputs of fewer than `up_to`
    tokens: reckoning as the table does takes ten times as long.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    up_to: int = 0
    parts: int = 1

    @classmethod
    def of(cls, tariff: Tariff) -> Rates | None:
        """None where the tariff says more than these numbers can."""
        if not tariff.steady:
            return None
        up_to = 1 << 62
        numbers: dict[str, int] = {}
        for unit in tariff.prices[0].units:
            up_to = min([up_to, *(start for start, _ in unit.tiers)])
            exact = unit.price * NANO / unit.per * FINE
            if unit.name in _BY_OTHERS or exact != int(exact):
                return None
            numbers[unit.name] = int(exact)
        if "input_tokens" not in numbers or "output_tokens" not in numbers:
            return None
        common = gcd(FINE, *numbers.values())  # small numbers are multiplied faster
        numbers = {name: number // common for name, number in numbers.items()}
        paid, written = numbers["input_tokens"], numbers.get("cache_write_tokens", numbers["input_tokens"])
        return cls(
            input=paid,
            output=numbers["output_tokens"],
            cached=numbers.get("cache_read_tokens", paid),
            written=written,
            written_1h=numbers.get("cache_write_1h_tokens", written),
            up_to=up_to,
            parts=FINE // common,
        )

    def cost(self, record: Record) -> int | None:
        """None where the tariff has to be asked: long inputs, things with prices of their own, odd numbers."""
        special = record.audio_input_tokens or record.audio_output_tokens or record.server_tool_calls
        fresh = record.input_tokens - record.cached_tokens - record.cache_write_tokens
        short = record.cache_write_tokens - record.cache_write_1h_tokens
        if record.input_tokens >= self.up_to or special or fresh < 0 or short < 0:
            return None
        total = fresh * self.input + record.output_tokens * self.output
        if record.cached_tokens or record.cache_write_tokens:
            total += (
                record.cached_tokens * self.cached
                + short * self.written
                + record.cache_write_1h_tokens * self.written_1h
            )
        return total if self.parts == 1 else (total + self.parts // 2) // self.parts

"""What an exchange cost, in 10⁻⁹ USD. A price that nobody knows is unknown, never 0."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import Any

from llmhub_core.contracts.candidate import Deployment
from llmhub_core.contracts.exchange import Record

log = logging.getLogger("llmhub.pricing")

NANO = 1_000_000_000
PER_MILLION = NANO // 1_000_000  # 10⁻⁹ USD a token for a price of 1 USD a million tokens
FINE = 1_000_000  # parts of 10⁻⁹ USD in which prices of single tokens are whole numbers
CACHED_MODELS = 2000

_HALF = Decimal("0.5")
_BY_OTHERS = frozenset({"requests_kcount", "output_reasoning_mtok"})
"""Prices that depend on more than the numbers that _Rates looks at."""


@dataclass(frozen=True, slots=True)
class _Rates:
    """A model's prices a token, in whole parts of 10⁻⁹ USD (`parts` of them make one), good for inputs of fewer
    than `up_to` tokens: asking the table costs a quarter of a millisecond, more than everything else a request costs.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    up_to: int = 0
    parts: int = 1

    @classmethod
    def of(cls, prices: Any) -> _Rates:
        """What the table says, or rates that are good for nothing where it says more than these numbers can."""
        fields = getattr(prices, "__dict__", None)
        if fields is None:  # prices that change with the time of day are asked for each time
            return cls()
        up_to = 1 << 62
        numbers: dict[str, int] = {}
        for name, price in fields.items():
            if price is None:
                continue
            tiers = getattr(price, "tiers", None)
            if tiers:
                up_to = min(up_to, *(tier.start for tier in tiers))
                price = price.base
            exact = price * PER_MILLION * FINE
            if name in _BY_OTHERS or exact != int(exact):
                return cls()
            numbers[name] = int(exact)
        if "input_mtok" not in numbers or "output_mtok" not in numbers:
            return cls()
        common = gcd(FINE, *numbers.values())  # small numbers are multiplied faster
        numbers = {name: number // common for name, number in numbers.items()}
        paid, written = numbers["input_mtok"], numbers.get("cache_write_mtok", numbers["input_mtok"])
        return cls(
            input=paid,
            output=numbers["output_mtok"],
            cached=numbers.get("cache_read_mtok", paid),
            written=written,
            written_1h=numbers.get("cache_write_1h_mtok", written),
            up_to=up_to,
            parts=FINE // common,
        )

    def cost(self, record: Record) -> int | None:
        """None where the table has to be asked: long inputs, things with prices of their own, odd numbers."""
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


class Pricing:
    """`prices` are the operator's own (USD per million tokens); all others come from the genai-prices table."""

    def __init__(self, prices: Mapping[tuple[str, str], Deployment], kinds: Mapping[str, str]) -> None:
        self._own = prices
        self._kinds = kinds
        self._library: Any = None
        self._unknown: set[tuple[str, str]] = set()
        self._rates: dict[tuple[str, str], _Rates] = {}

    def turn_to(self, prices: Mapping[tuple[str, str], Deployment], kinds: Mapping[str, str]) -> None:
        """From now on these are the operator's own prices, and the providers' kinds."""
        self._own, self._kinds = prices, kinds
        self._unknown.clear()
        self._rates.clear()

    async def load(self) -> None:
        """Import the table: it is large, so it happens beside the start and not before it."""

        def load() -> Any:
            import genai_prices

            return genai_prices

        self._library = await asyncio.to_thread(load)

    def price(self, records: Sequence[Record]) -> None:
        """Write the cost into each record that has none and whose price is known."""
        for record in records:
            if record.cost is None and record.provider:
                record.cost = self.cost(record)

    def blended(self, deployment: Deployment) -> float | None:
        """USD per million tokens, three of input to one of output; None if nobody knows."""
        if deployment.input_price is not None and deployment.output_price is not None:
            return (3 * deployment.input_price + deployment.output_price) / 4
        # Few enough that prices for long inputs do not come in, and enough to lose nothing by rounding.
        usual = Record(
            "", 0.0, "", "", "chat", "", stream=False, outcome="served",
            provider=deployment.provider, served_model=deployment.model, input_tokens=3000, output_tokens=1000,
        )  # fmt: skip
        cost = self.cost(usual)
        return None if cost is None else cost / (4000 * PER_MILLION)

    def cost(self, record: Record) -> int | None:
        pair = (record.provider, record.served_model)
        rates = self._rates.get(pair)
        if rates is not None and record.input_tokens:
            quick = rates.cost(record)
            if quick is not None:
                return quick
        own = self._own.get(pair)
        if record.input_tokens == record.output_tokens == 0:
            free = own is not None and own.input_price == own.output_price == 0
            return 0 if free or record.outcome != "served" else None  # nobody counted what was served
        if own is not None and own.input_price is not None and own.output_price is not None:
            return round(
                (record.input_tokens * own.input_price + record.output_tokens * own.output_price) * PER_MILLION
            )
        if self._library is None or pair in self._unknown:
            return None
        return self._from_table(record, pair)

    def _from_table(self, record: Record, pair: tuple[str, str]) -> int | None:
        library = self._library
        try:
            usage = library.Usage(
                input_tokens=record.input_tokens,
                output_tokens=record.output_tokens,
                cache_read_tokens=record.cached_tokens,
                cache_write_tokens=record.cache_write_tokens,
                cache_write_1h_tokens=record.cache_write_1h_tokens,
                output_reasoning_tokens=record.reasoning_tokens,
                web_searches=record.server_tool_calls,
                input_audio_tokens=record.audio_input_tokens,
                output_audio_tokens=record.audio_output_tokens,
            )
            found = library.calc_price(usage, model_ref=record.served_model, provider_id=self._provider_id(record))
        except LookupError:
            if len(self._unknown) < CACHED_MODELS:
                self._unknown.add(pair)
            return None
        except Exception as error:  # an odd entry of the table, or usage that contradicts itself: unknown, not 0
            log.warning("no price for a request to %s/%s: %s", *pair, type(error).__name__)
            return None
        if len(self._rates) < CACHED_MODELS:
            self._rates[pair] = _Rates.of(found.model.prices)
        return int(Decimal(found.total_price) * NANO + _HALF)

    def _provider_id(self, record: Record) -> str | None:
        kind = self._kinds.get(record.provider, "")
        return {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}.get(kind, record.provider)

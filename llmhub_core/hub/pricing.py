"""What an exchange cost, in 10⁻⁹ USD. A price that nobody knows is unknown, never 0."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from llmhub_core.contracts.candidate import Deployment
from llmhub_core.contracts.exchange import Record
from llmhub_core.hub import price_lookup
from llmhub_core.hub.price_lookup import Name, NoAnswer
from llmhub_core.hub.tariff import PER_MILLION, Contradiction, Rates, Tariff

log = logging.getLogger("llmhub.pricing")

REMEMBERED = 5000
"""Models, with those that the table does not know; the names of some are the callers' to choose."""

AGAIN = 60.0
"""Seconds after which a table that did not answer is asked again."""

_TABLES_NAMES = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
"""Of providers, by kind; all others go by the name that the operator gave them."""


class Pricing:
    """`prices` are the operator's own (USD per million tokens); all others come from the genai-prices table.

    Of the table only what was asked for is here (`learn`): until then the price of a model is unknown.
    """

    def __init__(self, prices: Mapping[tuple[str, str], Deployment], kinds: Mapping[str, str]) -> None:
        self.turn_to(prices, kinds)
        self._tariffs: dict[Name, Tariff | None] = {}
        self._learning = asyncio.Lock()
        self._ask_again = 0.0
        self.along: Callable[[], Iterable[tuple[str, str]]] = tuple
        """What else is asked for when the table is asked anyway, as (provider, model)."""
        self.learned: Callable[[], None] = lambda: None
        """Called when there are more prices than before."""

    def turn_to(self, prices: Mapping[tuple[str, str], Deployment], kinds: Mapping[str, str]) -> None:
        """From now on these are the operator's own prices, and the providers' kinds."""
        self._own, self._kinds = prices, kinds
        self._rates: dict[tuple[str, str], Rates] = {}

    # what the table says

    async def learn(self, deployments: Iterable[tuple[str, str]], kinds: Mapping[str, str] | None = None) -> None:
        """Ask the table for these (provider, model), as far as it was not asked yet; `kinds` are those of providers
        that count later. Never fails: what is not learned stays unknown, and is asked for again by and by."""
        names = dict.fromkeys(self._name(pair, kinds) for pair in deployments)
        async with self._learning:
            if all(name in self._tariffs for name in names) or time.monotonic() < self._ask_again:
                return
            names |= dict.fromkeys(self._name(pair) for pair in self.along())
            unknown = [name for name in names if name not in self._tariffs][:REMEMBERED]
            try:
                found = await price_lookup.look_up(unknown)
            except NoAnswer as error:
                self._ask_again = time.monotonic() + AGAIN
                log.warning("prices are not known at the moment, for the table of prices does not answer: %s", error)
                return
            self._tariffs |= zip(unknown, found, strict=True)
            while len(self._tariffs) > REMEMBERED:
                oldest = next(iter(self._tariffs))
                del self._tariffs[oldest]
        self.learned()

    def awaits(self, record: Record) -> bool:
        """Whether a record has no cost only because the table was not asked for its model yet."""
        return (
            record.cost is None
            and record.provider != ""
            and bool(record.input_tokens or record.output_tokens)
            and self._own_price((record.provider, record.served_model)) is None
            and self._name((record.provider, record.served_model)) not in self._tariffs
            and time.monotonic() >= self._ask_again
        )

    async def complete(self, records: Sequence[Record]) -> None:
        """As `price`, asking the table for what is not known yet."""
        self.price(records)
        await self.learn({(each.provider, each.served_model) for each in records if self.awaits(each)})
        self.price(records)

    # what that makes

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
            "", time.time(), "", "", "chat", "", stream=False, outcome="served",
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
        prices = self._own_price(pair)
        if prices is not None:
            paid, written = prices
            return round((record.input_tokens * paid + record.output_tokens * written) * PER_MILLION)
        tariff = self._tariffs.get(self._name(pair))
        return None if tariff is None else self._by_tariff(tariff, record, pair)

    def _by_tariff(self, tariff: Tariff, record: Record, pair: tuple[str, str]) -> int | None:
        if pair not in self._rates and len(self._rates) < REMEMBERED:
            rates = Rates.of(tariff)
            if rates is not None:
                self._rates[pair] = rates
        try:
            return tariff.cost(record)
        except Contradiction:
            log.warning("no price for a request to %s/%s: its counts contradict each other", *pair)
            return None

    def _own_price(self, pair: tuple[str, str]) -> tuple[float, float] | None:
        own = self._own.get(pair)
        if own is None or own.input_price is None or own.output_price is None:
            return None
        return own.input_price, own.output_price

    def _name(self, pair: tuple[str, str], kinds: Mapping[str, str] | None = None) -> Name:
        provider, model = pair
        return _TABLES_NAMES.get((self._kinds if kinds is None else kinds).get(provider, ""), provider), model

"""What strategies decide by and no attempt tells: a candidate's price, and how much of its quota is left.

Quotas are looked at in the background, so that no request asks the store for the sake of an order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from llmhub_core.contracts.candidate import CandidateStats, Deployment, Limit
from llmhub_core.contracts.quota_store import Level, QuotaStore
from llmhub_core.hub.catalog import Catalog, Standing
from llmhub_core.hub.limit_estimates import BOUNDLESS
from llmhub_core.hub.pool import Pool
from llmhub_core.hub.pricing import Pricing

log = logging.getLogger("llmhub.standings")

INTERVAL = 1.0
AT_ONCE = 100
AT_ONCE_HERE = 10
"""Accounts asked about in one call; fewer of a store in this process, which holds up requests while it answers."""

SHARE_OF_TIME = 0.05
"""Looking takes no more of the time than this, however many limits there are: then it looks less often."""

LONGEST_PAUSE = 10.0

SMOOTHING = 0.3


class _Account:
    """Candidates that draw on the same limits.

    `fan` is how many of them stand side by side in one route: if each goes down by that many steps an attempt, then
    together they go down as fast as what they share.
    """

    __slots__ = ("fan", "limits", "picks", "share", "standing", "step")

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self.limits = limits
        self.standing: list[CandidateStats] = []
        self.fan = 1
        self.share = 1.0
        self.picks = 0
        self.step = 0.0

    def goes_on(self, was: _Account) -> None:
        """These limits were known under the catalog before: their share, and what was learned."""
        self.share, self.step = was.share, was.step
        self.picks = sum(stats.picks for stats in self.standing)

    def look(self, levels: dict[str, Level]) -> None:
        """Take over what is left, and learn what an attempt takes: all that went, over the attempts it went on."""
        share = min(levels[limit.id].left / limit.amount for limit in self.limits)
        picks = sum(stats.picks for stats in self.standing)
        asked, spent = picks - self.picks, self.share - share
        if asked > 0 and spent > 0:
            self.step += (spent / asked - self.step) * (SMOOTHING if self.step else 1.0)
        self.share, self.picks = share, picks

    @property
    def least_step(self) -> float:
        """What an attempt takes at least: one request of those allowed."""
        return max((1 / limit.amount for limit in self.limits if limit.kind == "requests"), default=0.0)


class Standings:
    """Opened after the store is up; closed before the store."""

    def __init__(self, catalog: Catalog, pool: Pool, pricing: Pricing, quota: QuotaStore) -> None:
        self._catalog = catalog
        self._pool = pool
        self._pricing = pricing
        self._quota = quota
        self._accounts: list[_Account] = []
        self._looking: asyncio.Task[None] | None = None
        self._out = False
        self._started = False

    async def start(self) -> None:
        self._started = True
        await learn_prices(self._catalog, self._pricing)
        self.price_anew()
        self._accounts = _accounts(self._catalog)
        if self._accounts:
            await self.look()
            self._looking = asyncio.create_task(self._keep_looking())

    def turn_to(self, catalog: Catalog) -> None:
        """Another catalog counts from now on. What was learned of limits that stay is kept."""
        was = {account.limits: account for account in self._accounts}
        self._catalog = catalog
        self.price_anew()
        self._accounts = _accounts(catalog)
        for account in self._accounts:
            if account.limits in was:
                account.goes_on(was[account.limits])
        if self._accounts and self._looking is None and self._started:
            self._looking = asyncio.create_task(self._keep_looking())

    def unpriced(self) -> set[tuple[str, str]]:
        """As `unpriced`, of what runs."""
        return unpriced(self._catalog)

    def price_anew(self) -> None:
        """Prices are known that were not before."""
        set_prices(self._catalog, self._pricing)

    async def stop(self) -> None:
        self._started = False
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
            self._looking = None

    async def look(self, share_of_time: float = 1.0) -> None:
        """Ask the store for all levels and write down what is left; what it cannot tell stays as it was."""
        at_once = AT_ONCE if self._quota.waits else AT_ONCE_HERE
        standing = self._accounts
        for first in range(0, len(standing), at_once):
            accounts = standing[first : first + at_once]
            began = time.perf_counter()
            levels = await self._levels([limit for account in accounts for limit in account.limits])
            for account in accounts if levels else ():
                account.look(levels)
                self._write(account)
            took = time.perf_counter() - began
            await asyncio.sleep(min(took * (1 / share_of_time - 1), LONGEST_PAUSE))

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.look(SHARE_OF_TIME)

    async def _levels(self, limits: Sequence[Limit]) -> dict[str, Level]:
        """By id; none if the store is out, which is told once."""
        try:
            levels = await self._quota.levels(limits)
        except Exception as error:
            if not self._out:
                log.warning("what is left of the quotas is not known at the moment: %s", type(error).__name__)
            self._out = True
            return {}
        self._out = False
        return {level.limit.id: level for level in levels}

    def _write(self, account: _Account) -> None:
        step = max(account.step, account.least_step) * account.fan
        now, calm = time.monotonic(), self._pool.calm
        for stats in account.standing:
            resting = not calm and self._pool.blocked(stats.candidate, now) is not None
            stats.quota_left = 0.0 if resting else account.share
            stats.quota_step = step


def unpriced(catalog: Catalog) -> set[tuple[str, str]]:
    """The (provider, model) to which the operator gave no price."""
    deployments = {stats.candidate.deployment for stats in catalog.standing()}
    return {(each.provider, each.model) for each in deployments if None in (each.input_price, each.output_price)}


async def learn_prices(catalog: Catalog, pricing: Pricing, kinds: Mapping[str, str] | None = None) -> None:
    """Before a catalog counts, where the order of its candidates depends on prices; `kinds` are those of its providers
    if others run yet. Where it does not, prices can wait for the first use."""
    if any("price" in route.strategy.reads for route in catalog.routes.values()):
        await pricing.learn(unpriced(catalog), kinds)


def set_prices(catalog: Catalog, pricing: Pricing) -> None:
    """Write down the price of each candidate in a route."""
    prices: dict[Deployment, float | None] = {}
    others: set[int] = set()
    for route in catalog.routes.values():
        for stats in route.standing:
            deployment = stats.candidate.deployment
            if deployment not in prices:
                prices[deployment] = pricing.blended(deployment)
            if stats.price != prices[deployment]:
                stats.price = prices[deployment]
                others.add(id(stats))
        if any(id(stats) in others for stats in route.standing):
            route.levels = ()  # what the strategy worked out of prices was of the earlier ones


def _quotas(stats: Standing) -> tuple[Limit, ...]:
    return tuple(limit for limit in stats.quotas if limit.kind != "concurrency" and limit.amount < BOUNDLESS)


def _accounts(catalog: Catalog) -> list[_Account]:
    """Of all candidates in routes that have a quota. Concurrency is none: it changes with each answer, and nothing of
    it is ever used up."""
    accounts: dict[tuple[Limit, ...], _Account] = {}
    seen: set[int] = set()
    for route in catalog.routes.values():
        fans: Counter[tuple[Limit, ...]] = Counter()
        for stats in route.standing:
            limits = _quotas(stats)
            if not limits:
                continue
            fans[limits] += 1
            account = accounts.get(limits)
            if account is None:
                account = accounts[limits] = _Account(limits)
            if id(stats) not in seen:
                seen.add(id(stats))
                account.standing.append(stats)
        for limits, fan in fans.items():
            accounts[limits].fan = max(accounts[limits].fan, fan)
    return list(accounts.values())

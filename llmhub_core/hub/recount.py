"""Counters that know less than the ledger are told the rest when a hub starts: what a killed process had not noted yet,
a file that was deleted, a Redis that came back empty. And once more when the leases of the dead are over: they gave
back what was answered by a hub that was killed before it settled.

Only windows of an hour and more: shorter ones are over by the time that a hub has started. Counters are only raised,
never lowered, for the ledger does not know everything: refused attempts at a key, and what is under way elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from llmhub_core.contracts.candidate import Limit
from llmhub_core.contracts.metadata_store import MetadataStore, UsageGroup, UsageQuestion, UsageRow
from llmhub_core.contracts.quota_store import Amount, LimitReached, QuotaStore
from llmhub_core.hub.catalog import Catalog
from llmhub_core.hub.ledger import Ledger
from llmhub_core.hub.tokens import Tokens

log = logging.getLogger("llmhub.recount")

LONG = 3600
"""Seconds of the shortest window that is looked at."""

PATIENCE = 10.0
"""Seconds that the database may take to say what was used; then the hub starts without."""


@dataclass(frozen=True)
class _Owner:
    """Whose uses a limit counts: a group of rows of the ledger."""

    by: tuple[UsageGroup, ...]
    group: tuple[str, ...]


async def recount(
    catalog: Catalog, tokens: Tokens, store: MetadataStore, quota: QuotaStore, ledger: Ledger | None = None
) -> None:
    """Before any request is taken, with the `ledger` whose journal comes first; without it when the leases of an
    earlier run are over. Never fails: what the database cannot tell is left as it is."""
    owners = _owners(catalog, tokens)
    if not owners:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            if ledger is not None:
                await ledger.flushed()
            noted = await _noted(owners, store)
            levels = await quota.levels(list(owners))
            for level in levels:
                # What the dead have reserved elsewhere may be in the ledger already.
                counted = level.used + (level.reserved if quota.waits and ledger is not None else 0)
                if noted[level.limit] > counted:
                    await _charge(quota, level.limit, noted[level.limit] - counted)
    except Exception as error:
        log.warning("counters were not compared with the ledger: %s", type(error).__name__)


def _owners(catalog: Catalog, tokens: Tokens) -> dict[Limit, list[_Owner]]:
    owners: dict[Limit, list[_Owner]] = {}

    def add(limits: Iterable[Limit], owner: _Owner) -> None:
        for limit in limits:
            if limit.kind != "concurrency" and limit.window >= LONG:
                owners.setdefault(limit, []).append(owner)

    for place in catalog.places.values():
        for key in place.keys:
            add(key.limits, _Owner(("provider", "key"), (key.provider, key.name)))
    for caller in tokens.callers:
        add(caller.limits, _Owner(("caller",), (caller.name,)))
    return owners


async def _noted(owners: Mapping[Limit, list[_Owner]], store: MetadataStore) -> Counter[Limit]:
    """What the ledger knows of each limit's window."""
    now = time.time()
    rows: dict[tuple[float, tuple[UsageGroup, ...]], dict[tuple[str, ...], UsageRow]] = {}
    noted: Counter[Limit] = Counter()
    for limit, those in owners.items():
        since = _since(limit, now)
        for owner in those:
            question = (since, owner.by)
            if question not in rows:
                found = await store.usage(UsageQuestion(since, now + 1.0, owner.by))
                rows[question] = {row.group: row for row in found}
            row = rows[question].get(owner.group)
            if row is not None:
                noted[limit] += _used(limit, row)
    return noted


def _since(limit: Limit, now: float) -> float:
    if limit.zone is None:
        return now - limit.window
    zone = ZoneInfo(limit.zone)
    return datetime.combine(datetime.fromtimestamp(now, zone).date(), time_of_day(), zone).timestamp()


def _used(limit: Limit, row: UsageRow) -> int:
    if limit.kind == "requests":
        return row.served + row.failed
    return row.cost if limit.kind == "money" else row.input_tokens + row.output_tokens


async def _charge(quota: QuotaStore, limit: Limit, amount: int) -> None:
    """More than was reserved counts, whether there is room or not."""
    try:
        nothing = await quota.reserve((limit,), Amount(0), 60.0)
    except LimitReached:
        return  # more than all of it is used already
    await quota.settle(nothing, Amount(**{"requests": 0, limit.kind: amount}))
    log.warning("%d %s that the ledger knows were missing in the limit %s", amount, limit.kind, limit.id)

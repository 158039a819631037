"""Every limit and where it stands: declared by the operator, and learned from the providers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from llmhub_core.admin.control import Control
from llmhub_core.admin.views import LearnedView, LevelView
from llmhub_core.contracts.candidate import Limit, ProviderKey
from llmhub_core.contracts.quota_store import Level
from llmhub_core.contracts.rates import DAY
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.learned import Known
from llmhub_core.hub.limit_estimates import Told


async def quotas(control: Control) -> list[LevelView]:
    return await quotas_of(control.hub)


async def quotas_of(hub: Hub) -> list[LevelView]:
    """Every limit once, callers' first; keys of one account share theirs."""
    keys = [key for place in hub.catalog.places.values() for key in place.keys]
    callers = await _levels(hub, [limit for caller in hub.tokens.callers for limit in caller.limits])
    levels = [_view(level) for level in callers] + await declared(hub, keys)
    levels += [level for _, level in await learned(hub)]
    return list({level.id: level for level in levels}.values())


async def declared(hub: Hub, keys: Iterable[ProviderKey]) -> list[LevelView]:
    """Of provider keys, each account's once."""
    accounts = {limit.id: key.account for key in keys for limit in key.limits}
    levels = await _levels(hub, {limit.id: limit for key in keys for limit in key.limits}.values())
    return [_view(level, _resting(hub, (accounts[level.limit.id],))) for level in levels]


async def learned(hub: Hub) -> list[tuple[str, LevelView]]:
    """What is known of the accounts of configured keys, each with its account."""
    now = hub.learning.clock()
    known = hub.learning.known()
    levels = {level.limit.id: level for level in await _levels(hub, [each.limit for each in known if each.counted])}
    found = []
    for each in known:
        stands = levels.get(each.limit.id) or _as_told(each, now)
        view = _view(stands, _resting(hub, (each.account, each.subject)))
        found.append((each.account, _with_origin(view, each)))
    return found


async def _levels(hub: Hub, limits: Iterable[Limit]) -> list[Level]:
    limits = list(limits)
    return list(await hub.quota.levels(limits)) if limits else []


def _as_told(known: Known, now: float) -> Level:
    """Where a limit stands that nobody counts here: as the provider said last, if it did."""
    estimate, limit = known.estimate, known.limit
    left = estimate.left if isinstance(estimate, Told) else None
    resets_at = estimate.resets_at if isinstance(estimate, Told) else None
    over = resets_at is not None and resets_at <= now
    used = 0 if left is None or over else max(0, limit.amount - left)
    return Level(limit, used, 0, 0.0 if resets_at is None else max(0.0, resets_at - now))


def _with_origin(view: LevelView, known: Known) -> LevelView:
    estimate = known.estimate
    view.learned = LearnedView(
        model=known.model,
        source=estimate.source if isinstance(estimate, Told) else "counts",
        samples=estimate.samples,
        confidence=round(estimate.confidence, 2),
        first_seen=estimate.first_seen,
        last_seen=estimate.last_seen,
        binds=known.binds,
    )
    if view.last_reset is None and isinstance(estimate, Told):
        view.last_reset = estimate.last_reset
    return view


def _resting(hub: Hub, subjects: Iterable[str]) -> float | None:
    """Until when any of them rests, in seconds since 1970."""
    held = [hub.pool.marks[subject] for subject in subjects if subject in hub.pool.marks]
    now = time.monotonic()
    ends = [mark.until for mark in held if mark.until is not None and mark.until > now]
    return time.time() + max(ends) - now if ends else None


def _view(level: Level, resting_until: float | None = None) -> LevelView:
    limit, now = level.limit, time.time()
    kind, _, rest = limit.id.partition(":")
    return LevelView(
        id=limit.id,
        owner=f"{kind} {rest.rpartition(':')[0]}",
        kind=limit.kind,
        window=limit.window,
        zone=limit.zone,
        amount=limit.amount,
        used=level.used,
        reserved=level.reserved,
        left=level.left,
        resets_in=level.resets_in,
        last_reset=_day_began(limit.zone) if limit.zone is not None and limit.window == DAY else None,
        next_reset=now + level.resets_in if level.resets_in > 0 else None,
        resting_until=resting_until,
    )


def _day_began(zone: str) -> float:
    return datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()

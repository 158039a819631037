"""Every limit and where it stands: declared by the operator, and learned from the providers."""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from llmhub_core.admin.control import Control
from llmhub_core.admin.lists import FindAsked, named, page
from llmhub_core.admin.refusals import no_such
from llmhub_core.admin.slices import gathered, unhurried
from llmhub_core.admin.views import LearnedView, LevelView, Page
from llmhub_core.contracts.candidate import Limit, ProviderKey
from llmhub_core.contracts.quota_store import Level
from llmhub_core.contracts.rates import DAY
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.learned import Known
from llmhub_core.hub.limit_estimates import Told

NEARLY = 0.9
"""Share of a limit from which on it is worth a word."""

LimitState = Literal["spent", "low", "fine"]


class QuotasAsked(FindAsked, kw_only=True):
    """`state` is spent where nothing is left, low where at least nine tenths are used."""

    owner: str | None = None
    kind: Literal["requests", "tokens", "concurrency", "money"] | None = None
    state: LimitState | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A limit, and what it belongs to; where it stands is another question."""

    limit: Limit
    account: str = ""
    known: Known | None = None


def state_of(level: LevelView) -> LimitState:
    if level.left <= 0:
        return "spent"
    return "low" if level.used + level.reserved >= level.amount * NEARLY else "fine"


async def quotas(control: Control) -> list[LevelView]:
    return await quotas_of(control.hub)


async def quotas_of(hub: Hub) -> list[LevelView]:
    """Every limit once, callers' first; keys of one account share theirs."""
    return await _views(hub, _all(hub).values())


async def quotas_page(control: Control, asked: QuotasAsked) -> Page[LevelView]:
    """By their ids. Where they stand is looked up of those that are shown, or of all that may be in that state."""
    hub = control.hub
    every = _all(hub)
    if asked.owner is not None and asked.owner not in (owners := {owner_of(each.limit) for each in every.values()}):
        raise no_such("owner", asked.owner, owners)
    found = named(asked.find)

    def fits(each: _Kept) -> bool:
        owner = owner_of(each.limit)
        return asked.owner in (None, owner) and asked.kind in (None, each.limit.kind) and found(owner)

    if asked.state is None:
        shown = await page(every.values(), asked, lambda each: (each.limit.id,), fits)
        return Page(await _views(hub, shown.items), shown.next)
    levels = await _views(hub, await gathered(each for each in every.values() if fits(each)))
    return await page(levels, asked, lambda level: (level.id,), lambda level: state_of(level) == asked.state)


async def of_callers(hub: Hub, names: Container[str]) -> dict[str, list[LevelView]]:
    """By the names of their tokens."""
    found: dict[str, list[LevelView]] = {}
    for level in await _views(hub, [_Kept(limit) for limit in _callers_limits(hub, names)]):
        found.setdefault(level.owner.removeprefix("token "), []).append(level)
    return found


async def declared(hub: Hub, keys: Iterable[ProviderKey]) -> list[LevelView]:
    """Of provider keys, each account's once."""
    return await _views(hub, _declared(keys).values())


async def learned(hub: Hub, accounts: Container[str]) -> list[tuple[str, LevelView]]:
    """What is known of these accounts of configured keys, each with its account."""
    known = [_Kept(each.limit, each.account, each) for each in hub.learning.known() if each.account in accounts]
    return [(each.account, view) for each, view in zip(known, await _views(hub, known), strict=True)]


def _all(hub: Hub) -> dict[str, _Kept]:
    """By the ids of the limits; what is learned of one that is declared counts for it."""
    found = {limit.id: _Kept(limit) for limit in _callers_limits(hub)}
    found |= _declared(key for place in hub.catalog.places.values() for key in place.keys)
    return found | {each.limit.id: _Kept(each.limit, each.account, each) for each in hub.learning.known()}


def _callers_limits(hub: Hub, names: Container[str] | None = None) -> list[Limit]:
    callers = [caller for caller in hub.tokens.callers if names is None or caller.name in names]
    return [limit for caller in callers for limit in caller.limits]


def _declared(keys: Iterable[ProviderKey]) -> dict[str, _Kept]:
    return {limit.id: _Kept(limit, key.account) for key in keys for limit in key.limits}


async def _views(hub: Hub, wanted: Collection[_Kept]) -> list[LevelView]:
    """In the same order. Of what is learned and counted nowhere it is known what the provider said."""
    counted = {each.limit.id: each.limit for each in wanted if each.known is None or each.known.counted}
    levels = {level.limit.id: level for level in await _levels(hub, counted.values())}
    now, found = hub.learning.clock(), []
    async for each in unhurried(wanted):
        stands, known = levels.get(each.limit.id), each.known
        if known is None:
            if stands is not None:
                found.append(_view(stands, _resting(hub, (each.account,))))
        else:
            view = _view(stands or _as_told(known, now), _resting(hub, (each.account, known.subject)))
            found.append(_with_origin(view, known))
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
    return LevelView(
        id=limit.id,
        owner=owner_of(limit),
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


def owner_of(limit: Limit) -> str:
    kind, _, rest = limit.id.partition(":")
    return f"{kind} {rest.rpartition(':')[0]}"


def _day_began(zone: str) -> float:
    return datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()

"""Keys that were refused, asked now and then whether they work again: by a cheap call, behind everybody's back.

A good answer lifts nothing by itself (some places list their models to anybody): it lets one request go first. The
pauses double, for a key that is dead stays dead more often than not.
"""

from __future__ import annotations

import asyncio
import logging
import time

from llmhub_core.contracts.candidate import ProviderKey
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.provider import Timeouts
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.catalog import NO_SECRET
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.pool import Mark, provider_of

log = logging.getLogger("llmhub.pool")

TICK = 1.0
LONGEST = 6 * 3600.0
PATIENCE = Timeouts(connect=3.0, first_token=10.0, stall=5.0, total=15.0)
MAX_LIST = 8 * 1024 * 1024


async def keep_reviving(hub: Hub, upstream: Upstream) -> None:
    """Until it is cancelled."""
    while True:
        await asyncio.sleep(TICK)
        if hub.pool.marks:
            hub.pool.sweep()
            await revive(hub, upstream)


async def revive(hub: Hub, upstream: Upstream) -> None:
    """Ask for each key whose time has come."""
    first, now = hub.settings.routing.retry_invalid, time.monotonic()
    for mark in hub.pool.invalid() if first else ():
        if mark.next_try is None:
            mark.next_try = now + _pause(mark, now, first)
        if mark.next_try > now:
            continue
        if await _works(hub, upstream, mark):
            hub.pool.may_be_tried(mark)
        mark.next_try = now + _pause(mark, now, first)


def _pause(mark: Mark, now: float, first: float) -> float:
    """As long again as it has been out already."""
    return max(first, min(now - mark.since, LONGEST))


async def _works(hub: Hub, upstream: Upstream, mark: Mark) -> bool:
    """Where nothing tells, a request has to."""
    place = hub.catalog.places.get(provider_of(mark.subject))
    key = None if place is None else next((key for key in place.keys if _concerns(mark.subject, key)), None)
    call = None if place is None else place.provider.models_call()
    if place is None or key is None or call is None:
        return True
    call.timeouts = PATIENCE
    secret = place.secrets.get(key.name, NO_SECRET).reveal()
    try:
        prepared = await place.provider.prepare(call, secret, upstream.fetch)
        answer = await upstream.fetch(prepared, MAX_LIST)
    except (HubError, ValueError) as error:
        log.info("%s could not be asked whether it works: %s", mark.subject, type(error).__name__)
        return False
    log.info("%s was asked whether it works: %d", mark.subject, answer.status)
    return answer.status not in (401, 402, 403) and answer.status < 500


def _concerns(subject: str, key: ProviderKey) -> bool:
    return subject in (f"key:{key.id}", key.account, f"provider:{key.provider}")

"""Which models the providers list themselves: asked when somebody wants to know, remembered for a while."""

from __future__ import annotations

import asyncio
import logging
import time

from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.provider import Timeouts
from llmhub_core.contracts.wire import load_json
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.catalog import NO_SECRET, Place
from llmhub_core.hub.hub import Hub

log = logging.getLogger("llmhub.discovery")

GOOD_FOR = 600.0
"""Seconds after which a list of models is asked for again; after a failure, a tenth of it."""

PATIENCE = Timeouts(connect=3.0, first_token=5.0, stall=5.0, total=6.0)
MAX_LIST = 8 * 1024 * 1024


_ASKING = "discovery"
"""One question at a time."""


async def list_models(hub: Hub, upstream: Upstream) -> None:
    """Ask every place whose list is old; a place that cannot be asked keeps the list that it had."""
    if not _due(hub):
        return
    async with hub.memo(_ASKING, asyncio.Lock):
        places = _due(hub)
        for place, good in zip(places, await asyncio.gather(*(_ask(upstream, p) for p in places)), strict=True):
            place.list_again = time.monotonic() + (GOOD_FOR if good else GOOD_FOR / 10)


def _due(hub: Hub) -> list[Place]:
    now = time.monotonic()
    return [place for place in hub.catalog.places.values() if place.list_again <= now and not place.disabled]


async def _ask(upstream: Upstream, place: Place) -> bool:
    call, key = place.provider.models_call(), place.usable_key
    if place.listed is None:
        place.listed = frozenset()  # from now on it was asked, whatever comes of it
    if call is None or key is None:
        return True
    call.timeouts = PATIENCE
    try:
        secret = place.secrets.get(key.name, NO_SECRET).reveal()
        answer = await upstream.fetch(await place.provider.prepare(call, secret, upstream.fetch), MAX_LIST)
        if answer.status != 200:
            return False
        place.listed = _names(answer.body)
    except (HubError, ValueError) as error:
        log.info("%s did not list its models: %s", place.name, type(error).__name__)
        return False
    return True


def _names(body: bytes) -> frozenset[str]:
    """Names from the lists of OpenAI, Anthropic (``data[].id``) and Gemini (``models[].name``)."""
    value = load_json(body)
    if not isinstance(value, dict):
        return frozenset()
    entries = value.get("data") or value.get("models") or []
    names = (entry.get("id") or entry.get("name") for entry in entries if isinstance(entry, dict))
    return frozenset(name.removeprefix("models/") for name in names if isinstance(name, str) and name)

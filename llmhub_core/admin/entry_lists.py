"""What is configured and how it fares, listed: providers, keys, routes and tokens, as files and people have them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from llmhub_core.admin import limits, live
from llmhub_core.admin.control import Control
from llmhub_core.admin.refusals import Denied, not_found
from llmhub_core.admin.shelf import Item, Shelf
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import AffinityView, KeyEntryView, ProviderEntryView, RouteEntryView, TokenEntryView
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.hub.affinity import Measured


def shelf_of(control: Control) -> Shelf:
    """As it counts at this moment, without asking the store."""
    now = control.hub.configuration.now
    source = control.hub.configuration.source
    if source is None:
        raise Denied(503, "no_configuration", "This hub was started without a configuration to look at.")
    entries = {(entry.kind, entry.name): entry for entry in now.entries}
    return Shelf(now.loaded, now.merged, source.known, entries, now.stored)


def _facts(item: Item) -> dict[str, Any]:
    return {
        "name": item.name,
        "origin": item.origin.kind,
        "where": item.origin.where,
        "revision": item.revision,
        "disabled": item.disabled,
        "problem": item.problem,
        "settings": dict(item.table),
    }


async def providers(control: Control) -> list[ProviderEntryView]:
    shelf = shelf_of(control)
    keys = shelf.names("key")
    places = control.hub.catalog.places
    found = []
    async for item in unhurried(shelf.items("provider")):
        place = places.get(item.name)
        own = [name for name in keys if name.startswith(f"{item.name}/")]
        models = sorted({*place.models, *(place.listed or ())}) if place is not None else []
        found.append(ProviderEntryView(**_facts(item), kind=str(item.table.get("kind", "")), keys=own, models=models))
    return found


async def keys(control: Control) -> list[KeyEntryView]:
    """All that are configured, also those that cannot be used."""
    running = {key.id: key for key in await live.keys(control)}
    found = []
    async for item in unhurried(shelf_of(control).items("key")):
        key = running.pop(item.name, None)
        facts = _facts(item) | {"name": item.name.partition("/")[2]}
        if key is not None:
            found.append(KeyEntryView(**(msgspec.structs.asdict(key) | facts)))
        else:
            found.append(_stranded(item, facts))
    return found


def _stranded(item: Item, facts: Mapping[str, Any]) -> KeyEntryView:
    """A key that does not count: it is seen all the same."""
    table = item.table
    return KeyEntryView(
        **facts,
        id=item.name,
        provider=item.name.partition("/")[0],
        hint="",
        state="invalid",
        reason=item.problem,
        since=None,
        until=None,
        next_try=None,
        holds=[],
        priority=table.get("priority", 1),
        weight=table.get("weight", 1),
        group=table.get("group", ""),
        models=list(table.get("models", ("*",))),
        in_flight=0,
        attempts=0,
        levels=[],
    )


async def routes(control: Control) -> list[RouteEntryView]:
    running = control.hub.catalog.routes
    measured = (await control.workers.standing()).affinity
    found = []
    async for item in unhurried(shelf_of(control).items("route")):
        route = running.get(item.name)
        candidates = [] if route is None else [stats.candidate.label for stats in route.standing]
        strategy = str(item.table.get("strategy", "priority"))
        affinity = None if route is None or not route.affinity else affinity_view(measured.get(item.name))
        found.append(RouteEntryView(**_facts(item), strategy=strategy, candidates=candidates, affinity=affinity))
    return found


def affinity_view(measured: Measured | None) -> AffinityView:
    known = measured or Measured()
    rate = known.cached_tokens / known.input_tokens if known.input_tokens else None
    return AffinityView(
        followed=known.followed,
        kept=known.kept,
        input_tokens=known.input_tokens,
        cached_tokens=known.cached_tokens,
        hit_rate=rate,
    )


async def tokens(control: Control) -> list[TokenEntryView]:
    levels = await limits.quotas(control)
    found = []
    async for item in unhurried(shelf_of(control).items("token")):
        facts = _facts(item)
        hint = str(facts["settings"].pop("hint", ""))
        own = [level for level in levels if level.owner == f"token {item.name}"]
        found.append(TokenEntryView(**facts, hint=hint, levels=own))
    return found


LISTS: dict[EntryKind, Callable[[Control], Awaitable[list[Any]]]] = {
    "provider": providers,
    "key": keys,
    "route": routes,
    "token": tokens,
}


async def one(control: Control, kind: EntryKind, name: str) -> Any:
    """Its view; Denied if there is none."""
    for view in await LISTS[kind](control):
        if (view.id if kind == "key" else view.name) == name:
            return view
    raise not_found(f"{kind} {name[:128]}")

"""What is configured and how it fares, listed: providers, keys, routes and tokens, as files and people have them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Literal

import msgspec

from llmhub_core.admin import limits, live
from llmhub_core.admin.control import Control
from llmhub_core.admin.lists import FindAsked, Order, named, page
from llmhub_core.admin.refusals import Denied, no_such, not_found
from llmhub_core.admin.shelf import Item, Shelf
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import AffinityView, KeyEntryView, Page, ProviderEntryView, RouteEntryView, TokenEntryView
from llmhub_core.contracts.candidate import KeyState
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.hub.affinity import Measured


class EntriesAsked(FindAsked, kw_only=True):
    origin: Literal["default", "file", "environment", "stored"] | None = None
    disabled: bool | None = None


class ProvidersAsked(EntriesAsked, kw_only=True):
    kind: str | None = None


class KeysAsked(EntriesAsked, kw_only=True):
    """`find` is a part of provider/key."""

    provider: str | None = None
    state: KeyState | None = None


class RoutesAsked(EntriesAsked, kw_only=True):
    pass


class TokensAsked(EntriesAsked, kw_only=True):
    pass


Items = Iterable[Item] | None
"""Those that are to be shown; None for all."""


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


async def providers(control: Control, items: Items = None) -> list[ProviderEntryView]:
    shelf = shelf_of(control)
    keys: dict[str, list[str]] = {}
    for name in shelf.names("key"):
        keys.setdefault(name.partition("/")[0], []).append(name)
    places = control.hub.catalog.places
    found = []
    async for item in unhurried(shelf.items("provider") if items is None else items):
        place, own = places.get(item.name), keys.get(item.name, [])
        models = sorted({*place.models, *(place.listed or ())}) if place is not None else []
        found.append(ProviderEntryView(**_facts(item), kind=str(item.table.get("kind", "")), keys=own, models=models))
    return found


async def keys(control: Control, items: Items = None) -> list[KeyEntryView]:
    """All that are configured, also those that cannot be used."""
    wanted = None if items is None else [*items]
    ids = None if wanted is None else {item.name for item in wanted}
    running = {key.id: key for key in await live.keys(control, ids)}
    found = []
    async for item in unhurried(shelf_of(control).items("key") if wanted is None else wanted):
        key = running.pop(item.name, None)
        facts = _facts(item) | {"name": item.name.partition("/")[2]}
        if key is not None:
            found.append(KeyEntryView(**(msgspec.structs.asdict(key) | facts)))
        else:
            found.append(_stranded(item, facts))
    return found


STRANDED: KeyState = "invalid"


def _stranded(item: Item, facts: Mapping[str, Any]) -> KeyEntryView:
    """A key that does not count: it is seen all the same."""
    table = item.table
    return KeyEntryView(
        **facts,
        id=item.name,
        provider=item.name.partition("/")[0],
        hint="",
        state=STRANDED,
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


async def routes(control: Control, items: Items = None) -> list[RouteEntryView]:
    running = control.hub.catalog.routes
    measured = (await control.workers.standing()).affinity
    found = []
    async for item in unhurried(shelf_of(control).items("route") if items is None else items):
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


async def tokens(control: Control, items: Items = None) -> list[TokenEntryView]:
    wanted = [*(shelf_of(control).items("token") if items is None else items)]
    levels = await limits.of_callers(control.hub, {item.name for item in wanted})
    found = []
    async for item in unhurried(wanted):
        facts = _facts(item)
        hint = str(facts["settings"].pop("hint", ""))
        found.append(TokenEntryView(**facts, hint=hint, levels=levels.get(item.name, [])))
    return found


_VIEWS: dict[EntryKind, Callable[[Control, Items], Awaitable[list[Any]]]] = {
    "provider": providers,
    "key": keys,
    "route": routes,
    "token": tokens,
}

ASKED: dict[EntryKind, type[EntriesAsked]] = {
    "provider": ProvidersAsked,
    "key": KeysAsked,
    "route": RoutesAsked,
    "token": TokensAsked,
}


async def some(control: Control, kind: EntryKind, asked: EntriesAsked) -> Page[Any]:
    """By their names. Only what is shown is looked at as it runs."""
    shelf = shelf_of(control)
    if isinstance(asked, ProvidersAsked):
        _mind("kind", asked.kind, control.hub.registry.providers.names)
    if isinstance(asked, KeysAsked):
        orphans = {name.partition("/")[0] for name in shelf.names("key")}
        _mind("provider", asked.provider, orphans | {*shelf.names("provider")})
    shown = await page(shelf.items(kind), asked, _order, _fitting(control, asked))
    return Page(await _VIEWS[kind](control, shown.items), shown.next)


def _mind(field: str, value: str | None, valid: Collection[str]) -> None:
    if value is not None and value not in valid:
        raise no_such(field, value, valid)


def _order(item: Item) -> Order:
    return tuple(item.name.split("/", 1)) if item.kind == "key" else (item.name,)


def _fitting(control: Control, asked: EntriesAsked) -> Callable[[Item], bool]:
    found = named(asked.find)
    state_of = live.key_states(control.hub) if isinstance(asked, KeysAsked) and asked.state is not None else None

    def fits(item: Item) -> bool:
        if asked.origin not in (None, item.origin.kind) or asked.disabled not in (None, item.disabled):
            return False
        if isinstance(asked, ProvidersAsked) and asked.kind not in (None, item.table.get("kind")):
            return False
        if isinstance(asked, KeysAsked) and asked.provider not in (None, item.name.partition("/")[0]):
            return False
        if isinstance(asked, KeysAsked) and state_of is not None and asked.state != (state_of(item.name) or STRANDED):
            return False
        return found(item.name)

    return fits


async def one(control: Control, kind: EntryKind, name: str) -> Any:
    """Its view; Denied if there is none."""
    item = shelf_of(control).item(kind, name)
    if item is None:
        raise not_found(f"{kind} {name[:128]}")
    (view,) = await _VIEWS[kind](control, [item])
    return view

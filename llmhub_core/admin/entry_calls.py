"""The calls on what is configured: providers, keys, routes and tokens, listed, added, changed and removed.

After each act this hub reloads before it answers, so that the answer is true already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from llmhub_core.admin import client_tokens, key_import, live
from llmhub_core.admin.calls import Asked, Endpoint, ListAsked, Nothing, taken
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.entries import By, Entries
from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.scripts import seconds
from llmhub_core.admin.shelf import Item, Shelf
from llmhub_core.admin.views import (
    Done,
    ImportedKey,
    ImportView,
    KeyEntryView,
    MadeToken,
    Page,
    ProbeView,
    ProviderEntryView,
    RouteEntryView,
    TokenEntryView,
)
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.hub.probe import probe

Table = dict[str, Any]
"""A table as config.toml would have it, as JSON."""

MOST_IMPORTED = 2 * 1024 * 1024


class KeyTest(Asked, kw_only=True):
    """Without a `model` the provider is asked for its list of models, which costs nothing; with one, for one token."""

    model: str = ""


class KeysImport(Asked, kw_only=True):
    """`text` has a secret a line, CSV with a column ``secret``, or a JSON array. `settings` hold for every key that
    does not say otherwise; keys without a name are called `prefix` and a number."""

    provider: str
    text: str
    format: key_import.Format = "auto"
    prefix: str = "key"
    settings: Table = msgspec.field(default_factory=dict)
    dry_run: bool = False


class Roll(Asked, kw_only=True):
    """`overlap` is for how long the token until now counts too: 24h, 7d, or 0 for not at all."""

    overlap: str = "24h"


class ChangeAsked(Asked, kw_only=True):
    """With the `revision` that was seen, the act is refused if somebody else was first; so it is with If-Match."""

    revision: int | None = None


# --- what it works on


def entries_of(control: Control) -> Entries:
    """Denied where nothing can be stored."""
    hub = control.hub
    store, source = hub.store.configuration, hub.configuration.source
    if store is None or source is None:
        raise Denied(
            503, "no_configuration", "The metadata store of this hub keeps no configuration.",
            "Take one that does, sqlite or postgresql; or write it into the file.",
        )  # fmt: skip
    return Entries(hub.configuration.now.loaded, source, hub.registry, store, hub.store.people, hub.vault)


def by(visit: Visit) -> By:
    return By(visit.actor, visit.address, owner=visit.may("owner"))


def shelf_of(control: Control) -> Shelf:
    """As it counts at this moment, without asking the store."""
    now = control.hub.configuration.now
    source = control.hub.configuration.source
    if source is None:
        raise Denied(503, "no_configuration", "This hub was started without a configuration to look at.")
    entries = {(entry.kind, entry.name): entry for entry in now.entries}
    return Shelf(now.loaded, now.merged, source.known, entries, now.stored)


def expected(visit: Visit, asked: ChangeAsked) -> int | None:
    """The revision that whoever asks has seen; None if that does not matter."""
    tag = visit.request.headers.get("if-match", "").strip()
    if not tag or tag == "*":
        return asked.revision
    tag = tag.removeprefix("W/").strip('"')
    if not tag.isascii() or not tag.isdigit():
        raise unusable("If-Match must be the etag of this entry.", "GET it, and take the header etag as it is.")
    return int(tag)


def name_in(visit: Visit, kind: EntryKind) -> str:
    return f"{visit.part('provider')}/{visit.part('key')}" if kind == "key" else visit.part("id")


# --- lists


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
    keys = [item.name for item in shelf.items("key")]
    places = control.hub.catalog.places
    found = []
    for item in shelf.items("provider"):
        place = places.get(item.name)
        own = [name for name in keys if name.startswith(f"{item.name}/")]
        models = sorted({*place.models, *(place.listed or ())}) if place is not None else []
        found.append(ProviderEntryView(**_facts(item), kind=str(item.table.get("kind", "")), keys=own, models=models))
    return found


async def keys(control: Control) -> list[KeyEntryView]:
    """All that are configured, also those that cannot be used."""
    running = {key.id: key for key in await live.keys(control)}
    found = []
    for item in shelf_of(control).items("key"):
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
        until=None,
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
    found = []
    for item in shelf_of(control).items("route"):
        route = running.get(item.name)
        candidates = [] if route is None else [stats.candidate.label for stats in route.standing]
        strategy = str(item.table.get("strategy", "priority"))
        found.append(RouteEntryView(**_facts(item), strategy=strategy, candidates=candidates))
    return found


async def tokens(control: Control) -> list[TokenEntryView]:
    levels = await live.quotas(control)
    found = []
    for item in shelf_of(control).items("token"):
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


# --- acts


async def _counts(visit: Visit) -> None:
    """From now on, here: other processes see it within a second."""
    await visit.control.hub.reload(file=False)


async def add(visit: Visit, kind: EntryKind, table: Table) -> Any:
    """`table` names it: ``name`` (a route: ``model``; a key: ``provider`` too)."""
    body = dict(table)
    own = "model" if kind == "route" else "name"
    name = body.pop(own, None)
    if not isinstance(name, str) or not name:
        raise unusable(f"The {kind} has no {own}.", f"Send a JSON object with {own}, and what else it shall have.")
    if kind == "key":
        provider = body.pop("provider", None)
        if not isinstance(provider, str) or not provider:
            raise unusable("The key has no provider.", "Send a JSON object with provider, name and secret.")
        name = f"{provider}/{name}"
    if kind == "token":
        return await make_token(visit, name, body)
    await entries_of(visit.control).add(kind, name, body, by(visit))
    await _counts(visit)
    return await one(visit.control, kind, name)


async def change(visit: Visit, kind: EntryKind, name: str, patch: Table, seen: int | None = None) -> Any:
    """`patch` has what shall be another; null is the default again."""
    own = "model" if kind == "route" else "name"
    if own in patch and patch[own] not in (name, name.partition("/")[2]):
        raise unusable(f"A {kind} cannot be renamed: others call it by its name.", "Add another, and remove this one.")
    patch = {key: value for key, value in patch.items() if key != own}
    if kind == "token":
        client_tokens.mind_ours(patch)
    await entries_of(visit.control).change(kind, name, patch, by(visit), seen)
    await _counts(visit)
    return await one(visit.control, kind, name)


async def switch(visit: Visit, kind: EntryKind, name: str, disabled: bool, seen: int | None = None) -> Any:
    await entries_of(visit.control).switch(kind, name, disabled, by(visit), seen)
    await _counts(visit)
    return await one(visit.control, kind, name)


async def remove(visit: Visit, kind: EntryKind, name: str, seen: int | None = None) -> Done:
    await entries_of(visit.control).remove(kind, name, by(visit), seen)
    await _counts(visit)
    return Done()


async def make_token(visit: Visit, name: str, table: Table) -> MadeToken:
    _, text = await client_tokens.make(entries_of(visit.control), name, table, by(visit))
    await _counts(visit)
    return _made(await one(visit.control, "token", name), text)


async def roll_token(visit: Visit, name: str, sent: Roll, seen: int | None = None) -> MadeToken:
    overlap = 0.0 if sent.overlap.strip() == "0" else seconds(sent.overlap)
    _, text = await client_tokens.roll(entries_of(visit.control), name, overlap, by(visit), seen)
    await _counts(visit)
    return _made(await one(visit.control, "token", name), text)


def _made(view: TokenEntryView, text: str) -> MadeToken:
    return MadeToken(**msgspec.structs.asdict(view), token=text)


async def test_key(visit: Visit, name: str, sent: KeyTest) -> ProbeView:
    """One real call with the key. One that was refused before and now gives an answer may be used again."""
    hub = visit.control.hub
    key = live.find_key(hub, *name.split("/", 1))
    found = await probe(hub, visit.control.fetch, hub.catalog.places[key.provider], key, sent.model)
    facts = {"works": found.works, "asked": found.asked, "status": found.status, "code": found.code}
    await visit.control.accounts.note(visit.actor, visit.address, "key.test", key.id, after=facts)
    if found.works and found.asked == "answer" and hub.key_state(key).state == "invalid":
        hub.pool.reset(key)
    own = {name: getattr(found, name) for name in ("works", "asked", "ms", "status", "code", "message")}
    return ProbeView(**own, state=hub.key_state(key).state, models=list(found.models))


async def reset_key(visit: Visit, name: str) -> KeyEntryView:
    """Forget what is held against a key: the next request may use it again."""
    hub = visit.control.hub
    key = live.find_key(hub, *name.split("/", 1))
    before = hub.key_state(key)
    hub.pool.reset(key)
    now = hub.key_state(key)
    told = [{"state": mark.state, "reason": mark.reason} for mark in (before, now)]
    await visit.control.accounts.note(visit.actor, visit.address, "key.reset", key.id, "done", *told)
    view: KeyEntryView = await one(visit.control, "key", name)
    return view


async def import_keys(visit: Visit, sent: KeysImport) -> ImportView:
    found = key_import.rows(sent.text, sent.format)
    told = await key_import.take(
        entries_of(visit.control), sent.provider, found, sent.settings, sent.prefix, by(visit), sent.dry_run
    )
    if not sent.dry_run:
        await _counts(visit)
    results = [each.result for each in told]
    return ImportView(
        added=results.count("added"),
        duplicates=results.count("duplicate"),
        refused=results.count("refused"),
        dry_run=sent.dry_run,
        items=[ImportedKey(**{name: getattr(each, name) for name in ImportedKey.__struct_fields__}) for each in told],
    )


# --- as the API has them


def _endpoints(kind: EntryKind, view: Any, made: Any) -> tuple[Endpoint, ...]:
    """What every kind has."""
    path, item = f"/{kind}s", "/keys/{provider}/{key}" if kind == "key" else f"/{kind}s/{{id}}"

    async def list_all(visit: Visit, asked: ListAsked) -> Any:
        return Page(await LISTS[kind](visit.control))

    async def get(visit: Visit, asked: Nothing) -> Any:
        return await one(visit.control, kind, name_in(visit, kind))

    async def post(visit: Visit, asked: Nothing) -> Any:
        return await add(visit, kind, dict(visit.sent))

    async def patch(visit: Visit, asked: ChangeAsked) -> Any:
        return await change(visit, kind, name_in(visit, kind), dict(visit.sent), expected(visit, asked))

    async def delete(visit: Visit, asked: ChangeAsked) -> Done:
        return await remove(visit, kind, name_in(visit, kind), expected(visit, asked))

    async def disable(visit: Visit, asked: ChangeAsked) -> Any:
        return await switch(visit, kind, name_in(visit, kind), True, expected(visit, asked))

    async def enable(visit: Visit, asked: ChangeAsked) -> Any:
        return await switch(visit, kind, name_in(visit, kind), False, expected(visit, asked))

    return (
        Endpoint("GET", path, "viewer", list_all, Page[view], f"All {kind}s, of the file and stored.", ListAsked),
        Endpoint("POST", path, "admin", post, made, f"Add a {kind}: a table as in config.toml.", sent=Table),
        Endpoint("GET", item, "viewer", get, view, f"One {kind}."),
        Endpoint("PATCH", item, "admin", patch, view, f"Change a {kind}; null is the default.", ChangeAsked, Table),
        Endpoint("DELETE", item, "admin", delete, Done, f"Remove a {kind}.", ChangeAsked),
        Endpoint("POST", f"{item}/disable", "admin", disable, view, f"Take a {kind} out of use.", ChangeAsked),
        Endpoint("POST", f"{item}/enable", "admin", enable, view, f"Take a {kind} into use again.", ChangeAsked),
    )


async def _test(visit: Visit, asked: Nothing) -> ProbeView:
    return await test_key(visit, name_in(visit, "key"), taken(visit.sent, KeyTest))


async def _reset(visit: Visit, asked: Nothing) -> KeyEntryView:
    return await reset_key(visit, name_in(visit, "key"))


async def _import(visit: Visit, asked: Nothing) -> ImportView:
    return await import_keys(visit, taken(visit.sent, KeysImport))


async def _roll(visit: Visit, asked: ChangeAsked) -> MadeToken:
    return await roll_token(visit, name_in(visit, "token"), taken(visit.sent, Roll), expected(visit, asked))


ENDPOINTS = (
    *_endpoints("provider", ProviderEntryView, ProviderEntryView),
    Endpoint(
        "POST", "/keys/import", "admin", _import, ImportView,
        "Add many keys at once, with a word about each.", sent=KeysImport, most=MOST_IMPORTED,
    ),
    *_endpoints("key", KeyEntryView, KeyEntryView),
    Endpoint(
        "POST", "/keys/{provider}/{key}/test", "admin", _test, ProbeView,
        "Ask the provider with this key, once.", sent=KeyTest, may_be_empty=True,
    ),
    Endpoint("POST", "/keys/{provider}/{key}/reset", "admin", _reset, KeyEntryView, "Let a key be used again."),
    *_endpoints("route", RouteEntryView, RouteEntryView),
    *_endpoints("token", TokenEntryView, MadeToken),
    Endpoint(
        "POST", "/tokens/{id}/roll", "admin", _roll, MadeToken,
        "Another token for the same caller, shown once.", ChangeAsked, sent=Roll, may_be_empty=True,
    ),
)  # fmt: skip

"""What can be done to what is configured: providers, keys, routes and tokens, added, changed, tried and removed.

After each act all workers of this hub reload before it answers, so that the answer is true already.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmhub_core.admin import client_tokens, key_import, live
from llmhub_core.admin.calls import Asked
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.entries import By, Entries
from llmhub_core.admin.entry_lists import one
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.admin.scripts import seconds
from llmhub_core.admin.views import (
    Done,
    ImportView,
    KeyEntryView,
    MadeToken,
    ProbeView,
    TokenEntryView,
)
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.hub.probe import probe

Table = dict[str, Any]
"""A table as config.toml would have it, as JSON."""


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


# --- acts


async def _counts(visit: Visit) -> None:
    """From now on, here and in all workers; hubs elsewhere see it within a second."""
    await visit.control.workers.reload(file=False)


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
        await visit.control.workers.reset_key(key)
    own = {name: getattr(found, name) for name in ("works", "asked", "ms", "status", "code", "message")}
    return ProbeView(**own, state=hub.key_state(key).state, models=list(found.models))


async def reset_key(visit: Visit, name: str) -> KeyEntryView:
    """Forget what is held against a key: the next request may use it again."""
    hub = visit.control.hub
    key = live.find_key(hub, *name.split("/", 1))
    before = hub.key_state(key)
    await visit.control.workers.reset_key(key)
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
    return key_import.view(told, sent.dry_run)

"""The calls on what is configured: providers, keys, routes and tokens, listed, added, changed and removed."""

from __future__ import annotations

from typing import Any

from llmhub_core.admin import entry_acts, entry_lists
from llmhub_core.admin.calls import Asked, Endpoint, Nothing, taken
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.entry_acts import Table
from llmhub_core.admin.refusals import unusable
from llmhub_core.admin.views import (
    Done,
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

MOST_IMPORTED = 2 * 1024 * 1024


class ChangeAsked(Asked, kw_only=True):
    """With the `revision` that was seen, the act is refused if somebody else was first; so it is with If-Match."""

    revision: int | None = None


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


def _endpoints(kind: EntryKind, view: Any, made: Any) -> tuple[Endpoint, ...]:
    """What every kind has."""
    path, item = f"/{kind}s", "/keys/{provider}/{key}" if kind == "key" else f"/{kind}s/{{id}}"

    async def list_some(visit: Visit, asked: entry_lists.EntriesAsked) -> Any:
        return await entry_lists.some(visit.control, kind, asked)

    async def get(visit: Visit, asked: Nothing) -> Any:
        return await entry_lists.one(visit.control, kind, name_in(visit, kind))

    async def post(visit: Visit, asked: Nothing) -> Any:
        return await entry_acts.add(visit, kind, dict(visit.sent))

    async def patch(visit: Visit, asked: ChangeAsked) -> Any:
        return await entry_acts.change(visit, kind, name_in(visit, kind), dict(visit.sent), expected(visit, asked))

    async def delete(visit: Visit, asked: ChangeAsked) -> Done:
        return await entry_acts.remove(visit, kind, name_in(visit, kind), expected(visit, asked))

    async def disable(visit: Visit, asked: ChangeAsked) -> Any:
        return await entry_acts.switch(visit, kind, name_in(visit, kind), True, expected(visit, asked))

    async def enable(visit: Visit, asked: ChangeAsked) -> Any:
        return await entry_acts.switch(visit, kind, name_in(visit, kind), False, expected(visit, asked))

    return (
        Endpoint(
            "GET", path, "viewer", list_some, Page[view], f"The {kind}s, of the file and stored, by their names.",
            entry_lists.ASKED[kind],
        ),
        Endpoint("POST", path, "admin", post, made, f"Add a {kind}: a table as in config.toml.", sent=Table),
        Endpoint("GET", item, "viewer", get, view, f"One {kind}."),
        Endpoint("PATCH", item, "admin", patch, view, f"Change a {kind}; null is the default.", ChangeAsked, Table),
        Endpoint("DELETE", item, "admin", delete, Done, f"Remove a {kind}.", ChangeAsked),
        Endpoint("POST", f"{item}/disable", "admin", disable, view, f"Take a {kind} out of use.", ChangeAsked),
        Endpoint("POST", f"{item}/enable", "admin", enable, view, f"Take a {kind} into use again.", ChangeAsked),
    )  # fmt: skip


async def _test(visit: Visit, asked: Nothing) -> ProbeView:
    return await entry_acts.test_key(visit, name_in(visit, "key"), taken(visit.sent, entry_acts.KeyTest))


async def _reset(visit: Visit, asked: Nothing) -> KeyEntryView:
    return await entry_acts.reset_key(visit, name_in(visit, "key"))


async def _import(visit: Visit, asked: Nothing) -> ImportView:
    return await entry_acts.import_keys(visit, taken(visit.sent, entry_acts.KeysImport))


async def _roll(visit: Visit, asked: ChangeAsked) -> MadeToken:
    return await entry_acts.roll_token(
        visit, name_in(visit, "token"), taken(visit.sent, entry_acts.Roll), expected(visit, asked)
    )


ENDPOINTS = (
    *_endpoints("provider", ProviderEntryView, ProviderEntryView),
    Endpoint(
        "POST", "/keys/import", "admin", _import, ImportView,
        "Add many keys at once, with a word about each.", sent=entry_acts.KeysImport, most=MOST_IMPORTED,
    ),
    *_endpoints("key", KeyEntryView, KeyEntryView),
    Endpoint(
        "POST", "/keys/{provider}/{key}/test", "admin", _test, ProbeView,
        "Ask the provider with this key, once.", sent=entry_acts.KeyTest, may_be_empty=True,
    ),
    Endpoint("POST", "/keys/{provider}/{key}/reset", "admin", _reset, KeyEntryView, "Let a key be used again."),
    *_endpoints("route", RouteEntryView, RouteEntryView),
    *_endpoints("token", TokenEntryView, MadeToken),
    Endpoint(
        "POST", "/tokens/{id}/roll", "admin", _roll, MadeToken,
        "Another token for the same caller, shown once.", ChangeAsked, sent=entry_acts.Roll, may_be_empty=True,
    ),
)  # fmt: skip

"""The keys that the hub calls providers with: the pool, one key, one more, many more."""

from __future__ import annotations

import time
from typing import Any, get_args
from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin import entry_acts, entry_calls, entry_lists, live
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.candidate import KeyState
from llmhub_core.dashboard.entries import acts, adding, done, facts, form_of, one, some
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page, go
from llmhub_core.dashboard.render import render

FORMATS = (
    ("auto", "find out"),
    ("lines", "a secret a line"),
    ("csv", "CSV"),
    ("json", "JSON"),
    ("env", "a file of variables"),
)


async def keys(visit: Visit) -> web.Response:
    add = visit.request.query.get("add", "") if visit.may("admin") else ""
    if add:
        form = Form({"provider": visit.request.query.get("provider", "")})
        return await (new_many if add == "many" else new)(visit, form)
    chosen = await some(visit, "key", "find", "provider", "state")
    by_provider: dict[str, list[Any]] = {}
    for key in chosen["found"]:
        by_provider.setdefault(key.provider, []).append(key)
    reset = visit.request.query.get("reset", "")
    facts = {
        "providers": by_provider,
        "usable": _usable(visit),
        "names": _providers(visit),
        "states": get_args(KeyState),
        "now": time.time(),
        "said": f"{reset} may be used again." if reset else done(visit),
    }
    return await render(visit, "keys.html", chosen | facts)


def _usable(visit: Visit) -> dict[str, tuple[int, int]]:
    """By provider, how many of its keys may be used, and how many there are: on whichever page they stand."""
    state_of, found = live.key_states(visit.control.hub), dict[str, tuple[int, int]]()
    for id in entry_lists.shelf_of(visit.control).names("key"):
        provider = id.partition("/")[0]
        usable, every = found.get(provider, (0, 0))
        found[provider] = usable + (state_of(id) == "active"), every + 1
    return found


def _providers(visit: Visit) -> list[str]:
    return entry_lists.shelf_of(visit.control).names("provider")


async def new(visit: Visit, form: Form) -> web.Response:
    providers = await entry_lists.providers(visit.control)
    said = {cls.name: cls.key_help for cls in visit.control.hub.registry.providers}
    helps = {each.name: said.get(each.kind, "") for each in providers}
    facts = {"form": form, "providers": [each.name for each in providers], "helps": helps}
    return await render(visit, "key-new.html", facts, form.status)


async def new_many(visit: Visit, form: Form, told: object = None) -> web.Response:
    facts = {"form": form, "providers": _providers(visit), "told": told, "formats": FORMATS}
    return await render(visit, "keys-import.html", facts, form.status)


async def import_keys(visit: Visit) -> web.Response:
    # Shown at once and not after a redirect: what became of each line is nowhere else.
    try:
        format = visit.text("format")
        sent = entry_acts.KeysImport(
            provider=visit.text("provider"),
            text=visit.text("text"),
            format=format if format in ("lines", "csv", "json", "env") else "auto",  # type: ignore[arg-type]
            prefix=visit.text("prefix").strip() or "key",
            dry_run=visit.text("act") == "try",
        )
        told = await entry_acts.import_keys(visit, sent)
    except Denied as denied:
        return await new_many(visit, Form(visit.sent, denied))
    kept = {name: visit.sent.get(name, "") for name in ("provider", "prefix", "format")}
    # What was only tried is sent again with the other button, and not typed again.
    return await new_many(visit, Form({**kept, "text": sent.text} if sent.dry_run else kept), told)


async def key(visit: Visit, form: Form, probe: object = None) -> web.Response:
    view = await one(visit, "key")
    form = form_of(visit, "key", view, form)
    place = visit.control.hub.catalog.places.get(view.provider)
    more = {
        "form": form,
        "probe": probe,
        "now": time.time(),
        "usable": place is not None and any(each.name == view.name for each in place.keys),
        "asked": visit.sent.get("model", "") if probe is not None else "",
    }
    return await render(visit, "key.html", facts(visit, "key", view) | more, form.status)


async def test_key(visit: Visit) -> web.Response:
    # Shown at once, as it is nowhere else.
    sent = entry_acts.KeyTest(model=visit.text("model").strip())
    probe = await entry_acts.test_key(visit, entry_calls.name_in(visit, "key"), sent)
    return await key(visit, NOTHING_SENT, probe)


async def reset_key(visit: Visit) -> web.Response:
    key = await entry_acts.reset_key(visit, entry_calls.name_in(visit, "key"))
    return go("/keys?" + urlencode({"reset": key.id}))


PAGES = (
    Page("GET", "/keys", "viewer", keys),
    adding("key", new),
    Page("POST", "/keys/many", "admin", import_keys, entry_calls.MOST_IMPORTED),
    *acts("key", key),
    Page("POST", "/keys/{provider}/{key}/test", "admin", test_key),
    Page("POST", "/keys/{provider}/{key}/reset", "admin", reset_key),
)

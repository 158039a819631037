"""What the pages of everything that is configured have in common: added, changed, switched, removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from llmhub_core.admin import entry_acts, entry_calls, entry_lists
from llmhub_core.admin.calls import asked_for
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.dashboard.page import Form, Page, go
from llmhub_core.dashboard.tables import beside, difference, table, texts

Draw = Callable[[Visit, Form], Awaitable[web.Response]]

SHOWN = 100
"""Entries of a page."""

MANY = 12
"""More than these are found by a form."""

DONE = {
    "added": "Added. It counts from now on.",
    "changed": "Changed. It counts from now on.",
    "disabled": "Out of use.",
    "enabled": "In use again.",
    "removed": "Removed.",
}


def done(visit: Visit) -> str:
    """What to say of the act before."""
    return DONE.get(visit.request.query.get("done", ""), "")


def address(kind: EntryKind, name: str) -> str:
    """The page of one of them. A route's name may have slashes, a key's is two parts."""
    return f"/{kind}s/" + ("/".join(quote(each, "") for each in name.split("/")) if kind == "key" else quote(name, ""))


def own_name(kind: EntryKind, view: Any) -> str:
    return str(view.id if kind == "key" else view.name)


async def some(visit: Visit, kind: EntryKind, *filters: str) -> dict[str, Any]:
    """A page of a list, and what its form needs: `filters` are what it asks for."""
    said = visit.request.query
    chosen = {name: value for name in filters if (value := said.get(name, "").strip())}
    where = {**chosen, "cursor": said.get("cursor", ""), "limit": str(SHOWN)}
    found = await entry_lists.some(visit.control, kind, asked_for(where, entry_lists.ASKED[kind]))
    count = len(entry_lists.shelf_of(visit.control).names(kind))

    def page(**more: str) -> str:
        return f"/{kind}s?{urlencode({**chosen, **more})}".rstrip("?")

    return {
        "found": found.items,
        "count": count,
        "asked": chosen,
        "searched": count > MANY or bool(chosen),
        "paged": bool(where["cursor"]),
        "begin": page(),
        "more": "" if found.next is None else page(cursor=found.next),
    }


async def one(visit: Visit, kind: EntryKind) -> Any:
    return await entry_lists.one(visit.control, kind, entry_calls.name_in(visit, kind))


def form_of(visit: Visit, kind: EntryKind, view: Any, form: Form) -> Form:
    """With what the entry says where nothing was sent in vain."""
    return form if form.denied is not None else Form(texts(kind, view.settings, visit.control.hub.registry))


def facts(visit: Visit, kind: EntryKind, view: Any) -> dict[str, Any]:
    """For every page of one entry."""
    return {
        "entry": view,
        "kind": kind,
        "address": address(kind, own_name(kind, view)),
        "said": done(visit),
        "stored": view.origin == "stored",
    }


def adding(kind: EntryKind, draw: Draw) -> Page:
    """`draw` shows the form again, with what is wrong."""

    async def add(visit: Visit) -> web.Response:
        try:
            named = {name: visit.text(name).strip() for name in ("name", "model", "provider") if name in visit.sent}
            view = await entry_acts.add(visit, kind, {**table(visit, kind), **named})
        except Denied as denied:
            return await draw(visit, Form(visit.sent, beside(denied, kind, visit)))
        return go(f"{address(kind, own_name(kind, view))}?done=added")

    return Page("POST", f"/{kind}s", "admin", add)


def acts(kind: EntryKind, draw: Draw) -> tuple[Page, ...]:
    """`draw` shows the page of the one that it is about."""
    item = "/keys/{provider}/{key}" if kind == "key" else f"/{kind}s/{{id}}"

    async def look(visit: Visit) -> web.Response:
        return await draw(visit, Form())

    async def change(visit: Visit) -> web.Response:
        name = entry_calls.name_in(visit, kind)
        view = await entry_lists.one(visit.control, kind, name)
        try:
            patch = difference(kind, view.settings, table(visit, kind))
            await entry_acts.change(visit, kind, name, patch, _seen(visit))
        except Denied as denied:
            return await draw(visit, Form(visit.sent, beside(denied, kind, visit)))
        return go(f"{address(kind, name)}?done=changed")

    async def switch(visit: Visit) -> web.Response:
        name, off = entry_calls.name_in(visit, kind), visit.request.path.endswith("/disable")
        try:
            await entry_acts.switch(visit, kind, name, off)
        except Denied as denied:
            return await draw(visit, Form(await _before(visit, kind), beside(denied, kind, visit)))
        return go(f"{address(kind, name)}?done={'disabled' if off else 'enabled'}")

    async def remove(visit: Visit) -> web.Response:
        try:
            await entry_acts.remove(visit, kind, entry_calls.name_in(visit, kind))
        except Denied as denied:
            if denied.status == 404:
                raise
            return await draw(visit, Form(await _before(visit, kind), beside(denied, kind, visit)))
        return go(f"/{kind}s?done=removed")

    return (
        Page("GET", item, "viewer", look),
        Page("POST", item, "admin", change),
        Page("POST", f"{item}/disable", "admin", switch),
        Page("POST", f"{item}/enable", "admin", switch),
        Page("POST", f"{item}/remove", "admin", remove),
    )


async def _before(visit: Visit, kind: EntryKind) -> dict[str, str]:
    """The form as it was: what was refused is another act than that of the form."""
    return texts(kind, (await one(visit, kind)).settings, visit.control.hub.registry)


def _seen(visit: Visit) -> int | None:
    """The revision that the form was made of."""
    text = visit.text("revision")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise unusable("revision must be a number.")
    return int(text)

"""The callers' tokens: who has one, what it may; made and rolled, shown once each time."""

from __future__ import annotations

from aiohttp import web

from llmhub_core.admin import entry_acts, entry_calls, past
from llmhub_core.admin.calls import taken
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.admin.views import MadeToken
from llmhub_core.dashboard.entries import acts, done, facts, form_of, one, some
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page
from llmhub_core.dashboard.render import render
from llmhub_core.dashboard.tables import beside, table

OVERLAPS = (("24h", "a day"), ("1h", "an hour"), ("7d", "a week"), ("0", "not at all"))


async def tokens(visit: Visit) -> web.Response:
    if "add" in visit.request.query and visit.may("admin"):
        return await new(visit, NOTHING_SENT)
    used = await visit.control.page_process.run(past.usage, past.UsageAsked(since="30d", by="caller"))
    facts = {
        "used": {line.group[0]: line for line in used.items},
        "open": visit.control.hub.settings.auth.api == "open",
        "said": done(visit),
    }
    return await render(visit, "tokens.html", await some(visit, "token", "find") | facts)


async def new(visit: Visit, form: Form) -> web.Response:
    return await render(visit, "token-new.html", {"form": form, "names": names(visit)}, form.status)


def names(visit: Visit) -> list[str]:
    """Models that callers may ask for."""
    return sorted({card.id for card in visit.control.hub.catalog.cards()})[:500]


def a_model(visit: Visit, made: MadeToken | None = None) -> str:
    """One that may be asked for; of a token, one that it may ask for."""
    callers = visit.control.hub.tokens.callers
    caller = None if made is None else next((each for each in callers if each.name == made.name), None)
    hub = visit.control.hub
    found = [*hub.catalog.routes, *names(visit)]
    return next((name for name in found if caller is None or caller.may_use(name)), "MODEL")


async def make(visit: Visit) -> web.Response:
    # Shown at once, for it is shown this once.
    try:
        made = await entry_acts.make_token(visit, visit.text("name").strip(), table(visit, "token"))
    except Denied as denied:
        return await new(visit, Form(visit.sent, beside(denied, "token", visit)))
    return await shown(visit, made, f"The token {made.name} is made. It is shown this once:")


async def shown(visit: Visit, made: MadeToken, words: str) -> web.Response:
    facts = {"made": made, "words": words, "model": a_model(visit, made), "origin": visit.control.origin(visit.request)}
    return await render(visit, "token-made.html", facts)


async def token(visit: Visit, form: Form) -> web.Response:
    view = await one(visit, "token")
    form = form_of(visit, "token", view, form)
    more = {"form": form, "names": names(visit), "overlaps": OVERLAPS, "before": view.settings.get("previous")}
    return await render(visit, "token.html", facts(visit, "token", view) | more, form.status)


async def roll(visit: Visit) -> web.Response:
    sent = taken({"overlap": visit.text("overlap") or "24h"}, entry_acts.Roll)
    made = await entry_acts.roll_token(visit, entry_calls.name_in(visit, "token"), sent)
    return await shown(visit, made, f"The token {made.name} is another now. It is shown this once:")


PAGES = (
    Page("GET", "/tokens", "viewer", tokens),
    Page("POST", "/tokens", "admin", make),
    *acts("token", token),
    Page("POST", "/tokens/{id}/roll", "admin", roll),
)

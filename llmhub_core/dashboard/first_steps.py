"""What comes after the owner: a provider key that is tried at once, a client token, the first call. Each can be left
out, and come back to."""

from __future__ import annotations

from aiohttp import web

from llmhub_core.admin import entry_acts, entry_lists, past
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.admin.views import MadeToken, ProbeView
from llmhub_core.dashboard import provider_forms
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page, go
from llmhub_core.dashboard.provider_pages import kind_facts
from llmhub_core.dashboard.render import render
from llmhub_core.dashboard.tables import beside
from llmhub_core.dashboard.token_pages import a_model


async def key_form(visit: Visit) -> web.Response:
    return await _key(visit, NOTHING_SENT)


async def _key(visit: Visit, form: Form) -> web.Response:
    usable = [key.id for key in await entry_lists.keys(visit.control) if key.state == "active" and not key.problem]
    facts = {"form": form, **kind_facts(visit, form), "usable": usable}
    return await render(visit, "setup-key.html", facts, form.status)


async def add_key(visit: Visit) -> web.Response:
    """A provider with its first key. What does not work is taken out again, so that the next try begins anew."""
    kind, _, preset = visit.text("kind").partition(":")
    secret, address = visit.text("secret").strip(), visit.text("base_url").strip()
    name = preset or kind
    own = provider_forms.sent(visit, kind)
    wanted = {"name": name, "kind": kind, "preset": preset or None, "base_url": address or None, **own}
    there = {each.name for each in await entry_lists.providers(visit.control)}
    made = False
    try:
        if name not in there:
            await entry_acts.add(visit, "provider", wanted)
            made = True
        elif address or own:
            advice = "Leave address and settings as they are here, and change them on its page."
            raise unusable(f"There is a provider {name} already, with settings of its own.", advice, "kind")
        if secret:
            await _try(visit, name, secret)
    except Denied as denied:
        if made:
            await entry_acts.remove(visit, "provider", name)
        return await _key(visit, Form(visit.sent, beside(denied, "provider", visit)))
    return go("/setup/token")


async def _try(visit: Visit, provider: str, secret: str) -> None:
    """Denied with the provider's word if it refuses the key, unless it is to be kept all the same."""
    taken = {each.name for each in await entry_lists.keys(visit.control) if each.provider == provider}
    name = next(name for number in range(1, len(taken) + 3) if (name := f"key-{number}") not in taken)
    id = f"{provider}/{name}"
    await entry_acts.add(visit, "key", {"provider": provider, "name": name, "secret": secret})
    if visit.text("keep") == "yes":
        return
    probe: ProbeView = await entry_acts.test_key(visit, id, entry_acts.KeyTest())
    # A place without a list of models cannot be asked for nothing: that says nothing of the key.
    if probe.works or probe.asked == "nothing":
        return
    await entry_acts.remove(visit, "key", id)
    said = f"{provider} does not take this key: {probe.message or probe.code}"
    raise unusable(said if said.endswith(".") else f"{said}.", "Nothing was kept.", "secret")


async def token_form(visit: Visit) -> web.Response:
    return await _token(visit, NOTHING_SENT)


async def _token(visit: Visit, form: Form) -> web.Response:
    facts = {"form": form, "open": visit.control.hub.settings.auth.api == "open"}
    return await render(visit, "setup-token.html", facts, form.status)


async def add_token(visit: Visit) -> web.Response:
    # The page that follows shows it, and it is shown once: no redirect.
    try:
        made = await entry_acts.make_token(visit, visit.text("name").strip(), {})
    except Denied as denied:
        return await _token(visit, Form(visit.sent, beside(denied, "token", visit)))
    return await _call(visit, made)


async def call(visit: Visit) -> web.Response:
    return await _call(visit)


async def _call(visit: Visit, made: MadeToken | None = None) -> web.Response:
    served = (await past.requests(visit.control.hub.store, past.RequestsAsked(outcome="served", limit=1))).items
    facts = {
        "made": made,
        "first": served[0] if served else None,
        "model": a_model(visit, made),
        "origin": visit.control.origin(visit.request),
    }
    return await render(visit, "setup-call.html", facts)


PAGES = (
    Page("GET", "/setup/key", "admin", key_form),
    Page("POST", "/setup/key", "admin", add_key),
    Page("GET", "/setup/token", "admin", token_form),
    # Answers from the address of the step after it, so that what is live there is asked for there.
    Page("POST", "/setup/call", "admin", add_token),
    Page("GET", "/setup/call", "admin", call),
)

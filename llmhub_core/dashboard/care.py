"""What is not well, who is told, and failures on purpose."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from llmhub_core.admin import alerts, api, faults
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.dashboard.page import NOTHING_SENT, Form, Page, go
from llmhub_core.dashboard.render import render
from llmhub_core.hub.fault_lab import FAULT_KINDS, LONGEST
from llmhub_core.hub.settings import ALERT_RULES

KINDS = {
    "rate_limited": "429, too many requests",
    "unauthorized": "401, the key is refused",
    "server_error": "500, it failed",
    "overloaded": "529, overloaded",
    "timeout": "no answer at all",
    "reset": "the connection is reset",
    "slow": "a slow first token",
    "broken_stream": "breaks off in the middle",
    "garbage": "garbage instead of an answer",
}


async def alert_list(visit: Visit) -> web.Response:
    return await _alerts(visit)


async def _alerts(visit: Visit, denied: Denied | None = None, tried: Any = ()) -> web.Response:
    control = visit.control
    asked = api.query(visit.request, alerts.AlertsAsked) if visit.request.method == "GET" else alerts.AlertsAsked()
    page = await alerts.alerts(control, asked)
    going_on = await alerts.alerts(control, alerts.AlertsAsked(state="open", limit=500))
    facts = {
        "open": sorted(going_on.items, key=lambda alert: (alert.muted, alert.severity != "error")),
        "past": [alert for alert in page.items if alert.recovered_at is not None],
        "older": None if page.next is None else "/alerts?" + urlencode({"cursor": page.next}),
        "channels": await alerts.channels(control),
        "mutes": alerts.mutes(control),
        "rules": [(rule, rule.replace("_", " ")) for rule in ALERT_RULES],
        "tried": tried,
        "denied": denied,
    }
    return await render(visit, "alerts.html", facts, status=200 if denied is None else denied.status)


async def alert_test(visit: Visit) -> web.Response:
    # Shown at once and not after a redirect: what came of it is nowhere else.
    return await _alerts(visit, tried=await alerts.test(visit))


async def alert_mute(visit: Visit) -> web.Response:
    try:
        hours = _number(visit, "hours", "8")
        sent = alerts.NewMute(rule=visit.text("rule"), subject=visit.text("subject"), seconds=hours * 3600)
        await alerts.mute(visit, sent)
    except Denied as denied:
        return await _alerts(visit, denied)
    return go("/alerts")


async def alert_unmute(visit: Visit) -> web.Response:
    await alerts.unmute(visit, visit.part("id"))
    return go("/alerts")


async def fault_list(visit: Visit) -> web.Response:
    return await _faults(visit)


async def _faults(visit: Visit, form: Form = NOTHING_SENT) -> web.Response:
    hub = visit.control.hub
    targets = [(name, name) for name in hub.catalog.places]
    for place in hub.catalog.places.values():
        if len(place.keys) > 1:
            targets += [(key.id, f"{place.name}, only the key {key.name}") for key in place.keys]
    facts = {
        "faults": await faults.faults(visit.control),
        "enabled": hub.settings.server.fault_lab,
        "may_start": visit.may("owner"),
        "targets": targets,
        "kinds": [(kind, KINDS[kind]) for kind in FAULT_KINDS],
        "form": form,
    }
    return await render(visit, "fault-lab.html", facts, status=form.status)


async def fault_start(visit: Visit) -> web.Response:
    provider, _, key = visit.text("target").partition("/")
    try:
        sent = faults.NewFault(
            provider=provider,
            key=key,
            kind=visit.text("kind"),  # type: ignore[arg-type]
            percent=_number(visit, "percent", "100"),
            lasts=60 * _number(visit, "minutes", "5"),
            seconds=_number(visit, "seconds", "5"),
        )
        if sent.kind not in FAULT_KINDS:
            raise unusable("There is no such way to fail.", f"Choose from {', '.join(FAULT_KINDS)}.")
        await faults.start(visit, sent)
    except Denied as denied:
        if denied.field:  # beside it, where its name need not be said again
            said = denied.message.removeprefix(f"{denied.field} ")
            denied.faults = {denied.field: said[:1].upper() + said[1:]}
        if denied.field == "lasts":
            denied.faults = {"minutes": f"Must be from 1 to {LONGEST / 60:g}."}
        return await _faults(visit, Form(visit.sent, denied))
    return go("/fault-lab")


async def fault_stop(visit: Visit) -> web.Response:
    await faults.stop(visit, visit.part("id"))
    return go("/fault-lab")


def _number(visit: Visit, name: str, default: str) -> float:
    try:
        return float((visit.text(name) or default).replace(",", "."))
    except ValueError:
        raise unusable(f"{name} must be a number.", field=name) from None


PAGES = (
    Page("GET", "/alerts", "viewer", alert_list),
    Page("POST", "/alerts/test", "admin", alert_test),
    Page("POST", "/alerts/mutes", "admin", alert_mute),
    Page("POST", "/alerts/mutes/{id}/end", "admin", alert_unmute),
    Page("GET", "/fault-lab", "viewer", fault_list),
    Page("POST", "/fault-lab", "owner", fault_start),
    Page("POST", "/fault-lab/{id}/end", "owner", fault_stop),
)

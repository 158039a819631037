"""The fault lab: an owner lets a provider fail on purpose, to see what callers would see."""

from __future__ import annotations

import time

from llmhub_core.admin.calls import Asked, Endpoint, Nothing, taken
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.lists import ListAsked, by_time, fitting, page
from llmhub_core.admin.live import find_key
from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.views import Page, View
from llmhub_core.hub.fault_lab import LONGEST, MOST, Fault, FaultKind

LONGEST_WAIT = 600.0


class FaultView(View):
    """A fault that is active. `key` and `model` "" stand for any; `struck` counts the attempts that it befell."""

    id: str
    provider: str
    key: str
    model: str
    kind: FaultKind
    percent: float
    seconds: float
    began_at: float
    ends_at: float
    by: str
    struck: int


class FaultsAsked(ListAsked, kw_only=True):
    provider: str | None = None
    key: str | None = None
    model: str | None = None
    kind: FaultKind | None = None


class NewFault(Asked, kw_only=True):
    """`lasts` is in seconds, an hour at most; `seconds` is how long a slow answer takes to begin, or what a rate limit
    says to wait."""

    provider: str
    kind: FaultKind
    key: str = ""
    model: str = ""
    percent: float = 100.0
    lasts: float = 300.0
    seconds: float = 5.0


async def faults(control: Control) -> list[FaultView]:
    if not control.hub.fault_lab.faults:
        return []
    struck = (await control.workers.standing()).struck
    return [_view(fault, struck.get(fault.id, 0)) for fault in control.hub.fault_lab.faults]


def _view(fault: Fault, struck: int) -> FaultView:
    """`struck` in all workers."""
    own = {name: getattr(fault, name) for name in FaultView.__struct_fields__ if name != "struck"}
    return FaultView(**own, struck=struck)


async def start(visit: Visit, sent: NewFault) -> FaultView:
    hub = visit.control.hub
    if not hub.settings.server.fault_lab:
        raise Denied(
            409, "fault_lab_off", "The fault lab of this hub is switched off.",
            "Set [server] fault_lab = true and start the hub again; better on a hub that nobody depends on.",
        )  # fmt: skip
    if sent.provider not in hub.catalog.places:
        raise not_found("provider of that name")
    if sent.key:
        find_key(hub, sent.provider, sent.key)
    for name, value, least, most in (
        ("percent", sent.percent, 0.1, 100.0),
        ("lasts", sent.lasts, 1.0, LONGEST),
        ("seconds", sent.seconds, 0.0, LONGEST_WAIT),
    ):
        if not least <= value <= most:
            raise unusable(f"{name} must be from {least:g} to {most:g}.", field=name)
    if len(hub.fault_lab.faults) >= MOST:
        raise Denied(409, "too_many_faults", f"There are {MOST} faults already.", "End one of them.")
    now = time.time()
    fault = Fault(
        provider=sent.provider,
        key=sent.key,
        model=sent.model,
        kind=sent.kind,
        percent=sent.percent,
        seconds=sent.seconds,
        began_at=now,
        ends_at=now + sent.lasts,
        by=visit.actor,
    )
    facts = {name: getattr(sent, name) for name in NewFault.__struct_fields__}
    await visit.control.accounts.note(visit.actor, visit.address, "fault.start", sent.provider, after=facts)
    await visit.control.workers.start_fault(fault)
    return _view(fault, 0)


async def stop(visit: Visit, id: str) -> FaultView:
    """Ends it at once; the answer says how often it struck."""
    control = visit.control
    fault = next((each for each in control.hub.fault_lab.faults if each.id == id), None)
    if fault is None:
        raise not_found("fault of that id")
    struck = await control.workers.stop_fault(id)
    facts = {"kind": fault.kind, "struck": struck}
    await control.accounts.note(visit.actor, visit.address, "fault.stop", fault.provider, before=facts)
    return _view(fault, struck)


# the calls


async def _list(visit: Visit, asked: FaultsAsked) -> Page[FaultView]:
    """The oldest first."""
    found = await faults(visit.control)
    return await page(found, asked, lambda each: by_time(each.began_at, each.id), fitting(asked))


async def _start(visit: Visit, asked: Nothing) -> FaultView:
    return await start(visit, taken(visit.sent, NewFault))


async def _stop(visit: Visit, asked: Nothing) -> FaultView:
    return await stop(visit, visit.part("id"))


ENDPOINTS = (
    Endpoint("GET", "/faults", "viewer", _list, Page[FaultView], "Faults on purpose that are active.", FaultsAsked),
    Endpoint("POST", "/faults", "owner", _start, FaultView, "Let a provider fail on purpose.", sent=NewFault),
    Endpoint("DELETE", "/faults/{id}", "owner", _stop, FaultView, "End a fault on purpose."),
)

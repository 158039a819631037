"""What is not well and who is told: the list of alerts, channels, mutes, and a test."""

from __future__ import annotations

from typing import Literal

from llmhub_core.admin.calls import Asked, Endpoint, Nothing, taken
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.lists import (
    FindAsked,
    Limit,
    ListAsked,
    after_moment,
    by_time,
    fitting,
    moment_cursor,
    page,
    page_limit,
)
from llmhub_core.admin.refusals import Denied, no_such, not_found, unusable
from llmhub_core.admin.views import Done, Page, View
from llmhub_core.contracts.alerts import Alert, Mute
from llmhub_core.hub.settings import ALERT_RULES

LONGEST_MUTE = 30 * 86_400.0


class AlertView(View):
    """`recovered_at` None: it goes on. `muted` says whether anybody would be told of it now."""

    id: str
    rule: str
    subject: str
    severity: Literal["error", "warning"]
    what: str
    advice: str
    page: str
    opened_at: float
    recovered_at: float | None
    told_at: float | None
    muted: bool


class ChannelView(View):
    """Since the start of this process. `problem` is why the last try failed, "" if it did not."""

    name: str
    delivered: int
    waiting: int
    given_up: int
    last_at: float | None
    problem: str


class TriedView(View):
    """What came of a test: `problem` is "" if it arrived."""

    name: str
    problem: str


class MuteView(View):
    id: str
    rule: str
    subject: str
    until: float
    by: str


class AlertsAsked(ListAsked, kw_only=True):
    state: Literal["", "open"] = ""
    limit: Limit = 50


class ChannelsAsked(FindAsked, kw_only=True):
    pass


class MutesAsked(ListAsked, kw_only=True):
    rule: str | None = None
    subject: str | None = None
    by: str | None = None


class NewMute(Asked, kw_only=True):
    """`rule` and `subject` as an alert has them; "" is any, but not for both."""

    rule: str = ""
    subject: str = ""
    seconds: float = 3600.0


async def alerts(control: Control, asked: AlertsAsked) -> Page[AlertView]:
    """Newest first."""
    kept, limit = control.hub.alerts, page_limit(asked.limit)
    before = after_moment(asked)
    if asked.state == "open":
        going_on = sorted(kept.open.values(), key=lambda alert: (alert.opened_at, alert.id), reverse=True)
        found = [alert for alert in going_on if before is None or (alert.opened_at, alert.id) < before]
    else:
        found = list(await kept.latest(limit + 1, before))
    shown = found[:limit]
    more = len(found) > limit
    return Page(
        [_view(control, alert) for alert in shown],
        moment_cursor(asked, shown[-1].opened_at, shown[-1].id) if more else None,
    )


def _view(control: Control, alert: Alert) -> AlertView:
    names = set(AlertView.__struct_fields__) - {"told_at", "muted"}
    return AlertView(
        **{name: getattr(alert, name) for name in names},
        told_at=alert.told_at or None,
        muted=alert.recovered_at is None and control.hub.alerts.is_muted(alert),
    )


async def channels(control: Control) -> list[ChannelView]:
    """As the worker that looks after alerts sees them."""
    told = (await control.workers.standing()).channels
    return [ChannelView(**{name: getattr(each, name) for name in ChannelView.__struct_fields__}) for each in told]


def mutes(control: Control) -> list[MuteView]:
    return [_mute_view(mute) for mute in control.hub.alerts.mutes]


def _mute_view(mute: Mute) -> MuteView:
    return MuteView(**{name: getattr(mute, name) for name in MuteView.__struct_fields__})


async def mute(visit: Visit, sent: NewMute) -> MuteView:
    if not 60 <= sent.seconds <= LONGEST_MUTE:
        raise unusable("seconds must be from 60 to 2592000 (30 days).")
    if sent.rule not in ("", *ALERT_RULES):
        raise unusable("There is no rule of that name.", f"Choose from {', '.join(ALERT_RULES)}.")
    if not (sent.rule or sent.subject):
        raise unusable("A mute needs a rule or a subject.", "To have nothing told at all, set [alerts] rules = [].")
    if len(sent.subject) > 500:
        raise unusable("The subject is longer than any there is.")
    made = await visit.control.hub.alerts.mute(sent.rule, sent.subject, sent.seconds, visit.actor)
    await visit.control.workers.mutes_changed()
    view = _mute_view(made)
    about = f"{made.rule or '*'} {made.subject or '*'}"
    await visit.control.accounts.note(visit.actor, visit.address, "alert.mute", about, after={"until": made.until})
    return view


async def unmute(visit: Visit, id: str) -> Done:
    ended = await visit.control.hub.alerts.unmute(id)
    await visit.control.workers.mutes_changed()
    if ended is None:
        raise not_found("mute of that id")
    about = f"{ended.rule or '*'} {ended.subject or '*'}"
    await visit.control.accounts.note(visit.actor, visit.address, "alert.unmute", about, before={"until": ended.until})
    return Done()


async def test(visit: Visit) -> list[TriedView]:
    await visit.control.accounts.note(visit.actor, visit.address, "alert.test", "")
    tried = await visit.control.workers.test_alerts(visit.actor)
    if tried is None:
        raise Denied(
            503, "worker_away", "The worker that looks after alerts does not answer.",
            "It may be starting anew; try again in a moment.", retry_after=5,
        )  # fmt: skip
    return [TriedView(name=name, problem=problem) for name, problem in tried]


# the calls


async def _list(visit: Visit, asked: AlertsAsked) -> Page[AlertView]:
    return await alerts(visit.control, asked)


async def _channels(visit: Visit, asked: ChannelsAsked) -> Page[ChannelView]:
    found = await channels(visit.control)
    return await page(found, asked, lambda each: (each.name,), fitting(asked, "name"))


async def _test(visit: Visit, asked: Nothing) -> Page[TriedView]:
    return Page(await test(visit))


async def _mutes(visit: Visit, asked: MutesAsked) -> Page[MuteView]:
    """Those that end first."""
    if asked.rule not in (None, *ALERT_RULES):
        raise no_such("rule", str(asked.rule), ALERT_RULES)
    return await page(mutes(visit.control), asked, lambda each: by_time(each.until, each.id), fitting(asked))


async def _mute(visit: Visit, asked: Nothing) -> MuteView:
    return await mute(visit, taken(visit.sent, NewMute))


async def _unmute(visit: Visit, asked: Nothing) -> Done:
    return await unmute(visit, visit.part("id"))


ENDPOINTS = (
    Endpoint("GET", "/alerts", "viewer", _list, Page[AlertView], "What is or was not well, newest first.", AlertsAsked),
    Endpoint("GET", "/alerts/channels", "viewer", _channels, Page[ChannelView], "Who carries alerts.", ChannelsAsked),
    Endpoint("POST", "/alerts/test", "admin", _test, Page[TriedView], "Try every channel now."),
    Endpoint("GET", "/alerts/mutes", "viewer", _mutes, Page[MuteView], "What nobody is told of.", MutesAsked),
    Endpoint(
        "POST", "/alerts/mutes", "admin", _mute, MuteView, "Tell nothing of some alerts for a time.", sent=NewMute
    ),
    Endpoint("DELETE", "/alerts/mutes/{id}", "admin", _unmute, Done, "End a mute."),
)

"""Requests that would rather wait than be refused: in line, first come first served, within what they were given."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

from llmhub_core.contracts.errors import BadRequest, HubError, NoCandidateLeft, QuotaExceeded
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.route import WAIT, no_candidate, plan_again
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.waiting import LOOK_AGAIN, Ticket

_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(ms|s)?")

Walk = Callable[[Ticket], Awaitable[Reply]]


def patience(exchange: Exchange, hub: Hub) -> float:
    """Seconds for which the request may wait: the caller's wish, else the route's, and no more than the hub allows."""
    wish = exchange.headers.get(WAIT)
    if wish is None:
        return min(exchange.plan.wait, hub.settings.routing.max_wait)
    found = _SECONDS.fullmatch(wish.strip())
    if found is None:
        raise BadRequest("x-llmhub-wait takes a time, such as 10s or 500ms.", code="invalid_value", param=str(WAIT))
    return min(float(found[1]) / (1000 if found[2] == "ms" else 1), hub.settings.routing.max_wait)


def waits_in_line(exchange: Exchange, hub: Hub) -> NoCandidateLeft | None:
    """Whether others stand before this request, which is patient enough to stand behind them: with what it is refused
    if its turn does not come."""
    subject = next((subject for subject in _subjects(exchange) if subject in hub.waiting.lines), None)
    if subject is None or not patience(exchange, hub):
        return None
    plan = exchange.plan
    plan.soonest = LOOK_AGAIN if plan.soonest is None else max(LOOK_AGAIN, plan.soonest)
    return no_candidate(plan)


def _subjects(exchange: Exchange) -> tuple[str, str]:
    return f"route:{exchange.plan.route}", f"caller:{exchange.caller.name}"


def _may_be_sooner(exchange: Exchange) -> bool:
    """Whether answers under way hold tokens or money, of which they may turn out to need less; nobody knows yet."""
    return any(
        stats.in_flight and any(limit.kind in ("tokens", "money") for limit in stats.candidate.key.limits)
        for stats in exchange.plan.candidates
    )


async def wait_and_walk(exchange: Exchange, hub: Hub, reply: Reply, refusal: HubError, walk: Walk) -> Reply:
    """Wait for the turn and walk the plan anew, until somebody answers or the time is over; else the `refusal`."""
    since = time.monotonic()
    until = since + patience(exchange, hub)
    route, caller = _subjects(exchange)
    ticket = None
    try:
        while True:
            refused_at, wait = time.monotonic(), refusal.retry_after
            spent = len(exchange.attempts) >= hub.settings.routing.attempts
            if spent or reply.started or wait is None or until <= refused_at:
                raise refusal
            if refused_at + wait > until + LOOK_AGAIN and not _may_be_sooner(exchange):
                raise refusal
            subject = caller if isinstance(refusal, QuotaExceeded) else route
            if ticket is None or ticket.subject != subject:
                if ticket is not None:
                    ticket.leave()
                ticket = hub.waiting.ticket(subject)
                if ticket is None:
                    raise refusal
            try:
                async with asyncio.timeout(until - refused_at):
                    await ticket.turn(wait)
            except TimeoutError:
                refusal.retry_after = max(0.001, refused_at + wait - time.monotonic())
                raise refusal from None
            plan_again(exchange, hub)
            exchange.waited = time.monotonic() - since
            try:
                return await walk(ticket)
            except (NoCandidateLeft, QuotaExceeded) as error:
                refusal = error
    finally:
        if ticket is not None:
            ticket.leave()

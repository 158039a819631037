"""Walk the plan until one candidate answers; after the first byte there is no other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable

from multidict import istr

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.chat_response import Answered, Failed
from llmhub_core.contracts.errors import (
    BadRequest,
    HubError,
    Internal,
    NoCandidateLeft,
    QuotaExceeded,
    UpstreamError,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.operations import COUNT_TOKENS, TokenCount
from llmhub_core.contracts.quota_store import LimitReached
from llmhub_core.contracts.usage import tokens_of_bytes
from llmhub_core.gateway.attempt import answer_headers, attempt
from llmhub_core.gateway.continuation import Continuation
from llmhub_core.gateway.hedging import Race, tempo
from llmhub_core.gateway.incoming import Incoming
from llmhub_core.gateway.lanes import encode_whole
from llmhub_core.gateway.losses import lossless_first
from llmhub_core.gateway.meter import give_back, reserve, soon
from llmhub_core.gateway.noting import noted
from llmhub_core.gateway.reply import CallerGone, Reply
from llmhub_core.gateway.route import extend_plan, leave_out
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.gateway.verdict import verdict
from llmhub_core.gateway.waiting import patience, wait_and_walk, waits_in_line
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.waiting import Ticket

log = logging.getLogger("llmhub.gateway")

TIMEOUT = istr("x-llmhub-timeout")

_REFUSALS = {"context_length_exceeded": "context_length", "content_policy_violation": "content_filter"}
"""Refusals for which a route may name other routes (`fallbacks_on`)."""

_TROUBLE = (UpstreamOverloaded, UpstreamUnreachable, UpstreamTimeout, UpstreamGarbled)
"""Failures of a provider, of which it may have too much to do. A key that is out says so once, and then rests."""

_OTHERS_MAY = {"unsupported_content", "unsupported_parameter", "adaptation_refused"}
"""What one candidate's wire format cannot say, another's may."""


async def relay(request: Incoming) -> Reply:
    """The answer of the first candidate that gives one; a HubError if none does."""
    exchange, hub, upstream = request.exchange, request.hub, request.upstream
    reply = Reply(request) if hub.bodies is None else noted(request, hub.bodies)
    if exchange.ready is not None:
        return await _send_ready(exchange, hub, reply)
    if exchange.head.operation == COUNT_TOKENS:
        return await _count(exchange, hub, upstream, reply)
    total = _deadline(exchange)
    if exchange.plan.continues:
        exchange.continuation = Continuation.of(exchange)
    if hub.waiting.lines and (behind := waits_in_line(exchange, hub)) is not None:
        return await _timed(exchange, reply, total, _wait(exchange, hub, upstream, reply, behind))
    try:
        if total is None:
            return await _walk(exchange, hub, upstream, reply)
        return await _timed(exchange, reply, total, _walk(exchange, hub, upstream, reply))
    except (NoCandidateLeft, QuotaExceeded) as refusal:
        if refusal.retry_after is None or not patience(exchange, hub):
            raise
        return await _timed(exchange, reply, total, _wait(exchange, hub, upstream, reply, refusal))


def _wait(exchange: Exchange, hub: Hub, upstream: Upstream, reply: Reply, refusal: HubError) -> Awaitable[Reply]:
    def walk(ticket: Ticket) -> Awaitable[Reply]:
        return _walk(exchange, hub, upstream, reply, ticket)

    return wait_and_walk(exchange, hub, reply, refusal, walk)


async def _timed(exchange: Exchange, reply: Reply, total: float | None, work: Awaitable[Reply]) -> Reply:
    """`work` within what is left of the `total` seconds for the whole request."""
    if total is None:
        return await work
    if exchange.due is None:
        exchange.due = time.perf_counter() + total
    try:
        async with asyncio.timeout(exchange.due - time.perf_counter()):
            return await work
    except TimeoutError:
        late = UpstreamTimeout(f"The request took longer than the {total:g} s it was given.")
        if reply.started:
            return await _break_off(exchange, reply, late)
        raise late from None


async def _count(exchange: Exchange, hub: Hub, upstream: Upstream, reply: Reply) -> Reply:
    """Asked of a provider that can count; where none can or none answers, estimated and marked."""
    try:
        if exchange.plan.candidates:
            return await _walk(exchange, hub, upstream, reply)
    except HubError as error:
        if reply.started or not error.retryable:
            raise
    else:
        await reserve(exchange, hub)
    exchange.lane, exchange.adapted = "estimated", ("input_tokens=estimated",)
    encoder = exchange.dialect.response_encoder(exchange.request)
    count = TokenCount(tokens_of_bytes(len(exchange.body)), estimated=True)
    body = encoder.write(Answered(count)) + encoder.close()
    exchange.ended("served", 200)
    await reply.send(200, encoder.content_type, body, answer_headers(exchange, hub))
    return reply


async def _walk(exchange: Exchange, hub: Hub, upstream: Upstream, reply: Reply, ticket: Ticket | None = None) -> Reply:
    """`ticket` is the place in line of a request that waited: it is left as soon as a candidate has room."""
    plan, attempts = exchange.plan, exchange.attempts
    if len(plan.candidates) > 1:
        plan.candidates = lossless_first(exchange, hub)
    candidates = plan.candidates  # grows while it is walked, if a refusal leads to other routes
    failures: list[HubError] = []
    place = 0
    while len(attempts) < hub.settings.routing.attempts and (
        place < len(candidates) or (plan.more is not None and plan.more(plan))
    ):
        stats = candidates[place]
        place += 1
        if hub.pool.marks and (mark := hub.pool.blocked(stats.candidate, now := time.monotonic())) is not None:
            # Since the plan was made somebody heard something of its account, or goes first now.
            leave_out(plan, stats.candidate, mark, now)
            continue
        limits = stats.limits
        if limits or exchange.caller.limits:
            try:
                await reserve(exchange, hub, limits)
            except LimitReached as reached:
                _leave_out(exchange, stats, reached)
                continue
        if ticket is not None:
            ticket.leave()
        if failures:
            # What was said before the failure is none of the next one's answer.
            exchange.first_byte = exchange.usage = None
        if hub.half_open is not None and not hub.half_open.calm and not await _may_go(exchange, hub, stats, place):
            give_back(exchange, hub, limits, asked=False)
            continue
        known = len(attempts)
        try:
            if plan.hedge and place < len(candidates):
                await _hedged(exchange, hub, upstream, stats, place, reply, failures)
            else:
                await attempt(exchange, hub, upstream, stats, reply)
        except HubError as error:
            if reply.started:
                if not await _goes_on(exchange, hub, reply, stats, place, error):
                    return await _break_off(exchange, reply, error)
                continue
            uncounted = stats.counted if isinstance(error, UpstreamLimited) else ()
            give_back(exchange, hub, limits, asked=len(attempts) > known, uncounted=uncounted)
            failures.append(error)
            fallback = _REFUSALS.get(error.code, "")
            if fallback and fallback in plan.fallbacks_on:
                known = len(candidates)
                extend_plan(plan, fallback, hub, exchange.dialect)
                if len(candidates) > known:
                    # What was left of the plan would refuse as well: on to the other routes.
                    place = known
                    continue
            cannot_say = error.code in _OTHERS_MAY and not isinstance(error, UpstreamError)
            if not (error.retryable or cannot_say):
                failures.clear()  # their tracebacks keep this frame, which must not keep them
                raise
            if isinstance(error, _TROUBLE) and not _may_retry(exchange, hub, place):
                break
        except Exception as error:
            if not reply.started or isinstance(error, CallerGone):
                raise
            # Our own fault after the first byte: a second answer in the same stream would be worse than none.
            log.error("%s failed in its stream: %s", exchange.id, type(error).__name__)  # noqa: TRY400 — no text of it
            return await _break_off(exchange, reply, Internal(f"The hub failed; its log has {exchange.id}."))
        else:
            if exchange.continuation is not None and exchange.continuation.times:
                exchange.usage = exchange.continuation.used(exchange)
                exchange.adapted += ("answer=continued",)
            if exchange.retried and attempts[-1].reason == "ok":
                hub.retries.give_back(plan.route)
            if plan.affinity and exchange.served_by is not None:
                label = exchange.served_by.candidate.label
                hub.affinity.note(plan.affinity, label, exchange.usage, route=plan.route)
            return reply
    try:
        raise verdict(exchange.plan, hub, failures)
    finally:
        failures.clear()


async def _hedged(
    exchange: Exchange,
    hub: Hub,
    upstream: Upstream,
    stats: CandidateStats,
    place: int,
    reply: Reply,
    failures: list[HubError],
) -> None:
    """An attempt, and one at the candidate of `place` beside it if it takes longer than is usual: that one is then
    out of the plan. Raises as an attempt does."""
    times, label, known = tempo(hub), stats.candidate.label, len(exchange.attempts)
    after = times.p95(label)
    if after is None or known + 1 >= hub.settings.routing.attempts:
        await attempt(exchange, hub, upstream, stats, reply)
    else:
        candidates = exchange.plan.candidates

        def enter(own: Exchange, stats: CandidateStats, entrant: Reply) -> Awaitable[None]:
            return attempt(own, hub, upstream, stats, entrant)

        def second() -> CandidateStats | None:
            if hub.half_open is not None and hub.half_open.is_needed(candidates[place]):
                return None  # whoever comes back is tried by a request that needs it
            return candidates.pop(place) if _may_retry(exchange, hub, place) else None

        await Race(exchange, hub, reply, enter).run(stats, second, after, failures)
    first = exchange.attempts[known]
    if first.reason == "ok" and first.first_byte_ms is not None:
        times.note(label, (first.first_byte_ms - first.started_ms) / 1000)


async def _goes_on(
    exchange: Exchange, hub: Hub, reply: Reply, stats: CandidateStats, place: int, error: HubError
) -> bool:
    """Whether a stream that broke is continued by the next candidate, by the same one if there is no other: then the
    exchange asks for the rest, and the seam is marked."""
    continuation, plan = exchange.continuation, exchange.plan
    if continuation is None or not (error.retryable and continuation.possible):
        return False
    if len(exchange.attempts) >= hub.settings.routing.attempts:
        return False
    if place >= len(plan.candidates):
        plan.candidates.append(stats)
    if not _may_retry(exchange, hub, place):
        return False
    continuation.resume(exchange)
    give_back(exchange, hub, stats.limits, asked=True)
    following = plan.candidates[place].candidate.deployment if hub.settings.server.served_by_header else None
    await reply.write(continuation.mark(following))
    return True


def _may_retry(exchange: Exchange, hub: Hub, place: int) -> bool:
    """Whether the budget has one more try, if there is anybody left to try: in an outage most requests fail at their
    first attempt, and each one's further attempts would only add to what brought the provider down."""
    plan = exchange.plan
    if place >= len(plan.candidates) or len(exchange.attempts) >= hub.settings.routing.attempts:
        return True
    route = hub.catalog.find(plan.route)
    if route is None or hub.retries.take(plan.route, route.turn):
        exchange.retried = True
        return True
    plan.left_out.append((plan.candidates[place].candidate.label, "retry budget: too many attempts failed of late"))
    return False


def _leave_out(exchange: Exchange, stats: CandidateStats, reached: LimitReached) -> None:
    plan, limit, wait = exchange.plan, reached.limit, soon(reached)
    back = "never for a request of this size" if wait is None else f"back in {wait:.0f} s"
    plan.left_out.append((stats.candidate.label, f"limit: {limit.amount} {limit.kind} in {limit.window} s, {back}"))
    if wait is not None and (plan.soonest is None or wait < plan.soonest):
        plan.soonest = wait


async def _may_go(exchange: Exchange, hub: Hub, stats: CandidateStats, place: int) -> bool:
    """False where another request, here or in another process, tries whether what it rested for is over. Nobody with
    a closed breaker behind it: then it is asked whatever its own says."""
    plan, health = exchange.plan, hub.health

    def is_last() -> bool:
        now = time.monotonic()
        rest = plan.candidates[place:]
        return all(health.blocked(other.candidate, now) for other in rest) and not (plan.more and plan.more(plan))

    if hub.half_open is None or await hub.half_open.may_go(stats, is_last):
        return True
    now = time.monotonic()
    if (mark := hub.pool.blocked(stats.candidate, now)) is not None:
        leave_out(plan, stats.candidate, mark, now)
    else:
        plan.left_out.append((stats.candidate.label, "failing: another request tries it"))
        back = (health.blocked(stats.candidate, now) or now) - now
        plan.soonest = back if plan.soonest is None else min(plan.soonest, back)
    return False


async def _break_off(exchange: Exchange, reply: Reply, error: HubError) -> Reply:
    """A stream that cannot go on: one error event in the caller's dialect, and an end that nobody takes for one."""
    exchange.ended("failed", error.status, error.code, error.source)
    if exchange.continuation is not None:
        if exchange.continuation.times:
            exchange.usage = exchange.continuation.used(exchange)
        if not exchange.error_passed_on:
            await reply.write(exchange.continuation.encoder.write(Failed(error)))
    elif not exchange.error_passed_on:
        await reply.write(exchange.dialect.encode_stream_error(error, exchange.id))
    reply.break_off()
    return reply


async def _send_ready(exchange: Exchange, hub: Hub, reply: Reply) -> Reply:
    """An interceptor's answer instead of a provider's."""
    ready = exchange.ready
    assert ready is not None  # noqa: S101 — the caller looked
    await reserve(exchange, hub)
    encoder = exchange.dialect.response_encoder(exchange.request)
    body = encode_whole(encoder, ready)
    exchange.lane, exchange.usage = "intercepted", ready.usage
    exchange.ended("served", 200)
    if exchange.head.stream:
        await reply.start(encoder.content_type, answer_headers(exchange, hub), body)
        await reply.finish()
    else:
        await reply.send(200, encoder.content_type, body, answer_headers(exchange, hub))
    return reply


def _deadline(exchange: Exchange) -> float | None:
    """Seconds for the whole request: the caller's wish (``x-llmhub-timeout``), at most what the route allows."""
    total = exchange.plan.timeouts.total
    wish = exchange.headers.get(TIMEOUT)
    if wish is None:
        return total
    try:
        seconds = float(wish.strip().removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise BadRequest(
            "x-llmhub-timeout takes seconds, such as 30 or 30s.", code="invalid_value", param="x-llmhub-timeout"
        )
    return seconds if total is None else min(seconds, total)

"""Reserve before, settle after: whatever happens in between, once and only once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from llmhub_core.contracts.candidate import Limit
from llmhub_core.contracts.errors import HubError, QuotaExceeded
from llmhub_core.contracts.exchange import Exchange, Record
from llmhub_core.contracts.operations import CHAT, EMBEDDINGS
from llmhub_core.contracts.quota_store import Amount, LimitReached, Reservation
from llmhub_core.contracts.usage import Usage, tokens_of_bytes
from llmhub_core.gateway.incoming import Incoming
from llmhub_core.gateway.reply import CallerGone, Reply
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.leases import LEASE

UNSAID_OUTPUT = 1024
"""Tokens reserved for an answer whose caller set no maximum; corrected by the provider's number afterwards."""

GATE_WAIT = 1.0
"""Seconds after which to ask again where only so many requests may run at the same time."""

_WORDS = {"requests": "requests", "tokens": "tokens", "concurrency": "requests at the same time", "money": "budget"}


def estimate(exchange: Exchange) -> Amount:
    """What the request may use, before anybody knows: its bytes as tokens, and as much output as it allows."""
    head = exchange.head
    if head.operation != CHAT:
        return Amount(1, tokens_of_bytes(len(exchange.body)) if head.operation == EMBEDDINGS else 0)
    output = (head.max_output or UNSAID_OUTPUT) * head.n
    return Amount(1, tokens_of_bytes(len(exchange.body)) + output)


def used(exchange: Exchange, cost: int | None) -> Amount:
    usage = exchange.usage
    return Amount(1, usage.total_tokens if usage is not None else 0, cost or 0)


async def meter(request: Incoming, handler: Callable[[Incoming], Awaitable[Reply]]) -> Reply:
    """Leaves the exchange's one record, and settles what the relay reserved for it.

    The settling itself never waits in this task (Hub.settle sees to that), so that a caller who hangs up at
    any moment cannot cut it off.
    """
    exchange, hub = request.exchange, request.hub
    hub.ledger.intend(exchange)
    under_way = hub.under_way
    under_way.count += 1
    try:
        return await handler(request)
    except (asyncio.CancelledError, CallerGone):
        exchange.ended("cancelled", 499, "client_closed", "network")
        raise
    except HubError as error:
        outcome = "failed" if exchange.attempts else "refused"
        exchange.ended(outcome, error.status, error.code, error.source)  # type: ignore[arg-type]
        raise
    except BaseException:
        exchange.ended("failed", 500, "internal_error", "gateway")
        raise
    finally:
        under_way.left()
        if exchange.usage is None:
            exchange.usage = _guessed_usage(exchange)
        record = None
        try:
            record = hub.finish(exchange)
        finally:
            if exchange.reservation is not None or exchange.lease is not None:
                _settle(exchange, hub, record)


# Two sides, one rule: the caller's own limits are held for the whole exchange, a candidate's for its attempt, and the
# first attempt takes both in one atomic step.


async def reserve(exchange: Exchange, hub: Hub, limits: tuple[Limit, ...] = ()) -> None:
    """Take what an attempt may use from a candidate's `limits`, and from the caller's if they are not held yet.
    LimitReached if the candidate has no room, QuotaExceeded if the caller has none."""
    own = exchange.caller.limits
    if own and exchange.reservation is None:
        try:
            exchange.reservation = await hub.quota.reserve(hub.joined(own, limits), estimate(exchange), LEASE)
        except LimitReached as reached:
            if reached.limit in own:
                raise _exceeded(reached, soon(reached)) from None
            raise
    elif limits:
        exchange.lease = await hub.quota.reserve(limits, estimate(exchange), LEASE)


def give_back(
    exchange: Exchange, hub: Hub, limits: tuple[Limit, ...], asked: bool, uncounted: tuple[Limit, ...] = ()
) -> None:
    """An attempt failed: of its candidate's limits one request is spent if the provider was `asked`, and what
    the provider said of tokens, or began to; the caller's stay held for the next attempt. Of those `uncounted` nothing
    is spent."""
    usage = exchange.usage or _guessed_usage(exchange)
    held = exchange.lease or exchange.reservation
    if uncounted and held is not None:
        hub.settle(held, Amount(0), uncounted)
    spent = Amount(1 if asked else 0, usage.total_tokens if usage is not None else 0)
    if exchange.lease is not None:
        hub.settle(exchange.lease, spent)
        exchange.lease = None
    elif exchange.reservation is not None and limits:
        hub.settle(exchange.reservation, spent, limits)


def _settle(exchange: Exchange, hub: Hub, record: Record | None) -> None:
    spent = used(exchange, None if record is None else record.cost)
    late = record if record is not None and record.cost is None and hub.pricing.awaits(record) else None
    for held in (exchange.reservation, exchange.lease):
        if held is None:
            continue
        money = [limit for limit in held.limits if limit.kind == "money"] if late is not None else ()
        if late is None or not money:
            hub.settle(held, spent)
            continue
        if others := [limit for limit in held.limits if limit.kind != "money"]:
            hub.settle(held, spent, others)
        hub.spawn(_settle_money(exchange, hub, late, held, money))


async def _settle_money(
    exchange: Exchange, hub: Hub, record: Record, held: Reservation, money: Sequence[Limit]
) -> None:
    """The table of prices is asked for this model for the first time: budgets wait for it, and nothing else does."""
    await hub.pricing.complete((record,))
    hub.settle(held, used(exchange, record.cost), money)


def _guessed_usage(exchange: Exchange) -> Usage | None:
    """An answer of which the provider never said the usage is counted by its bytes, and marked so. Nothing is
    charged for a request to which no provider ever said a word."""
    operation = exchange.head.operation
    if exchange.first_byte is None or operation not in (CHAT, EMBEDDINGS):
        return None
    written = exchange.output_bytes if operation == CHAT else 0
    return Usage(tokens_of_bytes(len(exchange.body)), tokens_of_bytes(written), estimated=True)


def soon(reached: LimitReached) -> float | None:
    """In how many seconds to come again. Who is inside a gate may leave at any moment: the store knows only when its
    lease would expire."""
    wait = reached.retry_after
    return wait if wait is None or reached.limit.kind != "concurrency" else min(wait, GATE_WAIT)


def _exceeded(reached: LimitReached, wait: float | None) -> QuotaExceeded:
    limit = reached.limit
    span = {0: "", 60: " a minute", 86_400: " a day"}.get(limit.window, f" in {limit.window} s")
    what = _WORDS[limit.kind]
    code = {"concurrency": "concurrency_exceeded", "money": "insufficient_quota"}.get(
        limit.kind, "rate_limit_exceeded" if wait is not None else "insufficient_quota"
    )
    allowed = "Your budget" if limit.kind == "money" else f"Your limit of {limit.amount} {what}{span}"
    if wait is None:
        return QuotaExceeded(
            f"{allowed} is smaller than this one request; send less, or ask for a higher limit.",
            code=code,
            should_retry=False,
        )
    return QuotaExceeded(f"{allowed} is reached; try again in {wait:.0f} s.", code=code, retry_after=wait)


def note_refusal(exchange: Exchange, hub: Hub, error: Exception) -> None:
    """A request that was understood but not admitted (no quota, no candidate, not allowed) leaves a record too:
    whoever asks why callers are turned away finds the reason there."""
    admitted = exchange.outcome != "unknown"
    if admitted or not isinstance(error, HubError) or not hasattr(exchange, "head"):
        return
    exchange.ended("refused", error.status, error.code, error.source)
    if hub.bodies is not None and not (hub.sees_requests and not hasattr(exchange, "plan")):
        hub.bodies.begin(exchange)  # what interceptors have not seen yet might be what they take out
    hub.finish(exchange)

"""One call to one candidate, noted for the record and for everybody's health."""

from __future__ import annotations

import asyncio
import time

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.errors import HubError, UpstreamError, UpstreamLimited
from llmhub_core.contracts.exchange import Attempt, Exchange
from llmhub_core.gateway.passage import Passage
from llmhub_core.gateway.refusal import FAULT
from llmhub_core.gateway.reply import CallerGone, Reply
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.catalog import Standing
from llmhub_core.hub.fault_lab import REASON
from llmhub_core.hub.hub import Hub

MAX_ADAPTED = 2048


async def attempt(exchange: Exchange, hub: Hub, upstream: Upstream, stats: CandidateStats, reply: Reply) -> None:
    """One call, carried through to the caller; raises what ended it."""
    assert isinstance(stats, Standing)  # noqa: S101 — as all that a catalog has
    deployment, key = stats.candidate.deployment, stats.candidate.key
    made = Attempt(deployment.provider, deployment.model, key.name, exchange.elapsed_ms())
    exchange.attempts.append(made)
    hub.health.begin(stats)
    if hub.pool.marks:
        hub.pool.begin(stats)
    began = time.perf_counter()
    failure: BaseException | None = None
    passage = Passage(exchange, hub, stats, began)
    try:
        await passage.open(upstream)
        if hub.pool.marks:
            hub.pool.answered(stats)
        exchange.served_by = stats
        exchange.adapted = passage.adapted
        await passage.carry(reply, answer_headers(exchange, hub))
        made.reason = "ok"
        exchange.outcome, exchange.status = "served", 200
    except UpstreamError as error:
        failure = error
        made.status = error.provider_status
        fault = made.detail  # nobody but the fault lab says anything before the end
        made.reason, made.detail = error.code, error.detail
        if fault:
            made.reason, made.detail = REASON, f"{fault}, read as {error.code}"
            error.provider_code = REASON
        made.provider_code, made.provider_request_id = error.provider_code, error.provider_request_id
        hub.pool.note(stats, error, hub.learning.refused(stats, error) if isinstance(error, UpstreamLimited) else None)
        raise
    except HubError as error:
        failure = error
        made.reason = error.code
        if not passage.sent:
            # What its wire format cannot say was never asked of it: that is no attempt.
            exchange.attempts.remove(made)
            exchange.plan.left_out.append((stats.candidate.label, f"cannot: {error.code}"))
            exchange.adapted = passage.adapted
        raise
    except BaseException as error:
        failure = error
        made.reason = _interruption(exchange, error)
        raise
    finally:
        passage.close()
        if made.status is None:
            made.status = passage.status
        first = exchange.first_byte
        if first is not None:
            made.first_byte_ms = exchange.first_byte_ms()
        made.ended_ms = exchange.elapsed_ms()
        if hub.pool.marks:
            hub.pool.end(stats)
        hub.health.end(stats, failure, None if first is None else first - began, exchange.body)
        failure = None  # its traceback keeps this frame, which must not keep it


def _interruption(exchange: Exchange, error: BaseException) -> str:
    if exchange.lost:
        return "hedge_lost"
    if not isinstance(error, asyncio.CancelledError | CallerGone):
        return "internal_error"
    return "upstream_timeout" if exchange.due is not None and time.perf_counter() >= exchange.due else "client_closed"


def answer_headers(exchange: Exchange, hub: Hub) -> dict[str, str]:
    headers = {"x-request-id": exchange.id}
    own = exchange.dialect.request_id_header
    if own != "x-request-id":
        headers[own] = exchange.id
    if hub.settings.server.served_by_header and exchange.served_by is not None:
        deployment = exchange.served_by.candidate.deployment
        headers["x-llmhub-served-by"] = f"{deployment.provider}/{deployment.model}"
        headers["x-llmhub-attempts"] = str(len(exchange.attempts))
    if exchange.waited:
        headers["x-llmhub-waited"] = f"{exchange.waited:.3f}"
    if exchange.adapted:
        headers["x-llmhub-adapted"] = ", ".join(exchange.adapted)[:MAX_ADAPTED]
        if exchange.fault:
            headers[FAULT] = exchange.fault
    return headers

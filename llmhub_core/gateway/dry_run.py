"""A request that is not sent: where it would go, what would get lost, and which limits it would meet.

All as it is for a real one, but that no turn is taken, nothing is reserved, and interceptors are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmhub_core.contracts.candidate import Limit
from llmhub_core.contracts.chat_request import Where
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import BadRequest
from llmhub_core.contracts.exchange import Caller, Exchange
from llmhub_core.contracts.quota_store import Amount
from llmhub_core.gateway.affinity import affinity_of
from llmhub_core.gateway.discovery import list_models
from llmhub_core.gateway.losses import lossless_first, lost
from llmhub_core.gateway.meter import estimate
from llmhub_core.gateway.normalize import understand
from llmhub_core.gateway.route import plan_route
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.hub.catalog import Route
from llmhub_core.hub.dry_run import Asked, DryRun, Fit, Look
from llmhub_core.hub.hub import Hub

NOBODY = Caller("")


async def dry_run(hub: Hub, asked: Asked, upstream: Upstream | None = None) -> DryRun:
    """UnknownModel, or BadRequest for a body that is none. With `upstream` providers may be asked for their models."""
    dialect = hub.dialects[asked.dialect]
    if not asked.body:
        route = await _route(hub, asked.model, upstream)
        plan = plan_route(route, hub, dialect, turn=route.turn)
        return DryRun(asked.model, plan, [Look(stats) for stats in plan.candidates])
    exchange = _exchange(dialect, asked)
    model = asked.model or exchange.head.model
    route = await _route(hub, model, upstream)
    affinity = affinity_of(exchange, route.affinity) if route.affinity else ""
    exchange.plan = plan_route(route, hub, dialect, turn=route.turn, affinity=affinity)
    exchange.request  # noqa: B018 — what is malformed deep inside is told now
    exchange.plan.candidates = lossless_first(exchange, hub)
    return await _looked_at(exchange, hub, model)


async def _route(hub: Hub, model: str, upstream: Upstream | None) -> Route:
    route = hub.catalog.find(model)
    if route is None and upstream is not None:
        await list_models(hub, upstream)
        route = hub.catalog.find(model)
    if route is None:
        raise hub.catalog.unknown(model)
    return route


def _exchange(dialect: Dialect[Any], asked: Asked) -> Exchange:
    # Formats that have the model in their path have the rest there, too: a whole answer is asked for.
    exchange = Exchange("dry-run", dialect, {}, Where({"model": asked.model, "verb": "generateContent"}, {}))
    exchange.body, exchange.caller = asked.body, asked.caller or NOBODY
    understand(exchange)
    return exchange


async def _looked_at(exchange: Exchange, hub: Hub, model: str) -> DryRun:
    plan, amount, own = exchange.plan, estimate(exchange), exchange.caller.limits
    fits = await _fits(hub, amount, [*own, *(limit for stats in plan.candidates for limit in stats.limits)])
    looks: list[Look] = []
    for stats in plan.candidates:
        try:
            found = Look(stats, lost(exchange, hub, stats), tuple(fits[limit.id] for limit in stats.limits))
        except BadRequest as error:
            plan.left_out.append((stats.candidate.label, f"cannot: {error.code}"))
            continue
        full = next((fit for fit in found.limits if not fit.fits), None)
        if full is None:
            looks.append(found)
        else:
            plan.left_out.append((stats.candidate.label, _why(full)))
    return DryRun(model, plan, looks, amount, tuple(fits[limit.id] for limit in own))


async def _fits(hub: Hub, amount: Amount, limits: Iterable[Limit]) -> Mapping[str, Fit]:
    once = {limit.id: limit for limit in limits}
    needs = {"requests": amount.requests, "tokens": amount.tokens, "money": amount.money, "concurrency": 1}
    levels = await hub.quota.levels(list(once.values())) if once else ()
    return {level.limit.id: Fit(level.limit, needs[level.limit.kind], level.left, level.resets_in) for level in levels}


def _why(fit: Fit) -> str:
    limit = fit.limit
    if fit.needs > limit.amount:
        back = "never for a request of this size"
    else:
        back = f"{fit.needs:,} needed, {fit.left:,} left, more in {fit.resets_in:.0f} s"
    return f"limit: {limit.amount} {limit.kind} in {limit.window} s, {back}"

"""What a candidate's wire format cannot say of a request, and who is asked first for it."""

from __future__ import annotations

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.errors import BadRequest
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.gateway.passage import encoded_for
from llmhub_core.hub.catalog import of_catalog
from llmhub_core.hub.hub import Hub


def lossless_first(exchange: Exchange, hub: Hub) -> list[CandidateStats]:
    """The plan's order; but if the first candidate's wire format cannot say everything that is asked, then one of
    equal priority that can comes before it."""
    candidates = exchange.plan.candidates
    if len(candidates) < 2 or not loses(exchange, hub, candidates[0]):
        return candidates
    priority = _priority(candidates[0])
    for place, stats in enumerate(candidates):
        if _priority(stats) != priority:
            break
        if place and not loses(exchange, hub, stats):
            why = "loss: its wire format cannot say all that is asked, so another one is asked first"
            exchange.plan.left_out.append((candidates[0].candidate.label, why))
            return [stats, *candidates[:place], *candidates[place + 1 :]]
    return candidates


def loses(exchange: Exchange, hub: Hub, stats: CandidateStats) -> bool:
    try:
        return bool(lost(exchange, hub, stats))
    except BadRequest:
        return True


def lost(exchange: Exchange, hub: Hub, stats: CandidateStats) -> tuple[str, ...]:
    """What gets lost or becomes another thing on the way to it, as in ``x-llmhub-adapted``; BadRequest for what it
    cannot be asked at all."""
    target = hub.target(exchange.dialect, of_catalog(stats).place)
    if target is None or target is exchange.dialect:
        return ()
    return encoded_for(target, exchange.request, stats.candidate.deployment.model).adapted


def _priority(stats: CandidateStats) -> tuple[int, int]:
    return stats.candidate.deployment.priority, stats.candidate.key.priority

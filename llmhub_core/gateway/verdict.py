"""What the caller is told when nobody answered."""

from __future__ import annotations

import time

from llmhub_core.contracts.errors import (
    BadRequest,
    HubError,
    NoCandidateLeft,
    UnknownModel,
    UpstreamDenied,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamRefused,
)
from llmhub_core.contracts.exchange import Plan
from llmhub_core.gateway.route import no_candidate
from llmhub_core.hub.hub import Hub


def verdict(plan: Plan, hub: Hub, failures: list[HubError]) -> HubError:
    """What the caller is told when nobody answered: of all that went wrong, what helps most."""
    if not failures:
        return no_candidate(plan)
    if all(isinstance(error, UpstreamModelMissing) for error in failures):
        return UnknownModel(
            "No provider behind this name has the model; GET /v1/models lists what can be asked for.", param="model"
        )
    refused = next((error for error in failures if isinstance(error, UpstreamRefused | BadRequest)), None)
    if refused is not None:
        return refused
    limited = [error for error in failures if isinstance(error, UpstreamLimited)]
    if limited and len(limited) + sum(isinstance(e, UpstreamDenied) for e in failures) == len(failures):
        oversized = next((error for error in limited if error.oversized), None)
        if oversized is not None:
            oversized.should_retry = False
            return oversized
        now = time.monotonic()
        for stats in plan.candidates:
            mark = hub.pool.blocked(stats.candidate, now)
            if mark is not None and mark.until is not None:
                wait = max(0.001, mark.until - now)
                plan.soonest = wait if plan.soonest is None else min(plan.soonest, wait)
        return _limited(no_candidate(plan), limited)
    last = failures[-1]
    if isinstance(last, UpstreamDenied):
        return NoCandidateLeft(last.message, should_retry=False)
    return last


def _limited(refusal: NoCandidateLeft, limited: list[UpstreamLimited]) -> NoCandidateLeft:
    """The hub's own words, for it knows all the keys, with what the providers said of the quota: its code where they
    agree, and the details that callers of the provider's own format can read."""
    if all(error.code == limited[0].code for error in limited) and refusal.retry_after is not None:
        refusal.code = limited[0].code
    told = next((error for error in reversed(limited) if error.details), None)
    if told is not None:
        refusal.details, refusal.origin = told.details, told.origin
    return refusal

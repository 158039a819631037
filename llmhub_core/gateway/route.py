"""A plan: which candidates, in which order, and why the others not."""

from __future__ import annotations

import random
import time
from math import inf
from typing import Any

from multidict import istr

from llmhub_core.contracts.candidate import Candidate, CandidateStats
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import Forbidden, NoCandidateLeft
from llmhub_core.contracts.exchange import Exchange, Plan
from llmhub_core.contracts.operations import COUNT_TOKENS
from llmhub_core.contracts.strategy import Choice
from llmhub_core.gateway.affinity import affinity_of
from llmhub_core.gateway.aside import Sorted
from llmhub_core.gateway.decisions import LARGE, SHORT, can_shorten, decided, order_by, shortlists
from llmhub_core.hub.catalog import Route, Standing
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.pool import Mark

WAIT = istr("x-llmhub-wait")

MOST_LEFT_OUT = 32
"""Candidates of a route with very many that a record tells of one by one why they were left out."""


def plan(exchange: Exchange, hub: Hub) -> Plan:
    """UnknownModel, Forbidden, or NoCandidateLeft with the soonest return of a candidate."""
    model, caller = exchange.head.model, exchange.caller
    if caller.scopes and exchange.head.operation not in caller.scopes:
        raise Forbidden(
            f"This API key may not ask for {exchange.head.operation}, only for {', '.join(caller.scopes)}.",
            code="operation_not_allowed",
        )
    if not caller.may_use(model):
        raise Forbidden(f"This API key may not use the model {model[:64]}.", code="model_not_allowed", param="model")
    route = hub.catalog.find(model)
    if route is None:
        raise hub.catalog.unknown(model)
    made = plan_route(
        route, hub, exchange.dialect, affinity=affinity_of(exchange, route.affinity) if route.affinity else ""
    )
    if not made.candidates and exchange.ready is None and exchange.head.operation != COUNT_TOKENS:
        refusal = no_candidate(made)
        if refusal.retry_after is None or not (made.wait or WAIT in exchange.headers):
            raise refusal
    return made


def plan_again(exchange: Exchange, hub: Hub) -> None:
    """A new plan after a wait: the keys stand otherwise by now."""
    route = hub.catalog.find(exchange.plan.route)
    if route is not None:
        exchange.plan = plan_route(route, hub, exchange.dialect, affinity=exchange.plan.affinity)


def plan_route(route: Route, hub: Hub, dialect: Dialect[Any], turn: int | None = None, affinity: str = "") -> Plan:
    """The plan of a route and of its fallbacks behind it, for a request in `dialect`; `turn` None takes the route's
    next turn, a number explains without taking one. `affinity` is the key of the conversation that it belongs to."""
    closely = turn is not None
    if turn is None:
        turn = route.turn
        route.turn += 1
    made = Plan(route.model, route.strategy.name, [], timeouts=route.timeouts, fallbacks_on=route.fallbacks_on)
    if route.wait:
        made.wait = route.wait
    if route.hedge:
        made.hedge = True
    if route.continuation:
        made.continues = True
    if affinity:
        made.affinity = affinity
        made.warm = hub.affinity.warm(affinity, measured=route.affinity == "prefix")
    failing = _extend(made, route, hub, dialect, turn, {route.model}, closely)
    if failing:
        if made.candidates:
            made.decisions = [decision for decision in made.decisions if not decision.last_resort]
        else:
            _readmit(made, failing)
    return made


def extend_plan(made: Plan, refusal: str, hub: Hub, dialect: Dialect[Any]) -> None:
    """More candidates from the other routes for such a refusal (context_length, content_filter), once."""
    names, made.more = made.fallbacks_on[refusal], None
    made.fallbacks_on = {other: routes for other, routes in made.fallbacks_on.items() if other != refusal}
    for name in names:
        other = hub.catalog.find(name)
        if other is not None:
            known = len(made.candidates)
            failing = _extend(made, other, hub, dialect, other.turn, {made.route, name})
            if len(made.candidates) == known:
                _readmit(made, failing)


def _readmit(made: Plan, failing: list[CandidateStats]) -> None:
    """Never eject the last: a deployment that may be well again beats a certain refusal."""
    labels = {stats.candidate.label for stats in failing}
    made.left_out = [entry for entry in made.left_out if entry[0] not in labels]
    made.candidates.extend(failing)


def _extend(
    made: Plan, route: Route, hub: Hub, dialect: Dialect[Any], turn: int, seen: set[str], closely: bool = False
) -> list[CandidateStats]:
    """Append what can be used, once each, and then the route's fallbacks; returns what only fails at the moment."""
    if len(route.standing) > LARGE and can_shorten(route.strategy):
        return _extend_shortly(made, route, hub, dialect, turn, seen, closely)
    planned = {stats.candidate.label for stats in made.candidates} if made.candidates else ()
    calm = hub.pool.calm and hub.health.calm
    now = time.monotonic()
    usable: list[CandidateStats] = []
    failing: list[CandidateStats] = []
    if route.left_out:
        made.left_out += route.left_out
    for stats in route.standing:
        candidate = stats.candidate
        if planned and candidate.label in planned:
            continue
        if hub.target(dialect, stats.place) is None:
            made.left_out.append((candidate.label, f"cannot: {dialect.name} is not spoken there"))
            continue
        if calm:
            usable.append(stats)
            continue
        if not _held_back(made, stats, hub, now, failing):
            usable.append(stats)
    made.candidates += usable if len(usable) < 2 else _ordered(usable, route, turn, made)
    if len(failing) > 1 and not made.candidates:
        failing = _ordered(failing, route, turn, made, last_resort=True)
    return failing + _fall_back(made, route, hub, dialect, seen, closely) if route.fallbacks else failing


def _fall_back(
    made: Plan, route: Route, hub: Hub, dialect: Dialect[Any], seen: set[str], closely: bool
) -> list[CandidateStats]:
    failing: list[CandidateStats] = []
    for name in route.fallbacks:
        other = hub.catalog.find(name)
        if other is not None and name not in seen:
            seen.add(name)
            failing += _extend(made, other, hub, dialect, other.turn, seen, closely)
    return failing


def _held_back(made: Plan, stats: CandidateStats, hub: Hub, now: float, failing: list[CandidateStats]) -> bool:
    """Whether something is held against a candidate, which is then written down."""
    candidate = stats.candidate
    mark = hub.pool.blocked(candidate, now)
    if mark is not None:
        leave_out(made, candidate, mark, now)
        return True
    closed_until = hub.health.blocked(candidate, now)
    if closed_until is not None:
        failing.append(stats)
        made.left_out.append((candidate.label, _why("failing", "breaker open", closed_until, now)))
        _sooner(made, closed_until - now)
        return True
    return False


def _extend_shortly(
    made: Plan, route: Route, hub: Hub, dialect: Dialect[Any], turn: int, seen: set[str], closely: bool
) -> list[CandidateStats]:
    """As `_extend`, of a route with very many candidates: a few are looked at, and more when these do not serve. Then
    the fallbacks wait too, until nobody here is left. `closely` looks at each one that rests, however many do."""
    planned = {stats.candidate.label for stats in made.candidates} if made.candidates else ()
    held, health, name = hub.pool.marks.keys(), hub.health, dialect.name
    failing: list[CandidateStats] = []
    earlier = made.more
    passed_over = 0
    made.left_out += route.left_out
    most = len(made.left_out) + MOST_LEFT_OUT
    asking: list[Plan] = []
    """The plan, while it is extended. It keeps `more`: were it kept by that in turn, each request would leave behind
    what only the garbage collector takes away, and all callers would wait for it."""

    def usable(stats: Standing) -> bool:
        nonlocal passed_over
        (made,) = asking
        candidate = stats.candidate
        if planned and candidate.label in planned:
            return False
        place = stats.place
        if (place.targets[name] if name in place.targets else hub.target(dialect, place)) is None:
            made.left_out.append((candidate.label, f"cannot: {name} is not spoken there"))
        elif (held.isdisjoint(candidate.subjects) and not health.breakers) or not _held_back(
            made, stats, hub, time.monotonic(), failing
        ):
            return True
        if len(made.left_out) > most:
            passed_over += 1
            made.left_out[most - 1 :] = [(route.model, f"others: {passed_over + 1} more could not be used")]
        return False

    asides: list[Sorted] = []

    def set_aside(aside: Sorted) -> None:
        if not asides:
            asking[0].left_out.append((route.model, aside.others_rest))
        asides.append(aside)

    choice = Choice(route.model, turn, random.random(), made.affinity, made.warm)  # noqa: S311
    shortlist = shortlists(route, choice, usable, hub, None if closely else set_aside)

    def more(made: Plan) -> bool:
        asking.append(made)
        found = next(shortlist, None)
        asking.clear()
        if found is not None:
            few, decision = found
            made.candidates += few
            if decision is not None:
                made.decisions.append(decision)
            return True
        made.more, known = earlier, len(made.candidates)
        _add_aside(asides, made, failing)
        failing.extend(_fall_back(made, route, hub, dialect, seen, closely))
        return len(made.candidates) > known

    made.more = more
    return [] if more(made) else failing[: 2 * SHORT]


def _add_aside(asides: list[Sorted], made: Plan, failing: list[CandidateStats]) -> None:
    """Nobody else is left: what is to be known of those that were set aside."""
    for aside in asides:
        failing += [stats for stats in aside.failing if stats not in failing]
        if aside.soonest < inf:
            _sooner(made, max(0.0, aside.soonest - time.monotonic()))
    failing.sort(key=_priority)


def _priority(stats: CandidateStats) -> tuple[int, int]:
    return stats.candidate.deployment.priority, stats.candidate.key.priority


def leave_out(made: Plan, candidate: Candidate, mark: Mark, now: float) -> None:
    """Write down what is held against a candidate, and when it is back."""
    made.left_out.append((candidate.label, _why(mark.state, mark.reason, mark.until, now)))
    if mark.until is not None:
        _sooner(made, mark.until - now)


def _ordered(
    standing: list[CandidateStats], route: Route, turn: int, made: Plan, last_resort: bool = False
) -> list[CandidateStats]:
    choice = Choice(route.model, turn, random.random(), made.affinity, made.warm)  # noqa: S311
    order = order_by(route.strategy, choice, standing)
    made.decisions.append(decided(route.strategy, choice, order, last_resort))
    return order


def _why(state: str, reason: str, until: float | None, now: float) -> str:
    return f"{state}: {reason}" + ("" if until is None else f", back in {max(0.0, until - now):.0f} s")


def _sooner(made: Plan, seconds: float) -> None:
    if made.soonest is None or seconds < made.soonest:
        made.soonest = seconds


def no_candidate(made: Plan) -> NoCandidateLeft:
    """The refusal when nobody is left: a 429 with the soonest return, a 503 if none returns by itself."""
    able = [why for _, why in made.left_out if not why.startswith("not allowed")]
    if able and all(why.startswith("cannot") for why in able):
        return NoCandidateLeft(
            f"No provider behind {made.route} can do what this path asks for; choose another model.",
            status=400,
            code="unsupported_operation",
            should_retry=False,
        )
    if made.soonest is None:
        return NoCandidateLeft(
            f"No usable provider key is left for {made.route}; the operator has to mend or add one.",
            should_retry=False,
        )
    return NoCandidateLeft(
        f"Every provider key for {made.route} is out of quota or resting; the first returns in {made.soonest:.0f} s.",
        status=429,
        code="rate_limit_exceeded",
        retry_after=max(0.001, made.soonest),
    )

"""Logged decisions, made again: under the policy of then, or under another one to see what it would have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.exchange import Decision, Numbers, Record
from llmhub_core.contracts.strategy import Choice
from llmhub_core.gateway.decisions import MOST_NOTED, can_shorten, drawn, labels_of, order_by, order_shortlist
from llmhub_core.hub.catalog import Catalog, Route
from llmhub_core.hub.pricing import Pricing

EXAMPLES = 3
"""Decisions of a route that are shown one by one."""

_BY_CONFIGURATION = ("disabled", "not allowed")
"""Why the configuration itself leaves candidates out: another one may not."""


@dataclass(slots=True)
class Example:
    """A decision that would have been another one: the first candidates then and now."""

    request: str
    at: float
    was: list[str]
    now: list[str]


@dataclass(slots=True)
class RouteReplay:
    """What became of a route's decisions.

    same        all candidates in the same order
    other_first another candidate would have been asked first; `shifts` counts from whom to whom
    other_rest  the same first, the others in another order
    gone        the route, or all candidates of the decision, are no longer there
    cut         the record has not all that the decision depended on
    cost        of the requests that would have gone elsewhere, in 10⁻⁹ USD, by the tokens that they took; `cost_now`
                what they would have cost there; `unpriced` of them are in neither, for a price is not known
    """

    decisions: int = 0
    same: int = 0
    other_first: int = 0
    other_rest: int = 0
    gone: int = 0
    cut: int = 0
    shifts: Counter[tuple[str, str]] = field(default_factory=Counter)
    cost: int = 0
    cost_now: int = 0
    unpriced: int = 0
    examples: list[Example] = field(default_factory=list)


class Replay:
    """`changed` takes in requests that had no choice as well: another policy may give them one."""

    def __init__(self, catalog: Catalog, pricing: Pricing, changed: bool = False) -> None:
        self.routes: dict[str, RouteReplay] = {}
        self._catalog, self._pricing, self._changed = catalog, pricing, changed

    def add(self, record: Record) -> None:
        """Make all decisions of a record again."""
        decisions = record.decisions
        if self._changed and record.route and not any(each.route == record.route for each in decisions):
            decisions = [*_without_choice(record), *decisions]
        for place, decision in enumerate(decisions):
            self._add(record, decision, leading=place == 0 and decision.route == record.route)

    def _add(self, record: Record, decision: Decision, leading: bool) -> None:
        found = self.routes.setdefault(decision.route, RouteReplay())
        found.decisions += 1
        others = None if not leading or decision.last_resort or decision.of else _unusable(record)
        now = again(self._catalog, decision, others, prices_now=self._changed)
        was = decision.order
        if len(was) < decision.of and len(was) >= MOST_NOTED and now:
            found.cut += 1
        elif not now:
            found.gone += 1
        elif now == was:
            found.same += 1
        else:
            if now[0] == was[0]:
                found.other_rest += 1
            else:
                found.other_first += 1
                found.shifts[was[0], now[0]] += 1
                if leading:
                    self._compare_cost(found, record, now[0])
            if len(found.examples) < EXAMPLES:
                found.examples.append(Example(record.id, record.arrived_at, was, now))

    def _compare_cost(self, found: RouteReplay, record: Record, label: str) -> None:
        if record.outcome != "served":
            return
        provider, _, model = label.rpartition("#")[0].partition("/")
        elsewhere = msgspec.structs.replace(record, provider=provider, served_model=model, cost=None)
        cost = self._pricing.cost(elsewhere)
        if cost is None or record.cost is None:
            found.unpriced += 1
        else:
            found.cost += record.cost
            found.cost_now += cost


def again(
    catalog: Catalog, decision: Decision, unusable: Container[str] | None = None, prices_now: bool = False
) -> list[str]:
    """The order that the catalog's policy makes of the same candidates in the same situation, as labels; nothing if
    none of them is there. With `unusable`, other candidates of the route are taken in, as never used, but for those.
    Prices are those of then, or those of the catalog."""
    route = catalog.find(decision.route)
    if route is None:
        return []
    numbers = {name: column for name, column in decision.numbers.items() if not (prices_now and name == "price")}
    standing = _then(route, decision.order, numbers, unusable)
    choice = Choice(decision.route, decision.turn, decision.draw, decision.affinity, decision.warm)
    if decision.of and can_shorten(route.strategy):
        drawn_then = [decision.order[place] for place in decision.drawn] if unusable is None else []
        order = _from_many(route, choice, {stats.candidate.label: stats for stats in standing}, drawn_then)
    else:
        order = order_by(route.strategy, choice, standing)
    return [stats.candidate.label for stats in order]


def _from_many(
    route: Route, choice: Choice, few: dict[str, CandidateStats], drawn_then: Sequence[str]
) -> list[CandidateStats]:
    """`few` as they come to be drawn, in order. `drawn_then` says how they came where others were set aside."""
    order: list[CandidateStats] = []
    for equals in route.equals():
        if drawn_then:
            labels = [label for label in drawn_then if label in labels_of(equals)]
        else:
            labels = [stats.candidate.label for stats in drawn(route.strategy, choice, equals)]
        found = [few[label] for label in labels if label in few]
        order += order_shortlist(route.strategy, choice, equals, found)
    return order


def _then(
    route: Route, labels: Sequence[str], numbers: Numbers, unusable: Container[str] | None
) -> list[CandidateStats]:
    """The candidates as they stood when it was decided, in the route's order."""
    places = {label: place for place, label in enumerate(labels)}
    found: list[CandidateStats] = []
    for stats in route.standing:
        candidate = stats.candidate
        place = places.get(candidate.label)
        if place is not None:
            known: dict[str, Any] = {name: column[place] for name, column in numbers.items()}
            found.append(CandidateStats(candidate, **{"price": stats.price, **known}))
        elif unusable is not None and candidate.label not in unusable:
            found.append(CandidateStats(candidate, price=stats.price))
    return found


def _unusable(record: Record) -> set[str]:
    return {label for label, why in record.left_out if not why.startswith(_BY_CONFIGURATION)}


def _without_choice(record: Record) -> list[Decision]:
    """The decision of a request that had but one candidate, with chance and turn out of its id."""
    if not record.attempts:
        return []
    first = record.attempts[0]
    chance = int.from_bytes(blake2b(record.id.encode("utf-8", "replace"), digest_size=6).digest())
    return [Decision(record.route, "", chance, chance / 2**48, [f"{first.provider}/{first.model}#{first.key}"])]

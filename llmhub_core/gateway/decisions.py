"""What a strategy decided, in a form that can be read and made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.exchange import Decision
from llmhub_core.contracts.strategy import Choice, Equals, Strategy, warm_first
from llmhub_core.gateway.aside import IN_VAIN, Sorted, aside_of
from llmhub_core.hub.catalog import Route
from llmhub_core.hub.hub import Hub

MOST_NOTED = 64
"""Candidates of one order that a record has: the first of them, and how many there were."""


LARGE = 16
"""Candidates of a route up to which a strategy is shown all that can be used."""

SHORT = 4
"""… and beyond which it is shown so many of each priority, and as many more when these do not serve."""

LOOKS = 256
"""Candidates looked at for a shortlist, once there is anybody on it."""


def order_by(strategy: Strategy, choice: Choice, standing: Sequence[CandidateStats]) -> list[CandidateStats]:
    """All of `standing`, best first, and the warm one before its equals."""
    order = strategy.order(choice, standing)
    return list(warm_first(order, choice.warm) if choice.warm else order)


def decided(strategy: Strategy, choice: Choice, order: Sequence[CandidateStats], last_resort: bool = False) -> Decision:
    noted = order if len(order) <= MOST_NOTED else order[:MOST_NOTED]
    # By position: with names it costs several times as much.
    decision = Decision(
        choice.route, strategy.name, choice.turn, choice.draw, [stats.candidate.label for stats in noted]
    )
    if strategy.reads:
        decision.numbers = {name: [getattr(stats, name) for stats in noted] for name in strategy.reads}
    if choice.affinity:
        decision.affinity, decision.warm = choice.affinity, choice.warm
        if choice.warm and "quota_left" not in decision.numbers:
            decision.numbers["quota_left"] = [stats.quota_left for stats in noted]
    if len(noted) < len(order):
        decision.of = len(order)
    if last_resort:
        decision.last_resort = True
    return decision


def can_shorten(strategy: Strategy) -> bool:
    return type(strategy).shortlist is not Strategy.shortlist


Usable = Callable[[Any], bool]
"""Whether a candidate of the catalog (`Standing`) can be used."""


def shortlists(
    route: Route, choice: Choice, usable: Usable, hub: Hub, set_aside: Callable[[Sorted], None] | None
) -> Iterator[tuple[list[CandidateStats], Decision | None]]:
    """All candidates that can be used, a few at a time, each few in order: the best of a few drawn fairly is nearly
    as good as the best of all, and costs the same however many there are. `set_aside` is told of those that were not
    looked at one by one, again when they were sorted anew; without it, all are looked at."""
    for equals in route.equals():
        large = len(equals.members) > LARGE
        aside = aside_of(equals).sorted(equals, hub) if large and set_aside is not None else None
        if aside is None or set_aside is None:
            source: Iterable[list[CandidateStats]]
            source = _few_at_a_time(drawn(route.strategy, choice, equals), equals, usable)
        else:
            set_aside(aside)
            # Nobody is drawn twice from those awake, and mostly there is no need to go on.
            awake = _few_at_a_time(drawn(route.strategy, choice, aside.awake, 0), equals, usable)
            source = chain(awake, _few_of_the_others(route.strategy, choice, equals, usable, hub, aside, set_aside))
        for few in source:
            if len(few) < 2:
                yield few, None
                continue
            order = order_shortlist(route.strategy, choice, equals, few)
            decision = decided(route.strategy, choice, order)
            decision.of = len(equals.members)
            if aside is not None:
                decision.drawn = [*range(len(few))] if order == few else [order.index(stats) for stats in few]
            yield order, decision


def order_shortlist(
    strategy: Strategy, choice: Choice, equals: Equals, few: Sequence[CandidateStats]
) -> list[CandidateStats]:
    """`few` in order: turn and draw have had their say where they were drawn from many."""
    if len(equals.members) > LARGE:
        if choice.affinity:
            choice = Choice(choice.route, 0, 0.0, choice.affinity, choice.warm)
        else:
            choice = equals.once("choice", lambda _: Choice(choice.route, 0, 0.0))
    return order_by(strategy, choice, few)


def drawn(strategy: Strategy, choice: Choice, equals: Equals, least: int = LARGE) -> Iterable[CandidateStats]:
    """All of `equals`, the warm one first, as the strategy draws them from more than `least`."""
    members = equals.members
    source = strategy.shortlist(choice, equals) if len(members) > least else None
    if source is None:
        return members
    warm = labels_of(equals).get(choice.warm) if choice.warm else None
    return source if warm is None else _first(warm, source)


def _first(warm: CandidateStats, source: Iterable[CandidateStats]) -> Iterator[CandidateStats]:
    yield warm
    for stats in source:
        if stats is not warm:
            yield stats


def labels_of(equals: Equals) -> dict[str, CandidateStats]:
    return equals.once("labels", _by_label)


def _by_label(members: Sequence[CandidateStats]) -> dict[str, CandidateStats]:
    return {stats.candidate.label: stats for stats in members}


def _few_at_a_time(source: Iterable[CandidateStats], equals: Equals, usable: Usable) -> Iterator[list[CandidateStats]]:
    """Those whose quota is spent come last: they would only refuse."""
    if len(equals.members) <= LARGE:
        few = [stats for stats in equals.members if usable(stats)]
        if few:
            yield few
        return
    few = []
    spent: list[CandidateStats] = []
    looks = vain = 0
    for stats in source:
        looks += 1
        if not usable(stats):
            vain += 1
        elif stats.quota_left > 0.0:
            few.append(stats)
            if len(few) == SHORT:
                yield few
                few, looks = [], 0
            continue
        else:
            vain += 1
            spent.append(stats)
        if vain == IN_VAIN:
            aside_of(equals).wanted = True
        if few and looks >= LOOKS:
            yield few
            few, looks = [], 0
    if few:
        yield few
    for begin in range(0, len(spent), SHORT):
        yield spent[begin : begin + SHORT]


def _few_of_the_others(
    strategy: Strategy,
    choice: Choice,
    equals: Equals,
    usable: Usable,
    hub: Hub,
    aside: Sorted,
    set_aside: Callable[[Sorted], None],
) -> Iterator[list[CandidateStats]]:
    """After those awake: who is back meanwhile, whose quota was spent, and all again as soon as they may be sorted."""
    given: set[int] = set()

    def first_time(stats: CandidateStats) -> bool:
        known = id(stats) in given
        given.add(id(stats))
        return not known and usable(stats)

    while True:
        given.update(map(id, aside.awake.members))
        yield from _few_at_a_time(aside.others(time.monotonic()), equals, first_time)
        newer = aside_of(equals).sorted(equals, hub, newer_than=aside.made)
        if newer is None:
            return
        aside = newer
        set_aside(aside)
        yield from _few_at_a_time(drawn(strategy, choice, aside.awake, 0), equals, first_time)

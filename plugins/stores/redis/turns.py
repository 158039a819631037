"""What a turn of the event loop settles and reserves, asked together: one question for each plan, for any number of
requests. While one is under way the next one grows, and goes with its answer: the more there is to do, and the longer
Redis takes, the more is asked at once.

Under load a turn thinks about many requests of the same few limits. Asked together they cost Redis one look at each
counter and one new number, and this process one answer to read. Each request is admitted or refused by itself all the
same, in the order in which they came; whatever is settled in the same turn has made room before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from llmhub_plugins.stores.redis.apart import Settlement
from llmhub_plugins.stores.redis.asking import TRIES, Asking, refusal
from llmhub_plugins.stores.redis.counters import Plan, packed
from llmhub_plugins.stores.redis.line import Away, NoScriptError

from llmhub_core.contracts import LimitReached

MOST = 100
"""Requests that settle, or reserve, with one question: nobody else is answered meanwhile."""
PATIENCE = 0.002
"""Seconds after which the next question waits no longer for the answer to the one before: Redis may be far away."""
ROUNDING = 1e-3
"""Seconds added to a wait, for times are cut to milliseconds."""
TURN = packed("turn")

Room = tuple[int, list[int]]
"""When it was reserved, in milliseconds by the server, and in which bucket of each counter."""


class Turns:
    """`unheard` is called for every settlement that Redis may not have heard of."""

    def __init__(self, asking: Asking, unheard: Callable[[Settlement, Away], None]) -> None:
        self.asking = asking
        self.unheard = unheard
        self._open: dict[Plan, _Turn] = {}  # those that grow
        self._under_way: dict[Plan, _Turn] = {}  # the latest that was sent

    def reserve(self, plan: Plan, lease: str, long: int, needs: list[int]) -> asyncio.Future[Room]:
        """`needs` of each counter, for `long` milliseconds. LimitReached, or Away: then it may have been heard."""
        turn = self._turn(plan)
        room: asyncio.Future[Room] = turn.loop.create_future()
        turn.reservations.append((room, lease, long, needs))
        return room

    def settle(self, settlement: Settlement) -> asyncio.Future[None]:
        """Done when Redis has heard it, or will be told later. Whoever does not wait has settled all the same."""
        turn = self._turn(settlement.plan)
        over: asyncio.Future[None] = turn.loop.create_future()
        turn.settlements.append((over, settlement))
        return over

    def _turn(self, plan: Plan) -> _Turn:
        turn = self._open.get(plan)
        if turn is None:
            turn = self._open[plan] = _Turn(self, plan)
        elif len(turn.reservations) >= MOST or len(turn.settlements) >= MOST:
            self._say(turn)
            turn = self._open[plan] = _Turn(self, plan)
        if not turn.said:
            before = self._under_way.get(plan)
            if before is None or time.monotonic() > before.sent + PATIENCE:
                self._say(turn)
        return turn

    def _say(self, turn: _Turn) -> None:
        if not turn.said:
            turn.said = True
            self.asking.line.say(turn)

    def say_all(self) -> None:
        """Nobody waits for an answer to another question any more."""
        for turn in self._open.values():
            self._say(turn)

    def closed(self, turn: _Turn) -> None:
        """It takes no more."""
        if self._open.get(turn.plan) is turn:
            del self._open[turn.plan]

    def sent(self, turn: _Turn) -> None:
        turn.sent = time.monotonic()
        self._under_way[turn.plan] = turn

    def over(self, turn: _Turn, away: Away | None = None) -> None:
        """It was answered, or Redis is `away`, which whoever waited for the answer is not made to find out anew."""
        self.closed(turn)
        if self._under_way.get(turn.plan) is turn:
            del self._under_way[turn.plan]
            following = self._open.get(turn.plan)
            if following is not None and not following.said:
                if away is None:
                    self._say(following)
                else:
                    following.fail(away)


class _Turn:
    """A question that grows until it is sent."""

    __slots__ = ("_tries", "_turns", "_whole", "loop", "plan", "reservations", "said", "sent", "settlements")

    def __init__(self, turns: Turns, plan: Plan) -> None:
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.settlements: list[tuple[asyncio.Future[None], Settlement]] = []
        self.reservations: list[tuple[asyncio.Future[Room], str, int, list[int]]] = []
        self.said = False  # to the line, which sends it at the end of this turn of the loop
        self.sent = 0.0
        self._turns = turns
        self._tries = 0
        self._whole = False

    def words(self) -> bytes:
        self._turns.closed(self)
        # Who has left tells that nothing is used, which must not come before this.
        self.reservations = [each for each in self.reservations if not each[0].done()]
        if not (self.reservations or self.settlements):
            self._turns.over(self)
            return b""
        self._turns.sent(self)
        asking = self._turns.asking
        tail: list[int | str] = [asking.stale() if self.reservations else 0, len(self.settlements)]
        for _, settlement in self.settlements:
            tail += settlement.tail()
        for _, lease, long, needs in self.reservations:
            tail += (lease, long)
            tail += needs
        return asking.words(self.plan, TURN, tail, self._whole)

    def answered(self, answer: Any) -> None:
        if isinstance(answer, NoScriptError):
            self._whole = True
            self._again()
        elif isinstance(answer, Exception):
            self.fail(answer if isinstance(answer, Away) else refusal(answer))
        elif self._turns.asking.understood(answer):
            self._done(answer)
            self._turns.over(self)
        else:
            self._again()

    def _again(self) -> None:
        self._tries += 1
        if self._tries < TRIES:
            self._turns.asking.line.say(self)
        else:
            self.fail(Away("its clock jumps"))

    def _done(self, answer: list[int]) -> None:
        for over, _ in self.settlements:
            if not over.done():
                over.set_result(None)
        if not self.reservations:
            return
        counters = self.plan.counters
        refusals = 3 + 2 * len(counters)
        now = time.monotonic()
        for counter, left in zip(counters, answer[4:refusals:2], strict=True):
            counter.left, counter.seen = left, now
        for place in range(refusals, len(answer), 3):
            number, slowest, wait = answer[place : place + 3]
            room = self.reservations[number][0]
            if not room.done():
                reached = LimitReached(self.plan.limits[slowest], None if wait < 0 else wait / 1000 + ROUNDING)
                room.set_exception(reached)
        given = answer[1], answer[3:refusals:2]
        for room, *_ in self.reservations:
            if not room.done():
                room.set_result(given)

    def fail(self, away: Away) -> None:
        self._turns.closed(self)
        for over, settlement in self.settlements:
            self._turns.unheard(settlement, away)
            if not over.done():
                over.set_result(None)
        for room, *_ in self.reservations:
            if not room.done():
                room.set_exception(away)
        self._turns.over(self, away)

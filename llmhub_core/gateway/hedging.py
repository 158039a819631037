"""A second candidate beside a slow first one: whoever begins to answer first serves, the other is given up."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable

from llmhub_core.contracts.candidate import CandidateStats
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.quota_store import Amount, LimitReached, Reservation
from llmhub_core.contracts.usage import tokens_of_bytes
from llmhub_core.gateway.meter import estimate
from llmhub_core.gateway.noting import NotedReply
from llmhub_core.gateway.reply import Reply
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.leases import LEASE

KNOWN = 20
"""Answers of a candidate after which its usual time is known; before that nobody is hedged."""

REMEMBERED = 200

_FACTS = (
    "served_by", "first_byte", "error_passed_on", "usage", "finish", "lane", "adapted", "output_bytes", "outcome",
    "status", "code", "source", "request_",
)  # fmt: skip
"""What an attempt writes into its exchange: each entrant has a copy, and the one that served hands its own over."""

Try = Callable[[Exchange, CandidateStats, Reply], Awaitable[None]]


class Tempo:
    """How long candidates took to their first word, the latest answers of each."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def note(self, label: str, seconds: float) -> None:
        self._times.setdefault(label, deque(maxlen=REMEMBERED)).append(seconds)

    def p95(self, label: str) -> float | None:
        """Seconds within which 95 of 100 began; None while too few are known."""
        times = self._times.get(label, ())
        return sorted(times)[int(len(times) * 0.95)] if len(times) >= KNOWN else None


def tempo(hub: Hub) -> Tempo:
    return hub.memo("tempo", Tempo)


class _Lost(Exception):
    """The other one began first."""


class _Entrant(Reply):
    """The caller's connection as one of two attempts sees it: only the first to write may."""

    def __init__(self, reply: Reply, race: Race) -> None:
        vars(self).update(vars(reply))
        self._race = race

    def _write(self, data: bytes, whole: bool = False) -> None:
        self._race.claim(self)
        super()._write(data, whole)


class _NotedEntrant(_Entrant, NotedReply):
    """Whose answer is kept, if it is the one."""


class Race:
    """One or two attempts for one exchange. `winner` is set as soon as one begins to answer."""

    def __init__(self, exchange: Exchange, hub: Hub, reply: Reply, attempt: Try) -> None:
        self._exchange, self._hub, self._reply, self._attempt = exchange, hub, reply, attempt
        self._running: dict[_Entrant, asyncio.Future[None]] = {}
        self._copies: dict[_Entrant, Exchange] = {}
        self._winner: _Entrant | None = None

    def claim(self, entrant: _Entrant) -> None:
        """The entrant begins to answer: the other one is given up."""
        if self._winner is None:
            self._winner = entrant
            for other, task in self._running.items():
                if other is not entrant:
                    self._copies[other].lost = True
                    task.cancel()
        elif self._winner is not entrant:
            raise _Lost

    async def run(
        self, first: CandidateStats, second: Callable[[], CandidateStats | None], after: float, failures: list[HubError]
    ) -> None:
        """Serve the exchange, by `first` if it begins within `after` seconds; else the `second` is asked for, if there
        may be one. Raises what ended whoever began, or `first` if nobody did (the second's error is then among
        `failures`)."""
        one = self._enter(first)
        two: _Entrant | None = None
        hub, exchange = self._hub, self._exchange
        lease: Reservation | None = None
        try:
            await asyncio.wait([self._running[one]], timeout=after)
            if self._winner is None and not self._running[one].done() and (stats := second()) is not None:
                limits = stats.limits
                try:
                    lease = await hub.quota.reserve(limits, estimate(exchange), LEASE) if limits else None
                    two = self._enter(stats)
                except LimitReached as reached:
                    exchange.plan.left_out.append((stats.candidate.label, f"limit: {reached.limit.kind}, to hedge"))
            # Whoever fails before its first word leaves the race to the other one.
            await asyncio.wait(self._running.values())
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            served = self._winner
            if served is not None:
                self._adopt(served)
            if two is not None and served is two:
                self._give_up(one, first)
                exchange.lease = lease
            elif lease is not None:
                hub.settle(lease, Amount(0) if two is None else self._spent(two))
        self._judge(one, two, failures)

    def _enter(self, stats: CandidateStats) -> _Entrant:
        entrant = (_NotedEntrant if isinstance(self._reply, NotedReply) else _Entrant)(self._reply, self)
        own = self._copies[entrant] = copy.copy(self._exchange)
        self._running[entrant] = asyncio.ensure_future(self._attempt(own, stats, entrant))
        return entrant

    def _adopt(self, entrant: _Entrant) -> None:
        own = vars(self._copies[entrant])
        vars(self._exchange).update({name: own[name] for name in _FACTS if name in own})
        state = {name: value for name, value in vars(entrant).items() if name != "_race"}
        vars(self._reply).update(state)

    def _give_up(self, entrant: _Entrant, stats: CandidateStats) -> None:
        """Settle what was held for the one that lost: of the joint reservation only its part."""
        hub, exchange = self._hub, self._exchange
        limits = stats.limits
        if exchange.lease is not None:
            hub.settle(exchange.lease, self._spent(entrant))
            exchange.lease = None
        elif exchange.reservation is not None and limits:
            hub.settle(exchange.reservation, self._spent(entrant), limits)

    def _spent(self, entrant: _Entrant) -> Amount:
        """What is known of an attempt that was given up: it was asked, and has probably read the whole request."""
        usage = self._copies[entrant].usage
        return Amount(1, usage.total_tokens if usage is not None else tokens_of_bytes(len(self._exchange.body)))

    def _judge(self, one: _Entrant, two: _Entrant | None, failures: list[HubError]) -> None:
        if self._winner is not None:
            self._running[self._winner].result()
            return
        if two is not None:
            error = self._running[two].exception()
            if not isinstance(error, HubError):
                self._running[two].result()
            else:
                failures.append(error)
        self._running[one].result()

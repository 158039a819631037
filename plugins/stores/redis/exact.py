"""Reserving and settling with Redis, noticing when it is away, and telling it afterwards what was taken without it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from llmhub_plugins.stores.redis.apart import Apart, Settlement
from llmhub_plugins.stores.redis.asking import Asking
from llmhub_plugins.stores.redis.counters import UNKNOWN, Counter, Held, Plan, Script, Taken, command, name_of
from llmhub_plugins.stores.redis.line import AuthenticationError, Away
from llmhub_plugins.stores.redis.plans import Plans
from llmhub_plugins.stores.redis.turns import Turns

from llmhub_core.contracts import Amount, Level, Limit, Reservation, StartError

if TYPE_CHECKING:
    from llmhub_plugins.stores.redis import RedisQuotaSettings

log = logging.getLogger("llmhub.quota")
T = TypeVar("T")

IN_A_ROW, OF_THE_LATEST, LATEST = 3, 6, 20
"""So many failures in a row, or among the latest questions, and Redis is away."""
BEAT = 2.0
"""Seconds between two signs of life; also the longest pause between two attempts to reach a Redis that is away."""
LONG = 60
"""Letters by which a lease is named, so that Redis keeps what is reserved as a tree (zset-max-listpack-value, 64): sets
of few and short names it keeps as a list, which it reads from the beginning to the end twice for each that comes."""
SILENT = 10_000
"""Milliseconds without a sign of life after which a hub does not count as one."""
MANY = 500
"""Leases that are renewed with one question."""
TOGETHER = 32
"""Questions that are sent at once when much has to be told."""


class Exact:
    """ValueError or StartError at once for an address that cannot be read."""

    def __init__(self, settings: RedisQuotaSettings) -> None:
        self._asking = Asking(settings.url, settings.timeout, settings.connect_timeout, self._heard)
        self._turns = Turns(self._asking, self._unheard)
        self._plans = Plans(settings.prefix, lambda: self._away_since is None and not self._apart.used)
        self._process = f"{os.getpid():x}-{os.urandom(LONG // 2).hex()}"
        self._numbers = count(1)
        self._born: int | None = None
        self._hubs = 1
        # while something is wrong
        self._away_since: float | None = None
        self._in_a_row = 0
        self._latest: deque[bool] = deque(maxlen=LATEST)
        self._apart = Apart(self._new_id, self._plans)
        self._remembered: dict[Counter, int] = {}
        self._mine: WeakSet[Held] = WeakSet()
        self._lease = 0.0  # how long open reservations were last told to last
        self._renewal_is_due = False
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        try:
            await self._asking.line.ask(partial(command, "PING"))
            await self._beat()
            await self._look_around()
        except AuthenticationError:
            await self._asking.line.close()
            raise StartError("Redis refuses the user or the password of storage.quota.") from None
        except Away as away:
            if str(away).startswith("NoPermission"):
                await self._asking.line.close()
                raise StartError(f"The user of storage.quota may not do in Redis what is needed: {away}") from None
            self._go_away(str(away))
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._turns.say_all()
        with contextlib.suppress(Away, TimeoutError):
            async with asyncio.timeout(2.0):
                await self._hand_over()
                await self._asking.ask(self._plans.alone, "leave", lambda: [self._process])
        await self._asking.line.close()

    async def _look_around(self) -> None:
        """Warn of a server that forgets."""
        told = (await self._asking.line.ask(partial(command, "INFO"))).decode("utf-8", "replace")
        known = dict(line.partition(":")[::2] for line in told.split("\r\n"))
        if known.get("aof_enabled") == "0":
            log.warning("Redis keeps no append-only file: a restart of it may forget what was used (appendonly yes)")
        if known.get("maxmemory_policy", "noeviction").startswith("allkeys"):
            log.warning("Redis may throw quotas away when its memory is full (maxmemory-policy noeviction)")

    # reserving and settling

    @property
    def away(self) -> bool:
        return self._away_since is not None

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Held:
        held = Held(self._new_id(), tuple(limits), amount, 0.0)
        held.held, held.at, held.local = {}, 0, False
        if not limits:
            return held
        plan = self._plans.of(limits)
        if self._away_since is None:
            try:
                await self._reserve(held, plan, int(lease * 1000))
            except Away as away:
                self._undo(held, plan)  # it may have been heard all the same
                self._failed(away)
            except asyncio.CancelledError:
                self._undo(held, plan)
                raise
            else:
                self._mine.add(held)
                return held
        self._apart.reserve(held, plan, lease, self._hubs, self._away_since)
        self._mine.add(held)
        held.at = self._asking.server_time(time.monotonic())
        held.expires = held.at / 1000 + lease
        if self._away_since is None:
            self._wake.set()
        return held

    async def _reserve(self, held: Held, plan: Plan, long: int) -> None:
        amount = held.amount
        needs = [counter.need(amount) for counter in plan.counters]
        held.at, buckets = await self._turns.reserve(plan, held.id, long, needs)
        held.expires = (held.at + long) / 1000
        held.held = dict(zip(plan.counters, zip(buckets, needs, strict=True), strict=True))
        for gate in plan.gates:
            gate.inside += 1

    def _new_id(self) -> str:
        return f"{self._process}-{next(self._numbers)}"

    def _undo(self, held: Held, plan: Plan) -> None:
        taken = tuple(Taken(counter, UNKNOWN, counter.need(held.amount)) for counter in plan.counters)
        self._tell_later(Settlement(plan, held.id, self._asking.server_time(time.monotonic()), taken, Amount(0)))

    def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None) -> asyncio.Future[None]:
        """Begun at once; done when Redis has heard it, or will be told later."""
        if not isinstance(reservation, Held):
            raise TypeError("This reservation was made by another quota store.")
        together = reservation.limits if limits is None else limits
        if taken := reservation.let_go(None if limits is None else {limit.id for limit in limits}):
            if reservation.local:
                self._apart.settle(reservation, taken, actual)
            else:
                plan = self._plans.of_taken(taken, together)
                settlement = Settlement(plan, reservation.id, reservation.at, tuple(taken), actual)
                if self._away_since is None:
                    return self._turns.settle(settlement)
                self._apart.settlements.append(settlement)
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def _unheard(self, settlement: Settlement, away: Away) -> None:
        self._tell_later(settlement)
        self._failed(away)

    async def renew(self, lease: float) -> None:
        self._lease = lease
        self._apart.renew(lease)
        if self._away_since is None:
            try:
                await self._renew()
            except Away as away:
                self._failed(away)

    async def _renew(self) -> None:
        holders: dict[Counter, list[Held]] = {}
        for held in self._mine:
            for counter in () if held.local else held.held:
                holders.setdefault(counter, []).append(held)
        some = [
            (counter, together[place : place + MANY])
            for counter, together in holders.items()
            for place in range(0, len(together), MANY)
        ]
        for place in range(0, len(some), TOGETHER):
            await _all([self._renew_some(*each) for each in some[place : place + TOGETHER]])

    async def _renew_some(self, counter: Counter, together: list[Held]) -> None:
        long = int(self._lease * 1000)

        def tail() -> list[int | str]:
            told: list[int | str] = [long]
            # Whatever was settled a moment ago is asked for as well, and not found.
            for held in together:
                bucket, amount = held.held.get(counter, (UNKNOWN, 0))
                told += [held.id, UNKNOWN if isinstance(bucket, list) else bucket, amount, held.at]
            return told

        answer = await self._asking.ask(self._plans.of_counters([counter]), "renew", tail)
        for held, lasts in zip(together, answer[3:], strict=True):
            if lasts:
                held.expires = max(held.expires, (answer[1] + long) / 1000)

    async def levels(self, limits: Sequence[Limit]) -> list[Level]:
        levels: list[Level] = []
        for start in range(0, len(limits), 100):
            some = limits[start : start + 100]
            plan = self._plans.of(some)
            try:
                if self._away_since is not None:
                    raise Away("it is away")
                answer = await self._asking.ask(plan, "levels", list)
            except Away:
                levels += [self._last_known(limit) for limit in some]
                continue
            known = {}
            for place, counter in enumerate(plan.counters):
                taken, reserved, resets = answer[3 + 3 * place : 6 + 3 * place]
                known[counter.name] = taken - reserved, reserved, max(resets, 0) / 1000
            levels += [Level(limit, *known[name_of(limit)]) for limit in some]
        return levels

    def _last_known(self, limit: Limit) -> Level:
        counter = self._plans.counter(limit)
        used = 0 if counter.left is None else limit.amount - counter.left
        return Level(limit, used + int(sum(use[1] for use in counter.uses)), 0, 0.0)

    async def ask(self, script: Script, arguments: int, question: bytes) -> Any:
        """What another script answers; Away if Redis does not, which is noticed here as well."""
        if self._away_since is not None:
            raise Away("it is away")
        try:
            return await self._asking.run(script, lambda name: b"*%d\r\n%b%b" % (arguments + 2, name, question))
        except Away as away:
            self._failed(away)
            raise

    # going away and coming back

    def _heard(self, answer: list[int]) -> None:
        self._in_a_row = 0
        self._latest.append(True)
        if answer[0] == 1 and answer[2] != self._born:
            if self._born is not None:
                self._remember()
            self._born = answer[2]

    def _tell_later(self, settlement: Settlement) -> None:
        self._apart.settlements.append(settlement)
        if self._away_since is None:
            self._wake.set()

    def _failed(self, away: Away) -> None:
        self._in_a_row += 1
        self._latest.append(False)
        if self._away_since is None and (self._in_a_row >= IN_A_ROW or self._latest.count(False) >= OF_THE_LATEST):
            self._go_away(str(away))

    def _go_away(self, reason: str) -> None:
        log.warning("Redis is away (%s): each hub counts its share of the quotas by itself until it is back", reason)
        self._away_since = time.monotonic()
        self._renewal_is_due = True
        for counter in self._plans.counters.values():
            counter.spent = 0
        self._wake.set()

    def _come_back(self) -> None:
        log.warning("Redis is back, and knows what was used: quotas are exact again")
        self._away_since = None
        self._latest.clear()

    async def _keep(self) -> None:
        """Signs of life, and whatever Redis has to be told: at once when something happened, else now and then."""
        pause = BEAT
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._beat()
                await self._hand_over()
                pause = BEAT
            except Away as away:
                self._failed(away)
                # Soon again, to know that it is away also where nobody asks; or that it is back.
                soon = BEAT / 4 if self._away_since is None else BEAT / 20
                pause = soon if self._away_since is None or pause >= BEAT else min(2 * pause, BEAT)
            except Exception:
                log.exception("quotas could not be told to Redis")
                pause = BEAT

    async def _beat(self) -> None:
        answer = await self._asking.ask(self._plans.alone, "beat", lambda: [self._process, SILENT])
        self._hubs = max(answer[3], 1)

    async def _hand_over(self) -> None:
        """Tell everything that Redis does not know; as soon as it knows all, it is back."""
        await self._restore()
        while self._apart.collect():
            await self._tell(self._apart.adoptions, "adopt", [])  # first, for some of them are settled already
            await self._tell(self._apart.settlements, "turn", [0, 1])
        if self._renewal_is_due:
            await self._renew()
            self._renewal_is_due = False
        if self._away_since is not None:
            self._come_back()

    async def _tell(self, items: deque[Any], question: str, head: list[int | str]) -> None:
        while items:
            some = [items[place] for place in range(min(TOGETHER, len(items)))]
            asked = [self._asking.ask(each.plan, question, partial(_tail, head, each)) for each in some]
            await _all(asked)
            for _ in some:
                items.popleft()

    def _remember(self) -> None:
        """Redis has lost its data: keep what it told us last. How many requests run it learns from renewed leases."""
        now = time.monotonic()
        self._renewal_is_due = True
        for counter in self._plans.counters.values():
            if counter.left is not None and counter.kind != "g" and self._is_of_now(counter, now):
                taken = max(counter.limit.amount - counter.left, 0)
                self._remembered[counter] = max(taken, self._remembered.get(counter, 0))
        log.warning("Redis has lost its data: %d counters are told anew", len(self._remembered))
        self._wake.set()

    async def _restore(self) -> None:
        while self._remembered:
            some = list(self._remembered)[:TOGETHER]
            told = [self._remembered[counter] for counter in some]
            await self._asking.ask(self._plans.of_counters(some), "restore", partial(list, told))
            for counter, taken in zip(some, told, strict=True):
                if self._remembered[counter] == taken:
                    del self._remembered[counter]

    def _is_of_now(self, counter: Counter, now: float) -> bool:
        if counter.kind == "d":
            return self._asking.server_time(counter.seen) >= self._asking.days.of(counter.limit.zone or "UTC")[0]
        return counter.seen > now - counter.limit.window


def _tail(head: list[int | str], told: Any) -> list[int | str]:
    return [*head, *told.tail()]


async def _all(work: list[Coroutine[Any, Any, T]]) -> None:
    """All of them to their end; then the first failure, if there is one."""
    for answer in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer

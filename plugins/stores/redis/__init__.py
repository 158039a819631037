"""Quotas counted in Redis: exact for all hubs on all machines that use it.

Reserving is one script and one round trip, over all limits of a request at once, and so is settling; what a turn of the
event loop reserves and settles of the same limits is one question. The server's clock is the only one. While Redis does
not answer each hub counts for itself (see `local`), and tells Redis afterwards what was taken: once, though it be asked
twice. Needs the driver: ``pip install llm-hub[redis]``.

Rooms: `quotas.lua` (how limits are counted), `counters` and `plans` (limits as the script knows them), `line` (the
connection), `asking` (questions to the script), `turns` (those of a turn, together), `exact` (with Redis), `local`
(without it), `apart` (what it has to be told), `holds` (who must rest), `claims` (who tries again).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmhub_core.contracts import Amount, Hold, Level, Limit, QuotaStore, Reservation, StartError, hookimpl

if TYPE_CHECKING:
    from llmhub_plugins.stores.redis.claims import Claims
    from llmhub_plugins.stores.redis.exact import Exact
    from llmhub_plugins.stores.redis.holds import Holds


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisQuotaSettings:
    """`url` as in ``redis://:password@host:6379/0``, ``rediss://…`` for TLS, ``unix:///path?db=0`` for a socket."""

    url: str = field(
        default="redis://localhost:6379/0",
        metadata={
            "help": "The server: redis://user:password@host:6379/0, rediss://… for TLS, or the path of its socket on "
            "this machine, unix:///run/redis/redis.sock?db=0."
        },
    )
    prefix: str = field(
        default="llmhub", metadata={"help": "First part of all keys; hubs that count together have the same one."}
    )
    timeout: float = field(
        default=0.05,
        metadata={
            "help": "Seconds to wait for an answer; three without one, and Redis is left alone until it is back."
        },
    )
    connect_timeout: float = field(default=0.05, metadata={"help": "Seconds to wait for a connection."})


class RedisQuotaStore(QuotaStore):
    """Redis, for hubs on several machines. Needs the driver: ``pip install llm-hub[redis]``."""

    name = "redis"
    Settings = RedisQuotaSettings
    _exact: Exact
    _holds: Holds
    _claims: Claims
    _told: Callable[[Hold], None] = staticmethod(lambda hold: None)

    async def start(self) -> None:
        """StartError if the driver is missing, the address cannot be read or the password is refused; a Redis that
        cannot be reached is waited for in the background."""
        if find_spec("redis") is None:
            raise StartError("Redis needs its driver: pip install 'llm-hub[redis]'")
        from llmhub_plugins.stores.redis.claims import Claims
        from llmhub_plugins.stores.redis.exact import Exact
        from llmhub_plugins.stores.redis.holds import Holds

        self._exact = Exact(self.settings)
        await self._exact.start()
        self._holds = Holds(self.settings, self._told)
        self._holds.start()
        self._claims = Claims(self._exact, self._holds.key, self._holds.process)

    async def stop(self) -> None:
        """Tell Redis what it does not know yet, for two seconds at the most."""
        await self._holds.stop()
        await self._exact.stop()

    @property
    def away(self) -> bool:
        return self._exact.away

    async def hold(self, hold: Hold) -> None:
        """Told as soon as Redis listens."""
        self._holds.put(hold)

    async def holds(self) -> Sequence[Hold]:
        """None while Redis is away: they come as soon as it is back."""
        return await self._holds.all()

    async def claim(self, subject: str, lasts: float) -> float:
        return await self._claims.claim(subject, lasts)

    def watch(self, told: Callable[[Hold], None]) -> None:
        self._told = told

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        return await self._exact.reserve(limits, amount, lease)

    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        await self._exact.settle(reservation, actual, limits)

    def settling(
        self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None
    ) -> asyncio.Future[None]:
        return self._exact.settle(reservation, actual, limits)

    async def renew(self, lease: float) -> None:
        """While Redis is away it is told at the first moment when it is back."""
        await self._exact.renew(lease)

    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]:
        """While Redis is away: what was heard last."""
        return await self._exact.levels(limits)


class RedisTlsQuotaStore(RedisQuotaStore):
    """Redis over TLS."""

    name = "rediss"


class RedisSocketQuotaStore(RedisQuotaStore):
    """Redis on the same machine, by its Unix socket."""

    name = "unix"


@hookimpl
def register_quota_stores() -> list[type[QuotaStore]]:
    return [RedisQuotaStore, RedisTlsQuotaStore, RedisSocketQuotaStore]

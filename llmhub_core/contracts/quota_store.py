"""Where quotas count: reserve before, settle after, see the levels."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from llmhub_core.contracts.candidate import KeyState, Limit
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.plugin import Plugin


class Amount(msgspec.Struct, frozen=True, gc=False):
    """What a request takes: itself, its tokens (estimated first, then as reported) and its money (10⁻⁹ USD)."""

    requests: int = 1
    tokens: int = 0
    money: int = 0


@dataclass(slots=True, eq=False)
class Reservation:
    """Taken from all of `limits` at once. Expires by itself at `expires` (store time), as if released."""

    id: str
    limits: tuple[Limit, ...]
    amount: Amount
    expires: float
    settled: bool = False


class LimitReached(HubError):
    """`limit` has no room; `retry_after` says in how many seconds it will, None if never for this amount."""

    status, code = 429, "rate_limit_exceeded"

    def __init__(self, limit: Limit, retry_after: float | None) -> None:
        super().__init__(
            f"The limit of {limit.amount} {limit.kind} is reached; try again later.", retry_after=retry_after
        )
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Level:
    """A limit and where it stands. `resets_in` seconds until something (fixed windows: all) comes back."""

    limit: Limit
    used: int
    reserved: int
    resets_in: float

    @property
    def left(self) -> int:
        return max(0, self.limit.amount - self.used - self.reserved)


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Why something may not be used: a key, an account, a model of an account, a provider (`Candidate.subjects`), or
    ``breaker:provider/model``, a deployment that fails.

    lasts    seconds from now; None: until it is lifted
    age      seconds since it began
    state    ``active`` says that it was lifted

    Seconds and no moments, so that two machines need not agree on the time of day.
    """

    subject: str
    state: KeyState
    reason: str = ""
    lasts: float | None = None
    age: float = 0.0


Settling = Coroutine[Any, Any, None] | asyncio.Future[None]
"""Has to be awaited, or goes by itself."""


class QuotaStore(Plugin):
    """Chosen by the scheme of ``[storage] quota = "memory:"``; `name` is the scheme."""

    waits: ClassVar[bool] = True
    """False promises that reserve and settle never suspend: then the hub spares itself a task to settle in."""

    @property
    def away(self) -> bool:
        """Whether the place where it counts together with other processes does not answer at the moment."""
        return False

    @abstractmethod
    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        """Take `amount` from all limits or from none; LimitReached names the one without room.
        The reservation lasts `lease` seconds, then everything but what was settled is given back."""

    @abstractmethod
    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        """Replace the estimate by what was used; concurrency is given back. A second call changes nothing. With
        `limits` only those are settled (the account of an attempt that failed) and the rest stays reserved."""

    def settling(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> Settling:
        """`settle` for those who go on meanwhile. A store that begins to settle at once may give a future, which costs
        less than a task; whether anybody waits for it must not matter."""
        return self.settle(reservation, actual, limits)

    @abstractmethod
    async def renew(self, lease: float) -> None:
        """Whoever reserved through this object is alive: what it holds, and nobody else's, lasts `lease` seconds from
        now at least, which their `expires` says from then on. What has expired stays expired."""

    @abstractmethod
    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]: ...

    # What is held against keys and accounts. A store that does nothing here keeps each process to itself, and a
    # restart forgets.

    async def hold(self, hold: Hold) -> None:
        """Keep it until it is over, or lift what is held against its subject (state ``active``). One that would end
        sooner than what is held already changes nothing. Must not fail for a place that is away: told later."""

    async def holds(self) -> Sequence[Hold]:
        """What holds now, from earlier runs and other processes."""
        return ()

    async def claim(self, subject: str, lasts: float) -> float:
        """Whose request tries `subject` again, when a rest is over: 0.0 says that it is this process's, for `lasts`
        seconds or until the subject is held or lifted anew, and whoever claimed it may claim it again. Else seconds
        after which to ask again: another process tries, or was refused meanwhile. One that dies loses its claim when
        that is over. Must not fail, and not take long, for a place that is away: then each process tries for itself."""
        return 0.0

    def watch(self, told: Callable[[Hold], None]) -> None:
        """Before `start`: from then on call `told`, in the event loop and within 100 ms, with whatever other processes
        hold and lift."""

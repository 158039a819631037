"""Where quotas count: reserve before, settle after, see the levels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from llmhub_core.contracts.candidate import Limit
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


class QuotaStore(Plugin):
    """Chosen by the scheme of ``[storage] quota = "memory:"``; `name` is the scheme."""

    waits: ClassVar[bool] = True
    """False promises that reserve and settle never suspend: then the hub spares itself a task to settle in."""

    @abstractmethod
    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        """Take `amount` from all limits or from none; LimitReached names the one without room.
        The reservation lasts `lease` seconds, then everything but what was settled is given back."""

    @abstractmethod
    async def settle(self, reservation: Reservation, actual: Amount, limits: Sequence[Limit] | None = None) -> None:
        """Replace the estimate by what was used; concurrency is given back. A second call changes nothing. With
        `limits` only those are settled (the account of an attempt that failed) and the rest stays reserved."""

    @abstractmethod
    async def levels(self, limits: Sequence[Limit]) -> Sequence[Level]: ...

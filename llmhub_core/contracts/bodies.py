"""What was asked and answered, word for word: kept only where the operator asks for it, and sealed.

A store sees sealed texts alone. What is in them, and what was taken out before, is the hub's to know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SealedBody:
    """Both bodies of one request. `id` is its record's, `at` when it arrived (seconds since 1970), `key` the id of the
    root key that sealed it."""

    id: str
    at: float
    key: str
    sealed: str = field(repr=False)


class BodyStore(ABC):
    """A part of a metadata store. Every method is one transaction. A body goes with its record, when that is pruned."""

    @abstractmethod
    async def keep_bodies(self, bodies: Sequence[SealedBody]) -> None:
        """One that is there already (same id) is left as it is: sending again is safe."""

    @abstractmethod
    async def find_body(self, id: str) -> SealedBody | None: ...

    @abstractmethod
    async def has_body(self, id: str) -> bool:
        """The same question at less cost."""

    @abstractmethod
    async def forget_body(self, id: str) -> bool:
        """False if there is none."""

    @abstractmethod
    async def prune_bodies(self, before: float) -> bool:
        """Forget a few of requests that arrived before `before`; True if it is to be called again.

        Only one process at a time does it; to the others it says False.
        """

    # for a change of root keys

    @abstractmethod
    async def bodies_by_key(self) -> Mapping[str, int]:
        """How many each root key sealed, by its id."""

    @abstractmethod
    async def bodies_of_others(self, key: str, limit: int, after: str = "") -> Sequence[SealedBody]:
        """Those that another root key than `key` sealed, by id, from behind `after` on."""

    @abstractmethod
    async def replace_bodies(self, was: Sequence[SealedBody], now: Sequence[SealedBody]) -> int:
        """Each of `now` in the place of the one of `was` beside it, where that is still there as it was; how many."""

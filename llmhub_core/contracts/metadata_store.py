"""Where everything that must last rests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmhub_core.contracts.exchange import Record
from llmhub_core.contracts.plugin import Plugin

UsageGroup = Literal["provider", "model", "key", "caller", "hour", "day"]


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Sums of records that arrived in [`since`, `until`) (seconds since 1970), grouped by `by`."""

    since: float
    until: float
    by: tuple[UsageGroup, ...] = ("model",)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group. `cost` in 10⁻⁹ USD sums what is known; `unpriced` counts the served requests that are not in it."""

    group: tuple[str, ...]
    requests: int
    served: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: int
    unpriced: int


@dataclass(frozen=True, slots=True)
class SchemaState:
    """`current` and `wanted` are revision names; `current` is "" for an empty database."""

    current: str
    wanted: str

    @property
    def is_current(self) -> bool:
        return self.current == self.wanted


class MetadataStore(Plugin):
    """Chosen by the scheme of ``[storage] metadata = "sqlite:///llm-hub.db"``; `name` is the scheme."""

    @abstractmethod
    async def schema(self) -> SchemaState: ...

    @abstractmethod
    async def migrate(self) -> SchemaState:
        """Bring an older (or empty) database to the schema of this version; StartError for an unknown one."""

    @abstractmethod
    async def append(self, records: Sequence[Record]) -> None:
        """In one transaction; a record that is there already (same id) is left as it is: resending is safe."""

    @abstractmethod
    async def usage(self, question: UsageQuestion) -> Sequence[UsageRow]: ...

    @abstractmethod
    async def latest(self, limit: int, before: tuple[float, str] | None = None) -> Sequence[Record]:
        """Newest first; `before` is (arrived_at, id) of the last one seen, for the next page."""

    @abstractmethod
    async def find_record(self, id: str) -> Record | None: ...

"""What is configured beside the file: providers, keys, routes and tokens that somebody added while the hub ran.

An entry says the same as a table of ``config.toml``, as JSON and without secrets; a provider key's secret lies beside
it, sealed by the vault, so that a copy of the database opens nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

EntryKind = Literal["provider", "key", "route", "token"]
ENTRY_KINDS: tuple[EntryKind, ...] = get_args(EntryKind)
"""In the order in which they name each other: a key its provider, a route both, a token routes."""

ABSENT = 0
"""The revision of what is not there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`name` is unique within its kind: a provider's or token's name, ``provider/key``, a route's model.

    body         JSON: what the table of the file would hold, without secrets
    sealed       a key's secret as the vault sealed it; "" where there is none
    revision     grows with every change of any entry, so that the highest tells whether anything changed
    changed_at   seconds since 1970
    """

    kind: EntryKind
    name: str
    body: str
    sealed: str = ""
    revision: int = ABSENT
    changed_at: float = 0.0


class ConfigurationStore(ABC):
    """A part of a metadata store. Every method is one transaction; of two writers at once one is told so."""

    @abstractmethod
    async def entries(self) -> tuple[int, Sequence[Entry]]:
        """The revision, and all entries by kind and name, as they were at one moment."""

    @abstractmethod
    async def revision(self) -> int:
        """Of the latest change, removals included; cheap enough to be asked every second."""

    @abstractmethod
    async def put(self, entry: Entry, expected: int | None = None) -> Entry | None:
        """Add or replace; the answer is as it stands. With `expected`, None if the entry's revision is another by now
        (`ABSENT`: if there is one)."""

    @abstractmethod
    async def remove(self, kind: EntryKind, name: str, expected: int | None = None) -> bool:
        """False if there is none, or `expected` is not its revision."""

    @abstractmethod
    async def reseal(self, kind: EntryKind, name: str, was: str, sealed: str) -> bool:
        """Replace what is sealed if it still is `was`, and nothing else: the revision stays, for nothing changed
        that anybody would have to read again."""

    @abstractmethod
    async def fact(self, name: str) -> str:
        """A single text that the hub keeps for itself, such as the vault's canary; "" if it was never kept."""

    @abstractmethod
    async def keep_fact(self, name: str, text: str, was: str | None = None) -> bool:
        """With `was`, only if it still reads so ("": if there is none); says whether it was kept."""

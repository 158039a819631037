"""Where everything that must last rests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from llmhub_core.contracts.alerts import AlertStore
from llmhub_core.contracts.archive import Archive
from llmhub_core.contracts.bodies import BodyStore
from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.exchange import Outcome, Record
from llmhub_core.contracts.people import PeopleStore
from llmhub_core.contracts.plugin import Plugin

PAGE = 500
"""Records that are looked at together where there is no index."""

Seen = tuple[float, str]
"""(arrived_at, id) of the last record of a page."""

UsageGroup = Literal["provider", "model", "key", "caller", "minute", "hour", "day", "tag"]
GROUPS: tuple[UsageGroup, ...] = ("provider", "model", "key", "caller", "minute", "hour", "day")
"""Those that need nothing else said; for `tag` also which."""

TIMES = frozenset(("minute", "hour", "day"))


def grouping(words: Iterable[str]) -> tuple[tuple[UsageGroup, ...], str]:
    """`by` and `tag` of a question, each group once, from words as people write them: `GROUPS`, and ``tag:team`` for
    the values of the tag `team`. ValueError, with a sentence for them, for anything else."""
    by: dict[UsageGroup, None] = {}
    tag = ""
    for word in map(str.strip, words):
        group = next((group for group in GROUPS if group == word), None)
        kind, _, name = word.partition(":")
        if group is None and (kind != "tag" or not name):
            raise ValueError(f"Usage is not summed by {word[:40] or 'nothing'}.")
        if group is None and tag not in ("", name):
            raise ValueError("Usage is summed by one tag at a time.")
        tag = tag if group else name
        by[group or "tag"] = None
    if tag and not {*by} <= {"tag", *TIMES}:
        raise ValueError("Usage by a tag is summed by itself or with a time, and not with other groups.")
    return tuple(by), tag


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Sums of records that arrived in [`since`, `until`) (seconds since 1970), grouped by `by`.

    `only` takes those alone of which each thing named is one of its names: ``{"caller": ("ann", "bob")}``; no times.
    `most` is how many groups there may be, 0 for all: those with the most requests, or the latest where `by` begins
    with a time. A group "tag" is the value that the tag called `tag` had, "" for requests without it, and stands alone
    or beside times.
    """

    since: float
    until: float
    by: tuple[UsageGroup, ...] = ("model",)
    only: Mapping[UsageGroup, tuple[str, ...]] = field(default_factory=dict)
    most: int = 0
    tag: str = ""

    def __post_init__(self) -> None:
        groups = {*self.by, *self.only}
        if "tag" in groups and not (self.tag and "tag" in self.by and groups <= {"tag", *TIMES}):
            raise ValueError("usage by a tag needs its name, and stands alone or beside times")

    @property
    def in_time(self) -> bool:
        """Whether groups are, first of all, spans of time."""
        return bool(TIMES & {*self.by[:1]})

    @property
    def words(self) -> tuple[str, ...]:
        """`by` as people write it: what `grouping` reads."""
        return tuple(f"tag:{self.tag}" if group == "tag" else group for group in self.by)

    def name_of(self, group: UsageGroup, record: Record) -> str:
        """What a record counts under, in a group that is no time."""
        return str(record.tags.get(self.tag, "") if group == "tag" else getattr(record, group))

    def takes(self, record: Record) -> bool:
        return self.since <= record.arrived_at < self.until and all(
            self.name_of(group, record) in names for group, names in self.only.items()
        )

    def largest(self, rows: Iterable[UsageRow]) -> list[UsageRow]:
        """What `most` leaves of them, in the order in which `usage` answers."""
        ordered = sorted(rows, key=attrgetter("group"))
        if not self.most:
            return ordered
        if self.in_time:
            return ordered[-self.most :]
        return sorted(ordered, key=attrgetter("requests"), reverse=True)[: self.most]


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
class RecordFilter:
    """Which records are wanted; None means any. Times in seconds since 1970: [`since`, `until`)."""

    caller: str | None = None
    model: str | None = None
    provider: str | None = None
    outcome: Outcome | None = None
    since: float | None = None
    until: float | None = None

    def takes(self, record: Record) -> bool:
        named = ("caller", "model", "provider", "outcome")
        return (
            all(getattr(self, name) in (None, getattr(record, name)) for name in named)
            and (self.since is None or record.arrived_at >= self.since)
            and (self.until is None or record.arrived_at < self.until)
        )


@dataclass(frozen=True, slots=True)
class SchemaState:
    """`current` and `wanted` are revision names; `current` is "" for an empty database. `steps` are what `migrate`
    would do, a line each, where a store can tell."""

    current: str
    wanted: str
    steps: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        return self.current == self.wanted


class MetadataStore(Plugin):
    """Chosen by the scheme of ``[storage] metadata = "sqlite:///llm-hub.db"``; `name` is the scheme.

    `people` is where users, sessions and the audit rest, once started; a store that keeps none has None there, and
    the hub no dashboard to sign in to. `configuration` is what was configured beside the file; with None there the
    file is all there is. `alerts` is where alerts and mutes rest; without it a restart forgets them. `archive` reads
    and writes all of it row by row; without it nothing can be exported, imported and moved. `bodies` is where the words
    of requests and answers rest, for whoever wants them kept; without it nobody can.
    """

    alerts: AlertStore | None = None
    archive: Archive | None = None
    bodies: BodyStore | None = None
    people: PeopleStore | None = None
    configuration: ConfigurationStore | None = None

    def reader(self) -> MetadataStore | None:
        """The same store, not started, for another process: it is pickled, started there, and only asked. None if no
        other process can see what this one wrote: then this one is asked."""
        return None

    @abstractmethod
    async def schema(self) -> SchemaState:
        """StartError if it says to be of this version and is not, as after half a restore."""

    @abstractmethod
    async def migrate(self) -> SchemaState:
        """Bring an older (or empty) database to the schema of this version; StartError for an unknown one."""

    @abstractmethod
    async def append(self, records: Sequence[Record]) -> None:
        """In one transaction; a record that is there already (same id) is left as it is: resending is safe."""

    async def append_from(self, journal: str, records: Sequence[Record]) -> None:
        """As `append`, and in the same transaction a note that all of that journal up to the last of these is here. By
        it they are known again also when they are pruned, and do not count twice in the sums."""
        await self.append(records)

    async def last_from(self, journal: str) -> str:
        """The id of the last record that came from there; "" if none did, or nobody took a note."""
        return ""

    @abstractmethod
    async def usage(self, question: UsageQuestion) -> Sequence[UsageRow]:
        """Sums, one row a group: sorted by group, or the most requests first where `most` is asked for."""

    async def tags(self, since: float, until: float) -> Sequence[str]:
        """Names of tags that requests in [`since`, `until`) had, in order, for people to choose from: a few more, or
        none, do no harm."""
        return ()

    @abstractmethod
    async def latest(self, limit: int, before: tuple[float, str] | None = None) -> Sequence[Record]:
        """Newest first; `before` is (arrived_at, id) of the last one seen, for the next page."""

    @abstractmethod
    async def find_record(self, id: str) -> Record | None: ...

    async def prune(self, before: float) -> bool:
        """Forget a few records that arrived before `before`, never their sums; True if it is to be called again.

        Only one process at a time does it; to the others it says False. A store that keeps everything does so, too.
        """
        return False

    async def kept_since(self) -> float:
        """Single records from before this moment (seconds since 1970) may be gone; `usage` takes whole hours there."""
        return 0.0

    async def requests(self, wanted: RecordFilter, limit: int, before: Seen | None = None) -> Sequence[Record]:
        """As `latest`, of those that the filter takes. A store with an index does better than this, which looks at
        every record."""
        found: list[Record] = []
        while len(found) < limit and (page := await self.latest(PAGE, before)):
            found += [record for record in page if wanted.takes(record)]
            before = page[-1].arrived_at, page[-1].id
        return found[:limit]

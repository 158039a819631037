"""What is learned of limits, as it is written down, and what follows from it for requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from llmhub_core.contracts.candidate import Candidate, Limit
from llmhub_core.contracts.rates import DAY, SeenLimit
from llmhub_core.hub.limit_estimates import BOUNDLESS, FORGOTTEN, Counted, Hidden, Source, Told, likely

MINUTE = 60
MOST = 20_000
"""Accounts and models that are remembered, those seen last."""


class Learned(msgspec.Struct):
    """What is known of one model of one account; `counted_since` says since when all that goes through is counted, in
    seconds since 1970, as all moments here."""

    told: list[Told] = []
    hidden: Hidden | None = None
    counted_since: float = 0.0

    @property
    def last_seen(self) -> float:
        hidden = self.hidden.last_seen if self.hidden is not None else 0.0
        return max([hidden, self.counted_since, *(each.last_seen for each in self.told)])

    def estimates(self) -> list[Told | Counted]:
        """The limits that this seems to be."""
        counted = [self.hidden.limit] if self.hidden is not None and self.hidden.limit is not None else []
        return [*likely([each for each in self.told if each.amount]), *counted]


class Seen(msgspec.Struct, array_like=True):
    """Something that was seen of `subject`: a limit that was told, or what went through, at a refusal or without."""

    subject: str
    at: float
    told: SeenLimit | None = None
    source: Source = "header"
    refused: bool = False
    requests: int = 0
    tokens: int = 0

    def added_to(self, learned: Learned) -> bool:
        """Whether it changed more than when something was seen last."""
        if self.told is not None:
            return self._told(learned, self.told)
        if learned.hidden is None:
            learned.hidden, learned.counted_since = Hidden(), self.at
            return True
        if self.refused:
            learned.hidden.refused(self.requests, self.tokens, self.at)
            return True
        before = msgspec.json.encode(learned.hidden)
        learned.hidden.looked(self.requests, self.tokens, self.at)
        if self.at - max(learned.counted_since, learned.hidden.last_seen) > FORGOTTEN:
            learned.hidden, learned.counted_since = None, 0.0
            return True
        return msgspec.json.encode(learned.hidden) != before

    def _told(self, learned: Learned, seen: SeenLimit) -> bool:
        for each in learned.told:
            if (each.kind, each.window) == (seen.kind, seen.window):
                before = each.amount, min(each.samples, 3), each.other
                each.tell(seen, self.source, self.at)
                return before != (each.amount, min(each.samples, 3), each.other)
        each = Told(seen.kind, seen.window, self.source)
        each.tell(seen, self.source, self.at)
        learned.told = [*learned.told, each]
        return True


Book = dict[str, Learned]
"""By subject, as the pool names a model of an account: ``model:group:openai/org-a/gpt-4o``."""


@dataclass(frozen=True, slots=True)
class Known:
    """A learned limit of a configured account: `limit` as it is or would be held to; `binds` whether it is, and
    `counted` whether the quota store counts it."""

    account: str
    model: str
    subject: str
    estimate: Told | Counted
    limit: Limit
    binds: bool
    counted: bool


def add(seen: Iterable[Seen], book: Book) -> None:
    """Write down what was seen."""
    for each in seen:
        each.added_to(book.setdefault(each.subject, Learned()))


def subject_of(candidate: Candidate) -> str:
    return f"model:{candidate.key.account}/{candidate.deployment.model}"


def account_and_model(subject: str) -> tuple[str, str]:
    """The other way round: names of providers, keys and groups have no slash."""
    provider, name, model = subject.removeprefix("model:").split("/", 2)
    return f"{provider}/{name}", model


def limit_of(subject: str, estimate: Told | Counted) -> Limit:
    """What requests would be held to. Days of which nobody says where they begin do so at midnight UTC."""
    zone = (estimate.zone or "UTC") if isinstance(estimate, Told) and estimate.window == DAY else None
    id = limit_id(subject, estimate.kind, estimate.window)
    return Limit(id, estimate.kind, estimate.amount, estimate.window, zone)


def limit_id(subject: str, kind: str, window: int) -> str:
    return f"{subject}:{kind}/{window}"


def counting(subject: str, bound: tuple[str, int] | None = None) -> tuple[Limit, Limit]:
    """What goes through, requests and tokens; the one of them that `bound` names is a limit at that."""
    kind, amount = bound or ("", 0)
    return (
        Limit(limit_id(subject, "requests", MINUTE), "requests", amount if kind == "requests" else BOUNDLESS, MINUTE),
        Limit(limit_id(subject, "tokens", MINUTE), "tokens", amount if kind == "tokens" else BOUNDLESS, MINUTE),
    )


def bounds_of(subject: str, known: Learned, now: float) -> tuple[Limit, ...]:
    """What the learned limits hold requests to; those that are counted come last."""
    told = [limit_of(subject, each) for each in likely(known.told) if each.bound(now) is not None]
    if known.hidden is None or told:
        return tuple(told)
    return counting(subject, known.hidden.bound(now))


def copied(learned: Learned) -> Learned:
    return msgspec.json.decode(msgspec.json.encode(learned), type=Learned)


def read_book(text: str) -> Book:
    """What is kept; nothing, if another version kept it otherwise."""
    try:
        return msgspec.json.decode(text, type=Book) if text else {}
    except msgspec.MsgspecError:
        return {}


def latest(book: Book) -> Book:
    """No more than `MOST`, those seen last."""
    if len(book) <= MOST:
        return book
    return dict(sorted(book.items(), key=lambda entry: entry[1].last_seen)[-MOST:])

"""What is learned of limits, as it is written down, and what follows from it for requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from llmhub_core.contracts.candidate import Candidate, Limit
from llmhub_core.contracts.rates import DAY, SeenLimit
from llmhub_core.hub.limit_estimates import BOUNDLESS, FORGOTTEN, Counted, Hidden, Source, Told, likely
from llmhub_core.hub.provisional import Provisional

Kind = Literal["requests", "tokens", "concurrency"]

MINUTE = 60
MOST = 20_000
"""Accounts and models that are remembered, those seen last."""


class Learned(msgspec.Struct):
    """What is known of one model of one account."""

    told: list[Told] = []
    hidden: Hidden | None = None

    @property
    def last_seen(self) -> float:
        hidden = self.hidden.last_seen if self.hidden is not None else 0.0
        return max([hidden, *(each.last_seen for each in self.told)])

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
        if self.refused:
            if learned.hidden is None:
                learned.hidden = Hidden()
            learned.hidden.refused(self.requests, self.tokens, self.at)
            return True
        if learned.hidden is None:
            return False
        before = msgspec.json.encode(learned.hidden)
        learned.hidden.looked(self.requests, self.tokens, self.at)
        if self.at - learned.hidden.last_seen > FORGOTTEN:
            learned.hidden = None
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


def counting(
    subject: str, requests: int | None = None, tokens: int | None = None, at_once: int | None = None
) -> tuple[Limit, ...]:
    """What goes through: requests and tokens in a minute, and requests at once. A number makes a limit of it."""

    def limit(kind: Kind, amount: int | None, window: int) -> Limit:
        return Limit(limit_id(subject, kind, window), kind, BOUNDLESS if amount is None else amount, window)

    return (
        limit("requests", requests, MINUTE),
        limit("tokens", tokens, MINUTE),
        limit("concurrency", at_once, 0),
    )


class Bounds(NamedTuple):
    """What requests are held to where learned limits bind: what was told, or else what is counted."""

    told: tuple[Limit, ...]
    counted: tuple[Limit, ...]


def bounds_of(subject: str, known: Learned | None, guess: Provisional | None, now: float) -> Bounds:
    """`guess` is what holds for the moment."""
    told = [limit_of(subject, each) for each in likely(known.told) if each.bound(now) is not None] if known else []
    if told:
        return Bounds(tuple(told), ())
    requests, at_once = guess.amounts if guess is not None else (None, None)
    kind, amount = (known.hidden.bound(now) if known is not None and known.hidden is not None else None) or ("", 0)
    if kind == "requests":
        requests = amount if requests is None else min(amount, requests)
    return Bounds((), counting(subject, requests, amount if kind == "tokens" else None, at_once))


def copied(learned: Learned) -> Learned:
    return msgspec.json.decode(msgspec.json.encode(learned), type=Learned)


def read_book(text: str) -> Book:
    """What is kept; nothing, if another version kept it otherwise."""
    try:
        return msgspec.json.decode(text, type=Book) if text else {}
    except msgspec.MsgspecError:
        return {}

"""What one attempt goes to: a deployment with a provider key, and how each is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

KeyState = Literal["active", "cooling", "exhausted", "invalid", "disabled"]


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of something in a window, for all that share `id`.

    kind     requests, tokens, concurrency (no window) or money (in 10⁻⁹ USD)
    amount   how much
    window   seconds; 0 for concurrency
    zone     days (86,400 s) begin at midnight there (IANA name); None makes the window slide
    """

    id: str
    kind: Literal["requests", "tokens", "concurrency", "money"]
    amount: int
    window: int = 60
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model at a provider. Lower `priority` first; `weight` counts among equals.

    `input_price`/`output_price` are USD per million tokens where the operator set them; None leaves the
    price to the price table.
    """

    provider: str
    model: str
    priority: int = 1
    weight: int = 1
    input_price: float | None = None
    output_price: float | None = None


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A provider key as everybody may see it; its secret stays in the vault. `group` names the account."""

    provider: str
    name: str
    priority: int = 1
    weight: int = 1
    group: str = ""
    models: tuple[str, ...] = ("*",)
    limits: tuple[Limit, ...] = ()

    id: str = field(init=False, compare=False)
    """``provider/name``"""

    account: str = field(init=False, compare=False)
    """What its limits and rests belong to: ``group:provider/group``, or ``key:provider/name`` where it is in none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.provider}/{self.name}")
        account = f"group:{self.provider}/{self.group}" if self.group else f"key:{self.id}"
        object.__setattr__(self, "account", account)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Deployment × provider key."""

    deployment: Deployment
    key: ProviderKey

    label: str = field(init=False, compare=False, repr=False)
    """``provider/model#key``: for records, logs and explanations; never for callers."""
    subjects: tuple[str, ...] = field(init=False, compare=False, repr=False)
    """All that may be held against it: its key, its account, its model of this account, its provider."""

    def __post_init__(self) -> None:
        key, deployment = self.key, self.deployment
        own, model, place = f"key:{key.id}", f"model:{key.account}/{deployment.model}", f"provider:{key.provider}"
        subjects = (own, key.account, model, place) if key.group else (own, model, place)
        object.__setattr__(self, "subjects", subjects)
        object.__setattr__(self, "label", f"{deployment.provider}/{deployment.model}#{key.name}")


@dataclass(slots=True, eq=False)
class CandidateStats:
    """A candidate and its live numbers, kept by the hub; strategies read them and change nothing.

    in_flight        attempts running now
    picks            attempts since the start
    last_pick        when the last one began (monotonic seconds; 0 if never)
    first_token      smoothed seconds to the first word of an answer; None before the first
    failures         failures in a row
    quota_left       share of the tightest limit that is left, 1.0 if there is none. The store is looked at about
                     once a second and `quota_step` taken off an attempt in between; what runs at the same time
                     (concurrency) is no quota. 0.0 while the key rests
    quota_step       the share that one attempt is expected to take
    price            USD per million tokens, three of input to one of output; None if nobody knows it
    limits           what its attempts are held to: declared, and learned ones where these bind
    counted          those of them that count what goes through, refused attempts left out

    The quota and the price are kept for the candidates of configured routes, the price table's where a strategy reads
    it (`Strategy.reads`).
    """

    candidate: Candidate
    in_flight: int = 0
    picks: int = 0
    last_pick: float = 0.0
    first_token: float | None = None
    failures: int = 0
    quota_left: float = 1.0
    quota_step: float = 0.0
    price: float | None = None
    limits: tuple[Limit, ...] = field(default=(), kw_only=True, repr=False)
    counted: tuple[Limit, ...] = field(default=(), kw_only=True, repr=False)

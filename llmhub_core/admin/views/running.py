"""What runs at this moment: limits, keys, providers, and what is not well."""

from __future__ import annotations

from typing import Literal

from llmhub_core.admin.views.base import View

Severity = Literal["error", "warning", "note"]


class Problem(View):
    """Something that is not well, and what to do about it. `page` is where it is seen in full."""

    severity: Severity
    what: str
    advice: str
    page: str


class LearnedView(View):
    """How a limit of one `model` is known that nobody declared: from the provider's headers (`header`) or errors
    (`body`), or from the `counts` at which it refused. `samples` observations say so, the first and the last at those
    moments (seconds since 1970); `confidence` is 0 to 1. `binds`: requests are held to it."""

    model: str
    source: Literal["header", "body", "counts"]
    samples: int
    confidence: float
    first_seen: float
    last_seen: float
    binds: bool


class LevelView(View):
    """A limit and where it stands. `owner` is what it belongs to: key openai/main, group …, model …, token …

    `resets_in` seconds something comes back, which is at `next_reset`; `last_reset` is when its day began, None where
    the window slides and never begins anew (both in seconds since 1970). `resting_until` is when what it belongs to may
    be used again, None if it may be. `learned` is None of a declared limit.
    """

    id: str
    owner: str
    kind: Literal["requests", "tokens", "concurrency", "money"]
    window: int
    zone: str | None
    amount: int
    used: int
    reserved: int
    left: int
    resets_in: float
    last_reset: float | None = None
    next_reset: float | None = None
    resting_until: float | None = None
    learned: LearnedView | None = None


class HoldView(View):
    """What is held against a key, its account (group), a model of it or its provider, and since when. `trying`: it is
    over, and the next request goes first to see whether it really is."""

    subject: str
    state: Literal["active", "cooling", "exhausted", "invalid", "disabled"]
    reason: str
    since: float
    until: float | None
    trying: bool


class KeyView(View):
    """A provider key. `hint` is the end of its secret, "" where that would be too much of it; `until` None with a
    state other than active means: until it works again or somebody resets it. `next_try` is when it is asked next
    whether it works; `holds` is everything that is held against it, limits of single models included."""

    id: str
    provider: str
    name: str
    hint: str
    state: Literal["active", "cooling", "exhausted", "invalid", "disabled"]
    reason: str
    since: float | None
    until: float | None
    next_try: float | None
    holds: list[HoldView]
    priority: int
    weight: int
    group: str
    models: list[str]
    in_flight: int
    attempts: int
    levels: list[LevelView]


class DeploymentView(View):
    """A model at a provider with one of its keys, since the start of this process."""

    provider: str
    model: str
    key: str
    state: Literal["active", "cooling", "exhausted", "invalid", "disabled", "failing"]
    reason: str
    since: float | None
    until: float | None
    in_flight: int
    attempts: int
    failures: int
    first_token_ms: float | None


class ProviderView(View):
    """`requests` counts the attempts of this hour and the one before, `failed` those that came to nothing; `reason`,
    `since` and `until` are of a breaker that is open for the provider as a whole."""

    name: str
    kind: str
    state: Literal["active", "degraded", "out", "disabled"]
    keys: int
    usable_keys: int
    models: list[str]
    requests: int
    failed: int
    reason: str
    since: float | None
    until: float | None
    deployments: list[DeploymentView]


class StoreView(View):
    """Where something rests, by its scheme: postgresql, redis, memory … `took_ms` is how long its latest answer took
    in whole milliseconds, None where nobody has to wait for one."""

    name: str
    answers: bool
    took_ms: int | None = None


class HealthView(View):
    """`database` is where everything that lasts rests, `quotas` where limits are counted. `in_flight` and
    `journal_waiting` are of all `workers`; the rest is as the one that answers sees it."""

    version: str
    ready: bool
    draining: bool
    started_at: float
    now: float
    workers: int
    in_flight: int
    journal_waiting: int
    journal_error: str | None
    problems: list[Problem]
    database: StoreView
    quotas: StoreView
    providers: list[ProviderView]

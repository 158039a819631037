"""The answers of the control plane, as types: programs read them as JSON, pages draw them.

Times are seconds since 1970 (UTC), durations milliseconds where the name ends so, money is in 10⁻⁹ USD. Nothing here
has a place for a secret.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")

Severity = Literal["error", "warning", "note"]


class View(msgspec.Struct, kw_only=True):
    """An answer or a part of one; its fields have names and no order."""


class Page(msgspec.Struct, Generic[T]):
    """`next` is the `cursor` of the page that follows, None on the last."""

    items: list[T]
    next: str | None = None


# people


class UserView(View):
    name: str
    role: Literal["viewer", "admin", "owner"]


class PersonView(View):
    """A user as owners see one."""

    id: str
    name: str
    role: Literal["viewer", "admin", "owner"]
    disabled: bool
    created_at: float


class MadePerson(PersonView):
    """`password` is one that was made for this user, and is shown this once; None if it was given."""

    password: str | None = None


class AdminTokenView(View):
    """A token for scripts. `hint` is its end; `user` whose it is, "" if it was made on the host; `until` None if it
    has no end, `used_at` None if it was never used. With a user's rights changed, those of the token are too."""

    id: str
    name: str
    hint: str
    role: Literal["viewer", "admin", "owner"]
    user: str
    created_at: float
    until: float | None
    used_at: float | None


class MadeAdminToken(AdminTokenView):
    """`token` is shown this once."""

    token: str


class SessionView(View):
    """Who is signed in. `csrf` belongs into the header x-csrf-token of everything that changes something; with an admin
    token there is none to send, and `ends_at` is None where the token has no end."""

    user: UserView
    csrf: str
    ends_at: float | None


class SetupView(View):
    """Whether the link that was given makes the first owner."""

    open: bool


class AuditView(View):
    number: int
    at: float
    actor: str
    address: str
    action: str
    subject: str
    result: str
    before: str
    after: str
    digest: str
    sound: bool
    """Whether the entry is as it was written."""


class AuditBreak(View):
    """Where the chain is not whole, and how."""

    number: int
    what: str


class AuditCheck(View):
    """The whole chain, looked at. Who keeps `last` and `last_digest` elsewhere can ask later whether that entry still
    is what it was, which shows also whether entries were cut off at the end."""

    sound: bool
    entries: int
    last: int
    last_digest: str
    breaks: list[AuditBreak]


# what runs


class Problem(View):
    """Something that is not well, and what to do about it. `page` is where it is seen in full."""

    severity: Severity
    what: str
    advice: str
    page: str


class LevelView(View):
    """A limit and where it stands. `owner` is what it belongs to: key openai/main, group …, token …"""

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


class EntryView(View):
    """Something that is configured. `settings` is its table as config.toml would have it, without secrets.

    origin    file, environment (found there), or stored: added while the hub ran, and to be changed by this API
    where     file and line
    revision  of what is stored; 0 where nothing is
    problem   why it does not count, "" if it does
    """

    name: str
    origin: Literal["default", "file", "environment", "stored"]
    where: str
    revision: int
    disabled: bool
    problem: str
    settings: dict[str, Any]


class ProviderEntryView(EntryView):
    kind: str
    keys: list[str]
    models: list[str]


class KeyEntryView(KeyView):
    """A key with its state, and what an `EntryView` tells; `settings.secret` is masked, and sent back so it changes
    nothing."""

    origin: Literal["default", "file", "environment", "stored"]
    where: str
    revision: int
    disabled: bool
    problem: str
    settings: dict[str, Any]


class RouteEntryView(EntryView):
    strategy: str
    candidates: list[str]


class TokenEntryView(EntryView):
    """`hint` is the end of the token."""

    hint: str
    levels: list[LevelView]


class MadeToken(TokenEntryView):
    """`token` is shown this once."""

    token: str


class ProbeView(View):
    """What a provider said to a key. `asked` is what for: its list of models, an answer of one token, or nothing where
    there is no list; `state` is the key's afterwards, `message` the provider's word."""

    works: bool
    state: Literal["active", "cooling", "exhausted", "invalid", "disabled"]
    asked: Literal["models", "answer", "nothing"]
    ms: float
    status: int | None
    code: str
    message: str
    models: list[str]


class ImportedKey(View):
    """What became of a line: `hint` is how its secret may be shown."""

    line: int
    name: str
    hint: str
    result: Literal["added", "duplicate", "refused"]
    why: str


class ImportView(View):
    added: int
    duplicates: int
    refused: int
    dry_run: bool
    items: list[ImportedKey]


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
    """`requests` and `failed` are of this hour and the one before; `reason`, `since` and `until` of a breaker that is
    open for the provider as a whole."""

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


class HealthView(View):
    """`in_flight` and `journal_waiting` are of all `workers`; the rest is as the one that answers sees it."""

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
    providers: list[ProviderView]


# what was used


class UsageLine(View):
    """One group; `group` has a value for each of `by`."""

    group: list[str]
    requests: int
    served: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: int
    unpriced: int


class UsageView(View):
    by: list[str]
    since: float
    until: float
    total: UsageLine
    items: list[UsageLine]
    kept_since: float = 0.0
    """Before it sums are of whole hours, for single requests are kept no longer."""


class RequestPage(View):
    """`next` as of every page. Requests from before `kept_since` (seconds since 1970) are kept no longer."""

    items: list[RequestLine]
    next: str | None = None
    kept_since: float = 0.0


class RequestLine(View):
    id: str
    arrived_at: float
    caller: str
    model: str
    outcome: str
    status: int
    code: str
    provider: str
    served_model: str
    key: str
    stream: bool
    attempts: int
    first_byte_ms: float | None
    total_ms: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: int | None


class AttemptView(View):
    provider: str
    model: str
    key: str
    started_ms: float
    first_byte_ms: float | None
    ended_ms: float | None
    reason: str
    status: int | None
    provider_code: str | None
    provider_request_id: str | None
    detail: str


class LeftOut(View):
    """A candidate that was not tried, and why."""

    candidate: str
    why: str


class DecisionView(View):
    """An order that a strategy made, with what it depended on: `numbers` has the live numbers that the strategy looks
    at, each as a list in the order of `order`. `of` is how many candidates there were, if more than `order` has."""

    route: str
    strategy: str
    order: list[str]
    numbers: dict[str, list[float | int | None]]
    turn: int
    draw: float
    warm: str
    of: int
    last_resort: bool


class RequestView(RequestLine):
    dialect: str
    operation: str
    route: str
    source: str
    lane: str
    finish: str
    reasoning_tokens: int
    cache_write_tokens: int
    usage_estimated: bool
    client_request_id: str
    tags: dict[str, str]
    adapted: list[str]
    tried: list[AttemptView]
    left_out: list[LeftOut]
    decisions: list[DecisionView]


# how it is set up


class CandidateView(View):
    candidate: str
    priority: int
    key_priority: int
    weight: int


class ExplainView(View):
    """Where a request would go at this moment, without sending it."""

    model: str
    dialect: str
    route: str
    strategy: str
    attempts: int
    candidates: list[CandidateView]
    left_out: list[LeftOut]


class PluginView(View):
    entry: str
    distribution: str
    version: str
    state: str
    reason: str
    brought: list[str]
    used: list[str]


class SettingView(View):
    """`value` as JSON; of a secret only whether there is one. `where` is the file and line, or the variable."""

    key: str
    value: Any
    origin: Literal["default", "file", "environment", "stored"]
    where: str
    secret: bool
    help: str


class ReloadView(View):
    """What became of reading the configuration again.

    With `refused` the file is not used, for the reasons in `problems`, and the one before still counts; `left_out` are
    stored entries that do not count, `needs_restart` settings that count from the next start on.
    """

    at: float
    refused: bool
    changes: list[str]
    problems: list[str]
    warnings: list[str]
    left_out: list[str]
    needs_restart: list[str]


class Done(View):
    done: bool = True

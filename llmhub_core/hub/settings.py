"""All settings, each declared once: its name, its type, its default, and one sentence about it.

A setting is a dataclass field made by `settings_field.setting`. Reading (`settings_reader`), the documentation
(`settings_reference`) and the checks of config.example.toml are driven by these fields alone, so a new setting is one
new field: here, or in `settings_of_entries` for what providers, keys, routes and tokens have.
"""

# ruff: noqa: RUF009 — `setting` returns dataclasses.field, which is what a default may be

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmhub_core.hub.networks import a_network
from llmhub_core.hub.settings_field import MOST, setting
from llmhub_core.hub.settings_of_entries import ProviderSettings, RouteSettings, TokenSettings
from llmhub_core.hub.settings_values import a_chosen_name, a_web_address, a_word_of
from llmhub_core.hub.settings_words import KeyPath

DOORS = ("dialects", "strategies", "interceptors", "observers", "metadata_stores", "quota_stores")
"""Tables that configure plugins by name: ``[observers.prometheus]``. Providers have tables of their own."""

FALLBACK_REASONS = ("context_length", "content_filter")
"""What `fallbacks_on` can tell apart."""

ALERT_RULES = (
    "key_invalid", "key_exhausted", "provider_down", "quota_low", "budget_low", "budget_spent", "error_rate", "journal",
    "vault_sealed",
)  # fmt: skip
"""What alerts can be about."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 or :: for all networks.")
    port: int = setting(8080, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65535)
    workers: int = setting(
        1, "Processes; more than one needs a quota store that they can share.", minimum=1, maximum=256
    )
    public_url: str = setting(
        "", "What browsers see, such as https://hub.example.com; needed behind a proxy.", parse=a_web_address
    )
    max_body: int = setting(8 * 1024 * 1024, "Largest request body that is accepted.", unit="bytes", minimum=1)
    drain: float = setting(30.0, "How long requests may still run when the hub stops.", unit="seconds", minimum=0)
    served_by_header: bool = setting(
        True, "Whether answers tell who gave them, in x-llmhub-served-by and x-llmhub-attempts."
    )
    fault_lab: bool = setting(False, "Whether owners may let providers fail on purpose, to see what callers would see.")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Least severe messages that are logged.")
    log_format: Literal["text", "json"] = setting("text", "Log lines for people, or one JSON object a line.")


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Both are addresses that may hold a password, so neither is ever shown."""

    metadata: str = setting(
        "sqlite:///llm-hub.db",
        "Database for everything that must last; a relative path begins in the data folder.",
        secret=True,
    )
    quota: str = setting(
        "memory:",
        "Where quotas are counted: memory: for one process, sqlite:///quota.db for several, redis://host for machines.",
        secret=True,
    )
    journal: int = setting(
        1024**3,
        "Largest journal in the data folder while the database is away; when it is full, requests are refused.",
        unit="bytes",
        minimum=1024**2,
    )
    keep: float = setting(
        90 * 86_400.0,
        "How long single requests are kept, a day at least; 0 keeps them for good. Their sums stay.",
        unit="seconds",
        minimum=0,
        maximum=100 * 365 * 86_400,
    )


@dataclass(frozen=True, slots=True)
class BodySettings:
    """What was asked and answered, word for word, redacted and sealed."""

    store: Literal["none", "failed", "all"] = setting(
        "none", "Whether it is kept: of no request, of those that were not served, or of all."
    )
    tokens: tuple[str, ...] = setting(
        ("*",),
        "Of which client tokens, by name: game-* for all that begin so, !name to leave one out.",
        parse=a_chosen_name,
    )
    models: tuple[str, ...] = setting(("*",), "Of which public models, likewise.", parse=a_chosen_name)
    largest: int = setting(
        64 * 1024,
        "How much of a request's text is kept, and as much of its answer's; the rest is cut off.",
        unit="bytes",
        minimum=1024,
        maximum=4 * 1024**2,
    )
    keep: float = setting(
        3 * 86_400.0,
        "How long it is kept, if not storage.keep ends before.",
        unit="seconds",
        minimum=3600,
        maximum=366 * 86_400,
    )
    media: bool = setting(
        False, "Whether images and other base64 in JSON are kept too; otherwise a note of their size and type is."
    )


@dataclass(frozen=True, slots=True)
class AuthSettings:
    api: Literal["open", "token"] = setting("open", "Whether callers need a client token (token) or not (open).")
    allow_open_network: bool = setting(
        False, "Allows an open API on an address that other machines can reach; anybody there can spend your money."
    )


@dataclass(frozen=True, slots=True)
class SecretsSettings:
    keys: tuple[str, ...] = setting(
        (),
        "Root keys that seal the secrets in the database, as env:NAME, file:/path or cmd:PROGRAM ARGUMENTS "
        "(what it prints; for a key management service): the first seals, all open. "
        "Without any, one is made in the data folder.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    attempts: int = setting(3, "Attempts a request may take in all, the first included.", minimum=1, maximum=100)
    retry_budget: float = setting(
        0.2,
        "Attempts in vain after failures of providers, as a share of a route's recent requests; a few are always left.",
        minimum=0,
        maximum=1,
    )
    waiting: int = setting(
        1000, "Requests that may stand in line for a route at the same time.", minimum=0, maximum=MOST
    )
    max_wait: float = setting(
        120.0, "The longest that a request may stand in line, whatever x-llmhub-wait says.", unit="seconds", minimum=0
    )
    cooldown: float = setting(
        10.0,
        "How long a key rests at first after a 429 that does not say for how long; each further one doubles it.",
        unit="seconds",
        minimum=0,
    )
    max_cooldown: float = setting(
        600.0, "What that may come to. Where a provider says when, that holds.", unit="seconds", minimum=0
    )
    retry_invalid: float = setting(
        300.0,
        "How long a key that was refused rests before its list of models is asked for, to see whether it works again; "
        "the pause doubles up to six hours. 0 never asks.",
        unit="seconds",
        minimum=0,
    )
    breaker_failures: int = setting(5, "Failures in a row that take a deployment out.", minimum=1, maximum=1000)
    breaker_pause: float = setting(
        10.0, "How long it stays out before one request may try it again.", unit="seconds", minimum=0
    )


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    connections: int = setting(1000, "Connections to one host at most.", minimum=1, maximum=1_000_000)
    idle: float = setting(30.0, "How long an unused connection is kept.", unit="seconds", minimum=0)
    networks: tuple[str, ...] = setting(
        ("public", "private", "loopback"),
        "Where providers may be: public, private (10.0.0.0/8 and the like), loopback (this machine), link-local (where "
        "clouds tell their machines credentials), or networks such as 10.1.0.0/16.",
        parse=a_network,
    )


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Channels are observers, with tables of their own."""

    rules: tuple[str, ...] = setting(
        ALERT_RULES, "What is told: each rule by its name; [] for nothing.", parse=a_word_of(ALERT_RULES)
    )
    every: float = setting(5.0, "How often the hub is looked at.", unit="seconds", minimum=0.1, maximum=3600)
    repeat: float | None = setting(
        14_400.0, 'After how long an alert that goes on is told again; "" for once only.', unit="seconds", minimum=60
    )
    provider_down_after: float = setting(
        15.0, "How long all keys of a provider must be out.", unit="seconds", minimum=0, maximum=86_400
    )
    quota_share: float = setting(0.9, "Share of a daily limit of a key that must be used.", minimum=0.01, maximum=1)
    quota_ahead: float | None = setting(
        3600.0,
        'Also told when at the rate of the last minutes a limit that is half used is spent so soon; "" for never.',
        unit="seconds",
        minimum=60,
    )
    budget_share: float = setting(0.8, "Share of a client token's budget that must be spent.", minimum=0.01, maximum=1)
    error_rate: float = setting(0.2, "Share of the requests for a route that must fail.", minimum=0.001, maximum=1)
    error_window: float = setting(300.0, "Within the last so long.", unit="seconds", minimum=10, maximum=86_400)
    error_requests: int = setting(20, "Of no fewer requests than these.", minimum=1, maximum=MOST)
    journal_share: float = setting(
        0.5, "Share of the journal's 1 GiB that must wait for the database.", minimum=0.0001, maximum=1
    )
    keep: float = setting(
        30 * 86_400.0, "How long alerts that are over stay in the list.", unit="seconds", minimum=3600
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. `plugins` has every door: {"observers": {"prometheus": <its Settings>}}, for tables given."""

    server: ServerSettings = setting(ServerSettings(), "Where the hub listens and how it runs.")
    storage: StorageSettings = setting(StorageSettings(), "Where things rest.")
    bodies: BodySettings = setting(BodySettings(), "What is kept of the words that pass.")
    auth: AuthSettings = setting(AuthSettings(), "Who may call.")
    secrets: SecretsSettings = setting(SecretsSettings(), "What seals the secrets in the database.")
    routing: RoutingSettings = setting(RoutingSettings(), "What happens when a provider fails.")
    upstream: UpstreamSettings = setting(UpstreamSettings(), "Connections to providers.")
    alerts: AlertSettings = setting(AlertSettings(), "When people are told that something is not well.")
    providers: tuple[ProviderSettings, ...] = setting((), "Places that serve models.")
    routes: tuple[RouteSettings, ...] = setting((), "Public models and who answers for them.")
    tokens: tuple[TokenSettings, ...] = setting((), "Client tokens that are known from the file.")
    plugins: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {door: {} for door in DOORS}, metadata={"hidden": True}
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What the plugins brought, each name with its Settings class.

    `operations` are what the dialects ask for (none: not known). `missing` has what could not be loaded, and why; its
    names are plain (``redis``) or with the door or the plugin folder in front (``quota_stores.redis``,
    ``stores.redis``).
    """

    provider_kinds: Mapping[str, type] = dataclasses.field(default_factory=dict)
    strategies: Mapping[str, type] = dataclasses.field(default_factory=dict)
    dialects: Mapping[str, type] = dataclasses.field(default_factory=dict)
    interceptors: Mapping[str, type] = dataclasses.field(default_factory=dict)
    observers: Mapping[str, type] = dataclasses.field(default_factory=dict)
    metadata_stores: Mapping[str, type] = dataclasses.field(default_factory=dict)
    quota_stores: Mapping[str, type] = dataclasses.field(default_factory=dict)
    operations: frozenset[str] = frozenset()
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """`path` is None without a file; `found` tells in words which providers the environment offered. `document` is
    what was read, the variables' words included: it may hold secrets. `text` is the file, and `variables` tells which
    variable each setting came from."""

    settings: Settings
    path: Path | None
    warnings: list[str]
    found: list[str]
    document: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    text: bytes = dataclasses.field(default=b"", repr=False)
    variables: Mapping[KeyPath, str] = dataclasses.field(default_factory=dict)


def scheme_of(address: str) -> str:
    """``sqlite`` of ``sqlite:///llm-hub.db``: the name of the store that an address is for."""
    return address.partition(":")[0] if ":" in address else ""

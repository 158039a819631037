"""The settings of what a hub serves, entry by entry: providers with their keys, routes, client tokens."""

# ruff: noqa: RUF009 — `setting` returns dataclasses.field, which is what a default may be

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from llmhub_core.contracts import Timeouts
from llmhub_core.hub.settings_field import MOST, limit, setting
from llmhub_core.hub.settings_values import (
    Budget,
    Moment,
    a_budget,
    a_hash,
    a_model,
    a_moment,
    a_name,
    a_pattern,
    a_zone,
)


@dataclass(frozen=True, slots=True)
class TimeoutSettings(Timeouts):
    """The contracts' `Timeouts`, as settings; None means without limit."""

    connect: float | None = setting(5.0, "Until the connection stands, TLS included.", unit="seconds", minimum=0.001)
    first_token: float | None = setting(
        120.0,
        "From sending the request to the first word of a stream (pings are none), or the first byte of a whole answer.",
        unit="seconds",
        minimum=0.001,
    )
    stall: float | None = setting(
        90.0, "Without a word in the middle of an answer, pings left aside.", unit="seconds", minimum=0.001
    )
    total: float | None = setting(
        None, 'The whole call, from connecting to the last byte; "" is without limit.', unit="seconds", minimum=0.001
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """None means that there is no such limit."""

    rpm: int | None = limit("Requests a minute.")
    rpd: int | None = limit("Requests a day.")
    tpm: int | None = limit("Tokens a minute.")
    tpd: int | None = limit("Tokens a day.")
    concurrency: int | None = limit("Requests at the same time.")


@dataclass(frozen=True, slots=True)
class TokenLimits(LimitSettings):
    budget: Budget | None = setting(
        None, "Money in a period: minute, hour, day, week or month (30 days), as in 20 USD/month.", parse=a_budget
    )


@dataclass(frozen=True, slots=True)
class KeySettings:
    """`secret` is a reference as it stands in the file; `vault.resolve` makes a Secret of it."""

    name: str = setting("", "Name of this key; unique within the provider.", required=True, parse=a_name)
    secret: str = setting(
        "",
        "env:NAME, file:/path, or the secret itself (warned about); empty where the place needs none.",
        required=True,
        blank=True,
        secret=True,
    )
    priority: int = setting(1, "Keys with a lower number are used first.", minimum=0, maximum=MOST)
    weight: int = setting(1, "Share among keys of equal priority; 0 gets none.", minimum=0, maximum=MOST)
    group: str = setting("", "Keys of one account share limits and cooldowns: give them the same group.")
    models: tuple[str, ...] = setting(
        ("*",), "Models that this key may be used for; * stands for anything.", parse=a_pattern
    )
    limits: LimitSettings = setting(LimitSettings(), "Limits of this key's account at the provider.")
    reset: str = setting("UTC", "Time zone in which this provider's day begins, such as Europe/Paris.", parse=a_zone)
    learn_limits: Literal["", "off", "show", "bind"] = setting("", "As the provider's, for this key alone.")
    disabled: bool = setting(False, "Takes this key out of use; it stays to be seen.")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """`options` is an instance of the kind's own Settings, made of the rest of the table."""

    name: str = setting(
        "", "Name of this provider; unique, and the first half of provider/model.", required=True, parse=a_name
    )
    kind: str = setting(
        "", "What it is: openai, anthropic, gemini, openai_compatible, echo, or any plugin's.", required=True
    )
    keys: tuple[KeySettings, ...] = setting((), "Its API keys; none where the place needs none.")
    models: tuple[str, ...] = setting(
        (), "Models that it lists: callers may ask for them without a route.", parse=a_model
    )
    timeouts: TimeoutSettings | None = setting(None, "How long to wait for this provider.")
    learn_limits: Literal["off", "show", "bind"] = setting(
        "show",
        "Limits that the provider tells in headers and errors: left aside (off), shown beside declared ones (show), "
        "or kept to as well (bind), and then also those that its refusals let one guess.",
    )
    disabled: bool = setting(False, "Takes this provider out of use, with all its keys.")
    options: Any = dataclasses.field(default=None, repr=False, metadata={"hidden": True})


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    provider: str = setting("", "Name of the provider.", required=True)
    model: str = setting("", "Name of the model there.", required=True, parse=a_model)
    priority: int = setting(1, "Deployments with a lower number are asked first.", minimum=0, maximum=MOST)
    weight: int = setting(1, "Share among deployments of equal priority; 0 gets none.", minimum=0, maximum=MOST)
    input_price: float | None = setting(
        None, "USD for a million input tokens; left out, the price table says.", minimum=0, maximum=MOST
    )
    output_price: float | None = setting(
        None, "USD for a million output tokens; left out, the price table says.", minimum=0, maximum=MOST
    )


@dataclass(frozen=True, slots=True)
class RouteSettings:
    model: str = setting("", "The name that callers ask for.", required=True, parse=a_model)
    strategy: str = setting(
        "priority",
        "How its deployments are put in order: priority, round_robin, weighted, least_busy, least_used, "
        "lowest_latency, cheapest, most_quota_left, or any plugin's.",
    )
    deployments: tuple[DeploymentSettings, ...] = setting((), "Who answers.", required=True)
    fallbacks: tuple[str, ...] = setting((), "Other routes, tried in turn when every deployment here is out.")
    fallbacks_on: dict[str, tuple[str, ...]] = setting(
        {}, "Other routes for special cases: context_length (too long for these) and content_filter (blocked)."
    )
    affinity: Literal["none", "session", "prefix"] = setting(
        "none",
        "Whether a conversation stays with the key that has its prompt cached: told by its session or its beginning.",
    )
    hedge: bool = setting(
        False, "Whether the next candidate is asked beside one that is slower than 95 of 100 of its answers."
    )
    continuation: bool = setting(
        False, "Whether another candidate goes on with the text of a stream that broke; the answer says so."
    )
    wait: float = setting(
        0.0,
        "How long a request may stand in line for a key or a limit; x-llmhub-wait says otherwise for one request.",
        unit="seconds",
        minimum=0,
    )
    timeouts: TimeoutSettings = setting(TimeoutSettings(), "How long to wait for this route's deployments.")
    disabled: bool = setting(False, "Takes this name out of use: callers are told that it is not known.")


@dataclass(frozen=True, slots=True)
class PreviousToken:
    hash: str = setting("", "Hash of the token that is being replaced.", required=True, secret=True, parse=a_hash)
    until: Moment = setting(Moment(0), "Until when it counts too.", required=True, parse=a_moment)


@dataclass(frozen=True, slots=True)
class TokenSettings:
    name: str = setting("", "Name of this client token; unique.", required=True, parse=a_name)
    hash: str = setting(
        "", "sha256: and the SHA-256 of the token in 64 hexadecimal digits.", required=True, secret=True, parse=a_hash
    )
    hint: str = setting("", "The last characters of the token, by which people tell tokens apart.")
    previous: PreviousToken | None = setting(None, "The token before this one, while its callers move on.")
    expires: Moment | None = setting(
        None, 'The end of its time, such as "2026-12-31" (UTC) or "2026-12-31T18:00:00Z".', parse=a_moment
    )
    scopes: tuple[str, ...] = setting(
        ("*",), "Operations that it may ask for, such as chat, embeddings or images/generations; * is any."
    )
    models: tuple[str, ...] = setting(("*",), "Models that it may ask for; * stands for anything.", parse=a_pattern)
    limits: TokenLimits = setting(TokenLimits(), "Limits of this token.")
    disabled: bool = setting(False, "Takes this token out of use: callers are told that it is not known.")

"""From settings to what runs: providers, keys with their secrets, routes, client tokens, limits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmhub_core.contracts.candidate import Deployment, Limit, ProviderKey
from llmhub_core.contracts.errors import PluginError, SettingsError
from llmhub_core.contracts.exchange import Caller
from llmhub_core.contracts.plugin import NoSettings
from llmhub_core.contracts.provider import Timeouts
from llmhub_core.contracts.strategy import Strategy
from llmhub_core.hub.catalog import Catalog, Place, Route
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import (
    KeySettings,
    LimitSettings,
    ProviderSettings,
    RouteSettings,
    Settings,
    TimeoutSettings,
    TokenSettings,
)
from llmhub_core.hub.tokens import KnownToken, Tokens
from llmhub_core.hub.vault import Secret, resolve

KEYLESS = "none"
"""The name under which a provider without keys has its one candidate a model."""

Secrets = dict[str, Secret]


def limits_of(prefix: str, limits: LimitSettings, zone: str | None) -> tuple[Limit, ...]:
    """Limits as the quota stores count them; days begin at midnight of `zone`, minutes slide."""
    found = (
        ("requests", limits.rpm, 60, None),
        ("requests", limits.rpd, 86_400, zone or "UTC"),
        ("tokens", limits.tpm, 60, None),
        ("tokens", limits.tpd, 86_400, zone or "UTC"),
        ("concurrency", limits.concurrency, 0, None),
    )
    return tuple(
        Limit(f"{prefix}:{kind}/{window}", kind, amount, window, begins)  # type: ignore[arg-type]
        for kind, amount, window, begins in found
        if amount is not None
    )


def build_tokens(tokens: Iterable[TokenSettings], key: bytes = b"") -> Tokens:
    """`key` is the vault's for keyed digests; without it tokens that rest so are not found."""
    return Tokens((known for token in tokens for known in _known(token)), key)


def _known(token: TokenSettings) -> Iterator[KnownToken]:
    caller, end = _caller(token), token.expires
    yield KnownToken(token.hash, caller, end)
    if token.previous is not None:
        yield KnownToken(token.previous.hash, caller, min(token.previous.until, end or token.previous.until))


def _caller(token: TokenSettings) -> Caller:
    prefix = f"token:{token.name}"
    limits = limits_of(prefix, token.limits, None)
    if token.limits.budget is not None:
        amount, window = token.limits.budget
        limits += (Limit(f"{prefix}:money/{window}", "money", amount, window),)
    return Caller(token.name, tuple(token.models), limits, () if "*" in token.scopes else tuple(token.scopes))


def build_catalog(
    settings: Settings, registry: Registry, base: Path, environ: Mapping[str, str] | None = None
) -> tuple[Catalog, Secrets]:
    """Everything that can be called; SettingsError with all that is wrong."""
    problems: list[str] = []
    secrets: Secrets = {}
    places = []
    for table in settings.providers:
        try:
            places.append(_place(table, registry, secrets, base, os.environ if environ is None else environ))
        except (PluginError, ValueError, LookupError) as error:
            problems.append(f"provider {table.name}: {error}")
    if problems:
        raise SettingsError(problems)
    strategies = _Strategies(settings, registry)
    catalog = Catalog(places, strategies.get("priority"))
    for route in settings.routes:
        try:
            catalog.add(_route(route, catalog, strategies))
        except PluginError as error:
            problems.append(f"route {route.model}: {error}")
    if problems:
        raise SettingsError(problems)
    return catalog, secrets


def _place(
    table: ProviderSettings, registry: Registry, secrets: Secrets, base: Path, environ: Mapping[str, str]
) -> Place:
    provider = registry.providers.get(table.kind)(table.options)
    keys = tuple(_key(table.name, key) for key in table.keys)
    for key, settings in zip(keys, table.keys, strict=True):
        secrets[key.id] = resolve(settings.secret, environ, base)
    return Place(
        name=table.name,
        kind=table.kind,
        provider=provider,
        keys=keys or (ProviderKey(table.name, KEYLESS),),
        timeouts=_timeouts(table.timeouts) if table.timeouts is not None else Timeouts(),
        models=tuple(table.models),
    )


def _key(provider: str, key: KeySettings) -> ProviderKey:
    # Keys of one account draw on the same limits: these belong to the group where there is one.
    owner = f"group:{provider}/{key.group}" if key.group else f"key:{provider}/{key.name}"
    return ProviderKey(
        provider=provider,
        name=key.name,
        priority=key.priority,
        weight=key.weight,
        group=key.group,
        models=tuple(key.models),
        limits=limits_of(owner, key.limits, key.reset),
    )


class _Strategies:
    """One instance of each strategy that is used, with its settings."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings.plugins.get("strategies", {})
        self._registry = registry
        self._made: dict[str, Strategy] = {}

    def get(self, name: str) -> Strategy:
        strategy = self._made.get(name)
        if strategy is None:
            cls = self._registry.strategies.get(name)
            options = self._settings.get(name)
            strategy = cls(options if options is not None else cls.Settings())
            self._made[name] = strategy
        return strategy


def _route(table: RouteSettings, catalog: Catalog, strategies: _Strategies) -> Route:
    standing = []
    for entry in table.deployments:
        deployment = Deployment(
            provider=entry.provider,
            model=entry.model,
            priority=entry.priority,
            weight=entry.weight,
            input_price=entry.input_price,
            output_price=entry.output_price,
        )
        standing += catalog.candidates(deployment)
    return Route(
        model=table.model,
        strategy=strategies.get(table.strategy),
        standing=standing,
        timeouts=_timeouts(table.timeouts),
        fallbacks=tuple(table.fallbacks),
        fallbacks_on={code: tuple(routes) for code, routes in table.fallbacks_on.items()},
        wait=table.wait,
        hedge=table.hedge,
        continuation=table.continuation,
        affinity="" if table.affinity == "none" else table.affinity,
    )


def _timeouts(table: TimeoutSettings) -> Timeouts:
    return Timeouts(table.connect, table.first_token, table.stall, table.total)


def plugin_settings(settings: Settings, door: str, name: str, default: type) -> object:
    """The settings of one plugin: from its table, else its defaults."""
    options = settings.plugins.get(door, {}).get(name)
    return options if options is not None else (default() if default is not NoSettings else NoSettings())


def revealed(options: Any, table: str, base: Path, environ: Mapping[str, str] | None = None) -> Any:
    """A plugin's settings with its secrets in place of what refers to them; SettingsError if one cannot be found."""
    if not dataclasses.is_dataclass(options) or isinstance(options, type):
        return options
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        if field.metadata.get("secret"):
            value = getattr(options, field.name)
            try:
                found[field.name] = (
                    _revealed(value, environ, base)
                    if isinstance(value, str)
                    else tuple(_revealed(each, environ, base) for each in value)
                )
            except LookupError as error:
                raise SettingsError([f"{table}.{field.name}: {error.args[0]}"]) from None
    return dataclasses.replace(options, **found) if found else options


def _revealed(reference: str, environ: Mapping[str, str] | None, base: Path) -> str:
    return resolve(reference, os.environ if environ is None else environ, base).reveal()

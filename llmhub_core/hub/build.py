"""From settings to what runs: providers, keys with their secrets, routes, client tokens, limits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmhub_core.contracts.candidate import Deployment, KeyState, Limit, ProviderKey
from llmhub_core.contracts.errors import PluginError, SettingsError
from llmhub_core.contracts.exchange import Caller
from llmhub_core.contracts.plugin import NoSettings
from llmhub_core.contracts.provider import Timeouts
from llmhub_core.contracts.strategy import Strategy
from llmhub_core.hub.catalog import Catalog, Learns, Place, Route, Standing
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import Settings
from llmhub_core.hub.settings_of_entries import (
    KeySettings,
    LimitSettings,
    ProviderSettings,
    RouteSettings,
    TimeoutSettings,
    TokenSettings,
)
from llmhub_core.hub.tokens import KnownToken, Tokens
from llmhub_core.hub.vault import Secret, resolve

KEYLESS = "none"
"""The name under which a provider without keys has its one candidate a model."""

Secrets = dict[str, Secret]

DISABLED: tuple[KeyState, str] = ("disabled", "by the configuration")
DISABLED_PLACE: tuple[KeyState, str] = ("disabled", "with its provider")


class CannotBuild(SettingsError):
    """Providers that cannot be made, and why, by name."""

    def __init__(self, providers: Mapping[str, str]) -> None:
        super().__init__([f"provider {name}: {why}" for name, why in providers.items()])
        self.providers = providers


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where secrets come from beside the settings: relative paths begin in `base`; `stored` has those of keys that
    were added while the hub ran, by the key's id, or in words why one cannot be opened."""

    base: Path
    environ: Mapping[str, str] = dataclasses.field(default_factory=lambda: os.environ)
    stored: Mapping[str, Secret | str] = dataclasses.field(default_factory=dict)


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


def kinds_of(settings: Settings) -> dict[str, str]:
    """Of the providers, by name."""
    return {table.name: table.kind for table in settings.providers}


def own_prices(settings: Settings) -> dict[tuple[str, str], Deployment]:
    """The operator's own prices, by provider and model."""
    return {
        (entry.provider, entry.model): Deployment(
            entry.provider, entry.model, input_price=entry.input_price, output_price=entry.output_price
        )
        for route in settings.routes
        for entry in route.deployments
        if entry.input_price is not None
    }


def build_tokens(tokens: Iterable[TokenSettings], key: bytes = b"") -> Tokens:
    """`key` is the vault's for keyed digests; without it tokens that rest so are not found."""
    return Tokens((known for token in tokens if not token.disabled for known in _known(token)), key)


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


def build_catalog(settings: Settings, registry: Registry, sources: Sources, after: Catalog | None = None) -> Catalog:
    """Everything that can be called; SettingsError with all that is wrong. `after` is the catalog that runs: providers
    and strategies that are configured as there go on as they are."""
    failed: dict[str, str] = {}
    problems: list[str] = []
    places = []
    for table in settings.providers:
        try:
            places.append(_place(table, registry, sources, after.places.get(table.name) if after else None))
        except (PluginError, ValueError, LookupError) as error:
            failed[table.name] = str(error)
    if failed:
        raise CannotBuild(failed)
    strategies = _Strategies(settings, registry, after)
    closed = (route.model for route in settings.routes if route.disabled)
    catalog = Catalog(places, strategies.get("priority"), closed, after)
    for route in settings.routes:
        try:
            if not route.disabled:
                catalog.add(_route(route, catalog, strategies, after.routes.get(route.model) if after else None))
        except PluginError as error:
            problems.append(f"route {route.model}: {error}")
    if problems:
        raise SettingsError(problems)
    return catalog


def _place(table: ProviderSettings, registry: Registry, sources: Sources, was: Place | None) -> Place:
    same = was is not None and was.kind == table.kind and was.options == table.options
    provider = was.provider if was is not None and same else registry.providers.get(table.kind)(table.options)
    keys: list[ProviderKey] = []
    secrets: Secrets = {}
    out: dict[str, tuple[KeyState, str]] = {}
    for entry in table.keys:
        keys.append(_same(_key(table.name, entry), was))
        secret = sources.stored.get(f"{table.name}/{entry.name}")
        if isinstance(secret, str):
            out[entry.name] = "invalid", f"cannot be opened: {secret}"
            continue
        secrets[entry.name] = resolve(entry.secret, sources.environ, sources.base) if secret is None else secret
        if entry.disabled:
            out[entry.name] = DISABLED
    if not keys:
        keys.append(ProviderKey(table.name, KEYLESS))
    if table.disabled:
        out = {key.name: DISABLED_PLACE for key in keys}
    place = Place(
        name=table.name,
        kind=table.kind,
        provider=provider,
        keys=tuple(keys),
        timeouts=_timeouts(table.timeouts) if table.timeouts is not None else Timeouts(),
        models=tuple(table.models),
        disabled=table.disabled,
        options=table.options,
        secrets=secrets,
        out=out,
        learns=_learns(table),
    )
    if was is not None and same:
        place.goes_on(was)
    return place


def _learns(table: ProviderSettings) -> dict[str, Learns]:
    """By key; a provider without keys has one that nobody configured."""
    return {KEYLESS: table.learn_limits} | {key.name: key.learn_limits or table.learn_limits for key in table.keys}


def _same(key: ProviderKey, was: Place | None) -> ProviderKey:
    """The very key that was there if it is equal: quota stores know limits again by their identity."""
    return next((other for other in was.keys if other == key), key) if was is not None else key


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

    def __init__(self, settings: Settings, registry: Registry, after: Catalog | None) -> None:
        self._running = (
            {} if after is None else {route.strategy.name: route.strategy for route in after.routes.values()}
        )
        self._settings = settings.plugins.get("strategies", {})
        self._registry = registry
        self._made: dict[str, Strategy] = {}

    def get(self, name: str) -> Strategy:
        strategy = self._made.get(name)
        if strategy is None:
            cls = self._registry.strategies.get(name)
            options = self._settings.get(name)
            options = cls.Settings() if options is None else options
            running = self._running.get(name)
            strategy = running if running is not None and running.settings == options else cls(options)
            self._made[name] = strategy
        return strategy


def _route(table: RouteSettings, catalog: Catalog, strategies: _Strategies, was: Route | None) -> Route:
    standing: list[Standing] = []
    left_out: list[tuple[str, str]] = []
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
        left_out += catalog.left_out(deployment)
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
        turn=was.turn if was is not None else 0,
        left_out=left_out,
    )


def _timeouts(table: TimeoutSettings) -> Timeouts:
    return Timeouts(table.connect, table.first_token, table.stall, table.total)


def build_store(door: str, url: str, settings: Settings, registry: Registry, data: Path) -> Any:
    """The plugin that the scheme of `url` names. Its Settings get the address as `url`, in which a relative file path
    begins in the folder `data`, and that folder itself as `folder`, where they have such fields."""
    scheme, _, rest = url.partition(":")
    cls = getattr(registry, door).get(scheme)
    if scheme == "sqlite" and rest.startswith("///") and not rest.startswith("////"):
        url = f"sqlite:///{data / rest[3:]}"
    options = settings.plugins.get(door, {}).get(scheme)
    fields = getattr(cls.Settings, "__dataclass_fields__", {})
    told = {}
    if "url" in fields and (rest or options is None):
        told["url"] = url
    if "folder" in fields and not getattr(options, "folder", ""):
        told["folder"] = str(data)
    return cls(cls.Settings(**told) if options is None else dataclasses.replace(options, **told))


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

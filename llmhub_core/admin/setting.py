"""How the hub is set up: settings, plugins, and where a request would go."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from llmhub_core.admin.calls import Asked
from llmhub_core.admin.control import Control
from llmhub_core.admin.lists import FindAsked, Order, named, page
from llmhub_core.admin.refusals import Denied, no_such, not_found, unusable
from llmhub_core.admin.shelf import body_of, is_switch
from llmhub_core.admin.views import CandidateView, ExplainView, FitView, LeftOut, Page, PluginView, SettingView
from llmhub_core.contracts.configuration import Entry
from llmhub_core.hub import dry_run
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.settings_entries import Id
from llmhub_core.hub.settings_origins import Origin, Origins
from llmhub_core.hub.settings_words import KeyPath

MOST_TRIED = 4 * 1024 * 1024
"""Bytes of a request that is tried."""


class ExplainAsked(Asked, kw_only=True):
    """`token` is the name of a client token: whether its holder may ask for the model at all, and within its limits."""

    model: str
    dialect: str = "openai_chat"
    token: str = ""


class DryRunAsked(Asked, kw_only=True):
    """As above, of a `request` in that dialect: its body, as JSON. Where that names the model, `model` may be left
    out."""

    model: str = ""
    dialect: str = "openai_chat"
    token: str = ""
    request: dict[str, Any] | None = None


class PluginsAsked(FindAsked, kw_only=True):
    """`kind` is the first half of the entry's name: what it is for."""

    kind: str | None = None
    state: Literal["loaded", "unavailable", "refused"] | None = None


class SettingsAsked(FindAsked, kw_only=True):
    """`only` is set, for those that somebody chose."""

    only: Literal["", "set"] = ""
    origin: Literal["default", "file", "environment", "stored"] | None = None


async def explain(control: Control, asked: ExplainAsked | DryRunAsked) -> ExplainView:
    dialects, caller = control.hub.dialects, None
    if asked.token:
        caller = next((each for each in control.hub.tokens.callers if each.name == asked.token), None)
        if caller is None:
            raise not_found("client token of that name")
    if asked.dialect not in dialects:
        raise unusable("There is no dialect of that name.", f"Choose from {', '.join(dialects)}.")
    request = asked.request if isinstance(asked, DryRunAsked) else None
    if not (asked.model or request is not None):
        raise unusable("There is no model to ask for.", "Give a model, or a request that names one.", "model")
    body = b"" if request is None else msgspec.json.encode(request)
    run = await control.explain(dry_run.Asked(asked.model, asked.dialect, body, caller))
    if caller is not None and not caller.may_use(run.model):
        raise Denied(
            403, "model_not_allowed", f"The token {asked.token} may not use the model {run.model[:64]}.",
            f"It may use: {', '.join(caller.models)}.",
        )  # fmt: skip
    return _explained(control, asked.dialect, run)


def _explained(control: Control, dialect: str, run: dry_run.DryRun) -> ExplainView:
    return ExplainView(
        model=run.model,
        dialect=dialect,
        route=run.plan.route,
        strategy=run.plan.strategy,
        attempts=control.hub.settings.routing.attempts,
        candidates=[
            CandidateView(
                candidate=look.stats.candidate.label,
                priority=look.stats.candidate.deployment.priority,
                key_priority=look.stats.candidate.key.priority,
                weight=look.stats.candidate.deployment.weight * look.stats.candidate.key.weight,
                lost=list(look.lost),
                limits=[_fit(each) for each in look.limits],
            )
            for look in run.looks
        ],
        left_out=[LeftOut(candidate=label, why=why) for label, why in run.plan.left_out],
        tokens=None if run.estimate is None else run.estimate.tokens,
        caller_limits=[_fit(each) for each in run.caller_limits],
        warm=run.plan.warm,
    )


def _fit(fit: dry_run.Fit) -> FitView:
    limit = fit.limit
    return FitView(
        id=limit.id, kind=limit.kind, window=limit.window, amount=limit.amount, needs=fit.needs, left=fit.left,
        resets_in=fit.resets_in, fits=fit.fits,
    )  # fmt: skip


def plugins(control: Control) -> list[PluginView]:
    hub = control.hub
    used = set(_in_use(hub))
    return [
        PluginView(
            entry=report.entry,
            distribution=report.distribution,
            version=report.version,
            state=report.state,
            reason=report.reason,
            brought=list(report.brought),
            used=[name for name in report.brought if name in used],
        )
        for report in hub.registry.reports
    ]


async def plugins_page(control: Control, asked: PluginsAsked) -> Page[PluginView]:
    every = plugins(control)
    if asked.kind is not None and asked.kind not in (kinds := {_kind(each) for each in every}):
        raise no_such("kind", asked.kind, kinds)
    found = named(asked.find)

    def fits(each: PluginView) -> bool:
        wanted = asked.kind in (None, _kind(each)) and asked.state in (None, each.state)
        return wanted and found(each.entry, each.distribution)

    return await page(every, asked, lambda each: (each.entry, each.distribution), fits)


def _kind(plugin: PluginView) -> str:
    return plugin.entry.partition(".")[0]


def _in_use(hub: Hub) -> Iterator[str]:
    yield from (f"dialects.{name}" for name in hub.dialects)
    yield from (f"providers.{place.kind}" for place in hub.catalog.places.values())
    yield from (f"strategies.{route.strategy.name}" for route in hub.catalog.routes.values())
    yield from (f"interceptors.{each.name}" for each in hub.interceptors)
    yield from (f"observers.{each.name}" for each in hub.observers)
    yield f"metadata_stores.{hub.store.name}"
    yield f"quota_stores.{hub.quota.name}"


def settings(control: Control) -> Iterator[SettingView]:
    """Every setting that is in force, and where it comes from."""
    now = control.hub.configuration.now
    walk = _Walk(Origins(now.loaded), now.merged.counting)
    return walk.table(control.hub.settings, "", ())


async def settings_page(control: Control, asked: SettingsAsked) -> Page[SettingView]:
    found, seen = named(asked.find), Counter[str]()

    def order(line: SettingView) -> Order:
        seen[line.key] += 1  # tables without a name of their own share theirs
        return line.key, f"{seen[line.key]:06}"

    def fits(line: SettingView) -> bool:
        wanted = asked.origin in (None, line.origin) and (not asked.only or line.origin != "default")
        return wanted and found(line.key)

    return await page(settings(control), asked, order, fits)


class _Walk:
    """Through the settings, with the place in the document that each of them has."""

    def __init__(self, origins: Origins, entries: Mapping[Id, Entry]) -> None:
        self._origins = origins
        self._entries = entries

    def table(self, table: Any, prefix: str, path: KeyPath, stored: Mapping[str, Any] = {}) -> Iterator[SettingView]:
        """`stored` is what an entry says of this very table."""
        for field in dataclasses.fields(table):
            value, key, place = getattr(table, field.name), f"{prefix}{field.name}", (*path, field.name)
            if field.name == "plugins" and not path:
                yield from self._plugins(value)
            elif field.metadata.get("hidden"):
                if dataclasses.is_dataclass(value):  # a provider's own, in the same table
                    yield from self.table(value, prefix, path, stored)
            elif dataclasses.is_dataclass(value):
                inner = stored.get(field.name)
                yield from self.table(value, f"{key}.", place, inner if isinstance(inner, dict) else {})
            elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
                for number, entry in enumerate(value):
                    yield from self._entry(
                        table, field.name, entry, f"{key}[{_name(entry)}].", (*place, number), stored
                    )
            else:
                yield self._setting(key, field, value, place, field.name in stored)

    def _entry(
        self, above: Any, name: str, entry: Any, prefix: str, path: KeyPath, stored: Mapping[str, Any]
    ) -> Iterator[SettingView]:
        """One of several tables: what is stored of it is an entry of its own, or stands in that of the table above."""
        kind = {"providers": "provider", "routes": "route", "tokens": "token", "keys": "key"}.get(name)
        if kind is None:
            inner = stored.get(name)
            number = path[-1]
            body = inner[number] if isinstance(inner, list) and isinstance(number, int) and number < len(inner) else {}
        else:
            known = self._entries.get((kind, f"{above.name}/{entry.name}" if kind == "key" else _name(entry)))  # type: ignore[arg-type]
            body = {} if known is None else {**body_of(known), **({"secret": ""} if known.sealed else {})}
            if known is not None and not is_switch(body):
                body = {"name": "", "model": "", **body}
        yield from self.table(entry, prefix, path, body if isinstance(body, dict) else {})

    def _plugins(self, doors: Mapping[str, Mapping[str, Any]]) -> Iterator[SettingView]:
        for door, tables in doors.items():
            for name, options in tables.items():
                if dataclasses.is_dataclass(options):
                    yield from self.table(options, f"{door}.{name}.", (door, name))

    def _setting(self, key: str, field: dataclasses.Field[Any], value: Any, path: KeyPath, stored: bool) -> SettingView:
        secret = not field.repr or field.name in ("secret", "password", "token", "url")
        origin = Origin("stored") if stored else self._origins.of(path)
        shown: Any = ("***" if value or stored else "") if secret else _plain(value)
        if field.name == "headers" and isinstance(shown, dict):  # people put secrets there all the same
            shown = dict.fromkeys(shown, "***")
        return SettingView(
            key=key,
            value=shown,
            origin=origin.kind,
            where=origin.where,
            secret=secret,
            help=str(field.metadata.get("help", "")),
            unit=str(field.metadata.get("unit") or ""),
        )


def _name(entry: Any) -> str:
    if hasattr(entry, "provider"):
        return f"{entry.provider}/{entry.model}"
    return str(getattr(entry, "name", "") or getattr(entry, "model", ""))


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)

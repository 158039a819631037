"""How the hub is set up: settings, plugins, and where a request would go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from llmhub_core.admin.calls import Asked
from llmhub_core.admin.control import Control
from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.shelf import body_of, is_switch
from llmhub_core.admin.views import CandidateView, ExplainView, LeftOut, PluginView, SettingView
from llmhub_core.contracts.configuration import Entry
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.settings_entries import Id
from llmhub_core.hub.settings_origins import Origin, Origins
from llmhub_core.hub.settings_words import KeyPath


class ExplainAsked(Asked, kw_only=True):
    """`token` is the name of a client token: whether its holder may ask for the model at all."""

    model: str
    dialect: str = "openai_chat"
    token: str = ""


async def explain(control: Control, asked: ExplainAsked) -> ExplainView:
    dialects = control.hub.dialects
    if asked.token:
        caller = next((each for each in control.hub.tokens.callers if each.name == asked.token), None)
        if caller is None:
            raise not_found("client token of that name")
        if not caller.may_use(asked.model):
            raise Denied(
                403, "model_not_allowed", f"The token {asked.token} may not use the model {asked.model[:64]}.",
                f"It may use: {', '.join(caller.models)}.",
            )  # fmt: skip
    if asked.dialect not in dialects:
        raise unusable("There is no dialect of that name.", f"Choose from {', '.join(dialects)}.")
    plan = await control.explain(asked.model, asked.dialect)
    return ExplainView(
        model=asked.model,
        dialect=asked.dialect,
        route=plan.route,
        strategy=plan.strategy,
        attempts=control.hub.settings.routing.attempts,
        candidates=[
            CandidateView(
                candidate=stats.candidate.label,
                priority=stats.candidate.deployment.priority,
                key_priority=stats.candidate.key.priority,
                weight=stats.candidate.deployment.weight * stats.candidate.key.weight,
            )
            for stats in plan.candidates
        ],
        left_out=[LeftOut(candidate=label, why=why) for label, why in plan.left_out],
    )


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


def _in_use(hub: Hub) -> Iterator[str]:
    yield from (f"dialects.{name}" for name in hub.dialects)
    yield from (f"providers.{place.kind}" for place in hub.catalog.places.values())
    yield from (f"strategies.{route.strategy.name}" for route in hub.catalog.routes.values())
    yield from (f"interceptors.{each.name}" for each in hub.interceptors)
    yield from (f"observers.{each.name}" for each in hub.observers)
    yield f"metadata_stores.{hub.store.name}"
    yield f"quota_stores.{hub.quota.name}"


def settings(control: Control) -> list[SettingView]:
    """Every setting that is in force, and where it comes from."""
    now = control.hub.configuration.now
    walk = _Walk(Origins(now.loaded), now.merged.counting)
    return list(walk.table(control.hub.settings, "", ()))


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

"""How the hub is set up: settings, plugins, and where a request would go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from llmhub_core.admin.calls import Asked
from llmhub_core.admin.control import Control
from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.views import CandidateView, ExplainView, LeftOut, PluginView, SettingView
from llmhub_core.hub.hub import Hub


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
    """Every setting that is in force."""
    return list(_walk(control.hub.settings, ""))


def _walk(table: Any, prefix: str) -> Iterator[SettingView]:
    for field in dataclasses.fields(table):
        if field.metadata.get("hidden") and field.name != "plugins":
            continue
        value, key = getattr(table, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{key}.")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for entry in value:
                name = getattr(entry, "name", None) or getattr(entry, "model", "")
                yield from _walk(entry, f"{key}[{name}].")
        elif field.name == "plugins":
            yield from _plugin_settings(value)
        else:
            yield _setting(key, field, value)


def _plugin_settings(doors: dict[str, dict[str, Any]]) -> Iterator[SettingView]:
    for door, tables in doors.items():
        for name, options in tables.items():
            if dataclasses.is_dataclass(options):
                yield from _walk(options, f"{door}.{name}.")


def _setting(key: str, field: dataclasses.Field[Any], value: Any) -> SettingView:
    secret = not field.repr or field.name in ("secret", "password", "token", "url")
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    shown: Any = ("***" if value else "") if secret else _plain(value)
    if field.name == "headers" and isinstance(shown, dict):  # people put secrets there all the same
        shown = dict.fromkeys(shown, "***")
    return SettingView(
        key=key,
        value=shown,
        origin="default" if value == default else "set",
        secret=secret,
        help=str(field.metadata.get("help", "")),
    )


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)

"""Who came through the doors, by name. A plugin that cannot come in is remembered with the reason."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, entry_points
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar

import pluggy

from llmhub_core.contracts import hookspecs
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import PluginError
from llmhub_core.contracts.interceptor import Interceptor
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.observer import Observer
from llmhub_core.contracts.plugin import API, Plugin
from llmhub_core.contracts.provider import Provider
from llmhub_core.contracts.quota_store import QuotaStore
from llmhub_core.contracts.strategy import Strategy

P = TypeVar("P", bound=Plugin)

SPOKEN = (API,)
"""Contract numbers that this hub speaks."""

DOORS: dict[str, type[Plugin]] = {
    "dialects": Dialect,
    "providers": Provider,
    "strategies": Strategy,
    "metadata_stores": MetadataStore,
    "quota_stores": QuotaStore,
    "interceptors": Interceptor,
    "observers": Observer,
}


@dataclass(slots=True)
class PluginReport:
    """One entry point: what it brought, or why not. `state` is loaded, unavailable (a package it needs is not
    installed) or refused; `brought` has ``door.name`` of each class that came in."""

    entry: str
    distribution: str
    version: str
    state: str = "loaded"
    reason: str = ""
    brought: list[str] = field(default_factory=list)


class Door(Generic[P]):
    """The classes that came through one door, by name."""

    def __init__(self, label: str, contract: type[Any]) -> None:
        self.label = label
        self.contract = contract
        self._classes: dict[str, type[P]] = {}
        self._from: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def __iter__(self) -> Iterator[type[P]]:
        return iter(self._classes.values())

    def __contains__(self, name: str) -> bool:
        return name in self._classes

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._classes)

    def settings_types(self) -> dict[str, type]:
        return {name: cls.Settings for name, cls in self._classes.items()}

    def get(self, name: str) -> type[P]:
        """PluginError with the nearest name, or with why a plugin of that name could not come in."""
        try:
            return self._classes[name]
        except KeyError:
            pass
        if name in self.missing:
            raise PluginError(f"{self.label}: {name} is not available: {self.missing[name]}")
        near = difflib.get_close_matches(name, self._classes, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(sorted(self._classes))}"
        raise PluginError(f"{self.label}: there is no {name}{hint}")

    def admit(self, offered: Any, entry: str) -> str:
        """Take a class in and return its name; PluginError with one sentence if it cannot come in."""
        cls: Any = offered
        contract: type[Any] = self.contract
        if not (isinstance(offered, type) and issubclass(offered, contract)):
            raise PluginError(f"{cls!r} is no {contract.__name__}")
        name = getattr(cls, "name", None)
        if not isinstance(name, str) or not name:
            raise PluginError(f"{cls.__name__} has no name")
        if cls.api not in SPOKEN:
            raise PluginError(
                f"{name} is built for contract {cls.api}, this hub speaks {', '.join(map(str, SPOKEN))}; "
                "install a version of the plugin for this hub"
            )
        if name in self._classes:
            raise PluginError(f"the name {name} is already taken by {self._from[name]}")
        abstract = getattr(cls, "__abstractmethods__", None)
        if abstract:
            raise PluginError(f"{name} does not implement {', '.join(sorted(abstract))}")
        self._classes[name] = cls
        self._from[name] = entry
        return name


class Registry:
    """Made once a hub; nothing global, so a test can make another with its own plugins."""

    def __init__(self) -> None:
        self.dialects: Door[Dialect[Any]] = Door("dialects", Dialect)
        self.providers: Door[Provider] = Door("providers", Provider)
        self.strategies: Door[Strategy] = Door("strategies", Strategy)
        self.metadata_stores: Door[MetadataStore] = Door("metadata_stores", MetadataStore)
        self.quota_stores: Door[QuotaStore] = Door("quota_stores", QuotaStore)
        self.interceptors: Door[Interceptor] = Door("interceptors", Interceptor)
        self.observers: Door[Observer] = Door("observers", Observer)
        self.reports: list[PluginReport] = []
        self._manager = pluggy.PluginManager("llmhub")
        self._manager.add_hookspecs(hookspecs)

    def discover(self) -> Registry:
        """All installed plugins, ours and theirs alike."""
        found = entry_points(group=hookspecs.ENTRY_POINTS)
        # Ours first, so that a name is kept by the built-in and not by whoever sorts earlier.
        for entry in sorted(found, key=lambda entry: (_distribution(entry)[0] != "llm-hub", entry.name, entry.value)):
            self.admit_entry(entry)
        return self

    def admit_entry(self, entry: EntryPoint) -> None:
        report = PluginReport(entry.name, *_distribution(entry))
        self.reports.append(report)
        try:
            plugin = entry.load()
        except ModuleNotFoundError as error:
            if error.name and f"{entry.module}.".startswith(f"{error.name}."):
                report.state, report.reason = "refused", f"its own module {error.name} is not there; reinstall it"
            else:
                report.state, report.reason = "unavailable", f"the package {error.name} is not installed"
        except (Exception, SystemExit) as error:  # whatever a plugin's import raises must not stop the others
            report.state, report.reason = "refused", f"it failed to import: {_on_one_line(error)}"
        else:
            self._admit(plugin, report)
        if report.state != "loaded":
            self._remember_missing(report)

    def admit_module(self, plugin: ModuleType | object, name: str) -> PluginReport:
        """A plugin that is at hand already (tests)."""
        report = PluginReport(name, "", "")
        self.reports.append(report)
        self._admit(plugin, report)
        return report

    def _admit(self, plugin: Any, report: PluginReport) -> None:
        try:
            for door, classes in self._offers(plugin, f"{report.distribution}:{report.entry}"):
                for cls in classes:
                    name = getattr(self, door).admit(cls, report.entry)
                    report.brought.append(f"{door}.{name}")
            if not report.brought:
                raise PluginError("it brings nothing: no hook of it returned a class")
        except (Exception, SystemExit) as error:
            report.state = "refused"
            report.reason = str(error) if isinstance(error, PluginError) else _on_one_line(error)

    def _offers(self, plugin: Any, name: str) -> Iterable[tuple[str, list[Any]]]:
        names = [hook for hook in dir(plugin) if self._manager.parse_hookimpl_opts(plugin, hook) is not None]
        marked = {hook: getattr(plugin, hook) for hook in names}
        known = {f"register_{door}" for door in DOORS}
        for hook in marked:
            if hook not in known:
                near = difflib.get_close_matches(hook, known, 1)
                raise PluginError(f"there is no hook {hook}" + (f"; did you mean {near[0]}?" if near else ""))
        self._manager.register(SimpleNamespace(**marked), name)  # which looks at all of it once more
        for hook, offer in marked.items():
            yield hook.removeprefix("register_"), list(offer() or ())

    def _remember_missing(self, report: PluginReport) -> None:
        # Entry points are named folder.file; the file's name is what the config would say.
        folder, _, name = report.entry.partition(".")
        doors = ("metadata_stores", "quota_stores") if folder == "stores" else (folder,)
        for door in doors:
            if door in DOORS and name:
                getattr(self, door).missing[name] = report.reason


def _on_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return ("", "") if entry.dist is None else _name_and_version(entry.dist)


@functools.cache  # the entries of a distribution share it, and for each of the two words it reads its whole metadata
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    return distribution.name, distribution.version

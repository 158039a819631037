"""Tables to settings objects, driven by the dataclass fields; all mistakes are noted, none stops the reading."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from llmhub_core.contracts import safe_text
from llmhub_core.hub.settings import DOORS, Known, Settings
from llmhub_core.hub.settings_of_entries import ProviderSettings
from llmhub_core.hub.settings_values import UNITS, show_seconds, show_size
from llmhub_core.hub.settings_words import KeyPath, Problem, closest, listing, nearest, quoted, type_in_words

FOLDERS = {"provider_kinds": "providers", "metadata_stores": "stores", "quota_stores": "stores"}
"""Doors whose plugins lie in a folder of another name."""

_ARRAYS = {tuple: tuple, list: list, set: set, frozenset: frozenset, Sequence: tuple}
_TYPES = {str: "a string", int: "an integer", float: "a number", bool: "true or false", Path: "a path in quotes"}
_WRONG: Final = object()
"""Stands for a value whose problem has been noted."""


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as its dataclass declares it."""

    name: str
    hint: Any
    default: Any
    rules: Mapping[str, Any]
    required: bool


@functools.cache
def described(cls: type) -> tuple[Described, ...]:
    """The settings of a dataclass, in order. NameError or TypeError if its annotations cannot be understood."""
    hints = typing.get_type_hints(cls)
    return tuple(
        Described(field.name, hints[field.name], _default(field), field.metadata, _is_required(field))
        for field in dataclasses.fields(cls)
        if field.init and not field.metadata.get("hidden")
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _is_required(field: dataclasses.Field[Any]) -> bool:
    bare = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return bare or bool(field.metadata.get("required"))


def arms(hint: Any) -> tuple[list[Any], bool]:
    """The types that a hint allows, and whether None is one more of them."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        all_arms = typing.get_args(hint)
        return [arm for arm in all_arms if arm is not types.NoneType], types.NoneType in all_arms
    return [hint], False


class Reader:
    """Reads one document; `problems` grows. What could not be read has its default in the result."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.problems: list[Problem] = []

    def settings(self, document: Mapping[str, Any]) -> Settings:
        own = {key: value for key, value in document.items() if key not in DOORS}
        settings = self._table(Settings, own, (), beside=DOORS)
        plugins = {door: self._door(door, document.get(door, {})) for door in DOORS}
        return typing.cast(Settings, dataclasses.replace(settings, plugins=plugins))

    def _note(self, path: KeyPath, text: str, at: Literal["key", "value"] = "value") -> Any:
        self.problems.append(Problem(path, text, at))
        return _WRONG

    # Plugins: whose settings a table is, its name decides.

    def _door(self, door: str, tables: Any) -> dict[str, Any]:
        if not isinstance(tables, dict):
            self._note((door,), f"must be tables, one a name: [{door}.NAME]")
            return {}
        read: dict[str, Any] = {}
        for name, table in tables.items():
            cls = self._plugin(door, name, (door, name), "key")
            settings = self._table(cls, table, (door, name)) if cls else _WRONG
            if settings is not _WRONG:
                read[name] = settings
        return read

    def _plugin(self, door: str, name: str, path: KeyPath, at: Literal["key", "value"]) -> type | None:
        """The Settings of a plugin; None after noting why there is none."""
        brought: Mapping[str, type] = getattr(self._known, door)
        if name not in brought:
            self._note(path, unknown_plugin(self._known, door, name), at)
            return None
        return brought[name]

    def _provider(self, table: dict[str, Any], path: KeyPath) -> Any:
        """A `[[providers]]` table: our own settings, and beside them those of its kind."""
        own = [field.name for field in described(ProviderSettings)]
        provider = self._table(ProviderSettings, {key: table[key] for key in own if key in table}, path)
        rest = {key: value for key, value in table.items() if key not in own}
        kind = self._plugin("provider_kinds", provider.kind, (*path, "kind"), "value") if provider.kind else None
        options = self._table(kind, rest, path, beside=own) if kind else None
        return dataclasses.replace(provider, options=None if options is _WRONG else options)

    # Tables.

    def _table(self, cls: type, table: Any, path: KeyPath, beside: Iterable[str] = ()) -> Any:
        """An instance of the dataclass `cls`; `beside` are keys that somebody else reads (for suggestions)."""
        try:
            fields = described(cls)
        except (NameError, TypeError, AttributeError) as error:
            return self._note(path, f"cannot be read, its plugin declares no usable Settings: {error}", "key")
        if not isinstance(table, dict):
            self._note(path, f"must be a table, not {type_in_words(table)}")
            return _blank(cls)
        names = [field.name for field in fields]
        for key in table:
            if key not in names:
                self._note((*path, key), f"is not a setting{nearest(key, [*names, *beside])}", "key")
        values: dict[str, Any] = {}
        for field in fields:
            help = f"; {field.rules['help']}" if field.rules.get("help") else ""
            if field.name not in table:
                if field.required:
                    self._note((*path, field.name), f"is missing{help}", "key")
            elif field.required and table[field.name] in ("", []) and not field.rules.get("blank"):
                self._note((*path, field.name), f"is empty{help}")
            else:
                values[field.name] = self._value(table[field.name], field.hint, field.rules, (*path, field.name))
        return self._made(cls, {name: value for name, value in values.items() if value is not _WRONG}, path)

    def _made(self, cls: type, values: dict[str, Any], path: KeyPath) -> Any:
        if any(field.default is dataclasses.MISSING and field.name not in values for field in described(cls)):
            return _WRONG
        try:
            return cls(**values)
        except Exception as error:  # a plugin's __post_init__ may raise anything
            return self._note(path, safe_text(str(error)) or f"is refused by its plugin ({type(error).__name__})")

    # Values.

    def _value(self, raw: Any, hint: Any, rules: Mapping[str, Any], path: KeyPath) -> Any:
        choices, optional = arms(hint)
        if optional and raw == "" and str not in choices:
            return None  # TOML has no null
        if len(choices) == 1:
            return self._one(raw, choices[0], rules, path, optional)
        before = len(self.problems)
        for choice in choices:
            value = self._one(raw, choice, rules, path, optional)
            if len(self.problems) == before:
                return value
            del self.problems[before:]
        return self._note(path, f"must be {_allowed(choices)}, not {type_in_words(raw)}")

    def _one(self, raw: Any, hint: Any, rules: Mapping[str, Any], path: KeyPath, optional: bool) -> Any:
        origin = typing.get_origin(hint) or hint
        if hint is ProviderSettings and isinstance(raw, dict):
            return self._provider(raw, path)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self._table(hint, raw, path)
        if origin in _ARRAYS:
            return self._array(raw, hint, rules, path)
        if origin in (dict, Mapping):
            return self._mapping(raw, hint, rules, path)
        try:
            return scalar(raw, hint, rules, optional)
        except (ValueError, TypeError) as error:
            return self._note(path, str(error))

    def _array(self, raw: Any, hint: Any, rules: Mapping[str, Any], path: KeyPath) -> Any:
        item = (typing.get_args(hint) or (Any,))[0]
        if not isinstance(raw, list):
            what = f"tables: [[{path[-1]}]]" if dataclasses.is_dataclass(item) else "values: [ … ]"
            return self._note(path, f"must be an array of {what}, not {type_in_words(raw)}")
        items = [self._value(one, item, rules, (*path, index)) for index, one in enumerate(raw)]
        make = _ARRAYS[typing.get_origin(hint) or hint]
        return make(one for one in items if one is not _WRONG)

    def _mapping(self, raw: Any, hint: Any, rules: Mapping[str, Any], path: KeyPath) -> Any:
        if not isinstance(raw, dict):
            return self._note(path, f"must be a table, not {type_in_words(raw)}")
        item = (typing.get_args(hint) or (str, Any))[1]
        items = {key: self._value(one, item, rules, (*path, key)) for key, one in raw.items()}
        return {key: one for key, one in items.items() if one is not _WRONG}


def _blank(cls: type) -> Any:
    """Stands in for a table that is none, so that the ones after it keep their numbers."""
    try:
        return cls()
    except Exception:  # a plugin's class that needs values
        return _WRONG


def unknown_plugin(known: Known, door: str, name: str) -> str:
    """Why there is no such plugin: it failed to load, or nobody knows the name."""
    folder = FOLDERS.get(door, door)
    reasons = [known.missing[key] for key in (name, f"{door}.{name}", f"{folder}.{name}") if key in known.missing]
    if reasons:
        return f"{quoted(name)} could not be loaded: {safe_text(reasons[0])}"
    what = f"{quoted(safe_text(name, 40))} is not known"
    names = getattr(known, door)
    failed = [f"{key} ({safe_text(reason)})" for key, reason in known.missing.items() if key.startswith(f"{folder}.")]
    if failed and not closest(name, names):  # one file can bring names that are not its own
        return f"{what}; could not be loaded: {listing(failed)}"
    return what + nearest(name, names)


def scalar(raw: Any, hint: Any, rules: Mapping[str, Any], optional: bool = False) -> Any:
    """A single value, converted and checked; ValueError with half a sentence."""
    unit = rules.get("unit")
    value = UNITS[unit](raw) if unit else _typed(raw, hint)
    if rules.get("parse"):
        value = rules["parse"](value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(value, rules, optional)
    return value


def _typed(raw: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if raw not in choices or isinstance(raw, bool) is not any(isinstance(one, bool) for one in choices):
            said = nearest(raw, map(str, choices), listed=False) if isinstance(raw, str) else ""
            what = quoted(safe_text(raw, 40)) if isinstance(raw, str) else type_in_words(raw)
            shown = [quoted(one) if isinstance(one, str) else str(one) for one in choices]
            raise ValueError(f"must be {' or '.join(shown)}, not {what}{said}")
        return raw
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if hint is Path and isinstance(raw, str):
        return Path(raw)
    if hint in _TYPES and (not isinstance(raw, hint) or isinstance(raw, bool) is not (hint is bool)):
        quotes = isinstance(raw, str) and hint is not str and re.fullmatch(r"\s*([-+\d.]+|true|false)\s*", raw)
        cure = "; write it without quotes" if quotes else ""
        raise ValueError(f"must be {_TYPES[hint]}, not {type_in_words(raw)}{cure}")
    return raw


def _check_range(value: float, rules: Mapping[str, Any], optional: bool) -> None:
    least, most = rules.get("minimum"), rules.get("maximum")
    if math.isfinite(value) and (least is None or value >= least) and (most is None or value <= most):
        return
    show: Callable[[Any], str] = {"seconds": show_seconds, "bytes": show_size}.get(rules.get("unit") or "", str)
    if least is not None and value < least:
        wanted = f"at least {show(least)}"
    elif most is not None and value > most:
        wanted = f"at most {show(most)}"
    else:
        wanted = "a finite number"
    absent = "; leave it out for none" if optional else ""
    raise ValueError(f"must be {wanted}, not {show(value)}{absent}")


def _allowed(choices: Iterable[Any]) -> str:
    return listing(_TYPES.get(choice, "an array or a table") for choice in choices).replace(" and ", " or ")

"""All settings as documentation: the list, and the tables of docs/configuration.md made from it.

``python -m llmhub_core.hub.settings_reference docs/configuration.md`` renews the page.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmhub_core.hub.settings import Settings
from llmhub_core.hub.settings_environment import variables
from llmhub_core.hub.settings_reader import Described, arms, described
from llmhub_core.hub.settings_values import Budget, Moment, show_seconds, show_size

BEGIN = "<!-- settings: made from the code, do not edit -->"
END = "<!-- end of settings -->"

_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Budget: "money in a period",
    Moment: "date or time",
}
_UNITS = {"seconds": "duration", "bytes": "size"}


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """`key` is ``server.port`` or ``providers[].keys[].name``; `default` is written as in TOML, "" if there is
    none; `variable` overrides it, "" where none does."""

    key: str
    type: str
    default: str
    help: str
    required: bool
    variable: str


def reference() -> list[SettingDoc]:
    """Every setting of the hub, in the order of the code. Those of plugins are described by the plugins."""
    return list(_documented(Settings, ""))


def settings_of(cls: type) -> list[SettingDoc]:
    """The same for the Settings of a plugin."""
    return list(_documented(cls, ""))


def _documented(cls: type, prefix: str) -> Iterator[SettingDoc]:
    by_key = {f"{table}.{key}": name for name, (table, key, _) in variables().items()}
    for setting in described(cls):
        key = f"{prefix}{setting.name}"
        nested, many = _nested(setting.hint)
        if nested is not None:
            yield from _documented(nested, f"{key}[]." if many else f"{key}.")
            continue
        yield SettingDoc(
            key,
            _type(setting.hint, setting.rules),
            "" if setting.required else _default(setting),
            setting.rules.get("help", ""),
            setting.required,
            by_key.get(key, ""),
        )


def _nested(hint: Any) -> tuple[type | None, bool]:
    """The dataclass that a setting consists of, and whether it is a list of such."""
    (first, *_), _ = arms(hint)
    many = typing.get_origin(first) is tuple
    item = typing.get_args(first)[0] if many else first
    return (item, many) if isinstance(item, type) and dataclasses.is_dataclass(item) else (None, False)


def _type(hint: Any, rules: Mapping[str, Any]) -> str:
    if rules.get("unit"):
        return _UNITS[rules["unit"]]
    choices, _ = arms(hint)
    return " or ".join(_one_type(choice) for choice in choices)


def _one_type(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(_toml(choice) for choice in inner)
    if origin in (tuple, list, frozenset, set):
        return f"list of {_one_type(inner[0])}s"
    if origin in (dict, Mapping):
        return f"table of {_one_type(inner[1])}s".replace("list of", "lists of").removesuffix("s")
    return _TYPES.get(hint, "any value")


def _default(setting: Described) -> str:
    """As it would be written; "" for none."""
    value, unit = setting.default, setting.rules.get("unit")
    if value is dataclasses.MISSING or (value is None and not unit):
        return ""
    if unit:
        return _toml("" if value is None else show_seconds(value) if unit == "seconds" else show_size(value))
    return _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{}" if not value else "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, tuple | list | set | frozenset):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def tables() -> str:
    """Markdown: a heading and a table for each table of the file."""
    sections: dict[str, list[SettingDoc]] = {}
    for doc in reference():
        sections.setdefault(doc.key.rpartition(".")[0], []).append(doc)
    return "\n".join(_section(name, docs) for name, docs in sections.items())


def _section(name: str, docs: list[SettingDoc]) -> str:
    lines = [f"### {_heading(name)}", "", "| setting | type | default | |", "|---|---|---|---|"]
    for doc in docs:
        default = "**required**" if doc.required else f"`{doc.default}`" if doc.default else "none"
        key = doc.key.rpartition(".")[2]
        kind = doc.type.replace("|", "\\|")
        lines.append(f"| `{key}` | {kind} | {default} | {doc.help} |")
    return "\n".join([*lines, ""])


def _heading(name: str) -> str:
    """``[server]``, ``[[providers.keys]]``; a table inside a table of a list is named by its place."""
    if name.endswith("[]"):
        return f"`[[{name.replace('[]', '')}]]`"
    return f"`[{name}]`" if "[]" not in name else f"`{name.replace('[]', '')} = {{ … }}`"


def renewed(page: str) -> str:
    """`page` with what stands between the markers made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def main(paths: list[str]) -> None:
    for name in paths:
        page = Path(name)
        page.write_text(renewed(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

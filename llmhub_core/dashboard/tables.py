"""Forms of what is configured: the text of fields becomes the table that config.toml would have, and back.

What is wrong with a value is said by the rules of the file alone: a number that is none goes to them as it was typed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.dashboard import provider_forms
from llmhub_core.hub.registry import Registry

Table = dict[str, Any]

LIMITS = ("rpm", "rpd", "tpm", "tpd", "concurrency")
ROW = ("provider", "model", "priority", "weight", "input_price", "output_price")
"""What a form has for each deployment of a route."""
MOST_ROWS = 12
NOT_MORE = {"disabled", "secret", "hash", "hint", "previous", "deployments", "limits", "keys", "preset"}
"""Settings that have a place of their own, or none in a form."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a form of one kind has, besides its name; everything else goes into `more`, as TOML."""

    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        limits = {f"limits.{name}" for name in self.limits}
        return {*self.texts, *self.numbers, *self.lists, *limits, "name", "model", "secret", "more"}


FIELDS: dict[EntryKind, Fields] = {
    "provider": Fields(("kind", "base_url"), lists=("models",)),
    "key": Fields(("group",), ("priority", "weight"), ("models",), LIMITS),
    "route": Fields(("strategy",), lists=("fallbacks",)),
    "token": Fields(("expires",), lists=("models",), limits=(*LIMITS, "budget")),
}


def table(visit: Visit, kind: EntryKind) -> Table:
    """What the form says; fields that were left empty are not in it."""
    fields = FIELDS[kind]
    found = _more(visit.text("more"))
    found |= {name: visit.text(name).strip() for name in fields.texts}
    found |= {name: provider_forms.number(visit.text(name)) for name in fields.numbers}
    found |= {name: visit.text(name).replace(",", " ").split() for name in fields.lists}
    limits = {name: provider_forms.number(visit.text(f"limits.{name}")) for name in fields.limits}
    found["limits"] = {name: value for name, value in limits.items() if value != ""}
    if kind == "key":
        found["secret"] = visit.text("secret").strip()
    elif kind == "provider":
        found["kind"], _, found["preset"] = found["kind"].partition(":")
        found |= provider_forms.sent(visit, found["kind"])
    elif kind == "route":
        found["deployments"] = list(_rows(visit))
    return {name: value for name, value in found.items() if value not in ("", [], {})}


def _rows(visit: Visit) -> Iterator[Table]:
    for row in range(MOST_ROWS):
        cells = {name: visit.text(f"deployments[{row}].{name}").strip() for name in ROW}
        if cells["model"]:
            line = {
                name: provider_forms.number(value) if name not in ("provider", "model") else value
                for name, value in cells.items()
            }
            yield {name: value for name, value in line.items() if value != ""}


def _more(text: str) -> Table:
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except ValueError as error:
        raise unusable(f"This is no TOML: {error}.", 'Write a setting a line, as in: reset = "UTC".', "more") from None


def difference(kind: EntryKind, settings: Mapping[str, Any], wanted: Table) -> Table:
    """What a form changes of an entry; None is the default again. What no form shows stays."""
    keep = {"disabled", "secret", "previous", "hint"}
    patch = {name: wanted.get(name) for name in {*settings, *wanted} - keep if settings.get(name) != wanted.get(name)}
    return patch | ({"secret": wanted["secret"]} if "secret" in wanted else {})


def texts(kind: EntryKind, settings: Mapping[str, Any], registry: Registry) -> dict[str, str]:
    """An entry as a form shows it."""
    fields = FIELDS[kind]
    shown = {name: str(settings.get(name, "")) for name in (*fields.texts, *fields.numbers)}
    shown |= {name: "\n".join(map(str, settings.get(name, ()))) for name in fields.lists}
    limits = settings.get("limits", {})
    shown |= {f"limits.{name}": str(limits.get(name, "")) for name in fields.limits}
    if kind == "provider" and settings.get("preset"):
        shown["kind"] += f":{settings['preset']}"
    for number, row in enumerate(settings.get("deployments", ())):
        shown |= {f"deployments[{number}].{name}": str(row.get(name, "")) for name in ROW}
    own = provider_forms.shown(registry, settings) if kind == "provider" else {}
    named = {*NOT_MORE, *shown, *(field.partition(".")[2] for field in own)}
    rest = {name: value for name, value in settings.items() if name not in named}
    return {**shown, **own} | {"more": "\n".join(f"{_key(name)} = {_toml(value)}" for name, value in rest.items())}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(name))} = {_toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def beside(denied: Denied, kind: EntryKind, visit: Visit) -> Denied:
    """With the field of the form that it is about, or none where the form has no such field."""
    denied.field = _field(denied.field, kind, visit)
    if denied.code == "changed_meanwhile":
        denied.advice = "What you wanted is still in the form: save again to have it so, or open the page anew."
    if not denied.faults:
        return denied
    faults: dict[str, str] = {}
    for place, said in denied.faults.items():
        field = _field(place, kind, visit)
        # Whatever is typed is a string, and has no quotes; what is missing is named above its field.
        said = "is missing" if said.startswith("is missing; ") else said
        said = said.removesuffix("; write it without quotes").removesuffix(", not a string")
        said = f"{said[:1].upper()}{said[1:]}." if field else f"{place}: {said}."
        faults[field] = f"{faults[field]} {said}" if field in faults else said
    if "" in faults:
        denied.field, denied.message = "", faults.pop("")
    denied.faults = faults
    return denied


def _field(place: str, kind: EntryKind, visit: Visit) -> str:
    """That of the form for a setting of the entry; "" if it has none."""
    names = FIELDS[kind].names
    field = place
    if kind == "provider":
        own = _own(place, visit)
        field, names = "kind" if place == "preset" else own or place, names | {own}
    elif kind == "route":
        names = names | {"deployments"}
    row = kind == "route" and re.fullmatch(r"deployments\[\d+\]\.(\w+)", field)
    if row and row[1] in ROW:
        return field
    first = re.split(r"[.\[]", field)[0]
    return next((name for name in (field, first) if name in names), "")


def _own(name: str, visit: Visit) -> str:
    """The field of a setting that its kind alone asks for; "" for every other."""
    kind = visit.text("kind").partition(":")[0]
    asked = provider_forms.asked_of(visit.control.hub.registry, kind)
    return next((each.field for each in asked if each.name == name), "")

"""What a form of a provider asks beside name and address: it depends on the kind, and comes from the plugins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from llmhub_core.admin.doors import Visit
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_reader import arms, described

ELSEWHERE = ("base_url", "preset")
"""Settings of kinds that every form has a place for."""
_ABBREVIATED = {"api": "API", "id": "id", "url": "URL"}

Kind = Literal["text", "number", "list", "flag", "choice"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A setting of one kind, as its form asks for it. `name` is its own, `field` that of the form."""

    name: str
    field: str
    label: str
    help: str
    kind: Kind
    required: bool
    default: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KindForm:
    """A kind of provider: its title, what the secret of a key is there, and its own settings."""

    name: str
    title: str
    key_help: str
    asked: tuple[Asked, ...]


def kind_forms(registry: Registry) -> list[KindForm]:
    return [
        KindForm(cls.name, cls.title or _words(cls.name), cls.key_help, tuple(_asked(cls.name, cls.Settings)))
        for cls in registry.providers
    ]


def kinds(registry: Registry, chosen: str = "") -> list[tuple[str, str]]:
    """What a provider may be, by title: the kinds that plugins brought, and the places that these know by a preset
    (``kind:preset``). `chosen` is among them whatever it is."""
    found = {form.name: form.title for form in kind_forms(registry)}
    found |= {f"{cls.name}:{preset}": title for cls in registry.providers for preset, title in cls.presets.items()}
    if chosen and chosen not in found:
        found[chosen] = chosen.replace(":", ", ")
    return sorted(found.items(), key=lambda item: item[1].casefold())


def asked_of(registry: Registry, kind: str) -> tuple[Asked, ...]:
    """The settings of a kind that its form asks for; none for a kind that nobody brought."""
    return next((form.asked for form in kind_forms(registry) if form.name == kind), ())


def sent(visit: Visit, kind: str) -> dict[str, Any]:
    """What was written into the fields of that kind; what is no number stays text, and the rules complain of it."""
    found: dict[str, Any] = {}
    for asked in asked_of(visit.control.hub.registry, kind):
        text = visit.text(asked.field).strip()
        if text == "":
            continue
        if asked.kind == "number":
            found[asked.name] = number(text)
        elif asked.kind == "list":
            found[asked.name] = text.replace(",", " ").split()
        elif asked.kind == "flag":
            found[asked.name] = text == "yes"
        else:
            found[asked.name] = text
    return found


def shown(registry: Registry, settings: Mapping[str, Any]) -> dict[str, str]:
    """The same fields of a provider that is there."""
    texts: dict[str, str] = {}
    for asked in asked_of(registry, str(settings.get("kind", ""))):
        value = settings.get(asked.name, "")
        if isinstance(value, list | tuple):
            value = " ".join(map(str, value))
        texts[asked.field] = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return texts


def number(text: str) -> Any:
    """As a number, or as it was typed: the rules say what is wrong with it."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[0-9]{1,12}\.[0-9]{1,9}", text) else text


def _asked(kind: str, settings: type) -> Iterator[Asked]:
    for setting in described(settings):
        sort, choices = _sort(setting.hint)
        if sort is None or setting.name in ELSEWHERE:
            continue
        default = "" if setting.required or not isinstance(setting.default, str | int | float) else setting.default
        yield Asked(
            setting.name,
            f"{kind}.{setting.name}",
            _words(setting.name),
            str(setting.rules.get("help", "")),
            sort,
            setting.required,
            ("yes" if default else "no") if isinstance(default, bool) else str(default),
            choices,
        )


def _sort(hint: Any) -> tuple[Kind | None, tuple[str, ...]]:
    """How it is asked for; None for what only TOML can say."""
    (first, *others), _ = arms(hint)
    if others:
        return None, ()
    if get_origin(first) is Literal:
        return "choice", tuple(str(each) for each in get_args(first) if each != "")
    if get_origin(first) is tuple:
        return ("list", ()) if get_args(first)[0] is str else (None, ())
    plain: dict[Any, Kind] = {str: "text", int: "number", float: "number", bool: "flag"}
    return plain.get(first), ()


def _words(name: str) -> str:
    words = [_ABBREVIATED.get(word, word) for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])

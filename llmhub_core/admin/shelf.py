"""What is configured, entry by entry: from the file or stored beside it, as it may be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmhub_core.contracts.configuration import Entry, EntryKind
from llmhub_core.hub import vault
from llmhub_core.hub.entry_secrets import secret_options
from llmhub_core.hub.settings import Known, Loaded
from llmhub_core.hub.settings_entries import NAMES, TABLES, Id, Merged
from llmhub_core.hub.settings_origins import Origin, Origins

MASKED = "***"
_A_NAME = re.compile(r"env:[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Item:
    """`table` is what the file would say, without secrets; `revision` 0 where nothing is stored; `problem` why it does
    not count, "" if it does."""

    kind: EntryKind
    name: str
    origin: Origin
    table: Mapping[str, Any]
    revision: int = 0
    problem: str = ""

    @property
    def from_file(self) -> bool:
        return self.origin.kind != "stored"

    @property
    def disabled(self) -> bool:
        return bool(self.table.get("disabled", False))


@dataclass(frozen=True, slots=True)
class Shelf:
    """All of it at one moment. `entries` are those of the store; `opened` the secrets of its keys, where they are at
    hand."""

    loaded: Loaded
    merged: Merged
    known: Known
    entries: Mapping[Id, Entry] = field(default_factory=dict)
    opened: Mapping[str, vault.Secret | str] = field(default_factory=dict, repr=False)

    def items(self, kind: EntryKind) -> Iterator[Item]:
        """Those of the file first, in its order."""
        problems = {(out.kind, out.name): out.why for out in self.merged.left_out}
        there = set()
        for name, table, place in self.tables(kind):
            there.add(name)
            yield self._of_file(kind, name, table, place)
        for (its_kind, name), entry in self.entries.items():
            if its_kind == kind and name not in there:
                table = masked(kind, body_of(entry), self.known)
                if entry.sealed:
                    secret = self.opened.get(name)
                    table["secret"] = mask(secret) if isinstance(secret, vault.Secret) else MASKED
                origin = Origin("stored")
                yield Item(kind, name, origin, table, entry.revision, problems.get((kind, name), ""))

    def names(self, kind: EntryKind) -> list[str]:
        """Of the same, in the same order."""
        names = dict.fromkeys(name for name, _, _ in self.tables(kind))
        return list(names | dict.fromkeys(name for its_kind, name in self.entries if its_kind == kind))

    def item(self, kind: EntryKind, name: str) -> Item | None:
        return next((item for item in self.items(kind) if item.name == name), None)

    def _of_file(self, kind: EntryKind, name: str, table: Mapping[str, Any], place: tuple[str | int, ...]) -> Item:
        shown = masked(kind, table, self.known)
        entry = self.entries.get((kind, name))
        if entry is not None and is_switch(body_of(entry)):
            shown = {**shown, **body_of(entry)}
        return Item(kind, name, Origins(self.loaded).of(place), shown, 0 if entry is None else entry.revision)

    def tables(self, kind: EntryKind) -> Iterator[tuple[str, Mapping[str, Any], tuple[str | int, ...]]]:
        """Name, table and place of what the file says; keys by their provider's."""
        above = "provider" if kind == "key" else kind
        for index, table in enumerate(self.loaded.document.get(TABLES[above], ())):
            name = str(table.get(NAMES[above], ""))
            if kind != "key":
                yield name, {key: each for key, each in table.items() if key != "keys"}, (TABLES[above], index)
                continue
            for number, key in enumerate(table.get("keys", ())):
                yield f"{name}/{key.get('name', '')}", key, ("providers", index, "keys", number)


def body_of(entry: Entry) -> dict[str, Any]:
    """What an entry says; {} if it cannot be read, which is told elsewhere."""
    try:
        body = json.loads(entry.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def is_switch(body: Mapping[str, Any]) -> bool:
    """Whether an entry only says of something in the file whether it is used."""
    return set(body) == {"disabled"}


def mask_of(reference: str) -> str:
    """How a secret, or the reference to one, may be shown."""
    place, _ = vault.split(reference)
    if place == "none":
        return ""
    if place == "file" or (place == "env" and _A_NAME.fullmatch(reference)):
        return reference
    return mask(vault.Secret(reference)) if place == "literal" else MASKED


def mask(secret: vault.Secret) -> str:
    return f"…{secret.hint}" if secret.hint else MASKED


def masked(kind: EntryKind, table: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """Without secrets, and without the digests of tokens."""
    shown = {name: value for name, value in table.items() if name != NAMES[kind]}
    if kind == "token":
        shown.pop("hash", None)
        if isinstance(shown.get("previous"), dict):
            shown["previous"] = {"until": shown["previous"].get("until")}
    elif kind == "key":
        reference = shown.pop("secret", "")
        shown["secret"] = mask_of(reference if isinstance(reference, str) else "")
    elif kind == "provider":
        for name in secret_options(known.provider_kinds.get(str(table.get("kind", "")))):
            if shown.get(name):
                shown[name] = MASKED
        if isinstance(shown.get("headers"), dict):  # people put secrets there all the same
            shown["headers"] = dict.fromkeys(shown["headers"], MASKED)
    return {name: _plain(value) for name, value in shown.items()}


def _plain(value: Any) -> Any:
    """As JSON has it: TOML knows dates."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value)

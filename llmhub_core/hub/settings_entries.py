"""The file's document and what was added to it while the hub ran, as one: read and checked by the same rules.

The file stands by itself, and names nothing that is only stored. An entry named like something of the file counts only
if it says nothing but whether that is used: ``{"disabled": true}``. A stored entry that cannot be used is left out and
says why; it never keeps anything else from counting, for a token's end must not wait until a route is mended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmhub_core.contracts import Entry, EntryKind, SettingsError
from llmhub_core.hub import settings_rules, vault
from llmhub_core.hub.settings import Known, Settings
from llmhub_core.hub.settings_reader import Reader
from llmhub_core.hub.settings_words import KeyPath, in_words, nearest, quoted, type_in_words

Id = tuple[EntryKind, str]

TABLES: Mapping[EntryKind, str] = {"provider": "providers", "key": "keys", "route": "routes", "token": "tokens"}
NAMES: Mapping[EntryKind, str] = {"provider": "name", "key": "name", "route": "model", "token": "name"}
"""The setting that an entry's name stands for."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that does not count; `shadowed` if only because the file has one of that name."""

    kind: EntryKind
    name: str
    why: str
    shadowed: bool = False

    def __str__(self) -> str:
        return f"stored {self.kind} {self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Merged:
    """`counting` are the entries that are part of `settings`, `left_out` all others."""

    settings: Settings
    counting: Mapping[Id, Entry] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()


def merge(
    document: Mapping[str, Any],
    entries: Iterable[Entry],
    known: Known,
    environ: Mapping[str, str],
    base: Path,
    unusable: Mapping[Id, str] = {},
) -> Merged:
    """`document` is the file's, which was found good by itself; `unusable` are entries that turned out to be, and why.
    SettingsError if something is wrong that no entry is the cause of."""
    left_out = [LeftOut(*id, why) for id, why in unusable.items()]
    remaining = [entry for entry in entries if (entry.kind, entry.name) not in unusable]
    while True:
        together = _Together(document)
        for entry in remaining:
            together.add(entry)
        reader = Reader(known)
        settings = reader.settings(together.document)
        wrong: dict[Id, str] = {}
        for problem in (*reader.problems, *settings_rules.problems(settings, known, environ, base)):
            id, rest = together.whose(problem.path)
            if id is None:
                raise SettingsError([f"{in_words(problem.path)}: {problem.text}"])
            words = f"{in_words(rest)}: {problem.text}" if rest else problem.text
            wrong[id] = f"{wrong[id]}; {words}" if id in wrong else words
        if not wrong:
            return Merged(settings, together.counting, (*left_out, *together.left_out))
        left_out += [LeftOut(*id, why) for id, why in wrong.items()]
        remaining = [entry for entry in remaining if (entry.kind, entry.name) not in wrong]


class _Together:
    """The document that grows, and which entry each new place of it belongs to."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)
        for table in ("providers", "routes", "tokens"):
            self.document[table] = list(document.get(table, ()))
        self.counting: dict[Id, Entry] = {}
        self.left_out: list[LeftOut] = []
        self._owners: dict[KeyPath, Id] = {}
        self._places = {
            (kind, table.get(NAMES[kind])): index
            for kind in ("provider", "route", "token")
            for index, table in enumerate(self.document[TABLES[kind]])
        }

    def add(self, entry: Entry) -> None:
        """Entries come providers first."""
        try:
            if entry.kind == "key":
                self._add_key(entry)
            else:
                self._add(entry)
        except ValueError as problem:
            self.left_out.append(LeftOut(entry.kind, entry.name, str(problem)))
        except _Shadowed as problem:
            self.left_out.append(LeftOut(entry.kind, entry.name, str(problem), shadowed=True))

    def whose(self, path: KeyPath) -> tuple[Id | None, KeyPath]:
        """The entry that a place of the document belongs to, and the place within it."""
        for length in (4, 2):
            owner = self._owners.get(path[:length])
            if owner is not None:
                return owner, path[length:]
        return None, path

    def _add(self, entry: Entry) -> None:
        body = _body(entry)
        place = self._places.get((entry.kind, entry.name))
        if place is not None:
            tables = self.document[TABLES[entry.kind]]
            tables[place] = self._switched(entry, body, tables[place])
            return
        if entry.kind == "provider" and body.get("keys"):
            raise ValueError("keys: are entries of their own, named provider/key")
        tables = self.document[TABLES[entry.kind]]
        self._places[entry.kind, entry.name] = len(tables)
        self._take(entry, (TABLES[entry.kind], len(tables)))
        tables.append({**body, NAMES[entry.kind]: entry.name})

    def _add_key(self, entry: Entry) -> None:
        provider, slash, name = entry.name.partition("/")
        if not slash:
            raise ValueError("is not named provider/key")
        place = self._places.get(("provider", provider))
        if place is None:
            names = [name for kind, name in self._places if kind == "provider" and isinstance(name, str)]
            raise ValueError(f"there is no provider {quoted(provider)}{nearest(provider, names)}")
        table = self.document["providers"][place]
        keys = list(table.get("keys", ()))
        body = _body(entry)
        for number, key in enumerate(keys):
            if key.get("name") == name:
                keys[number] = self._switched(entry, body, key)
                self.document["providers"][place] = {**table, "keys": keys}
                return
        secret = body.setdefault("secret", "")
        if isinstance(secret, str) and vault.split(secret)[0] == "literal":
            raise ValueError("secret: lies here in the open; store it sealed, or write env:NAME or file:/path")
        self._take(entry, ("providers", place, "keys", len(keys)))
        self.document["providers"][place] = {**table, "keys": [*keys, {**body, "name": name}]}

    def _switched(self, entry: Entry, body: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
        """A table of the file of which an entry says only whether it is used: that counts over the file."""
        if set(body) != {"disabled"} or not isinstance(body["disabled"], bool):
            raise _Shadowed
        self.counting[entry.kind, entry.name] = entry
        return {**table, **body}

    def _take(self, entry: Entry, path: KeyPath) -> None:
        self._owners[path] = entry.kind, entry.name
        self.counting[entry.kind, entry.name] = entry


class _Shadowed(Exception):
    def __init__(self) -> None:
        super().__init__("the file has one of that name, which counts; remove or rename one of them")


def _body(entry: Entry) -> dict[str, Any]:
    try:
        body = json.loads(entry.body)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(body, dict):
        raise ValueError(f"must be a table, not {type_in_words(body)}")  # noqa: TRY004 — of what is written there
    return {key: value for key, value in body.items() if value is not None}  # TOML has no null

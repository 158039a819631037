"""Many provider keys at once: lines, CSV, JSON or a file of variables, with a word about each."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmhub_core.admin.entries import By, Entries
from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.shelf import mask
from llmhub_core.admin.views import ImportedKey, ImportView
from llmhub_core.contracts.configuration import ABSENT, Entry
from llmhub_core.hub.vault import Secret

Format = Literal["auto", "lines", "csv", "json", "env"]

MOST_KEYS = 5000
LIMITS = ("rpm", "rpd", "tpm", "tpd", "concurrency")
NUMBERS = ("priority", "weight", *LIMITS)
COLUMNS = ("name", "secret", "priority", "weight", "group", "models", "reset", *LIMITS)

_VARIABLE = re.compile(r"(?:export\s+)?([A-Z_][A-Z0-9_]*)\s*=\s*(\S.*)")
"""A line of a file of variables. A secret that ends in = is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of what was sent: the key's table, or why it is none."""

    line: int
    table: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a line. `hint` is how its secret may be shown."""

    line: int
    name: str
    hint: str
    result: Literal["added", "duplicate", "refused"]
    why: str = ""


def rows(text: str, format: Format) -> list[Row]:
    """Denied if the whole cannot be read."""
    if format == "auto":
        start = text.lstrip()
        first = start.partition("\n")[0].lower()
        format = "json" if start.startswith(("[", "{")) else "csv" if "," in first and "secret" in first else "lines"
        if format == "lines" and all(_VARIABLE.fullmatch(line) for _, line in _said(text)):
            format = "env"
    found = list({"lines": _lines, "csv": _csv, "json": _json, "env": _env}[format](text))
    if not found:
        raise unusable("There is no key in it.", "Send one key a line, or CSV with a column secret, or a JSON array.")
    if len(found) > MOST_KEYS:
        raise unusable(f"These are {len(found):,} keys.", f"Send {MOST_KEYS:,} at most at once.")
    return found


def _said(text: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, with their number."""
    for number, line in enumerate(text.splitlines(), 1):
        if (said := line.strip()) and not said.startswith("#"):
            yield number, said


def _lines(text: str) -> Iterator[Row]:
    for number, secret in _said(text):
        yield Row(number, {"secret": secret})


def _env(text: str) -> Iterator[Row]:
    """Each key is called as its variable: OPENAI_API_KEY_2 is openai-api-key-2."""
    for number, line in _said(text):
        found = _VARIABLE.fullmatch(line)
        if found is None:
            yield Row(number, {}, "is not NAME=secret")
            continue
        name, value = found[1].lower().replace("_", "-").strip("-"), found[2].strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        secret = value[1:-1] if quoted else value.partition(" #")[0].rstrip()
        yield Row(number, {"name": name, "secret": secret})


def _csv(text: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text.lstrip()), skipinitialspace=True)
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    if "secret" not in names or (unknown := [name for name in names if name not in COLUMNS]):
        wrong = "no column secret" if "secret" not in names else f"a column {unknown[0]} that is not known"
        raise unusable(f"The CSV has {wrong}.", f"Its first line may name: {', '.join(COLUMNS)}.")
    reader.fieldnames = names
    for cells in reader:
        if None in cells or not any(cells.values()):
            if None in cells:
                yield Row(reader.line_num, {}, "has more cells than the first line")
            continue
        yield _row(reader.line_num, {name: (value or "").strip() for name, value in cells.items()})


def _row(line: int, cells: Mapping[str, str]) -> Row:
    table: dict[str, Any] = {name: value for name, value in cells.items() if value}
    for name in NUMBERS:
        if name in table:
            if not table[name].isascii() or not table[name].isdigit():
                return Row(line, table, f"{name} must be a whole number")
            table[name] = int(table[name])
    limits = {name: table.pop(name) for name in LIMITS if name in table}
    if limits:
        table["limits"] = limits
    if "models" in table:
        table["models"] = table["models"].split()
    return Row(line, table)


def _json(text: str) -> Iterator[Row]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unusable(f"That is no JSON: {error}.", "Send an array of secrets, or of tables with a secret.") from None
    entries = found.get("keys") if isinstance(found, dict) else found
    if not isinstance(entries, list):
        raise unusable("The JSON must be an array.", "Its items are secrets, or tables with a secret.")
    for number, each in enumerate(entries, 1):
        if isinstance(each, str):
            yield Row(number, {"secret": each.strip()})
        elif isinstance(each, dict):
            yield Row(number, each)
        else:
            yield Row(number, {}, "is neither a secret nor a table")


async def take(
    entries: Entries,
    provider: str,
    found: Iterable[Row],
    defaults: Mapping[str, Any],
    prefix: str,
    by: By,
    dry_run: bool = False,
) -> list[Imported]:
    """Every good line is stored, whatever becomes of the others."""
    shelf = await entries.shelf()
    if shelf.item("provider", provider) is None:
        raise not_found(f"provider {provider}")
    known = {secret: id for id, secret in entries.secrets(shelf, provider)}
    names = {name.partition("/")[2] for name in shelf.names("key") if name.startswith(f"{provider}/")}
    told: list[Imported] = []
    new: dict[int, Entry] = {}
    for row in found:
        table = {**defaults, **row.table}
        text = table.pop("secret", "")
        secret = Secret(text.strip() if isinstance(text, str) else "")
        hint = mask(secret) if secret else ""
        name = str(table.pop("name", "") or _free(prefix, names))
        if row.why or not secret:
            told.append(Imported(row.line, name, hint, "refused", row.why or "has no secret"))
            continue
        if secret in known:
            told.append(Imported(row.line, name, hint, "duplicate", f"the same as {known[secret]}"))
            continue
        if name in names:
            told.append(Imported(row.line, name, hint, "refused", f"there is a key {provider}/{name} already"))
            continue
        try:
            id = f"{provider}/{name}"
            entry = entries.sealed(shelf, Entry("key", id, ""), {**table, "secret": secret.reveal()}, by)
        except Denied as denied:
            told.append(Imported(row.line, name, hint, "refused", denied.message))
            continue
        known[secret], new[len(told)] = id, entry
        names.add(name)
        told.append(Imported(row.line, name, hint, "added"))
    wrong = await entries.look(shelf, new.values())
    stored = []
    for place, entry in new.items():
        why = wrong.get(("key", entry.name), "")
        if not why and not dry_run:
            why = "" if await entries.store.put(entry, ABSENT) else "somebody else added it meanwhile"
        if why:
            told[place] = replace(told[place], result="refused", why=why)
        else:
            stored.append(entry.name)
    if stored and not dry_run:
        await entries.note(by, "key.import", provider, None, {"keys": stored})
    return told


def view(told: Sequence[Imported], dry_run: bool) -> ImportView:
    """As it is told by the admin API and by the command."""
    results = Counter(each.result for each in told)
    return ImportView(
        added=results["added"],
        duplicates=results["duplicate"],
        refused=results["refused"],
        dry_run=dry_run,
        items=[ImportedKey(**{name: getattr(each, name) for name in ImportedKey.__struct_fields__}) for each in told],
    )


def _free(prefix: str, names: set[str]) -> str:
    number = 1
    while f"{prefix}-{number}" in names:
        number += 1
    return f"{prefix}-{number}"

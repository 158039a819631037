"""Providers, keys, routes and tokens out of a file: which of them can stand here, and what they still need."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llmhub_core.admin.entries import Entries, dumped
from llmhub_core.admin.shelf import Shelf, body_of
from llmhub_core.contracts.archive import Archive
from llmhub_core.contracts.configuration import Entry
from llmhub_core.hub.settings_entries import Id
from llmhub_core.hub.tokens import KEYED
from llmhub_core.hub.vault import NEEDED, Secret, Vault
from llmhub_core.moving.report import PartReport

Line = Mapping[str, Any]

GIVE_AGAIN = {
    "key": "its secret: on the page of keys, or llm-hub key edit {name} --set secret=env:NAME",
    "provider": "{what}: on the page of providers, or llm-hub provider edit {name} --set …",
}


@dataclass(slots=True)
class CarriedEntries:
    """`opened_by` opens what the file has sealed, None without a passphrase; `tokens_count` says whether client tokens
    of the file are checked by the same secret here."""

    entries: Entries
    shelf: Shelf
    opened_by: Vault | None
    tokens_count: bool
    report: PartReport

    async def sorted_out(self, lines: Iterable[Line]) -> list[Entry]:
        """Those that are new here and can be used, ready to be stored; all others are in the report."""
        new: dict[Id, Entry] = {}
        for line in lines:
            entry = self._entry(line)
            if entry is not None:
                new[entry.kind, entry.name] = entry
        waiting: list[Entry] = []
        for _ in range(len(new) + 1):  # what is refused may be what others need
            wrong = await self.entries.look(self.shelf, new.values())
            mine = {id: why for id, why in wrong.items() if id in new}
            for (kind, name), why in wrong.items():
                if (kind, name) not in new:
                    self.report.notes.append(f"{kind} {name}, which is here, would not count any more: {why}")
            if not mine:
                break
            for (kind, name), why in mine.items():
                entry = new.pop((kind, name))
                if kind == "key" and why.startswith("secret: leads to "):
                    waiting.append(entry)  # counts as soon as the secret is there
                    self.report.needs[f"key {name}"] = (
                        f"its secret where it is looked for: it {why.removeprefix('secret: ')}"
                    )
                    continue
                self.report.refuse(f"{kind} {name}", why)
                self.report.needs.pop(f"{kind} {name}", None)
        self.report.added += len(new) + len(waiting)
        return [*new.values(), *waiting]

    def _entry(self, line: Line) -> Entry | None:
        kind, name = line["kind"], line["name"]
        called = f"{kind} {name}"
        secrets = self._secrets(line)
        body = {**line["body"], **{key: value for key, value in secrets.items() if key != "secret"}}
        item = self.shelf.item(kind, name)
        if item is not None:
            self._compare(line, body, secrets)
            return None
        if kind == "token" and str(body.get("hash", "")).startswith(KEYED) and not self.tokens_count:
            self.report.refuse(called, "is checked by a secret that this hub has not; make it anew: llm-hub token add")
            return None
        missing = [each for each in line.get("needs", ()) if each not in secrets]
        if missing:
            self.report.needs[called] = GIVE_AGAIN[kind].format(name=name, what=" and ".join(missing))
        sealed = ""
        if "secret" in line.get("needs", ()):
            sealed = self.entries.vault.seal(kind, name, secrets["secret"]) if "secret" in secrets else NEEDED
        return Entry(kind, name, dumped(body), sealed, changed_at=line.get("changed_at") or time.time())

    def _secrets(self, line: Line) -> dict[str, Any]:
        if "secret" in line:  # of a file that has them in the open
            return {"secret": line["secret"]}
        if self.opened_by is None or not line.get("sealed"):
            return {}
        found = json.loads(self.opened_by.open(line["kind"], line["name"], line["sealed"]).reveal())
        return dict(found)

    def _compare(self, line: Line, body: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
        kind, name = line["kind"], line["name"]
        here = self.shelf.entries.get((kind, name))
        if here is None or (is_of_file := self._of_file(line)):
            if here is not None and is_of_file and body_of(here) == dict(body):
                self.report.same += 1
                return
            self.report.conflict(f"{kind} {name}", "the configuration file has one, which counts")
            return
        missing = {each for each in line.get("needs", ()) if each not in secrets}
        there = {key: value for key, value in body_of(here).items() if key not in missing}
        known = self.shelf.opened.get(name) if kind == "key" else None
        if there != dict(body):
            self.report.conflict(f"{kind} {name}", "the one that is here has other settings")
        elif "secret" in secrets and known != Secret(secrets["secret"]):
            why = "has another secret" if isinstance(known, Secret) else "cannot be opened, or has no secret"
            self.report.conflict(f"{kind} {name}", f"the one that is here {why}")
        else:
            self.report.same += 1

    def _of_file(self, line: Line) -> bool:
        item = self.shelf.item(line["kind"], line["name"])
        return item is not None and item.from_file


async def store_entries(archive: Archive, new: Sequence[Entry], report: PartReport) -> None:
    """All of them or none."""
    async with archive.intake() as intake:
        report.added = await intake.add("configuration", [asdict(entry) for entry in new])

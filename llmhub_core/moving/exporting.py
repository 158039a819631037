"""What lasts, into a file: as it is at one moment, while hubs go on writing."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmhub_core import __version__
from llmhub_core.contracts.archive import Archive, Part, Row, Snapshot
from llmhub_core.contracts.configuration import Entry
from llmhub_core.hub.entry_secrets import HEADERS, opened, parted
from llmhub_core.hub.settings import Known
from llmhub_core.hub.tokens import PURPOSE
from llmhub_core.hub.vault import CannotOpen, Vault
from llmhub_core.moving.copy_file import Line, Writer, writing
from llmhub_core.moving.passphrase import Sealing

ROWS: Mapping[str, Part] = {
    "audit": "audit",
    "alert": "alerts",
    "alert_mute": "alert_mutes",
    "usage_hour": "usage_hours",
    "usage_total": "usage_totals",
}
"""Lines that are rows as the store has them."""

FINGERPRINT = "fingerprint of the secret behind client tokens"


@dataclass(slots=True)
class Exported:
    """`needed` names what was left without its secret, `lost` what could not be opened, and why."""

    counts: Counter[str] = field(default_factory=Counter)
    needed: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)


def fingerprint(vault: Vault) -> str:
    """By which two hubs know whether they check client tokens by the same secret; tells nothing about it."""
    return "" if vault.stable is None else f"{vault.derive(FINGERPRINT)[:8].hex()}"


@dataclass(slots=True)
class Exporter:
    """`sealing` is None for a file without secrets; `records` says whether single requests go along; `tell` is told
    how far it is: what, how many are done, how many there are."""

    archive: Archive
    vault: Vault
    known: Known
    sealing: Sealing | None
    records: bool
    tell: Callable[[str, int, int], None] = lambda what, done, total: None
    made: Exported = field(default_factory=Exported)

    async def write(self, path: Path) -> Exported:
        """StartError if the file cannot be made."""
        with writing(path) as writer:
            async with self.archive.snapshot() as snapshot:
                writer.head(
                    {
                        "version": __version__,
                        "made_at": time.time(),
                        "records": self.records,
                        "tokens": fingerprint(self.vault),
                        "sealing": None if self.sealing is None else self.sealing.head,
                    }
                )
                self._token_secret(writer)
                await self._entries(writer, snapshot)
                await self._people(writer, snapshot)
                for kind, part in ROWS.items():
                    await self._rows(writer, snapshot, kind, part)
                if self.records:
                    await self._records(writer, snapshot)
        self.made.counts = writer.counts
        return self.made

    def _token_secret(self, writer: Writer) -> None:
        if self.vault.stable is not None and self.sealing is not None:
            sealed = self.sealing.vault.seal("token_secret", "", self.vault.stable)
            writer.add("token_secret", {"purpose": PURPOSE, "sealed": sealed})

    async def _entries(self, writer: Writer, snapshot: Snapshot) -> None:
        async for batch in snapshot.rows("configuration"):
            for row in batch:
                writer.add("entry", self._entry(row))

    def _entry(self, row: Row) -> Line:
        kind, name = row["kind"], row["name"]
        try:
            body = json.loads(row["body"])
        except ValueError:
            body = {}
        secrets: dict[str, Any] = {}
        if kind == "provider":
            body, secrets = parted(body, self.known)
        if kind == "provider" and row["sealed"]:
            try:
                secrets |= opened(Entry(kind, name, row["body"], row["sealed"]), self.vault)
            except CannotOpen as error:
                self.made.lost[f"{kind} {name}"] = str(error)
                secrets[HEADERS] = None
        elif row["sealed"]:
            try:
                secrets["secret"] = self.vault.open(kind, name, row["sealed"]).reveal()
            except CannotOpen as error:
                self.made.lost[f"{kind} {name}"] = str(error)
                secrets["secret"] = None
        line = {"kind": kind, "name": name, "body": body, "changed_at": row["changed_at"]}
        return {**line, **self._sealed(kind, name, secrets)}

    def _sealed(self, kind: str, name: str, secrets: Mapping[str, Any]) -> Line:
        """``needs`` names what is secret, ``sealed`` holds it where there is a passphrase and it could be opened."""
        if not secrets:
            return {}
        there = {key: value for key, value in secrets.items() if value is not None}
        line: Line = {"needs": sorted(secrets)}
        if self.sealing is not None and there:
            line["sealed"] = self.sealing.vault.seal(kind, name, json.dumps(there))
        else:
            self.made.needed.append(f"{kind} {name}")
        return line

    async def _people(self, writer: Writer, snapshot: Snapshot) -> None:
        async for batch in snapshot.rows("users"):
            for row in batch:
                plain = {key: value for key, value in row.items() if key != "verifier"}
                secret = {"password": row["verifier"]} if row["verifier"] else {}
                writer.add("user", {**plain, **self._sealed("user", row["name"], secret)})
        await self._rows(writer, snapshot, "admin_token", "admin_tokens")

    async def _rows(self, writer: Writer, snapshot: Snapshot, kind: str, part: Part) -> None:
        total, done = await snapshot.count(part), 0
        async for batch in snapshot.rows(part):
            for row in batch:
                writer.add(kind, dict(row))
            done += len(batch)
            self.tell(part.replace("_", " "), done, total)

    async def _records(self, writer: Writer, snapshot: Snapshot) -> None:
        total, done = await snapshot.count("records"), 0
        async for batch in snapshot.records():
            for record in batch:
                writer.add("record", record)
            done += len(batch)
            self.tell("records", done, total)

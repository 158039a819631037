"""What lasts, out of a file into a store: part by part, with a word about each thing that does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmhub_core.admin.entries import By, Entries
from llmhub_core.contracts.archive import Archive
from llmhub_core.contracts.configuration import Entry
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.hub.tokens import KEYED
from llmhub_core.hub.vault import Secret, Vault
from llmhub_core.hub.vault.opening import FACT, STABLE
from llmhub_core.moving import carried_rows
from llmhub_core.moving.carried_entries import CarriedEntries, store_entries
from llmhub_core.moving.copy_file import KINDS, Reader
from llmhub_core.moving.exporting import fingerprint
from llmhub_core.moving.passphrase import Sealing
from llmhub_core.moving.report import PartReport

NAMES = {
    "token_secret": "secret behind client tokens",
    "entry": "providers, keys, routes, tokens",
    "user": "users",
    "admin_token": "admin tokens",
    "audit": "audit",
    "alert": "alerts",
    "alert_mute": "muted alerts",
    "usage_hour": "sums of usage",
    "record": "requests",
}


@dataclass(slots=True)
class Importer:
    """`sealing` opens the secrets of the file, None where nobody gave the passphrase."""

    reader: Reader
    store: MetadataStore
    archive: Archive
    entries: Entries
    sealing: Sealing | None
    dry_run: bool
    tell: Callable[[str, int, int], None] = lambda what, done, total: None
    reports: dict[str, PartReport] = field(default_factory=dict)

    async def run(self, by: By) -> list[PartReport]:
        """A report for each part that the file has something of."""
        if self.entries.vault.closed:
            raise StartError(f"Secrets cannot be stored at the moment: {self.entries.vault.closed}")
        self.reports = {kind: PartReport(NAMES[kind]) for kind in KINDS if kind in NAMES and self._count(kind)}
        counts = await self._token_secret()
        if "entry" in self.reports:
            await self._entries(counts)
        await self._people()
        await self._rows()
        told = [each for each in self.reports.values() if each.added or each.same or each.conflicts or each.refused]
        if not self.dry_run and any(report.added for report in told):
            after = {report.part: report.added for report in told if report.added}
            await self.entries.note(by, "import", self.reader.path.name, None, after)
        return told

    @property
    def _opened_by(self) -> Vault | None:
        return None if self.sealing is None else self.sealing.vault

    def _count(self, *kinds: str) -> int:
        return sum(self.reader.counts[kind] for kind in kinds)

    def _report(self, kind: str) -> PartReport:
        return self.reports.setdefault(kind, PartReport(NAMES[kind]))

    def _all(self, kind: str) -> list[Any]:
        return [thing for _, batch in self.reader.batches(kind) for thing in batch]

    async def _token_secret(self) -> bool:
        """Whether client tokens of the file can be checked here then."""
        if (told := self.reader.head.get("tokens")) and told == fingerprint(self.entries.vault):
            if "token_secret" in self.reports:
                self.reports["token_secret"].same = 1
            return True
        if self._opened_by is None or not self._count("token_secret"):
            self.reports.pop("token_secret", None)
            return False
        report = self._report("token_secret")
        _, here = await self.entries.store.entries()
        if any(entry.kind == "token" and KEYED in entry.body for entry in here):
            report.conflict("the secret behind client tokens", "client tokens that are here need the present one")
            return False
        (line,) = self._all("token_secret")
        secret = self._opened_by.open("token_secret", "", line["sealed"])
        if not self.dry_run:
            await self._keep(secret)
        report.added = 1
        report.notes.append("restart every hub on this database, for client tokens are checked by another secret now")
        return True

    async def _keep(self, secret: Secret) -> None:
        was = await self.entries.store.fact(STABLE)
        if not await self.entries.store.keep_fact(STABLE, self.entries.vault.seal(FACT, STABLE, secret), was):
            raise StartError("Somebody else changed the secrets of this database meanwhile; run the same again.")

    async def _entries(self, tokens_count: bool) -> None:
        report = self._report("entry")
        carried = CarriedEntries(self.entries, await self.entries.shelf(), self._opened_by, tokens_count, report)
        new: list[Entry] = await carried.sorted_out(self._all("entry"))
        if new and not self.dry_run:
            await store_entries(self.archive, [self.entries.at_rest(entry) for entry in new], report)

    async def _people(self) -> None:
        if not self._count("user", "admin_token"):
            return
        reports = self._report("user"), self._report("admin_token")
        users, tokens = self._all("user"), self._all("admin_token")
        await carried_rows.carry_people(self.archive, users, tokens, self._opened_by, reports, self.dry_run)

    async def _rows(self) -> None:
        reader, archive = self.reader, self.archive
        if "audit" in self.reports:
            await carried_rows.carry_audit(
                archive, reader.batches("audit"), self._count("audit"), self._report("audit"), self.dry_run
            )
        if self._count("alert", "alert_mute"):
            reports = {kind: self._report(kind) for kind in ("alert", "alert_mute")}
            await carried_rows.carry_alerts(archive, reader.batches("alert", "alert_mute"), reports, self.dry_run)
        summed = True
        if count := self._count("usage_hour", "usage_total"):
            report, batches = self._report("usage_hour"), reader.batches("usage_hour", "usage_total")
            summed = await carried_rows.carry_usage(archive, batches, count, report, self.dry_run)
        if total := self._count("record"):
            report = self._report("record")
            if not summed:
                report.notes.append("what they used is added to the sums that are here, once for each request")
            await carried_rows.carry_records(
                self.store, archive, reader.batches("record"), summed, report, self.dry_run,
                lambda done: self.tell("requests", done, total),
            )  # fmt: skip

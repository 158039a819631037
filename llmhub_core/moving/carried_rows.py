"""Users, admin tokens, the audit, alerts, sums and requests out of a file: each part in a transaction of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llmhub_core.contracts.archive import Archive, Intake, Part, Row
from llmhub_core.contracts.exchange import Record
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.hub.vault import Vault
from llmhub_core.moving.report import PartReport

Batches = Iterable[tuple[str, list[Any]]]

TABLES: Mapping[str, Part] = {"usage_hour": "usage_hours", "usage_total": "usage_totals", "alert": "alerts"}


class _Undone(Exception):
    """The part stays as it was."""


async def carry_people(
    archive: Archive,
    users: Sequence[Row],
    tokens: Sequence[Row],
    opened_by: Vault | None,
    reports: tuple[PartReport, PartReport],
    dry_run: bool,
) -> None:
    """Users, and admin tokens of those who are here then."""
    async with archive.snapshot() as snapshot:
        here = [row async for batch in snapshot.rows("users") for row in batch]
        held = [row async for batch in snapshot.rows("admin_tokens") for row in batch]
    new = _new_users(users, here, opened_by, reports[0])
    known = {row["id"] for row in (*here, *new)}
    new_tokens = _new_tokens(tokens, held, known, reports[1])
    if not dry_run:
        async with archive.intake() as intake:
            reports[0].added = await intake.add("users", new)
            reports[1].added = await intake.add("admin_tokens", new_tokens)
    else:
        reports[0].added, reports[1].added = len(new), len(new_tokens)


def _new_users(users: Sequence[Row], here: Sequence[Row], opened_by: Vault | None, report: PartReport) -> list[Row]:
    by_id, by_name = ({row[key]: row for row in here} for key in ("id", "name"))
    new: list[Row] = []
    for line in users:
        name = line["name"]
        row = {key: value for key, value in line.items() if key not in ("needs", "sealed")}
        row["verifier"] = _verifier(line, opened_by)
        present = by_id.get(row["id"]) or by_name.get(name)
        if present is None:
            new.append(row)
            if not row["verifier"]:
                report.needs[f"user {name}"] = f"a password: llm-hub user reset {name}"
        elif present["id"] != row["id"]:
            report.conflict(f"user {name}", "another user here has that name")
        elif all(present[key] == value for key, value in row.items() if key != "verifier" or value):
            report.same += 1
        else:
            report.conflict(f"user {name}", "was changed here, or has another password")
    return new


def _verifier(line: Row, opened_by: Vault | None) -> str:
    if opened_by is None or not line.get("sealed"):
        return ""

    found = json.loads(opened_by.open("user", line["name"], line["sealed"]).reveal())
    return str(found.get("password", ""))


def _new_tokens(tokens: Sequence[Row], here: Sequence[Row], users: set[str], report: PartReport) -> list[Row]:
    by_id, names, digests = ({row[key]: row for row in here} for key in ("id", "name", "digest"))
    new: list[Row] = []
    for row in tokens:
        name = f"admin token {row['name']}"
        if (present := by_id.get(row["id"])) is not None:
            settled = all(present[key] == row[key] for key in row if key != "used_at")
            if settled:
                report.same += 1
            else:
                report.conflict(name, "was changed here")
        elif row["name"] in names or row["digest"] in digests:
            report.conflict(name, "another one here has that name")
        elif row["user_id"] and row["user_id"] not in users:
            report.refuse(name, "its user is not here")
        else:
            new.append(row)
    return new


async def carry_audit(archive: Archive, batches: Batches, total: int, report: PartReport, dry_run: bool) -> None:
    """A chain of hashes cannot be woven into another one: the file's goes on from what is here, or stays out."""
    async with archive.snapshot() as snapshot:
        there = await snapshot.count("audit")
    try:
        async with archive.intake() as intake:
            for _, rows in batches:
                found = await intake.find("audit", rows)
                for row, present in zip(rows, found, strict=True):
                    if present is not None and present["digest"] != row["digest"]:
                        raise _Undone
                new = [row for row, present in zip(rows, found, strict=True) if present is None]
                if new and there and new[0]["number"] > there + 1 + report.added:
                    raise _Undone
                report.same += len(rows) - len(new)
                report.added += len(new) if dry_run else await intake.add("audit", new)
    except _Undone:
        report.added = report.same = 0
        report.refuse("the audit", "this hub has one of its own, and a chain cannot be woven into another", total)


async def carry_usage(archive: Archive, batches: Batches, total: int, report: PartReport, dry_run: bool) -> bool:
    """Whether the sums of the file are here then. They are taken as they are, all of them or none: of an hour in which
    both counted nobody could tell what was counted twice."""
    try:
        async with archive.intake() as intake:
            for kind, rows in batches:
                found = await intake.find(TABLES[kind], rows)
                new = [row for row, present in zip(rows, found, strict=True) if present is None]
                for row, present in zip(rows, found, strict=True):
                    if present is not None and dict(present) != dict(row):
                        raise _Undone
                report.same += len(rows) - len(new)
                report.added += len(new) if dry_run else await intake.add(TABLES[kind], new)
    except _Undone:
        report.added = report.same = 0
        report.refuse(
            "the sums of usage",
            "some of the same hours are counted here already, and differently",
            total,
        )
        return False
    return True


async def carry_alerts(archive: Archive, batches: Batches, reports: Mapping[str, PartReport], dry_run: bool) -> None:
    """One that is here under the same id is what became of it, and stays."""
    parts: Mapping[str, Part] = {"alert": "alerts", "alert_mute": "alert_mutes"}
    async with archive.intake() as intake:
        for kind, rows in batches:
            found = await intake.find(parts[kind], rows)
            new = [row for row, present in zip(rows, found, strict=True) if present is None]
            reports[kind].same += len(rows) - len(new)
            reports[kind].added += len(new) if dry_run else await intake.add(parts[kind], new)


async def carry_records(
    store: MetadataStore,
    archive: Archive,
    batches: Batches,
    summed: bool,
    report: PartReport,
    dry_run: bool,
    tell: Callable[[int], None],
) -> None:
    """Without sums where the file's are here (`summed`), else with them, each once. A batch is a transaction: whoever
    is killed goes on when it is run again."""
    for _, batch in batches:
        found = await archive.known([record.id for record in batch])
        new: list[Record] = [record for record in batch if record.id not in found]
        report.same += len(batch) - len(new)
        report.added += len(new)
        if new and not dry_run:
            if summed:
                await _add(archive, new)
            else:
                await store.append(new)
        tell(report.same + report.added)


async def _add(archive: Archive, records: Sequence[Record]) -> None:
    intake: Intake
    async with archive.intake() as intake:
        await intake.add_records(records)

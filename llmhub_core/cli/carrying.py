"""What export, import and move share: a passphrase that is no argument, progress, and the report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from llmhub_core.admin.accounts import HOST
from llmhub_core.admin.entries import By, Entries
from llmhub_core.cli.common import print_json
from llmhub_core.cli.database import open_vault_of
from llmhub_core.contracts.archive import Archive
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.vault import Secret, resolve, split
from llmhub_core.moving.report import PartReport

passphrase_option = click.option(
    "--passphrase-from", "passphrase", metavar="env:NAME|file:PATH|prompt",
    help="Where the words lie that seal the secrets; never the words themselves, for others can read a command line.",
)  # fmt: skip

ON_HOST = By(HOST, host=True)


def words_from(where: str | None, twice: bool) -> Secret | None:
    """What --passphrase-from leads to; None if it was not given. `twice`: somebody who types it types it again."""
    if where is None:
        return None
    if where == "prompt":
        return Secret(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
    if split(where)[0] not in ("env", "file"):
        raise click.BadParameter("write env:NAME, file:PATH or prompt", param_hint="--passphrase-from")
    try:
        return resolve(where, os.environ, Path.cwd())
    except LookupError as error:
        raise StartError(f"--passphrase-from {error.args[0]}.") from None


async def entries_of(hub: Hub) -> tuple[Archive, Entries]:
    """With an open vault; StartError where the store cannot do it."""
    store, source = hub.store, hub.configuration.source
    if store.archive is None or store.configuration is None or source is None:
        raise StartError("The metadata store of this hub cannot be copied row by row; take sqlite or postgresql.")
    await open_vault_of(hub)
    loaded = hub.configuration.now.loaded
    return store.archive, Entries(loaded, source, hub.registry, store.configuration, store.people, hub.vault)


class Progress:
    """A line on stderr that is written over, where somebody looks on; else now and then a line of its own."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._tty = sys.stderr.isatty()
        self._next = time.monotonic() + 1.0
        self._open = False

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._quiet or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (0.2 if self._tty else 5.0)
        text = f"{what}: {done:,} of {total:,}"
        click.echo(f"\r{text}\033[K" if self._tty else text, err=True, nl=not self._tty)
        self._open = self._tty

    def end(self) -> None:
        if self._open:
            click.echo(err=True)


def tell_reports(reports: Sequence[PartReport], dry_run: bool, as_json: bool) -> None:
    """What became of each part; ends the command with 1 if something was left."""
    complete = all(report.complete for report in reports)
    if as_json:
        print_json({"dry_run": dry_run, "complete": complete, "parts": [asdict(report) for report in reports]})
    else:
        for report in reports:
            _tell(report, dry_run)
        if not reports:
            click.echo("There is nothing in it.")
        if dry_run:
            click.echo("Nothing was written; run it without --dry-run to do this.")
    if not complete:
        sys.exit(1)


def _tell(report: PartReport, dry_run: bool) -> None:
    words = {
        "would be added" if dry_run else "added": report.added,
        "here already": report.same,
        "in conflict": report.conflicts,
        "refused": report.refused,
    }
    counts = ", ".join(f"{count:,} {word}" for word, count in words.items() if count)
    click.echo(f"{report.part}: {counts or 'nothing'}")
    for left in report.left:
        click.echo(f"  {left.result}: {left.name}: {left.why}")
    untold = report.conflicts + report.refused - len(report.left)
    if untold > 0 and len(report.left) > 1:
        click.echo(f"  … and {untold:,} more")
    for name, what in report.needs.items():
        click.echo(f"  {name} needs {what}")
    for note in report.notes:
        click.echo(f"  {note}")

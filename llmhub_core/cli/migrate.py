"""llm-hub migrate"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import click

from llmhub_core.cli.common import config_option, data_dir, data_option, fail, json_option, load_settings, print_json
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.metadata_store import SchemaState


@click.command("migrate")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@config_option
@data_option
@json_option
def command(dry_run: bool, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Bring the database to the schema of this version. A SQLite file is copied first."""
    _migrate(dry_run, config, data_dir, as_json)


def _migrate(dry_run: bool, config: Path | None, folder: Path | None, as_json: bool) -> None:
    try:
        before, after = asyncio.run(_run(dry_run, config, folder))
    except StartError as error:
        fail(str(error))
    if as_json:
        steps = list(before.steps)
        print_json({"from": before.current, "to": before.wanted, "steps": steps, "done": after is not None})
    elif before.is_current:
        click.echo(f"The database is at schema {before.current} already; there is nothing to do.")
    elif after is None:
        click.echo(f"Would migrate from {before.current or 'an empty database'} to {before.wanted}.")
        for step in before.steps:
            click.echo(f"  {step}")
    else:
        click.echo(f"Migrated from {before.current or 'an empty database'} to {after.current}.")


def _tell_progress() -> None:
    """A large database takes minutes: each step is told on stderr, when it begins and when it is done."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("llmhub.migrate")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


async def _run(dry_run: bool, config: Path | None, folder: Path | None) -> tuple[SchemaState, SchemaState | None]:
    from llmhub_core.hub.hub import Hub

    loaded, registry = load_settings(config)
    hub = Hub(loaded.settings, registry, data_dir(folder))
    hub.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    await hub.store.start()
    try:
        before = await hub.store.schema()
        if dry_run or before.is_current:
            return before, None
        _tell_progress()
        return before, await hub.store.migrate()
    finally:
        await hub.store.stop()

"""llm-hub quotas"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from llmhub_core.admin.views import LevelView
from llmhub_core.cli.common import config_option, data_option, fail, json_option, print_json, print_table
from llmhub_core.cli.database import open_hub, open_vault_of
from llmhub_core.contracts.errors import StartError

NOTHING = "–"
WINDOWS = {0: "at once", 60: "a minute", 3600: "an hour", 86_400: "a day"}


@click.command("quotas")
@config_option
@data_option
@json_option
def command(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show every limit: declared, or learned from the providers.

    What is used is read from a quota store that several processes share. With memory: it is known to the running hub
    alone, which shows it on its pages and at GET /admin/api/quotas.
    """
    _quotas(config, data_dir, as_json)


def _quotas(config: Path | None, folder: Path | None, as_json: bool) -> None:
    try:
        levels, counted = asyncio.run(_ask(config, folder))
    except StartError as error:
        fail(str(error))
    if as_json:
        rows = [msgspec.to_builtins(level) for level in levels]
        unknown = {} if counted else dict.fromkeys(("used", "reserved", "left", "resets_in", "next_reset"))
        print_json([row | unknown for row in rows])
        return
    if not levels:
        click.echo("There are no limits: none is declared, and none is learned yet.")
        return
    header = ("LIMIT OF", "WHAT", "AMOUNT", "USED", "LAST RESET", "NEXT RESET", "FROM")
    print_table(header, [_row(level, counted) for level in levels], right=(2, 3))


def _row(level: LevelView, counted: bool) -> tuple[str, ...]:
    known, amount = level.learned, level.amount / 1e9 if level.kind == "money" else level.amount
    used = (level.used + level.reserved) / (1e9 if level.kind == "money" else 1)
    origin = "declared"
    if known is not None:
        kept = "kept to" if known.binds else "only shown"
        origin = f"learned from {known.source}, {known.samples} times, last {_at(known.last_seen)}, {kept}"
    return (
        level.owner,
        f"{level.kind} {WINDOWS.get(level.window, f'in {level.window} s')}",
        f"{amount:,g}" if level.kind == "money" else f"{amount:,}",
        f"{used:,g}" if counted else NOTHING,
        _at(level.last_reset),
        _at(level.next_reset) if counted else NOTHING,
        origin,
    )


def _at(moment: float | None) -> str:
    return NOTHING if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}Z"


async def _ask(config: Path | None, folder: Path | None) -> tuple[list[LevelView], bool]:
    """The limits, and whether what is used of them could be read."""
    from llmhub_core.admin.limits import quotas_of
    from llmhub_core.hub.settings import scheme_of

    async with open_hub(config, folder) as hub:
        await open_vault_of(hub)
        await hub.configuration.add_stored()
        counted = scheme_of(hub.settings.storage.quota) != "memory"
        if counted:  # a store in memory would write its journal, which belongs to the hub that runs
            await hub.quota.start()
        try:
            await hub.learning.share()
            hub.learning.bind()
            return await quotas_of(hub), counted
        finally:
            if counted:
                await hub.quota.stop()

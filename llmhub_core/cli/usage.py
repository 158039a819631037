"""llm-hub usage"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from llmhub_core.cli.common import (
    config_option,
    data_dir,
    data_option,
    fail,
    json_option,
    load_settings,
    print_json,
    print_table,
    span,
)
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.metadata_store import GROUPS, UsageQuestion, UsageRow, grouping


def _groups(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    try:
        grouping(words)
    except ValueError as error:
        raise click.BadParameter(
            f"{error} Choose from {', '.join(GROUPS)}; or tag:NAME, alone or with a time."
        ) from None
    return words


@click.command("usage")
@click.option("--since", default="24h", callback=span, help="How far back: 90m, 24h, 7d, 4w.", show_default=True)
@click.option(
    "--by",
    "groups",
    multiple=True,
    callback=_groups,
    default=("model",),
    help=f"Group by {', '.join(GROUPS)}; may be repeated. Or by tag:NAME, the values of that tag.",
)
@config_option
@data_option
@json_option
def command(since: float, groups: tuple[str, ...], config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Sum up requests, tokens and cost. Unpriced requests are counted and never taken for free."""
    _usage(since, groups, config, data_dir, as_json)


def _usage(since: float, groups: tuple[str, ...], config: Path | None, folder: Path | None, as_json: bool) -> None:
    now = time.time()
    by, tag = grouping(groups)
    question = UsageQuestion(now - since, now + 1, by, tag=tag)
    try:
        rows, kept_since = asyncio.run(_ask(question, config, folder))
    except StartError as error:
        fail(str(error))
    if as_json:
        print_json([dataclasses.asdict(row) | {"cost_usd": row.cost / 1e9} for row in rows])
        return
    if question.since < kept_since:
        when = f"{datetime.fromtimestamp(kept_since, UTC):%Y-%m-%d %H:%M} UTC"
        click.echo(f"Single requests from before {when} are no longer kept: sums there are of whole hours.", err=True)
    if not rows:
        click.echo("Nothing was used in this time.")
        return
    header = (
        *(name.upper() for name in question.words),
        "REQUESTS",
        "FAILED",
        "INPUT",
        "CACHED",
        "OUTPUT",
        "USD",
        "UNPRICED",
    )
    table = [
        (
            *row.group,
            f"{row.requests:,}",
            f"{row.failed:,}",
            f"{row.input_tokens:,}",
            f"{row.cached_tokens:,}",
            f"{row.output_tokens:,}",
            f"{row.cost / 1e9:,.6f}",
            f"{row.unpriced:,}",
        )
        for row in rows
    ]
    print_table(header, table, right=range(len(by), len(header)))


async def _ask(question: UsageQuestion, config: Path | None, folder: Path | None) -> tuple[Sequence[UsageRow], float]:
    """The rows, and from when on single records are kept."""
    from llmhub_core.hub import moved
    from llmhub_core.hub.hub import Hub

    loaded, registry = load_settings(config)
    hub = Hub(loaded.settings, registry, data_dir(folder))
    if not hub.data.is_dir():
        raise StartError(f"There is no data folder {hub.data}; has the hub run yet? (--data-dir names another)")
    await hub.store.start()
    try:
        if not (await hub.store.schema()).is_current:
            raise StartError("The database has no schema of this version; run: llm-hub migrate")
        await moved.mind(hub.store.configuration)
        return await hub.store.usage(question), await hub.store.kept_since()
    finally:
        await hub.store.stop()

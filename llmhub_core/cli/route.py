"""llm-hub route"""

from __future__ import annotations

from pathlib import Path

import click

from llmhub_core.cli.entry import ON_HOST, add_acts, add_list, common, run, set_option, show, table_of


@click.group("route")
def command() -> None:
    """Names that callers ask for, and which models answer. Works while the hub runs, and while it does not."""


@command.command("add")
@click.argument("model")
@click.argument("deployments", nargs=-1, required=True, metavar="PROVIDER/MODEL…")
@set_option("route")
@common
def add(
    model: str,
    deployments: tuple[str, ...],
    settings: tuple[str, ...],
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Let callers ask for MODEL. The first PROVIDER/MODEL answers; the next ones where those before cannot.

    \b
    llm-hub route add fast openai/gpt-4o-mini anthropic/claude-haiku-4-5
    """
    found = []
    for priority, each in enumerate(deployments, 1):
        provider, slash, name = each.partition("/")
        if not slash or not name:
            raise click.BadParameter(f"{each!r} is not PROVIDER/MODEL")
        found.append({"provider": provider, "model": name, "priority": priority})
    table = {"deployments": found, **table_of(settings)}
    show(run(lambda entries: entries.add("route", model, table, ON_HOST), config, data_dir), as_json, "is added")


add_list(command, "route")
add_acts(command, "route", "MODEL")

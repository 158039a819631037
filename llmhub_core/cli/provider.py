"""llm-hub provider"""

from __future__ import annotations

from pathlib import Path

import click

from llmhub_core.cli.entry import ON_HOST, add_acts, add_list, common, run, set_option, show, table_of


@click.group("provider")
def command() -> None:
    """Places that serve models, of the file and added beside it. Works while the hub runs, and while it does not."""


@command.command("add")
@click.argument("name")
@click.argument("kind")
@set_option
@common
def add(
    name: str, kind: str, settings: tuple[str, ...], config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Add the provider NAME of KIND: openai, anthropic, gemini, openai_compatible, or any plugin's."""
    table = {"kind": kind, **table_of(settings)}
    show(run(lambda entries: entries.add("provider", name, table, ON_HOST), config, data_dir), as_json, "is added")


add_list(command, "provider")
add_acts(command, "provider", "NAME")

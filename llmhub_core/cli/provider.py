"""llm-hub provider"""

from __future__ import annotations

from pathlib import Path

import click

from llmhub_core.cli.entry import ON_HOST, add_acts, add_list, common, run, set_option, show, table_of


@click.group("provider")
def command() -> None:
    """Places that serve models. Works while the hub runs, which takes a change over at once, and while it does not."""


@command.command("add")
@click.argument("name")
@click.argument("kind")
@set_option("provider")
@common
def add(
    name: str, kind: str, settings: tuple[str, ...], config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Add the provider NAME of KIND: openai, anthropic, gemini, openai_compatible, or any plugin's (llm-hub plugins).

    \b
    llm-hub provider add mine openai_compatible -s base_url=http://127.0.0.1:8000/v1
    llm-hub provider add groq openai_compatible -s preset=groq
    """
    table = {"kind": kind, **table_of(settings)}
    show(run(lambda entries: entries.add("provider", name, table, ON_HOST), config, data_dir), as_json, "is added")


add_list(command, "provider")
add_acts(command, "provider", "NAME")

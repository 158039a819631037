"""llm-hub import-litellm"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from llmhub_core.cli.carrying import ON_HOST, entries_of, tell_reports
from llmhub_core.cli.common import config_option, data_option, fail, json_option, known, print_json
from llmhub_core.cli.database import with_hub
from llmhub_core.contracts.errors import StartError

if TYPE_CHECKING:
    from llmhub_core.hub.hub import Hub
    from llmhub_core.moving.litellm import Converted
    from llmhub_core.moving.report import PartReport


@click.command("import-litellm")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--apply", is_flag=True, help="Store providers, keys, routes and tokens in the database.")
@click.option("--dry-run", is_flag=True, help="With --apply: only say what would be done.")
@config_option
@data_option
@json_option
def command(
    file: TextIO, apply: bool, dry_run: bool, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Print LiteLLM's config.yaml FILE as a config.toml, and say line by line what could not be carried.

    With --apply it is stored in the hub's database instead, secrets that stand in FILE sealed.
    """
    from llmhub_core.moving import yaml_lines
    from llmhub_core.moving.litellm import Converter
    from llmhub_core.moving.toml_text import written

    try:
        made = Converter(yaml_lines.read(file.read()), os.environ).convert()
    except StartError as error:
        fail(str(error))
    if apply:
        reports = with_hub(lambda hub: _stored(hub, made, dry_run), config, data_dir)
        if not as_json:
            _tell(made, stored=True)
        tell_reports(reports, dry_run, as_json)
        return
    problems = _problems(made.document)
    if as_json:
        print_json({"config": made.document, "told": [asdict(each) for each in made.told], "problems": problems})
        return
    click.echo(written(made.document), nl=False)
    _tell(made, stored=False)
    for problem in problems:
        click.echo(f"to mend: {problem}", err=True)


def _tell(made: Converted, stored: bool) -> None:
    for told in made.told:
        if stored and told.carried and told.what.startswith("the secret of"):
            continue
        click.echo(f"line {told.line}: {told.what}: {'' if told.carried else 'left out: '}{told.why}", err=True)
    beside = sorted(set(made.document) - {"providers", "routes", "tokens"})
    if stored and beside:
        from llmhub_core.moving.toml_text import written

        settings = written({name: made.document[name] for name in beside})
        click.echo(f"These cannot be stored; put them into config.toml:\n{settings}", err=True)


def _problems(document: dict[str, Any]) -> list[str]:
    """What a hub would say of it."""
    from llmhub_core.hub import settings_rules
    from llmhub_core.hub.registry import Registry
    from llmhub_core.hub.settings_reader import Reader
    from llmhub_core.hub.settings_words import in_words

    found = known(Registry().discover())
    reader = Reader(found)
    settings = reader.settings(document)
    problems = [*reader.problems, *settings_rules.problems(settings, found, os.environ, Path.cwd())]
    return [f"{in_words(problem.path)}: {problem.text}" for problem in problems]


async def _stored(hub: Hub, made: Converted, dry_run: bool) -> list[PartReport]:
    from llmhub_core.moving.carried_entries import CarriedEntries, store_entries
    from llmhub_core.moving.litellm import lines_of
    from llmhub_core.moving.report import PartReport

    archive, entries = await entries_of(hub)
    if entries.vault.closed:
        raise StartError(f"Secrets cannot be stored at the moment: {entries.vault.closed}")
    report = PartReport("providers, keys, routes, tokens")
    carried = CarriedEntries(entries, await entries.shelf(), None, True, report)
    new = await carried.sorted_out(lines_of(made))
    if new and not dry_run:
        await store_entries(archive, [entries.at_rest(entry) for entry in new], report)
        await entries.note(ON_HOST, "import.litellm", "", None, {"entries": [f"{e.kind} {e.name}" for e in new]})
    return [report]

"""llm-hub key"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
import msgspec

from llmhub_core.admin.entries import Entries
from llmhub_core.cli.common import fail, print_json
from llmhub_core.cli.entry import (
    ON_HOST,
    add_acts,
    add_list,
    common,
    run,
    secret_from,
    set_option,
    show,
    table_of,
)

if TYPE_CHECKING:
    from llmhub_core.admin.key_import import Imported


@click.group("key")
def command() -> None:
    """API keys of providers, each called PROVIDER/KEY. Works while the hub runs, and while it does not."""


@command.command("add")
@click.argument("name", metavar="PROVIDER/KEY")
@click.option(
    "--secret", default="", help="Where the secret lies: env:NAME or file:/path. It is read there at each start."
)
@click.option(
    "--secret-stdin", is_flag=True, help="Read the secret from standard input, and keep it in the database, sealed."
)
@set_option("key")
@common
def add(
    name: str,
    secret: str,
    secret_stdin: bool,
    settings: tuple[str, ...],
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Add the API key PROVIDER/KEY. Its secret comes from standard input, or stays where it lies.

    \b
    llm-hub key add openai/main --secret-stdin < key.txt
    llm-hub key add openai/spare --secret env:OPENAI_SPARE_KEY -s priority=2
    """
    table = {**table_of(settings), "secret": secret_from(secret, secret_stdin)}
    show(run(lambda entries: entries.add("key", name, table, ON_HOST), config, data_dir), as_json, "is added")


@command.command("import")
@click.argument("provider")
@click.argument("file", type=click.File("r", encoding="utf-8"), default="-")
@click.option("--prefix", default="key", show_default=True, help="What keys without a name are called, with a number.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@set_option("key")
@common
def import_keys(
    provider: str,
    file: TextIO,
    prefix: str,
    dry_run: bool,
    settings: tuple[str, ...],
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Add many keys of PROVIDER at once. FILE (or standard input) has a secret a line, NAME=secret lines, CSV with a
    column secret, or a JSON array; --set holds for every key that does not say otherwise.

    \b
    llm-hub key import openai keys.txt --prefix team -s limits.rpm=60 --dry-run
    """
    from llmhub_core.admin import key_import

    text = file.read()

    async def work(entries: Entries) -> list[key_import.Imported]:
        rows = key_import.rows(text, "auto")
        return await key_import.take(entries, provider, rows, table_of(settings), prefix, ON_HOST, dry_run)

    told = run(work, config, data_dir)
    if as_json:
        print_json(msgspec.to_builtins(key_import.view(told, dry_run)))
    else:
        for each in told:
            why = f": {each.why}" if each.why else ""
            click.echo(f"line {each.line}: {each.name} {each.hint} {each.result}{why}")
        click.echo(_summed(told))
        if dry_run:
            click.echo("Nothing was written; run it without --dry-run to do this.")
    if any(each.result == "refused" for each in told):
        raise click.exceptions.Exit(1)


def _summed(told: Sequence[Imported]) -> str:
    words = {"added": "added", "duplicate": "here already", "refused": "refused"}
    counts = {word: sum(each.result == result for each in told) for result, word in words.items()}
    return "keys: " + ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


@command.command("test")
@click.argument("name", metavar="PROVIDER/KEY")
@click.option("--model", default="", help="Ask this model for one token, instead of asking for the list of models.")
@common
def test(name: str, model: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Ask the provider with the key, once, from this machine: for its list of models, which costs nothing."""
    from llmhub_core.cli.reach import tried

    (found,) = tried(config, data_dir, name, model)
    if as_json:
        print_json(found)
    elif found["works"]:
        models = f", {len(found['models'])} models" if found["models"] else ""
        click.echo(f"{name} works ({found['ms']:.0f} ms{models}).")
    if not found["works"]:
        status = f"{found['status']} " if found["status"] else ""
        fail("" if as_json else f"{name} does not work: {status}{found['code']} {found['message']}".strip())


add_list(command, "key")
add_acts(command, "key", "PROVIDER/KEY")

"""llm-hub token"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llmhub_core.admin.entries import Entries
from llmhub_core.admin.shelf import Item
from llmhub_core.cli.common import print_json
from llmhub_core.cli.entry import ON_HOST, add_acts, add_list, common, facts, run, set_option, table_of
from llmhub_core.hub.settings_values import a_name
from llmhub_core.hub.tokens import digest, mint


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return a_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group("token")
def command() -> None:
    """Client tokens: what callers of the hub present instead of a provider's key. They are asked for one if the
    configuration says [auth] api = "token". Works while the hub runs, and while it does not."""


@command.command("add")
@click.argument("name", callback=_name)
@click.option("--table", is_flag=True, help="Store nothing; print the table for config.toml, with the token's hash.")
@set_option("token")
@common
def add(
    name: str, table: bool, settings: tuple[str, ...], config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Make a token for the caller NAME. It is shown this once.

    \b
    llm-hub token add game-server -s models=['fast'] -s limits.rpm=60
    """
    if table:
        _print_table(name, as_json)
        return
    from llmhub_core.admin.client_tokens import make

    async def work(entries: Entries) -> tuple[Item, str]:
        return await make(entries, name, table_of(settings), ON_HOST)

    item, token = run(work, config, data_dir)
    _show(item, token, as_json)


@command.command("roll")
@click.argument("name")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    help="For how long the old one counts too: 90m, 24h, 7d; 0 for not at all.",
)
@common
def roll(name: str, overlap: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Make another token for the caller NAME, shown this once; the old one counts too for a while."""
    from llmhub_core.admin.client_tokens import roll as roll_token
    from llmhub_core.admin.scripts import seconds

    async def work(entries: Entries) -> tuple[Item, str]:
        return await roll_token(entries, name, 0.0 if overlap.strip() == "0" else seconds(overlap), ON_HOST)

    item, token = run(work, config, data_dir)
    _show(item, token, as_json)


def _show(item: Item, token: str, as_json: bool) -> None:
    if as_json:
        shown: dict[str, Any] = {**facts(item), "token": token}
        print_json(shown)
        return
    click.echo("Give this to the caller; it is not shown again:\n", err=True)
    click.echo(token)


def _print_table(name: str, as_json: bool) -> None:
    token = mint()
    if as_json:
        print_json({"name": name, "token": token, "hash": digest(token)})
        return
    click.echo(f"{token}\n\nGive this to the caller; it is not shown again. Add to the configuration:\n", err=True)
    click.echo(f'[[tokens]]\nname = "{name}"\nhash = "{digest(token)}"')


add_list(command, "token")
add_acts(command, "token", "NAME")

"""llm-hub token"""

from __future__ import annotations

import click

from llmhub_core.cli.common import json_option, print_json
from llmhub_core.hub.settings_values import a_name
from llmhub_core.hub.tokens import digest, mint


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return a_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group("token")
def command() -> None:
    """Make client tokens: what callers of the hub present instead of a provider's key."""


@command.command("add")
@click.argument("name", callback=_name)
@json_option
def add(name: str, as_json: bool) -> None:
    """Make a token for NAME. It is shown once; the configuration holds only its hash."""
    token = mint()
    if as_json:
        print_json({"name": name, "token": token, "hash": digest(token)})
        return
    click.echo(f"{token}\n\nGive this to the caller; it is not shown again. Add to the configuration:\n", err=True)
    click.echo(f'[[tokens]]\nname = "{name}"\nhash = "{digest(token)}"')

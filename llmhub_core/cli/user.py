"""llm-hub user"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmhub_core.cli.common import config_option, data_option, json_option, print_json, print_table
from llmhub_core.cli.database import open_vault_of, people_of, with_hub, with_people
from llmhub_core.contracts.people import USER_ROLES, PeopleStore, User, UserRole

if TYPE_CHECKING:
    from llmhub_core.hub.hub import Hub

password_option = click.option(
    "--password-stdin", "from_stdin", is_flag=True, help="Read the password from standard input instead of making one."
)


@click.group("user")
def command() -> None:
    """Make, list and rescue the users of the dashboard. Works while the hub runs, and while it does not."""


@command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(USER_ROLES), default="viewer", show_default=True, help="What they may do.")
@password_option
@config_option
@data_option
@json_option
def add(name: str, role: UserRole, from_stdin: bool, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Make the user NAME. A password is made and shown once, unless you give one."""
    from llmhub_core.admin.accounts import Accounts

    password = _password(from_stdin)

    async def work(people: PeopleStore) -> None:
        await Accounts(people).add(name, role, password)

    with_people(work, config, data_dir)
    _show(name, "" if from_stdin else password, as_json)


@command.command("reset")
@click.argument("name")
@password_option
@config_option
@data_option
@json_option
def reset(name: str, from_stdin: bool, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Give NAME a new password, end all sessions, and let them in again after too many failures."""
    from llmhub_core.admin import throttle
    from llmhub_core.admin.accounts import Accounts

    password = _password(from_stdin)

    async def work(hub: Hub) -> None:
        await open_vault_of(hub)
        await Accounts(people_of(hub), throttle.key_of(hub.vault)).reset(name, password)

    with_hub(work, config, data_dir)
    _show(name, "" if from_stdin else password, as_json)


@command.command("edit")
@click.argument("name")
@click.option("--name", "new_name", help="Another name.")
@click.option("--role", type=click.Choice(USER_ROLES), help="What they may do from now on.")
@config_option
@data_option
@json_option
def edit(
    name: str, new_name: str | None, role: UserRole | None, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Rename the user NAME, or give another role. Another role ends their sessions."""
    wanted = {key: value for key, value in (("name", new_name), ("role", role)) if value}
    if not wanted:
        raise click.UsageError("Say what is to change: --name or --role.")
    _change(name, wanted, config, data_dir, as_json)


@command.command("disable")
@click.argument("name")
@config_option
@data_option
@json_option
def disable(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Let NAME in no more; sessions end, and admin tokens do not work while it is so."""
    _change(name, {"disabled": True}, config, data_dir, as_json)


@command.command("enable")
@click.argument("name")
@config_option
@data_option
@json_option
def enable(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Let NAME in again."""
    _change(name, {"disabled": False}, config, data_dir, as_json)


@command.command("remove")
@click.argument("name")
@config_option
@data_option
@json_option
def remove(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Remove NAME with all sessions and admin tokens. What they did stays in the audit."""
    from llmhub_core.admin.accounts import Accounts

    async def work(people: PeopleStore) -> None:
        accounts = Accounts(people)
        await accounts.remove(await accounts.named(name))

    with_people(work, config, data_dir)
    _tell({"name": name, "removed": True}, f"{name} is removed.", as_json)


def _change(name: str, wanted: dict[str, Any], config: Path | None, folder: Path | None, as_json: bool) -> None:
    from llmhub_core.admin.accounts import Accounts

    async def work(people: PeopleStore) -> User:
        accounts = Accounts(people)
        return await accounts.change(await accounts.named(name), wanted)

    now = with_people(work, config, folder)
    state = "disabled" if now.disabled else now.role
    _tell({"name": now.name, "role": now.role, "disabled": now.disabled}, f"{now.name} is {state}.", as_json)


def _tell(facts: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


@command.command("list")
@config_option
@data_option
@json_option
def show(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show all users."""

    async def work(people: PeopleStore) -> list[tuple[str, str, str, str]]:
        return [
            (
                user.name,
                user.role,
                time.strftime("%Y-%m-%d", time.gmtime(user.created_at)),
                "no" if user.disabled else "yes",
            )
            for user in await people.users()
        ]

    rows = with_people(work, config, data_dir)
    if as_json:
        print_json([dict(zip(("name", "role", "since", "may_sign_in"), row, strict=True)) for row in rows])
    elif rows:
        print_table(("NAME", "ROLE", "SINCE", "MAY SIGN IN"), rows)
    else:
        click.echo("There is no user yet; llm-hub user add NAME --role owner makes one.")


def _password(from_stdin: bool) -> str:
    from llmhub_core.admin.passwords import invented

    return sys.stdin.readline().rstrip("\r\n") if from_stdin else invented()


def _show(name: str, password: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, **({"password": password} if password else {})})
    elif password:
        click.echo(f"The password of {name} is shown this once:\n", err=True)
        click.echo(password)
    else:
        click.echo(f"{name} can sign in with the new password.")

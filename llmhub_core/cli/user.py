"""llm-hub user"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

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
)
from llmhub_core.contracts.errors import StartError
from llmhub_core.contracts.people import USER_ROLES, PeopleStore, UserRole

T = TypeVar("T")

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

    _run(work, config, data_dir)
    _show(name, "" if from_stdin else password, as_json)


@command.command("reset")
@click.argument("name")
@password_option
@config_option
@data_option
@json_option
def reset(name: str, from_stdin: bool, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Give NAME a new password, end all sessions, and let them in again after too many failures."""
    from llmhub_core.admin.accounts import Accounts

    password = _password(from_stdin)

    async def work(people: PeopleStore) -> None:
        await Accounts(people).reset(name, password)

    _run(work, config, data_dir)
    _show(name, "" if from_stdin else password, as_json)


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

    rows = _run(work, config, data_dir)
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


def _run(work: Callable[[PeopleStore], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    from llmhub_core.admin.refusals import Denied

    try:
        return asyncio.run(_with_people(work, config, folder))
    except StartError as error:
        fail(str(error))
    except Denied as denied:
        fail(f"{denied.message} {denied.advice}".strip())


async def _with_people(work: Callable[[PeopleStore], Awaitable[T]], config: Path | None, folder: Path | None) -> T:
    from llmhub_core.hub.hub import Hub

    loaded, registry = load_settings(config)
    hub = Hub(loaded.settings, registry, data_dir(folder), loaded.path.absolute().parent if loaded.path else None)
    hub.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    await hub.store.start()
    try:
        state = await hub.store.schema()
        if not state.current:
            await hub.store.migrate()
        elif not state.is_current:
            raise StartError("The database has no schema of this version; run: llm-hub migrate")
        if hub.store.people is None:
            raise StartError("The metadata store of this hub keeps no users; take sqlite or postgresql.")
        return await work(hub.store.people)
    finally:
        await hub.store.stop()

"""llm-hub admin-token"""

from __future__ import annotations

import time
from pathlib import Path

import click

from llmhub_core.cli.common import config_option, data_option, fail, json_option, print_json, print_table
from llmhub_core.cli.database import with_people
from llmhub_core.contracts.people import USER_ROLES, AdminToken, PeopleStore, UserRole


@click.group("admin-token")
def command() -> None:
    """Tokens by which scripts use the admin API. Works while the hub runs, and while it does not."""


@command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(USER_ROLES), default="viewer", show_default=True, help="What it may do.")
@click.option("--lasts", default="90d", show_default=True, help="How long it works: 12h, 90d, 4w, or never to end.")
@config_option
@data_option
@json_option
def add(name: str, role: UserRole, lasts: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Make the token NAME. It is shown once, and belongs to no user."""
    from llmhub_core.admin.accounts import HOST, Accounts
    from llmhub_core.admin.scripts import NewAdminToken, made, name_taken

    async def work(people: PeopleStore) -> str:
        token, text = made(NewAdminToken(name=name, role=role, lasts=lasts), None)
        if not await people.add_admin_token(token):
            raise name_taken(name)
        facts = {"role": token.role, "until": token.until}
        await Accounts(people).note(HOST, "", "admin_token.add", name, after=facts)
        return text

    text = with_people(work, config, data_dir)
    if as_json:
        print_json({"name": name, "role": role, "token": text})
        return
    click.echo("This is shown once. Send it as the header authorization: Bearer …\n", err=True)
    click.echo(text)


@command.command("list")
@config_option
@data_option
@json_option
def show(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show all tokens for scripts; of each its end, never itself."""

    async def work(people: PeopleStore) -> list[tuple[AdminToken, str]]:
        names = {user.id: user.name for user in await people.users()}
        return [(token, names.get(token.user_id, "")) for token in await people.admin_tokens()]

    found = with_people(work, config, data_dir)
    if as_json:
        own = ("name", "hint", "role", "created_at", "until", "used_at")
        print_json([{**{name: getattr(token, name) for name in own}, "user": user} for token, user in found])
    elif found:
        rows = [
            (each.name, f"…{each.hint}", each.role, user or "–", _day(each.until, "never"), _day(each.used_at, "–"))
            for each, user in found
        ]
        print_table(("NAME", "ENDS IN", "ROLE", "USER", "UNTIL", "LAST USED"), rows)
    else:
        click.echo("There is no token yet; llm-hub admin-token add NAME makes one.")


@command.command("remove")
@click.argument("name")
@config_option
@data_option
@json_option
def remove(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Revoke the token NAME: from now on it opens nothing."""
    from llmhub_core.admin.accounts import HOST, Accounts

    async def work(people: PeopleStore) -> bool:
        token = next((each for each in await people.admin_tokens() if each.name == name), None)
        if token is None or not await people.remove_admin_token(token.id):
            return False
        facts = {"role": token.role, "until": token.until}
        await Accounts(people).note(HOST, "", "admin_token.revoke", name, before=facts)
        return True

    if not with_people(work, config, data_dir):
        fail(f"There is no token {name}. llm-hub admin-token list shows all of them.")
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        click.echo(f"{name} is revoked.")


def _day(at: float, otherwise: str) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at)) if at else otherwise

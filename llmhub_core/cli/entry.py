"""What `provider`, `key`, `route` and `token` share: entries beside the file, changed in the store.

A hub that runs on it sees a change within a second; what is changed while none runs counts from the next start on.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from llmhub_core.admin.accounts import HOST
from llmhub_core.admin.entries import By, Entries
from llmhub_core.admin.shelf import Item
from llmhub_core.cli.common import config_option, data_option, fail, json_option, print_json, print_table
from llmhub_core.cli.database import open_vault_of, with_hub
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.hub import Hub

F = TypeVar("F", bound=Callable[..., Any])

ON_HOST = By(HOST, host=True)

EXAMPLES: dict[EntryKind, str] = {
    "provider": "base_url=http://127.0.0.1:8000/v1 or timeouts.connect=3",
    "key": "priority=2, limits.rpm=60 or models=['a', 'b']",
    "route": "strategy=round_robin or fallbacks=['slow-but-sure']",
    "token": "models=['fast'], limits.rpm=60 or limits.budget='20 USD/month'",
}


def set_option(kind: EntryKind) -> Callable[[F], F]:
    return click.option(
        "--set", "-s", "settings", multiple=True, metavar="KEY=VALUE",
        help=f"A setting as in config.toml, such as {EXAMPLES[kind]}; may be repeated. KEY= with nothing behind it "
        "goes back to the default.",
    )  # fmt: skip


def common(command: F) -> F:
    """--config, --data-dir and --json."""
    return config_option(data_option(json_option(command)))


def table_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """What --set says; None where the default shall be again. A value that is no TOML is a text."""
    table: dict[str, Any] = {}
    for each in settings:
        key, equals, text = each.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{each!r} is not KEY=VALUE", param_hint="--set")
        *above, last = key.strip().split(".")
        inner = table
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = _value(text.strip())
    return table


def _value(text: str) -> Any:
    if not text:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def run(work: Callable[[Entries], Awaitable[Any]], config: Path | None, folder: Path | None) -> Any:
    """What `work` answers, given the entries of the store; ends the command with a sentence if it is refused."""

    async def inside(hub: Hub) -> Any:
        now, store = hub.configuration.now, hub.store.configuration
        if store is None or hub.configuration.source is None:
            raise StartError("The metadata store of this hub keeps no configuration; take sqlite or postgresql.")
        await open_vault_of(hub)
        source = hub.configuration.source
        return await work(Entries(now.loaded, source, hub.registry, store, hub.store.people, hub.vault))

    return with_hub(inside, config, folder)


def show(item: Item, as_json: bool, did: str) -> None:
    """What became of it."""
    if as_json:
        print_json(facts(item))
    else:
        click.echo(f"{item.kind} {item.name} {did}.")


def facts(item: Item) -> dict[str, Any]:
    return {
        "name": item.name,
        "origin": item.origin.kind,
        "where": item.origin.where,
        "disabled": item.disabled,
        "problem": item.problem,
        "settings": dict(item.table),
    }


def hidden(kind: EntryKind) -> str:
    return " Of secrets the last characters." if kind in ("key", "token") else ""


def add_list(group: click.Group, kind: EntryKind) -> None:
    @group.command("list", help=f"Show every {kind}, those of config.toml and those added since." + hidden(kind))
    @common
    def listed(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
        async def work(entries: Entries) -> list[Item]:
            return list((await entries.shelf()).items(kind))

        items: list[Item] = run(work, config, data_dir)
        if as_json:
            print_json([facts(item) for item in items])
        elif items:
            rows = [(item.name, item.origin.where or item.origin.kind, _state(item), _brief(item)) for item in items]
            print_table(("NAME", "FROM", "STATE", "SETTINGS"), rows)
        else:
            click.echo(f"There is no {kind} yet; llm-hub {kind} add --help tells how to make one.")


def _state(item: Item) -> str:
    return f"does not count: {item.problem}" if item.problem else "disabled" if item.disabled else "in use"


def _brief(item: Item) -> str:
    shown = {key: value for key, value in item.table.items() if key != "disabled"}
    text = ", ".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in shown.items())
    return text if len(text) <= 100 else text[:99] + "…"


def add_acts(group: click.Group, kind: EntryKind, metavar: str) -> None:
    """edit, disable, enable and remove, which every kind has alike."""

    @group.command("edit", help=f"Change the {kind} {metavar}, if it is not from config.toml: change it there then.")
    @click.argument("name", metavar=metavar)
    @set_option(kind)
    @common
    def edit(name: str, settings: tuple[str, ...], config: Path | None, data_dir: Path | None, as_json: bool) -> None:
        patch = table_of(settings)
        if not patch:
            raise click.UsageError("Say what is to change: --set KEY=VALUE.")
        show(run(lambda entries: entries.change(kind, name, patch, ON_HOST), config, data_dir), as_json, "is changed")

    @group.command(
        "disable", help=f"Take the {kind} {metavar} out of use, until it is enabled; works for config.toml's too."
    )
    @click.argument("name", metavar=metavar)
    @common
    def disable(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
        show(run(lambda entries: entries.switch(kind, name, True, ON_HOST), config, data_dir), as_json, "is disabled")

    @group.command("enable", help=f"Take the {kind} {metavar} into use again.")
    @click.argument("name", metavar=metavar)
    @common
    def enable(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
        show(run(lambda entries: entries.switch(kind, name, False, ON_HOST), config, data_dir), as_json, "is enabled")

    @group.command("remove", help=f"Remove the {kind} {metavar}, if it is not from config.toml: remove it there then.")
    @click.argument("name", metavar=metavar)
    @common
    def remove(name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
        run(lambda entries: entries.remove(kind, name, ON_HOST), config, data_dir)
        if as_json:
            print_json({"name": name, "removed": True})
        else:
            click.echo(f"{kind} {name} is removed.")


def secret_from(option: str, from_stdin: bool) -> str:
    """The secret that was given: a reference, or what standard input holds, for other users read command lines."""
    if from_stdin:
        return sys.stdin.read().strip()
    if option and not option.startswith(("env:", "file:")):
        fail(f"A secret on the command line can be read by others; pipe it in with --secret-stdin{os.linesep}"
             "or name where it lies: --secret env:NAME or file:/path.")  # fmt: skip
    return option

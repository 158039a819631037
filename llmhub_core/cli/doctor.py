"""llm-hub doctor"""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click

from llmhub_core.cli.common import config_option, data_option, json_option, print_json
from llmhub_core.cli.database import open_hub, open_vault_of
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.hub import Hub

LITTLE = 512 * 1024 * 1024
"""Bytes that should be free on the data folder's disk."""

Finding = tuple[str, str, str]
"""Severity (error, warning, note), what is not well, and what to do about it."""


@click.command("doctor")
@click.option("--reach", is_flag=True, help="Ask every provider with every key, from this machine.")
@config_option
@data_option
@json_option
def command(reach: bool, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Say what is wrong and what to do about it. Exit code 1 if something is an error."""
    found = asyncio.run(_look(reach, config, data_dir))
    found.sort(key=lambda each: ("error", "warning", "note").index(each[0]))
    if as_json:
        print_json([dict(zip(("severity", "what", "advice"), each, strict=True)) for each in found])
    else:
        for severity, what, advice in found:
            click.echo(f"{severity}: {what}\n    {advice}")
        if not found:
            click.echo("All is well.")
    if any(severity == "error" for severity, _, _ in found):
        raise click.exceptions.Exit(1)


async def _look(reach: bool, config: Path | None, folder: Path | None) -> list[Finding]:
    try:
        async with open_hub(config, folder) as hub:
            return [each async for each in _findings(hub, reach)]
    except StartError as error:
        return [("error", str(error), "Mend that first; the rest is looked at afterwards.")]
    except OSError as error:
        return [("error", f"The database cannot be used: {error}.", "See whether it is up, and who may use it.")]


async def _findings(hub: Hub, reach: bool) -> AsyncIterator[Finding]:
    for warning in hub.configuration.now.loaded.warnings:
        yield "warning", warning, "Change it in the configuration."
    for each in (*_of_folder(hub.data), *_of_plugins(hub)):
        yield each
    try:
        await open_vault_of(hub)
    except StartError as error:
        yield "error", str(error), "Mend [secrets] keys."
    if hub.vault.closed:
        yield "error", f"The vault is closed: {hub.vault.closed}", "Until then no stored key can be used."
    await hub.configuration.add_stored()
    for out in hub.configuration.now.merged.left_out:
        yield "warning", f"The {out}, so it does not count.", f"llm-hub {out.kind} edit or remove {out.name}."
    for each in _of_catalog(hub):
        yield each
    async for each in _of_people(hub):
        yield each
    if reach:
        async for each in _of_providers(hub):
            yield each


def _of_folder(data: Path) -> Iterator[Finding]:
    if data.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield "warning", f"Others on this machine can look into {data}.", f"chmod 700 {data}"
    if (free := shutil.disk_usage(data).free) < LITTLE:
        yield "error", f"The disk of {data} has {free // 2**20} MiB left.", "Make room, or requests will be refused."


def _of_plugins(hub: Hub) -> Iterator[Finding]:
    for report in hub.registry.reports:
        if report.state == "refused":
            yield "warning", f"The plugin {report.entry} is not used: {report.reason}", "Mend or uninstall it."


def _of_catalog(hub: Hub) -> Iterator[Finding]:
    for place in hub.catalog.places.values():
        for key in place.keys:
            state = hub.key_state(key)
            if state.state == "invalid":
                yield "error", f"The key {key.id} cannot be used: {state.reason}.", "Enter its secret again."
    for route in hub.catalog.routes.values():
        if not route.standing:
            yield "warning", f"Nobody answers for {route.model}.", "Give its providers a key that may serve its models."
    if hub.settings.auth.api == "token" and not len(hub.tokens):
        yield "warning", "Callers need a client token, and there is none.", "llm-hub token add NAME makes one."


async def _of_people(hub: Hub) -> AsyncIterator[Finding]:
    from llmhub_core.admin.audit import CheckAsked, check_store

    people = hub.store.people
    if people is None:
        return
    if not any(user.role == "owner" and not user.disabled for user in await people.users()):
        yield "note", "Nobody owns this hub yet.", "llm-hub user add NAME --role owner, or the link that serve prints."
    checked = await check_store(people, CheckAsked())
    for each in checked.breaks:
        yield "error", f"The audit is not whole at entry {each.number}: {each.what}.", "Compare with a copy."


async def _of_providers(hub: Hub) -> AsyncIterator[Finding]:
    from llmhub_core.cli.reach import try_keys

    for said in await try_keys(hub):
        if said["asked"] == "nothing":
            yield "note", f"{said['key']} was not tried: {said['message']}", f"llm-hub key test {said['key']} --model …"
        elif not said["works"]:
            what = f"{said['key']} does not work: {said['status'] or ''} {said['code']} {said['message']}"
            yield "error", " ".join(what.split()), "Look at the key and its account at the provider."

"""llm-hub secrets"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

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
from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import StartError

if TYPE_CHECKING:
    from llmhub_core.contracts.bodies import BodyStore
    from llmhub_core.hub.vault import RootKey, Vault
    from llmhub_core.hub.vault.roster import Present
    from llmhub_core.hub.vault.rotation import Rotation

T = TypeVar("T")

Work = Callable[["list[RootKey]", "Vault", ConfigurationStore, "BodyStore | None"], Awaitable[T]]


@click.group("secrets")
def command() -> None:
    """Keep what seals the secrets in the database. All of it works while hubs run on that database."""


@command.command("new")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this new file instead.")
@json_option
def new(out: Path | None, as_json: bool) -> None:
    """Make a root key, and print it."""
    from llmhub_core.hub.vault import RootKey, Secret
    from llmhub_core.hub.vault.opening import new_key, write_key

    key = new_key()
    id = RootKey(Secret(key)).id
    if out is not None:
        try:
            write_key(out, key)
        except FileExistsError:
            fail(f"There is a file {out} already, which may be the only copy of a root key; choose another name.")
    if as_json:
        print_json({"id": id, **({"key": key} if out is None else {"file": str(out)})})
    elif out is None:
        click.echo(key)
    else:
        click.echo(f'Made the root key {id}. In the configuration: [secrets] keys = ["file:{out.absolute()}"]')


@command.command("status")
@config_option
@data_option
@json_option
def status(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the root keys, how many secrets each of them seals, and what none of them opens."""
    from llmhub_core.hub.vault.rotation import take_stock

    async def work(keys: list[RootKey], vault: Vault, store: ConfigurationStore, bodies: BodyStore | None) -> None:
        stock = await take_stock(vault, store, bodies)
        rows = [(key.id, key.origin or "the configuration itself", stock.by_key.pop(key.id, 0)) for key in keys]
        rows += [(id, "", count) for id, count in stock.by_key.items()]
        if as_json:
            print_json(
                {
                    "open": not vault.closed,
                    "reason": vault.closed,
                    "keys": [{"id": id, "from": origin or None, "seals": count} for id, origin, count in rows],
                    "lost": _lost(stock.lost),
                }
            )
            return
        print_table(
            ("ROOT KEY", "FROM", "SEALS"), [(id, origin or "not given", str(n)) for id, origin, n in rows], right=(2,)
        )
        _tell_lost(stock.lost)
        if vault.closed:
            fail(f"The vault is closed. {vault.closed}")

    _run(work, config, data_dir)


@command.command("rotate")
@config_option
@data_option
@json_option
def rotate(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Seal everything anew by the first root key.

    Put the new key in front of the old ones in [secrets] keys, restart the hubs, run this, and take the old keys away.
    It may be interrupted and run again.
    """
    from llmhub_core.hub.vault.rotation import NotKnown, begin
    from llmhub_core.hub.vault.rotation import rotate as rotate_all

    async def work(keys: list[RootKey], vault: Vault, store: ConfigurationStore, bodies: BodyStore | None) -> Rotation:
        if vault.closed:
            raise StartError(f"The vault is closed. {vault.closed}")
        try:
            await begin(vault, store)
        except NotKnown as error:
            raise StartError(_told_of(error.hubs, vault.keys[0].id)) from None
        return await rotate_all(vault, store, _Progress(as_json), bodies)

    state = _run(work, config, data_dir)
    if as_json:
        print_json({"resealed": state.resealed, "current": state.current, "lost": _lost(state.lost)})
    else:
        click.echo(f"Sealed anew: {state.resealed}. By the first root key already: {state.current}.")
        _tell_lost(state.lost)
    if state.lost:
        sys.exit(1)


@command.command("abandon")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@data_option
def abandon(yes: bool, config: Path | None, data_dir: Path | None) -> None:
    """Go on without root keys that are lost.

    Client tokens from the database are void afterwards, and provider keys that cannot be opened have to be given anew.
    """
    from llmhub_core.hub.vault.opening import start_anew

    async def work(keys: list[RootKey], vault: Vault, store: ConfigurationStore, bodies: BodyStore | None) -> bool:
        if not vault.closed:
            return False
        if not keys:
            raise StartError("Give the root key to go on with: llm-hub secrets new makes one, for [secrets] keys.")
        if not yes:
            click.confirm(f"{vault.closed}\n\nGo on with {keys[0]!r} and without what is lost?", abort=True)
        await start_anew(keys, store)
        return True

    click.echo(
        "Done; start the hub again. Provider keys that cannot be opened are shown as invalid."
        if _run(work, config, data_dir)
        else "The root keys open what is stored; there is nothing to abandon."
    )


def _told_of(hubs: Sequence[Present], key: str) -> str:
    from llmhub_core.hub.vault.roster import GONE_AFTER

    names = "; ".join(f"{hub.name} (heard of {time.time() - hub.at:.0f} s ago)" for hub in hubs)
    return (
        f"Running hubs do not know the root key {key} yet, and could not open what it seals: {names}. Put it in front "
        "of the old ones in their [secrets] keys and restart them, then run this again. Nothing was changed. "
        f"A hub that was killed counts as running for {GONE_AFTER / 60:.0f} minutes."
    )


class _Progress:
    """A line on stderr that is written over, where somebody looks on; else now and then a line of its own."""

    def __init__(self, as_json: bool) -> None:
        self._shows = not as_json
        self._tty = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, state: Rotation) -> None:
        finished = state.done >= state.total
        if not self._shows or (time.monotonic() < self._next and not finished):
            return
        self._next = time.monotonic() + (0.1 if self._tty else 5.0)
        text = f"{state.done} of {state.total} secrets"
        click.echo(f"\r{text}" if self._tty else text, err=True, nl=finished or not self._tty)


def _lost(lost: dict[tuple[str, str], str]) -> list[dict[str, str]]:
    return [{"kind": kind, "name": name, "why": why} for (kind, name), why in lost.items()]


def _tell_lost(lost: dict[tuple[str, str], str]) -> None:
    for (kind, name), why in lost.items():
        click.echo(f"{kind} {name} cannot be opened: it {why}.", err=True)


def _run(work: Work[T], config: Path | None, folder: Path | None) -> T:
    try:
        return asyncio.run(_with_vault(work, config, folder))
    except StartError as error:
        fail(str(error))


async def _with_vault(work: Work[T], config: Path | None, folder: Path | None) -> T:
    from llmhub_core.hub import moved
    from llmhub_core.hub.hub import Hub
    from llmhub_core.hub.vault.opening import given_keys, open_vault

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
        store = hub.store.configuration
        await moved.mind(store)
        if store is None:
            raise StartError("The metadata store of this hub keeps no secrets; take sqlite or postgresql.")
        keys = given_keys(loaded.settings.secrets.keys, os.environ, hub.base, hub.data)
        vault = await open_vault(keys, store, hub.data)
        return await work(keys or list(vault.keys), vault, store, hub.store.bodies)
    finally:
        await hub.store.stop()

"""llm-hub move"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from llmhub_core.cli.carrying import Progress
from llmhub_core.cli.common import config_option, data_dir, data_option, fail, json_option, load_settings, print_json
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import scheme_of
from llmhub_core.hub.vault import resolve, split

if TYPE_CHECKING:
    from llmhub_core.contracts.metadata_store import MetadataStore

TIMEOUT = 600.0
"""Seconds for one statement: to empty a table takes longer than anything that a hub asks."""

_DATABASES = ("sqlalchemy", "sqlite3", "asyncpg")


@click.command("move")
@click.option("--to", "to", required=True, metavar="ADDRESS", help="postgresql://…, or env:NAME or file:PATH of it.")
@click.option("--from", "source", metavar="sqlite:///…", help="If it is not the one of the configuration any more.")
@config_option
@data_option
@json_option
def command(to: str, source: str | None, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Carry everything from SQLite into an empty PostgreSQL, while the hub serves; then say what to change.

    It goes on until the hub has left the SQLite file, so leave it running. It may be killed and run again.
    """
    _move(to, source, config, data_dir, as_json)


def _move(to: str, source: str | None, config: Path | None, folder: Path | None, as_json: bool) -> None:
    loaded, registry = load_settings(config)
    data = data_dir(folder)
    progress = Progress(as_json)
    try:
        target = _address(to)
        origin = _file(source or loaded.settings.storage.metadata, data)
        done, followed = asyncio.run(_run(registry, origin, target, to, progress, as_json))
    except StartError as error:
        progress.end()
        fail(str(error))
    except Exception as error:
        progress.end()
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _DATABASES:
            raise
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        fail(f"A database failed, and nothing is switched: {reason}. Run the same again, and it goes on from here.")
    except KeyboardInterrupt:
        progress.end()
        fail("Stopped; nothing is switched. Run the same again, and it goes on from here.")
    progress.end()
    if as_json:
        print_json({"moved": True, "followed": followed, "sums": done})
        return
    click.echo(
        f"Everything is in {_shown(target)}: {done['records']:,} requests, and sums of {done['usage requests']:,}."
    )
    click.echo(f"{origin} stays as it is, and no hub starts on it any more; keep it until you trust the other.")


def _address(to: str) -> str:
    """The target, whose password is on no command line."""
    given = to
    if split(to)[0] in ("env", "file"):
        try:
            to = resolve(to, os.environ, Path.cwd()).reveal()
        except LookupError as error:
            raise StartError(f"--to {error.args[0]}.") from None
    if to.startswith("postgres://"):
        to = "postgresql://" + to.removeprefix("postgres://")
    if not to.startswith("postgresql://"):
        raise StartError("--to names a PostgreSQL: postgresql://user@host:5432/database")
    if given == to and urlsplit(to).password:
        raise StartError("Others can read a password on a command line; put the address in a variable: --to env:NAME")
    return to


def _file(url: str, data: Path) -> str:
    """The absolute address of the SQLite file."""
    if scheme_of(url) != "sqlite":
        raise StartError(
            "The configuration names no SQLite file any more. Name the one that is moved: --from sqlite:////absolute/path.db"
        )
    path = data / url.partition(":///")[2]
    if not path.is_file():
        raise StartError(f"There is no database {path}.")
    return f"sqlite:///{path}"


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@", 1) if parts.password else url


async def _run(
    registry: Registry, origin: str, target: str, named: str, progress: Progress, as_json: bool
) -> tuple[Mapping[str, int], int]:
    from llmhub_core.moving.live import Mover, side

    def caught_up() -> None:
        progress.end()
        if not as_json:
            click.echo(_advice(target, named), err=True)

    async with _started(registry, origin) as here, _started(registry, target, empty=True) as there:
        mover = Mover(side(here, origin), side(there, _shown(target)), origin, progress, caught_up)
        return await mover.run(), mover.followed


def _advice(target: str, named: str) -> str:
    address = f'"{_shown(target)}"' if named == target else f'"{target if not urlsplit(target).password else "…"}"'
    return (
        "Caught up with the hub; what it does goes on being carried. Now, and without stopping this command:\n"
        f"  1. In the configuration: [storage] metadata = {address}\n"
        "     (or in the environment: LLMHUB_STORAGE__METADATA)\n"
        "  2. Stop the hub and start it again, all of it.\n"
        "The hub takes requests again when the last of it has been carried, a moment later."
    )


@asynccontextmanager
async def _started(registry: Registry, url: str, empty: bool = False) -> AsyncIterator[MetadataStore]:
    cls = registry.metadata_stores.get(scheme_of(url))
    more = {"timeout": TIMEOUT} if empty else {}
    store = cls(cls.Settings(url=url, **more))
    await store.start()
    try:
        state = await store.schema()
        if not state.is_current:
            if state.current or not empty:
                raise StartError(f"{_shown(url)} has no schema of this version; run llm-hub migrate on it first.")
            await store.migrate()
        yield store
    finally:
        await store.stop()

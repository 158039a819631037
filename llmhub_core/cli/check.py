"""llm-hub check"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmhub_core.cli.common import config_option, data_dir, data_option, fail, json_option, load_source, print_json
from llmhub_core.contracts.errors import StartError

if TYPE_CHECKING:
    from llmhub_core.hub.hub import Hub
    from llmhub_core.hub.settings import Settings


@click.command("check")
@config_option
@data_option
@json_option
def command(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Check the configuration as `serve` would read it, and what was added since. Calls no provider."""
    _check(config, data_dir, as_json)


def _check(config: Path | None, folder: Path | None, as_json: bool) -> None:
    from llmhub_core.hub.configuration import base_of
    from llmhub_core.hub.hub import Hub

    loaded, registry, source = load_source(config)
    try:
        hub = Hub(loaded.settings, registry, data_dir(folder), base_of(loaded), source, loaded)
        settings, warnings = asyncio.run(_with_stored(hub))
    except StartError as error:
        fail(str(error))
    warnings = [*loaded.warnings, *warnings]
    counts = {
        "providers": len(settings.providers),
        "keys": sum(len(provider.keys) for provider in settings.providers),
        "routes": len(settings.routes),
        "tokens": len(settings.tokens),
    }
    if as_json:
        print_json({"config": str(loaded.path or ""), "warnings": warnings, **counts})
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{loaded.path or 'no configuration file'}: good")
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))


async def _with_stored(hub: Hub) -> tuple[Settings, list[str]]:
    """The settings with what is stored beside the file, and what is to be said of that. Makes no database."""
    from llmhub_core.hub import moved

    url = getattr(hub.store.settings, "url", "")
    if url.startswith("sqlite:///") and not await asyncio.to_thread(Path(url.removeprefix("sqlite:///")).exists):
        return hub.settings, []
    try:
        await hub.store.start()
    except StartError as error:
        return hub.settings, [f"what is stored beside the file was not looked at: {error}"]
    try:
        state = await hub.store.schema()
        if not state.is_current:
            return hub.settings, ["what is stored beside the file was not looked at: run llm-hub migrate first"]
        try:
            await moved.mind(hub.store.configuration)
        except StartError as error:
            return hub.settings, [f"what is stored beside the file was not looked at: {error}"]
        configured = await hub.configuration.look()
        return configured.settings, [str(out) for out in configured.merged.left_out]
    finally:
        await hub.store.stop()

"""llm-hub check"""

from __future__ import annotations

from pathlib import Path

import click

from llmhub_core.cli.common import config_option, fail, json_option, load_settings, print_json
from llmhub_core.contracts.errors import StartError


@click.command("check")
@config_option
@json_option
def command(config: Path | None, as_json: bool) -> None:
    """Read the configuration as `serve` would, build everything, call nothing."""
    from llmhub_core.hub.build import build_catalog, build_tokens

    loaded, registry = load_settings(config)
    base = loaded.path.absolute().parent if loaded.path is not None else Path.cwd()
    try:
        catalog, secrets = build_catalog(loaded.settings, registry, base)
        tokens = build_tokens(loaded.settings.tokens)
    except StartError as error:
        fail(str(error))
    counts = {
        "providers": len(catalog.places),
        "keys": len(secrets),
        "routes": len(catalog.routes),
        "tokens": len(tokens),
    }
    if as_json:
        print_json({"config": str(loaded.path or ""), "warnings": loaded.warnings, **counts})
        return
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{loaded.path or 'no configuration file'}: good")
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))

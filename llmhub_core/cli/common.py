"""What the commands share: options, loading the configuration, printing."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.configuration import Source
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import Known, Loaded

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; if not given, LLMHUB_CONFIG or ./config.toml, where there is one.",
)
data_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the database, the journal and the root key; if not given, LLMHUB_DATA_DIR or the usual place.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


_SPAN = re.compile(r"(\d+)\s*(m|h|d|w)")
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """The callback of options that say how far back, in seconds."""
    found = _SPAN.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter("give a number and a unit, such as 90m, 24h, 7d or 4w")
    return float(found[1]) * _UNITS[found[2]]


def fail(message: str) -> NoReturn:
    """The end of a command that could not do what it was asked."""
    click.echo(message, err=True)
    sys.exit(1)


def data_dir(given: Path | None) -> Path:
    """The folder of this hub: as asked, else LLMHUB_DATA_DIR, else the platform's usual place."""
    if given is not None:
        return given.absolute()
    if os.environ.get("LLMHUB_DATA_DIR"):
        return Path(os.environ["LLMHUB_DATA_DIR"]).absolute()
    import platformdirs

    return Path(platformdirs.user_data_path("llm-hub", appauthor=False))


def known(registry: Registry) -> Known:
    """What the plugins brought, as the settings are checked against it."""
    missing: dict[str, str] = {}
    for report in registry.reports:
        if report.state != "loaded":
            missing[report.entry] = report.reason
    return Known(
        provider_kinds=registry.providers.settings_types(),
        strategies=registry.strategies.settings_types(),
        dialects=registry.dialects.settings_types(),
        interceptors=registry.interceptors.settings_types(),
        observers=registry.observers.settings_types(),
        metadata_stores=registry.metadata_stores.settings_types(),
        quota_stores=registry.quota_stores.settings_types(),
        operations=frozenset(cls.operation for cls in registry.dialects),
        missing=missing,
    )


def load_settings(config: Path | None) -> tuple[Loaded, Registry]:
    """The checked configuration; ends the command with all problems if there are any."""
    loaded, registry, _ = load_source(config)
    return loaded, registry


def load_source(config: Path | None, overrides: Mapping[str, str] = {}) -> tuple[Loaded, Registry, Source]:
    """As `load_settings`, and how to read it again. `overrides` are options of the command line, as the environment
    variables that they stand for."""
    registry = Registry().discover()
    source = Source(config, {**os.environ, **overrides}, known(registry))
    try:
        return source.load(), registry, source
    except StartError as error:
        fail(str(error))


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns as wide as they need to be; those in `right` are numbers."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())

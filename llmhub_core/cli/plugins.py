"""llm-hub plugins"""

from __future__ import annotations

import dataclasses

import click

from llmhub_core.cli.common import json_option, print_json, print_table
from llmhub_core.hub.registry import Registry


@click.command("plugins")
@json_option
def command(as_json: bool) -> None:
    """Show every entry point of the group llmhub.plugins: ours, and those that were pip-installed beside us."""
    reports = Registry().discover().reports
    if as_json:
        print_json([dataclasses.asdict(report) for report in reports])
        return
    rows = [
        (report.entry, f"{report.distribution} {report.version}", report.state, ", ".join(report.brought))
        for report in reports
    ]
    print_table(("ENTRY POINT", "FROM", "STATE", "BROUGHT"), rows)
    for report in reports:
        if report.reason:
            click.echo(f"\n{report.entry} is {report.state}: {report.reason}")

"""llm-hub restart"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from llmhub_core.cli.common import data_dir, data_option, fail


@click.command("restart")
@data_option
def command(data_dir: Path | None) -> None:
    """Replace the workers of the hub that runs on this data folder, one by one, without refusing a request.

    For a hub with several workers (llm-hub serve --workers 4). They read the configuration and the installed program
    anew. One process alone is stopped and started instead.
    """
    _restart(data_dir)


def _restart(given: Path | None) -> None:
    from llmhub_core.hub import folder

    data = data_dir(given)
    holder = folder.holder(data)
    if holder is None:
        fail(f"No llm-hub runs on the data folder {data}.")
    pid, workers = holder
    if workers < 2:
        fail(f"The hub on {data} is one process; stop and start it, or run it with --workers 2 from now on.")
    try:
        os.kill(pid, signal.SIGUSR2)
    except PermissionError:
        fail(f"Process {pid} belongs to another user; run this as that user.")
    except ProcessLookupError:
        fail(f"Process {pid} is not on this machine's list; is the hub in a container? Send it SIGUSR2 there.")
    click.echo(f"Process {pid} replaces its {workers} workers one by one; its log tells when all are.")

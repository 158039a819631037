"""llm-hub export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmhub_core.cli.carrying import Progress, entries_of, passphrase_option, words_from
from llmhub_core.cli.common import config_option, data_option, json_option, print_json
from llmhub_core.cli.database import with_hub

if TYPE_CHECKING:
    from llmhub_core.hub.hub import Hub
    from llmhub_core.moving.exporting import Exported


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--records", is_flag=True, help="Single requests too, and not only their sums.")
@passphrase_option
@config_option
@data_option
@json_option
def command(
    file: Path, records: bool, passphrase: str | None, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Write what lasts into the new FILE: what is configured beside config.toml, users, the audit, sums of usage.

    Works while hubs run. Secrets go along only where a passphrase seals them. A FILE named .gz is compressed.
    """
    progress = Progress(as_json)

    async def work(hub: Hub) -> Exported:
        from llmhub_core.moving.exporting import Exporter
        from llmhub_core.moving.passphrase import sealing

        words = words_from(passphrase, twice=True)
        archive, entries = await entries_of(hub)
        sealed_by = None if words is None else sealing(words)
        return await Exporter(archive, hub.vault, entries.source.known, sealed_by, records, progress).write(file)

    made = with_hub(work, config, data_dir)
    progress.end()
    if as_json:
        print_json({"file": str(file), "lines": made.counts, "needed": made.needed, "lost": made.lost})
        return
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in made.counts.items())
    click.echo(f"{file}: {counts or 'nothing lasts here yet'}")
    for name, why in made.lost.items():
        click.echo(f"The secret of {name} cannot be opened: it {why}.", err=True)
    if made.needed and passphrase is None:
        click.echo(
            f"Without their secrets: {', '.join(made.needed)}. Whoever takes the file in has to give them again, and "
            "to make client tokens anew; --passphrase-from takes the secrets along, sealed.",
            err=True,
        )

"""llm-hub import"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmhub_core.cli.carrying import ON_HOST, Progress, entries_of, passphrase_option, tell_reports, words_from
from llmhub_core.cli.common import config_option, data_option, json_option
from llmhub_core.cli.database import with_hub
from llmhub_core.contracts.errors import StartError

if TYPE_CHECKING:
    from llmhub_core.hub.hub import Hub
    from llmhub_core.moving.report import PartReport


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@passphrase_option
@config_option
@data_option
@json_option
def command(
    file: Path, dry_run: bool, passphrase: str | None, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Take what lasts out of FILE, which llm-hub export wrote, and say what became of it.

    What is here stays as it is: of the same name, it is told as a conflict. May be run again at any time.
    """
    progress = Progress(as_json)

    async def work(hub: Hub) -> list[PartReport]:
        from llmhub_core.moving.copy_file import Reader
        from llmhub_core.moving.importing import Importer
        from llmhub_core.moving.passphrase import opening

        reader = Reader(file)
        words = words_from(passphrase, twice=False)
        if words is not None and not reader.head.get("sealing"):
            raise StartError(f"{file} holds no secrets: it was written without a passphrase. Leave yours out.")
        opened_by = None if words is None else opening(reader.head["sealing"], words)
        archive, entries = await entries_of(hub)
        return await Importer(reader, hub.store, archive, entries, opened_by, dry_run, progress).run(ON_HOST)

    reports = with_hub(work, config, data_dir)
    progress.end()
    tell_reports(reports, dry_run, as_json)

"""Writes what this version leaves behind, for the tests of all later ones: run it when a version is released.

    cd tests && PYTHONPATH=. python moving/left_behind

A folder for its schema: the same content as SQL for each kind of database, and as it has to be told by later versions.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from llmhub_plugins.stores.sql.migrations import REVISIONS  # noqa: E402
from places import fill, place  # noqa: E402
from test_left_behind import told  # noqa: E402

from llmhub_core.testing.postgres import Postgres  # noqa: E402


def main() -> None:
    folder = HERE / REVISIONS[-1]
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as passing, Postgres.running() as server:
        for kind, url in (("sqlite", ""), ("postgresql", server.new_database("hub"))):
            hub = place(Path(passing) / kind, url)
            token = fill(hub, 200)
            if kind == "sqlite":
                with closing(sqlite3.connect(hub.url.removeprefix("sqlite:///"))) as database:
                    sql = "\n".join(database.iterdump())
            else:
                sql = server.dump("hub")
            (folder / f"{kind}.sql.gz").write_bytes(gzip.compress(sql.encode(), 9, mtime=0))
            root_key = (hub.folder / "data" / "root.key").read_text().strip()
            told_now = {"root_key": root_key, "token": token, **told(hub)}
            (folder / f"{kind}.json").write_text(json.dumps(told_now, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Databases that earlier versions left, as they themselves wrote them: brought to today's schema, and the way back."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from databases import Store
from llmhub_plugins.stores.sql.migrations import REVISIONS
from places import PASSWORD, SECRET, Place, place

from llmhub_core.admin.passwords import matches
from llmhub_core.contracts import RecordFilter, UsageQuestion
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.records import NOON, a_record

LEFT = Path(__file__).parent / "left_behind"
QUESTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("model",),
    ("caller",),
    ("provider", "key"),
    ("caller", "model"),
    ("day",),
)
COUNTED = ("users", "admin_tokens", "configuration", "audit", "alerts", "usage_hours")

pytestmark = pytest.mark.timeout(240)  # each command finds its plugins and opens its database anew


def told(hub: Place) -> dict[str, Any]:
    """What every later version has to say of the same database."""

    async def work(store: Store) -> dict[str, Any]:
        usage: dict[str, Any] = {}
        for by in QUESTIONS:
            rows = await store.usage(UsageQuestion(0.0, 4e9, by))  # type: ignore[arg-type]
            usage[",".join(by)] = [
                [*row.group, row.requests, row.served, row.failed, row.input_tokens, row.output_tokens, row.cost]
                for row in rows
            ]
        requests = await store.requests(RecordFilter(), 10_000, None)
        assert store.archive is not None
        sums = await store.archive.sums()
        return {
            "usage": usage,
            "requests": [each.id for each in requests],
            "counts": {name: sums[name] for name in COUNTED},
        }

    found: dict[str, Any] = hub.with_store(work)
    return found


def restored(kind: str, revision: str, folder: Path, request: pytest.FixtureRequest) -> tuple[Place, dict[str, Any]]:
    sql = gzip.decompress((LEFT / revision / f"{kind}.sql.gz").read_bytes()).decode()
    known = json.loads((LEFT / revision / f"{kind}.json").read_text())
    url = ""
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        name = f"left_behind_{revision}"
        url = server.new_database(name)
        server.script(name, sql)
    hub = place(folder, url)
    (folder / "data" / "root.key").write_text(known["root_key"] + "\n")
    (folder / "data" / "root.key").chmod(0o600)
    if kind == "sqlite":
        with closing(sqlite3.connect(folder / "data" / "llm-hub.db")) as database:
            database.executescript(sql)
    return hub, known


@pytest.mark.parametrize("revision", sorted(path.name for path in LEFT.iterdir() if path.name.isdigit()))
def test_what_a_version_left_is_all_there_after_the_upgrade_and_on_the_way_back(
    kind: str, revision: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIN_TWO", "sk-of-a-variable")
    hub, known = restored(kind, revision, tmp_path / "hub", request)
    behind = revision != REVISIONS[-1]
    assert (f"from {revision}" in hub.do("migrate")) == behind
    expected = {name: known[name] for name in ("usage", "requests", "counts")}
    assert told(hub) == expected
    assert hub.json("secrets", "status")["open"]
    (key,) = [each for each in hub.json("key", "list") if each["name"] == "main/one"]
    assert not key.get("problem")
    assert key["settings"]["secret"].endswith(SECRET[-4:])
    everything = hub.everything()
    (user,) = everything["users"]
    assert matches(PASSWORD, user["verifier"])
    assert known["token"].startswith("lh-")

    hub.append([a_record(f"new-{number}", arrived_at=NOON + number) for number in range(7)])
    now = told(hub)
    assert now["usage"][""][0][0] == known["usage"][""][0][0] + 7
    if kind == "sqlite" and behind:
        database = tmp_path / "hub" / "data" / "llm-hub.db"
        for side in ("-wal", "-shm"):
            database.with_name(database.name + side).unlink(missing_ok=True)
        shutil.copy(database.with_name(f"{database.name}.before-{REVISIONS[-1]}"), database)
        with closing(sqlite3.connect(database)) as old:
            assert old.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
            assert old.execute("SELECT sum(requests) FROM usage_hours").fetchone()[0] == known["usage"][""][0][0]

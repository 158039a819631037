"""llm-hub secrets: root keys made and changed, beside hubs that serve."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from databases import needs_postgresql
from test_cli import CHAT, ECHO, Served, clean, config, run, serving

from llmhub_core.contracts import Entry
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.vault import RootKey, Secret, Vault
from llmhub_core.hub.vault.opening import CANARY, FACT, KEY_FILE, STABLE, falls_behind, open_vault
from llmhub_core.hub.vault.rotation import begin
from llmhub_core.testing.house import House
from llmhub_core.testing.postgres import Postgres

__all__ = ["clean"]

RATE = 200.0

SEALED = (
    "SELECT sealed FROM configuration UNION ALL SELECT text FROM facts WHERE name IN ('vault.canary', 'vault.stable')"
)


def made_key(path: Path) -> RootKey:
    assert run("secrets", "new", "--out", path).exit_code == 0
    return RootKey(Secret(path.read_text().strip()))


def hub_config(folder: Path, *keys: str, url: str = "") -> Path:
    listed = ", ".join(f'"file:{folder / key}"' for key in keys)
    storage = f'[storage]\nmetadata = "{url}"\n' if url else ""
    return config(folder, f"{storage}[secrets]\nkeys = [{listed}]\n{ECHO}")


async def filled(folder: Path, key: RootKey, count: int, url: str = "") -> Vault:
    """A database with so many sealed secrets."""
    path = folder / "data" / "llm-hub.db"
    path.parent.mkdir(exist_ok=True)
    url = url or f"sqlite:///{path}"
    cls = Registry().discover().metadata_stores.get(url.partition(":")[0])
    store = cls(cls.Settings(url=url))
    await store.start()
    await store.migrate()
    vault = await open_vault([key], store.configuration, folder)
    assert store.configuration is not None
    await store.configuration.put(Entry("key", "echo/k", '{"name":"k"}', vault.seal("key", "echo/k", "sk-k")))
    await store.stop()
    rows = [
        ("key", f"echo/k{n}", f'{{"name":"k{n}"}}', vault.seal("key", f"echo/k{n}", f"sk-{n}"), 1, 1.7e9)
        for n in range(count - 1)
    ]
    if not url.startswith("sqlite"):
        asyncpg = pytest.importorskip("asyncpg")
        connection = await asyncpg.connect(url)
        await connection.copy_records_to_table("configuration", records=rows)
        await connection.close()
        return vault
    with sqlite3.connect(path) as database:
        database.executemany("INSERT INTO configuration VALUES (?, ?, ?, ?, ?, ?)", rows)
    database.close()
    return vault


def sealed_by(folder: Path) -> dict[str, int]:
    """How many texts in the database each root key sealed."""
    with sqlite3.connect(folder / "data" / "llm-hub.db") as database:
        texts = [text for (text,) in database.execute(SEALED)]
    database.close()
    return Counter(text.split(".")[1] for text in texts)


# making keys


def test_a_key_is_printed_or_written(tmp_path: Path) -> None:
    one, other = run("secrets", "new").stdout.strip(), run("secrets", "new").stdout.strip()
    assert one != other
    assert one.startswith("lhk-")
    path = tmp_path / "root"
    said = run("secrets", "new", "--out", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in said.output
    assert RootKey(Secret(path.read_text().strip())).id in said.stdout
    before = path.read_text()
    again = run("secrets", "new", "--out", path)
    assert again.exit_code == 1
    assert "There is a file" in again.stderr
    assert path.read_text() == before
    made = json.loads(run("secrets", "new", "--json").stdout)
    assert RootKey(Secret(made["key"])).id == made["id"]


def test_the_status_of_a_new_hub(tmp_path: Path) -> None:
    said = run("secrets", "status", "--config", config(tmp_path))
    assert (said.exit_code, said.stderr) == (0, "")
    key = RootKey(Secret((tmp_path / "data" / KEY_FILE).read_text().strip()))
    assert said.stdout.splitlines()[1].split() == [key.id, f"file:{tmp_path / 'data' / KEY_FILE}", "2"]
    as_json = json.loads(run("secrets", "status", "--config", config(tmp_path), "--json").stdout)
    assert as_json["open"]
    assert as_json["keys"][0]["seals"] == 2


def test_a_closed_vault_is_told_and_nothing_is_rotated(tmp_path: Path) -> None:
    old, new = made_key(tmp_path / "old"), made_key(tmp_path / "new")
    asyncio.run(filled(tmp_path, old, 3))
    path = hub_config(tmp_path, "new")
    before = sealed_by(tmp_path)
    for command in ("status", "rotate"):
        said = run("secrets", command, "--config", path)
        assert said.exit_code == 1
        assert f"was sealed with the root key {old.id}, and given are {new.id}" in said.stderr
    assert sealed_by(tmp_path) == before == {old.id: 5}
    asked = run("secrets", "abandon", "--config", path)
    assert asked.exit_code == 1
    assert sealed_by(tmp_path) == before
    assert run("secrets", "abandon", "--yes", "--config", path).exit_code == 0
    assert sealed_by(tmp_path) == {old.id: 3, new.id: 2}
    said = run("secrets", "status", "--config", path)
    assert said.exit_code == 0
    assert "key echo/k0 cannot be opened: it was sealed with" in said.stderr
    assert "nothing to abandon" in run("secrets", "abandon", "--config", path).stdout
    lost = json.loads(run("secrets", "rotate", "--config", path, "--json").stdout)
    assert lost["resealed"] == 0
    assert {each["name"] for each in lost["lost"]} == {"echo/k", "echo/k0", "echo/k1"}
    assert run("secrets", "rotate", "--config", path).exit_code == 1


def test_moving_from_the_made_key_to_one_of_ones_own(tmp_path: Path) -> None:
    path = config(tmp_path)
    assert run("secrets", "status", "--config", path).exit_code == 0
    new = made_key(tmp_path / "new")
    path = hub_config(tmp_path, "new")
    assert run("secrets", "status", "--config", path).exit_code == 0, "the made key still opens"
    assert run("secrets", "rotate", "--config", path).exit_code == 0
    (tmp_path / "data" / KEY_FILE).unlink()
    assert run("secrets", "status", "--config", path).exit_code == 0
    assert sealed_by(tmp_path) == {new.id: 2}


# ten thousand, while a hub serves


class Callers:
    """Requests at a steady rate, and what became of them."""

    def __init__(self, served: Served) -> None:
        self.url = served.url + "/v1/chat/completions"
        self.statuses: list[object] = []
        self._stop = asyncio.Event()

    async def run(self) -> None:
        async with aiohttp.ClientSession() as client:
            running: set[asyncio.Task[None]] = set()
            began, number = time.monotonic(), 0
            while not self._stop.is_set():
                running.add(task := asyncio.create_task(self._one(client)))
                task.add_done_callback(running.discard)
                number += 1
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            await asyncio.gather(*running)

    async def _one(self, client: aiohttp.ClientSession) -> None:
        try:
            async with client.post(self.url, json=CHAT) as answer:
                await answer.read()
                self.statuses.append(answer.status)
        except (aiohttp.ClientError, OSError) as error:
            self.statuses.append(repr(error))

    def stop(self) -> None:
        self._stop.set()


class Stored:
    """What rests in a database, SQLite's or PostgreSQL's (`server`)."""

    def __init__(self, folder: Path, server: Postgres | None) -> None:
        self._folder, self._server = folder, server
        self.url = "" if server is None else server.new_database("hub")

    def rows(self, statement: str) -> list[tuple[str, ...]]:
        if self._server is not None:
            return [tuple(line.split("|")) for line in self._server.sql("hub", statement).splitlines()]
        with sqlite3.connect(self._folder / "data" / "llm-hub.db") as database:
            found = database.execute(statement).fetchall()
        database.close()
        return found

    def sealed_by(self) -> Counter[str]:
        return Counter(text.split(".")[1] for (text,) in self.rows(SEALED))


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    if request.param == "sqlite":
        yield Stored(tmp_path, None)
        return
    needs_postgresql()
    with Postgres.running() as server:
        yield Stored(tmp_path, server)


@pytest.mark.timeout(240)
async def test_a_thousand_secrets_are_rotated_while_a_hub_serves(tmp_path: Path, stored: Stored) -> None:
    await rotated_while_a_hub_serves(tmp_path, stored, 1000)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_ten_thousand_secrets_are_rotated_while_a_hub_serves(tmp_path: Path, stored: Stored) -> None:
    """pytest -m soak tests/test_secrets_command.py -s"""
    await rotated_while_a_hub_serves(tmp_path, stored, 10_000)


async def rotated_while_a_hub_serves(folder: Path, stored: Stored, many: int) -> None:
    old, new = made_key(folder / "old"), made_key(folder / "new")
    await filled(folder, old, many, stored.url)
    path = hub_config(folder, "new", "old", url=stored.url)
    command = [sys.executable, "-m", "llmhub_core", "secrets", "rotate", "--config", str(path), "--json"]
    with serving("--config", path) as served:
        callers = Callers(served)
        calling = asyncio.create_task(callers.run())

        rotating = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        while (moved := (await asyncio.to_thread(stored.sealed_by))[new.id]) < many // 5:
            assert rotating.returncode is None
            await asyncio.sleep(0.1)
        os.kill(rotating.pid, signal.SIGKILL)
        await rotating.wait()
        half = stored.sealed_by()
        assert moved <= half[new.id] < many
        assert half[new.id] + half[old.id] == many + 2

        began = time.monotonic()
        rotating = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        said, _ = await rotating.communicate()
        assert rotating.returncode == 0
        done = json.loads(said)
        assert done == {"resealed": many - half[new.id], "current": half[new.id], "lost": []}
        print(f"{done['resealed']} secrets in {time.monotonic() - began:.1f} s, {len(callers.statuses)} requests")

        callers.stop()
        await calling
    assert set(callers.statuses) == {200}
    assert len(callers.statuses) > 100
    assert stored.sealed_by() == {new.id: many + 2}
    rows = dict(stored.rows("SELECT name, sealed FROM configuration"))
    facts = dict(stored.rows("SELECT name, text FROM facts"))
    alone = Vault([new])
    assert alone.open("key", "echo/k", rows["echo/k"]).reveal() == "sk-k"
    for number in range(0, many - 1, 97):
        assert alone.open("key", f"echo/k{number}", rows[f"echo/k{number}"]).reveal() == f"sk-{number}"
    assert alone.open(FACT, CANARY, facts[CANARY])
    assert alone.open(FACT, STABLE, facts[STABLE])
    (folder / "old").unlink()
    with serving("--config", hub_config(folder, "new", url=stored.url)) as served:
        assert served.post(CHAT)["choices"]


def test_no_rotation_begins_before_all_hubs_know_the_new_key(tmp_path: Path) -> None:
    old, new = made_key(tmp_path / "old"), made_key(tmp_path / "new")
    asyncio.run(filled(tmp_path, old, 3))
    with serving("--config", hub_config(tmp_path, "old")) as served:
        said = run("secrets", "rotate", "--config", hub_config(tmp_path, "new", "old"))
        assert said.exit_code == 1
        assert f"Running hubs do not know the root key {new.id} yet" in said.stderr
        assert f"process {served.process.pid}" in said.stderr
        assert sealed_by(tmp_path) == {old.id: 5}
    with serving("--config", hub_config(tmp_path, "old")):
        """What was refused keeps nobody from starting again."""
    assert run("secrets", "rotate", "--config", hub_config(tmp_path, "new", "old")).exit_code == 0
    assert sealed_by(tmp_path) == {new.id: 5}


async def test_a_hub_without_the_new_key_does_not_serve_once_a_rotation_began(tmp_path: Path) -> None:
    old, new = made_key(tmp_path / "old"), made_key(tmp_path / "new")
    await filled(tmp_path, old, 3)
    cls = Registry().discover().metadata_stores.get("sqlite")
    store = cls(cls.Settings(url=f"sqlite:///{tmp_path / 'data' / 'llm-hub.db'}"))
    await store.start()
    assert store.configuration is not None
    await begin(Vault([new, old]), store.configuration)
    assert await falls_behind(Vault([new, old]), store.configuration) == ""
    assert f"was sealed with the root key {new.id}" in await falls_behind(Vault([old]), store.configuration)
    await store.stop()
    settings = f'[secrets]\nkeys = ["file:{tmp_path}/old"]\n{ECHO}'
    async with House(settings, folder=tmp_path) as house:
        assert f"A rotation of the root keys was begun, and its mark was sealed with the root key {new.id}" in (
            house.hub.sealed
        )

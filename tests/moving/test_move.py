"""From SQLite to PostgreSQL while the hub serves: nothing lost, nothing counted twice, whatever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Store, opened, store_of
from places import Place, fill, place
from test_cli import OURS, Served, serving

from llmhub_core.contracts import StartError
from llmhub_core.moving import live
from llmhub_core.moving.live import side
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.records import NOON, a_record

ECHO = '[[providers]]\nname = "e"\nkind = "echo"\n[[routes]]\nmodel = "quick"\n' + (
    'deployments = [{ provider = "e", model = "m" }]\n'
)


class Mover:
    """`llm-hub move` in a process of its own."""

    def __init__(self, hub: Place, target: str, *more: str) -> None:
        command = [sys.executable, "-m", "llmhub_core", "move", "--to", "env:TARGET", *more, *hub.options]
        base = {name: value for name, value in os.environ.items() if name not in OURS}
        self.process = subprocess.Popen(
            command, env={**base, "TARGET": target}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = ""

    def caught_up(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if "The hub takes requests again" in line:
                return
        raise AssertionError(self.said)

    def end(self) -> str:
        out, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.said + errors
        return out

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Load:
    """Callers that go on whatever happens; the ids of requests that they had an answer to."""

    def __init__(self, token: str) -> None:
        self.url, self.heard = "", list[str]()
        self._token, self._over = token, threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(3)]

    def _call(self) -> None:
        body = json.dumps({"model": "quick", "messages": [{"role": "user", "content": "one two"}]}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._token}"}
        while not self._over.is_set():
            request = urllib.request.Request(self.url + "/v1/chat/completions", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    answer.read()
                    self.heard.append(answer.headers["x-request-id"])
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            time.sleep(0.005)

    def more(self, count: int) -> None:
        enough, deadline = len(self.heard) + count, time.monotonic() + 40
        while len(self.heard) < enough:
            assert time.monotonic() < deadline, "no caller is answered"
            time.sleep(0.01)

    @contextlib.contextmanager
    def on(self, url: str) -> Iterator[None]:
        self.url = url
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


def state(target: Place) -> dict[str, int]:
    """How far a move into it is."""

    async def look(store: Store) -> dict[str, int]:
        assert store.configuration is not None
        found: dict[str, int] = json.loads(await store.configuration.fact("move") or "{}")
        return found

    found: dict[str, int] = target.with_store(look)
    return found


@pytest.mark.timeout(240)
def test_a_hub_under_load_moves_and_nothing_is_lost(postgres: Postgres, tmp_path: Path) -> None:
    hub = place(tmp_path / "hub", more=f'[auth]\napi = "token"\n{ECHO}')
    token = fill(hub)
    old = [a_record(f"old{n:06d}", arrived_at=NOON + n % 5000) for n in range(6_000)]
    hub.append(old)
    address = postgres.new_database()
    target = Place(hub.folder, address)
    load = Load(token)
    with serving(*hub.options) as first, load.on(first.url):
        load.more(20)
        killed = Mover(hub, address)
        deadline = time.monotonic() + 40
        while state(target).get("at", 0) < 1000:  # in the middle of what is old
            assert time.monotonic() < deadline
        killed.kill()
        assert state(target)["at"] < 6_000
        refused = Mover(place(tmp_path / "other"), address).process
        load.more(20)
        mover = Mover(hub, address)
        mover.caught_up()
        load.more(20)
        hub.do("route", "add", "late", "echo/late")
        first.stop()
        assert mover.process.poll() in (None, 0)
        (hub.folder / "hub.toml").write_text((hub.folder / "hub.toml").read_text().replace(hub.url, address))
        port = first.url.rpartition(":")[2]
        second = Served(*hub.options, "--port", port)
        try:
            said = mover.end()
            load.more(20)
        finally:
            second.stop()
    assert "stays as it is, and no hub starts on it any more" in said
    assert refused.communicate()[0] == ""
    assert refused.returncode == 1

    there = target.everything()
    ids = Counter(record.id for record in there["records"])
    assert max(ids.values()) == 1
    assert set(load.heard) <= set(ids), "an answered request is nowhere"
    assert {record.id for record in old} <= set(ids)
    assert sum(row["requests"] for row in there["usage_hours"]) == len(ids)
    days = [row for row in there["usage_totals"] if row["span"] == 86_400 and row["by"] == "model"]
    assert sum(row["requests"] for row in days) == len(ids)
    assert {row["name"] for row in there["configuration"]} >= {"main/one", "fast", "late", "game"}
    assert [row["name"] for row in there["users"]] == ["olga"]
    assert not state(target)

    (hub.folder / "hub.toml").write_text((hub.folder / "hub.toml").read_text().replace(address, hub.url))
    for command in (("provider", "list"), ("usage",), ("replay",), ("secrets", "status"), ("secrets", "rotate")):
        refused = hub.run(*command)
        assert refused.exit_code == 1, command
        assert "was moved to" in refused.stderr, command
    assert subprocess.run(
        [sys.executable, "-m", "llmhub_core", "serve", *hub.options, "--port", "0"], capture_output=True, check=False
    ).returncode == 1  # fmt: skip


@pytest.mark.timeout(120)
def test_a_hub_does_not_start_in_the_middle_of_a_move(postgres: Postgres, tmp_path: Path) -> None:
    hub = place(tmp_path / "hub", more=ECHO)
    fill(hub, records=3)
    address = postgres.new_database()
    with serving(*hub.options):
        mover = Mover(hub, address)
        mover.caught_up()
        mover.process.send_signal(signal.SIGINT)
        _, errors = mover.process.communicate(timeout=20)
        assert mover.process.returncode == 1
        assert "Stopped; nothing is switched" in errors
    target = place(tmp_path / "target", address)
    assert f"--from sqlite:///{hub.folder}" in target.run("provider", "list").stderr
    assert hub.run("provider", "list").exit_code == 0, "the source is as it was"
    Mover(target, address, "--from", hub.url).end()
    assert target.run("provider", "list").exit_code == 0
    again = Mover(hub, address).process
    assert "was moved to" in again.communicate()[1]


def test_what_cannot_be_moved_is_told(postgres: Postgres, postgresql_template: str, tmp_path: Path) -> None:
    hub = place(tmp_path / "hub")
    fill(hub, records=3)
    assert hub.run("move", "--to", "sqlite:///other.db").stderr.startswith("--to names a PostgreSQL")
    secret = hub.run("move", "--to", "postgresql://u:hush@localhost/x")
    assert "a password on a command line" in secret.stderr
    assert "hush" not in secret.output
    filled = postgres.new_database(template=postgresql_template)
    place(tmp_path / "b", filled).append([a_record()])
    assert "holds something already (records, usage_hours)" in hub.run("move", "--to", filled).stderr
    there = place(tmp_path / "c", filled)
    assert "names no SQLite file any more" in there.run("move", "--to", filled).stderr


async def test_a_number_that_was_given_again_is_noticed(tmp_path: Path) -> None:
    """Only where the newest record was let go while nobody followed; then what bears its number would be missed."""
    addresses = [f"sqlite:///{tmp_path / name}.db" for name in ("source", "target")]
    async with opened(store_of(addresses[0])) as source, opened(store_of(addresses[1])) as target:
        await source.append([a_record("late", arrived_at=NOON)])
        sides = [side(store, address) for store, address in zip((source, target), addresses, strict=True)]
        first = live.Mover(*sides, addresses[0])
        await first._begin()
        await first._copy_sums()
        await first._copy_old()
        assert not await source.prune(NOON + 9 * 3600), "it follows"
        await sides[0].archive.hold(0.0)
        while await source.prune(NOON + 9 * 3600):
            pass
        await source.append([a_record("another", arrived_at=NOON + 99 * 3600)])
        with pytest.raises(StartError, match="Begin anew"):
            await live.Mover(*sides, addresses[0]).run()

"""A hub as large ones run: ``serve --workers 4`` over a real PostgreSQL and a real Redis, with the face of a `House`.

A test looks into `hub`, which is another process of the same hub, as one on another machine would be: it shares the
stores and the configuration, and serves nobody. What it holds against a key is held everywhere a moment later.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from redis_server import Server

from llmhub_core.admin.scripts import NewAdminToken, made
from llmhub_core.app import CONTROL, make_runner
from llmhub_core.cli.common import known
from llmhub_core.contracts.exchange import Record
from llmhub_core.hub.configuration import Source
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load
from llmhub_core.hub.siblings import Worker
from llmhub_core.testing.house import House
from llmhub_core.testing.postgres import Postgres

HATCH = Path(__file__).with_name("hatch.py")
WORKERS = 4
WITHIN = 1.0
"""Seconds within which everybody must know what somebody did."""

SLOWLY = float(os.environ.get("LLMHUB_SLOWLY", "1"))
"""How many times longer a busy machine may take."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What clusters stand on: `template` is a database with today's schema, `nursery` a socket."""

    postgres: Postgres
    template: str
    nursery: str


OpenHouse = Callable[..., House]


class Cluster(House):
    """Of `WORKERS` processes, with a database and a Redis of its own."""

    def __init__(
        self,
        config: str,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        *,
        ground: Ground,
        tune: Callable[[Hub], None] | None = None,
    ) -> None:
        super().__init__(config, environ, folder=folder, tune=tune)
        self._ground = ground
        self.log = ""

    async def __aenter__(self) -> Cluster:
        folder = self._folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="llmhub-")))
        self.config = folder / "config.toml"
        self.config.write_text(self._config, encoding="utf-8")
        note = folder / "database"  # the same again for a folder that is used again
        database = (
            note.read_text() if note.exists() else self._ground.postgres.new_database(template=self._ground.template)
        )
        note.write_text(database)
        self.redis = Server(Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="llmhub-redis-"))))
        self._stack.callback(self.redis.stop)
        environ = {
            **self._environ,
            "LLMHUB_STORAGE__METADATA": database,
            "LLMHUB_STORAGE__QUOTA": self.redis.url,
            "LLMHUB_SERVER__WORKERS": str(WORKERS),
        }
        self._stack.push_async_callback(self._end)
        await self._begin(folder / "data", environ)
        await self._look(folder, environ)
        return self

    async def _begin(self, data: Path, environ: Mapping[str, str]) -> None:
        own = ("serve", "--config", str(self.config), "--data-dir", str(data), "--port", "0")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(HATCH), self._ground.nursery, *own,
            env={**{k: v for k, v in os.environ.items() if not k.startswith("LLMHUB_")}, **environ},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        assert self.process.stdout is not None
        greeting = ""
        while line := (await self.process.stdout.readline()).decode():
            greeting += line
            if line.startswith("  dashboard"):
                break
        found = re.search(r"  dashboard +(\S+)/\n", greeting)
        if found is None:
            await self._reading
            raise AssertionError(f"the cluster does not start: {self.log}")
        at = re.search(r"listens on (\S+) \(", greeting)
        assert at is not None
        self.url = at[1]

    async def _look(self, folder: Path, environ: Mapping[str, str]) -> None:
        """As one more process of that hub."""
        own = folder / "another"
        own.mkdir(exist_ok=True)
        shutil.copy(folder / "data" / "root.key", own)
        registry = Registry().discover()
        loaded = load(self.config, environ, known(registry))
        source = Source(self.config, environ, known(registry))
        worker = Worker(WORKERS + 1, WORKERS + 1, first=False)
        self.hub = Hub(loaded.settings, registry, own, folder, source, loaded, worker)
        if self._tune is not None:
            self._tune(self.hub)
        runner = make_runner(self.hub)
        self.control = runner.app[CONTROL]
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode()

    async def _end(self) -> None:
        if not hasattr(self, "process"):
            return
        if self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 90)
        await self._reading
        assert "Traceback" not in self.log, self.log

    async def records(self) -> list[Record]:
        await everywhere(self, "/health", lambda told: told["in_flight"] == told["journal_waiting"] == 0, within=20)
        return list(reversed(await self.hub.store.latest(10_000)))


# --- what is known by all, within a second


async def everywhere(house: House, path: str, seen: Callable[[Any], bool], within: float = WITHIN) -> None:
    """Until the answer of each worker to a GET of the admin API is as it should be."""
    people, workers = house.hub.store.people, WORKERS if isinstance(house, Cluster) else 1
    assert people is not None
    token, text = made(NewAdminToken(name=f"watching-{time.monotonic_ns()}", role="owner"), None)
    await people.add_admin_token(replace(token, used_at=time.time()))
    deadline, right = time.monotonic() + within * SLOWLY, set[float]()
    try:
        while len(right) < workers:
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {text}"}) as client:
                # Who answers is chance; over one connection it is the same one twice.
                async with client.get(f"{house.url}/admin/api{path}") as answer:
                    assert answer.status == 200, await answer.text()
                    told = await answer.json()
                async with client.get(f"{house.url}/admin/api/health") as answer:
                    who = (await answer.json())["started_at"]
            right = right | {who} if seen(told) else right - {who}
            assert seen(told) or time.monotonic() < deadline, f"{path}: not everybody knows within {within} s: {told}"
    finally:
        await people.remove_admin_token(token.id)


async def spoil(house: House, key: str, error: Exception) -> None:
    """Let a key of the provider echo fail in that way, and all know of it."""
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == key)
    house.hub.pool.note(stats, error)
    await everywhere(house, f"/keys/echo/{key}", lambda told: told["state"] != "active")


async def soon(condition: Callable[[], object]) -> None:
    """What another process did is known to this one."""
    async with asyncio.timeout(WITHIN * SLOWLY):
        while not condition():  # noqa: ASYNC110 — other processes tell nobody
            await asyncio.sleep(0.01)


async def migrate(url: str) -> None:
    from llmhub_plugins.stores.sql import PostgresSettings, PostgresStore

    store = PostgresStore(PostgresSettings(url=url))
    await store.start()
    await store.migrate()
    await store.stop()


# --- processes that are forked, for each would import for a second


@contextmanager
def nursery(folder: Path) -> Iterator[str]:
    """The socket at which hatch.py asks."""
    place = str(folder / "nursery")
    command = ("setpriv", "--pdeathsig", "KILL", sys.executable, __file__, place)
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    try:
        yield place
    finally:
        program.kill()
        program.communicate()


def _serve(place: str) -> None:
    import asyncpg  # noqa: F401 — for all that are forked
    from llmhub_plugins.stores import redis  # noqa: F401

    from llmhub_core.admin import passwords

    passwords.COST = 4  # type: ignore[misc]  # the cost is part of each verifier, so only the time is another
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live_once(Path(folder)))
    assert threading.active_count() == 1, "what forks must be alone"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    print("ready", flush=True)
    while True:
        line, _ = listening.accept()
        said, inherited, *_ = socket.recv_fds(line, 1 << 20, 8)
        while not said.endswith(b"\n"):
            said += line.recv(1 << 20)
        if os.fork() == 0:
            listening.close()
            arguments, environ = json.loads(said)
            _live(place, line, arguments, environ, inherited)
        line.close()
        for each in inherited:
            os.close(each)


def _live(place: str, line: socket.socket, arguments: list[str], environ: dict[str, str], inherited: list[int]) -> None:
    """As a program of its own; never returns."""
    from llmhub_core.cli import serve, supervisor

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    for ours, theirs in ((1, inherited[0]), (2, inherited[1])):
        os.dup2(theirs, ours)
        os.close(theirs)
    os.environ.update(environ)
    if "--worker" in arguments:
        arguments[-2:] = map(str, inherited[2:])
    sys.argv = ["llm-hub", *arguments]
    supervisor.command_of_this = lambda: [sys.executable, "-I", "-S", str(HATCH), place, *arguments]
    line.send(str(os.getpid()).encode())
    code = 1
    try:
        serve.command.main(arguments[1:])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        line.send(str(code).encode())
        os._exit(code)


async def _live_once(folder: Path) -> None:
    async with (
        House("", folder=folder) as house,
        aiohttp.ClientSession() as client,
        client.get(house.url + "/readyz") as ready,
    ):
        assert ready.status == 200


if __name__ == "__main__":
    _serve(sys.argv[1])

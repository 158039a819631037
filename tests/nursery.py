"""Hubs without the second of work that their imports cost, for tests that kill many: a program that imports
everything once, and forks a hub for each line that it reads.

A line is a JSON list of arguments for ``llm-hub serve``; the answer is the hub's process id. The hub dies with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

_PR_SET_PDEATHSIG = 1


class Nursery:
    """Made by `nursery`."""

    def __init__(self, program: subprocess.Popen[str], log: Path) -> None:
        self._program, self._log = program, log

    def start(self, *arguments: str) -> int:
        """The process id; the hub listens a moment later."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(arguments) + "\n")
        self._program.stdin.flush()
        return int(self._program.stdout.readline())

    def kill(self, pid: int) -> None:
        """kill -9; it is gone when this returns."""
        try:
            hub = os.pidfd_open(pid)
        except ProcessLookupError:
            raise AssertionError(f"the hub ended by itself: {self._log.read_text()[-3000:]}") from None
        try:
            signal.pidfd_send_signal(hub, signal.SIGKILL)
            select.select([hub], [], [], 30)
        finally:
            os.close(hub)


@contextmanager
def nursery(log: Path) -> Iterator[Nursery]:
    """What the hubs say goes to `log`."""
    with log.open("ab") as said:
        program = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
    try:
        yield Nursery(program, log)
    finally:
        program.kill()
        program.communicate()


async def _live_once(folder: Path) -> None:
    """Whatever is imported or worked out at a start, or with the first request, is there for all that are forked."""
    from houses import one_provider
    from prices import look_up_here

    from llmhub_core.hub import price_lookup
    from llmhub_core.testing.house import House

    price_lookup.look_up = look_up_here
    await look_up_here([("openai", "gpt-4o-mini")])
    with contextlib.suppress(ImportError):
        import asyncpg  # noqa: F401
        import sqlalchemy.dialects.postgresql.asyncpg  # noqa: F401

    async with (
        House(one_provider("http://127.0.0.1:9"), folder=folder) as house,
        aiohttp.ClientSession() as client,
        client.get(house.url + "/readyz") as ready,
    ):
        assert ready.status == 200


def main() -> None:
    from llmhub_core.cli.serve import command

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live_once(Path(folder)))
    assert threading.active_count() == 1, "what forks must be alone"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(2, 1)
            command.main(json.loads(line), standalone_mode=False)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()

"""``llm-hub serve`` as a real process, which a test may signal and kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


async def until(condition: Callable[[], object], within: float = 120.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 — other processes tell nobody
            await asyncio.sleep(0.05)


class Workers:
    """`llm-hub serve` with several workers; `log` is what it wrote to stderr so far."""

    def __init__(self, config: Path, data: Path, *more: str) -> None:
        self._command = [
            sys.executable, "-m", "llmhub_core", "serve", "--config", str(config), "--data-dir", str(data),
            "--port", "0", *more,
        ]  # fmt: skip
        self.data = data
        self.log = ""
        self.greeting = ""
        self.url = ""
        self.killed = False

    async def __aenter__(self) -> Workers:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LLMHUB_")}
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        self._reading = asyncio.create_task(self._read())
        while line := (await self.process.stdout.readline()).decode():
            self.greeting += line
            if line.startswith("  dashboard"):
                break
        found = re.search(r"listens on (\S+) \(", self.greeting)
        if found is None:
            await self.process.wait()
            await self._reading
            raise AssertionError(self.log)
        self.url = found[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 60)
            except TimeoutError:
                self.process.kill()
                raise
        await self._reading
        if kind is None:
            assert self.process.returncode == (-signal.SIGKILL if self.killed else 0), self.log
            assert "Traceback" not in self.log

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode()

    async def says(self, words: str, within: float = 120.0) -> None:
        await until(lambda: words in self.log or self.process.returncode is not None, within)
        assert words in self.log

    def pids(self) -> set[int]:
        """Of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    def records(self) -> Counter[str]:
        with contextlib.closing(sqlite3.connect(self.data / "llm-hub.db")) as database:
            return Counter(id for (id,) in database.execute("SELECT id FROM records"))

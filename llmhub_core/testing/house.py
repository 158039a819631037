"""A whole hub for a test: real configuration, real stores in a temporary folder, a real socket."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from aiohttp import web

from llmhub_core.app import CONTROL, make_runner
from llmhub_core.cli.common import known
from llmhub_core.contracts.exchange import Record
from llmhub_core.hub.configuration import Source
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load


@functools.cache
def _installed() -> Registry:
    """Looked up once: a hub changes nothing in it."""
    return Registry().discover()


@functools.cache
def _new_database() -> bytes:
    """What migration makes of nothing, made once: it takes longer than all else in a start."""

    async def make(file: Path) -> None:
        cls = _installed().metadata_stores.get("sqlite")
        store = cls(cls.Settings(url=f"sqlite:///{file}"))
        await store.start()
        await store.migrate()
        await store.stop()

    with tempfile.TemporaryDirectory(prefix="llmhub-") as folder, ThreadPoolExecutor(1) as apart:
        file = Path(folder) / "hub.db"
        apart.submit(asyncio.run, make(file)).result()
        return file.read_bytes()


def _lay_database(url: str) -> None:
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and not Path(path).exists():
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(path).write_bytes(_new_database())


class House:
    """``async with House('[[providers]] …') as house:`` runs a hub with that configuration.

    `url` is its address, `config` its file; `registry` may be given to try plugins that are not installed, `tune` is
    called with the hub before it starts. With `page_process` pages are made in a process of their own, as where the hub
    serves; it takes half a second to start, until when they are made here.
    """

    def __init__(
        self,
        config: str,
        environ: Mapping[str, str] | None = None,
        registry: Registry | None = None,
        folder: Path | None = None,
        tune: Callable[[Hub], None] | None = None,
        page_process: bool = False,
    ) -> None:
        self._config = config
        self._environ = dict(environ or {})
        self._registry = registry
        self._folder = folder
        self._tune = tune
        self._page_process = page_process
        self._stack = AsyncExitStack()
        self.hub: Hub
        self.config: Path
        self.url: str

    async def __aenter__(self) -> House:
        folder = self._folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="llmhub-")))
        path = folder / "config.toml"
        path.write_text(self._config, encoding="utf-8")
        registry = self._registry or _installed()
        loaded = load(path, self._environ, known(registry))
        source = Source(path, self._environ, known(registry))
        self.hub = Hub(loaded.settings, registry, folder / "data", folder, source, loaded)
        _lay_database(getattr(self.hub.store.settings, "url", ""))
        self.config = path
        if self._tune is not None:
            self._tune(self.hub)
        runner = make_runner(self.hub)
        self.control = runner.app[CONTROL]
        self.control.page_process.enabled = self._page_process
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def records(self) -> list[Record]:
        """All records so far, oldest first, as they stand in the store. Waits for running requests to be settled."""
        await self.hub.idle()
        await self.hub.settled()
        await self.hub.ledger.flushed()
        return list(reversed(await self.hub.store.latest(10_000)))

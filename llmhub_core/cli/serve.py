"""llm-hub serve"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import click

from llmhub_core import __version__
from llmhub_core.cli.common import config_option, data_dir, data_option, fail, load_source
from llmhub_core.cli.listening import BACKLOG, SharedPort, listening_socket
from llmhub_core.cli.logs import set_up_logs
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.configuration import Source, base_of
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import Loaded
from llmhub_core.hub.siblings import ALONE, LONGEST_LINE, Worker

log = logging.getLogger("llmhub")

GRACE = 5.0
"""Seconds in which callers on open connections learn that this worker goes, before what is idle is closed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a worker serves: the socket and the line to the supervisor that it inherited."""

    worker: Worker
    listening: socket.socket
    line: socket.socket


@click.command("serve")
@config_option
@click.option("--host", help="Address to listen on; 127.0.0.1 if the configuration does not say otherwise.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 8080 if the configuration does not say, 0 takes a free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Processes that share the work; more than one needs storage.quota in SQLite or Redis.",
)
@data_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least severe messages to log; info otherwise.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="Log lines for people, or one JSON object a line."
)
@click.option("--worker", "place", type=(int, int, int, int, int), hidden=True)
def command(
    config: Path | None, data_dir: Path | None, place: tuple[int, int, int, int, int] | None, **options: object
) -> None:
    """Run the hub until it is told to stop (SIGTERM or Ctrl-C lets running requests finish).

    What is given here goes before the configuration file and the environment. SIGHUP reads the file again; a changed
    file is seen by itself.
    """
    began = time.perf_counter()
    gc.disable()  # while the hub is built nearly all that is made stays; `_settle_memory` enables it again
    _refuse_unsafe_interpreter()
    overrides = {f"LLMHUB_SERVER__{name.upper()}": str(value) for name, value in options.items() if value is not None}
    loaded, registry, source = load_source(config, overrides)
    server = loaded.settings.server
    set_up_logs(server.log_level, server.log_format, place[0] if place else 0)
    if place is not None:
        _run(_work(loaded, registry, source, data_dir, place))
        return
    for warning in loaded.warnings:
        log.warning("%s", warning)
    for report in registry.reports:
        if report.state == "refused":
            log.warning("plugin %s is not used: %s", report.entry, report.reason)
    try:
        if server.workers > 1:
            gc.enable()
            asyncio.run(_supervise(loaded, data_dir, began))
        else:
            _run(_serve(loaded, registry, source, data_dir, began))
    except StartError as error:
        fail(str(error))


def _refuse_unsafe_interpreter() -> None:
    """Without its C parser aiohttp is slow and reads requests more leniently; under -O its checks are gone."""
    from aiohttp import http_parser

    if not __debug__:
        fail("Do not run llm-hub under python -O: checks that keep requests apart are assertions.")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        fail("aiohttp runs without its C parser; reinstall it from a wheel: pip install --force-reinstall aiohttp")


def _run(main: object) -> None:
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)  # type: ignore[arg-type]


async def _supervise(loaded: Loaded, given: Path | None, began: float) -> None:
    from llmhub_core.cli.supervisor import Supervisor, command_of_this
    from llmhub_core.hub import folder

    server, data = loaded.settings.server, data_dir(given)
    lock = folder.take(data, server.workers)
    try:
        port = SharedPort(server.host, server.port)

        def greet(secret: str) -> None:
            _greet(loaded, data, port.port, time.perf_counter() - began, secret)

        await Supervisor(command_of_this(), server.workers, port, server.drain, greet).run()
    finally:
        os.close(lock)
    log.info("stopped")


async def _work(
    loaded: Loaded, registry: Registry, source: Source, folder: Path | None, told: tuple[int, int, int, int, int]
) -> None:
    number, of, first, listening, line = told
    place = Place(Worker(number, of, bool(first)), socket.socket(fileno=listening), socket.socket(fileno=line))
    try:
        await _serve(loaded, registry, source, folder, 0.0, place)
    except StartError as error:
        place.line.setblocking(True)
        place.line.sendall(json.dumps({"kind": "failed", "why": str(error)}).encode() + b"\n")
        sys.exit(1)


async def _serve(
    loaded: Loaded, registry: Registry, source: Source, folder: Path | None, began: float, place: Place | None = None
) -> None:
    from llmhub_core.app import CONTROL, make_runner
    from llmhub_core.hub.hub import Hub

    settings = loaded.settings
    if loaded.path is None:
        # Somebody tries it out in a terminal: show them what happens.
        access_log = registry.observers.get("access_log").Settings()
        observers = {"access_log": access_log, **settings.plugins.get("observers", {})}
        settings = dataclasses.replace(settings, plugins={**settings.plugins, "observers": observers})
    worker = place.worker if place else ALONE
    hub = Hub(settings, registry, data_dir(folder), base_of(loaded), source, loaded, worker)
    listening = place.listening if place else listening_socket(settings.server.host, settings.server.port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hub.configuration.reload_soon)
    loop.add_signal_handler(
        signal.SIGUSR2, log.warning, "only a hub with several workers replaces them; nothing is done"
    )
    runner = make_runner(hub)
    try:
        await runner.setup()
        from aiohttp import web

        site = web.SockSite(runner, listening, backlog=BACKLOG)
        await site.start()
        _settle_memory()
        secret = runner.app[CONTROL].setup_secret
        siblings = hub.siblings
        if place is None:
            _greet(loaded, hub.data, listening.getsockname()[1], time.perf_counter() - began, secret)
        else:
            siblings.connect(*await asyncio.open_unix_connection(sock=place.line, limit=LONGEST_LINE))
            await runner.app[CONTROL].workers.catch_up()
            siblings.say(kind="ready", setup=secret)
        await _first(stop, siblings.retire, siblings.lost)
        if siblings.lost.is_set():
            log.error("the supervisor is gone, so this worker stops")
        hub.draining = True
        log.info("stopping: %d requests are still running", hub.in_flight)
        await site.stop()
        if siblings.retire.is_set():
            await runner.take_leave(min(GRACE, settings.server.drain))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.server.drain):
                await hub.idle()
    finally:
        await runner.cleanup()
        hub.siblings.close()
    log.info("stopped")


async def _first(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 32 * 1024 * 1024


def _settle_memory() -> None:
    """What stands now stands for good: the collector need not look at it again, nor run every few requests. What little
    of it is garbage stays too: to find it would take a tenth of a second, with a request waiting.

    And up to 32 MB that a large request leaves behind are kept for the next one: to get them anew from the system,
    page by page, costs more time than all else that is done with megabytes of images.
    """
    with contextlib.suppress(OSError, AttributeError):  # an interpreter on another C library than glibc
        c = ctypes.CDLL(None)
        c.mallopt(_MMAP_THRESHOLD, _KEPT)
        c.mallopt(_TRIM_THRESHOLD, _KEPT)
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def _greet(loaded: Loaded, data: Path, port: int, seconds: float, setup_secret: str) -> None:
    server = loaded.settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    address = server.public_url or f"http://{host}:{port}"
    routes = ", ".join(route.model for route in loaded.settings.routes) or "none; ask for provider/model"
    providers = loaded.found or [f"{table.name} ({table.kind})" for table in loaded.settings.providers]
    lines = [
        f"llm-hub {__version__} listens on {address} (ready in {seconds:.1f} s)",
        f"  OpenAI SDK      base_url = {address}/v1",
        f"  Anthropic SDK   base_url = {address}",
        f"  Google SDK      base_url = {address}",
        f"  providers       {'; '.join(providers)}",
        f"  routes          {routes}",
        f"  configuration   {loaded.path or 'none: keys from the environment'}",
        f"  data            {data}",
        f"  dashboard       {address}/",
    ]
    if setup_secret:
        # Beyond this machine the dashboard works under its public address only; on it, always under this one.
        local = server.public_url or server.host in ("127.0.0.1", "localhost", "::1")
        here = address if local else f"http://127.0.0.1:{port}"
        lines += ["", "Nobody can sign in yet. This link makes the first owner, once, within a day:",
                  f"  {here}/setup?secret={setup_secret}"]  # fmt: skip
    print("\n".join(lines), flush=True, file=sys.stdout)

"""The installed hub as a process of its own, recorded providers behind it, and the official SDKs in front."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from recordings import CUT_EVERYWHERE, PROVIDERS, recorded
from speaking import Speakers, speakers


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process for as long as the tests need it."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def serving(config: str, folder: Path) -> Iterator[str]:
    """The address of ``llm-hub serve`` with this configuration."""
    path = folder / "config.toml"
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "llmhub_core", "serve", "--config", str(path), "--port", "0"]
    with running([*command, "--data-dir", str(folder / "data")]) as process:
        assert process.stdout is not None
        # A server that never says a word must not stop the tests for good.
        watch = threading.Timer(30, process.kill)
        watch.start()
        greeting = process.stdout.readline()
        watch.cancel()
        assert "listens on http://" in greeting, greeting
        yield greeting.partition("listens on ")[2].split()[0]


@pytest.fixture(scope="session")
def replay(traffic: Path) -> Iterator[str]:
    """The address of the recorded providers; their answers come in pieces of 1 to 64 bytes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(traffic / "replay.py"), "--corpus", str(traffic), "--port", str(port)]
    with running(command) as process:
        for _ in range(200):
            assert process.poll() is None, "the recorded providers do not run"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def hub(replay: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the hub before the recorded providers.

    A recorded error may mark its key or provider, so each has a provider of its own, named by the case; so has
    each stream that is cut at every byte.
    """
    tables = []
    for dialect, name in PROVIDERS.items():
        tables.append(provider(name, name, replay))
        tables += [provider(case.id, name, replay) for case in recorded(dialect) if case.status != 200]
        tables += [provider(f"cut-{case}", name, replay, f"case-{case}~chunk=1") for case in CUT_EVERYWHERE[dialect]]
    config = "[routing]\nbreaker_failures = 1000\n" + "".join(tables)
    with serving(config, tmp_path_factory.mktemp("hub")) as url:
        yield url


@pytest.fixture(scope="session")
def echo_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hub whose only provider says back what it is told."""
    config = '[[providers]]\nname = "echo"\nkind = "echo"\n'
    config += 'models = ["echo"]\n[[providers.keys]]\nname = "none"\nsecret = ""\n'
    with serving(config, tmp_path_factory.mktemp("echo")) as url:
        yield url


def provider(name: str, kind: str, replay: str, secret: str = "sk-x") -> str:  # noqa: S107
    base = replay + "/v1" if kind == "openai" else replay
    return (
        f"[[providers]]\nname = {json.dumps(name)}\nkind = {json.dumps(kind)}\nbase_url = {json.dumps(base)}\n"
        f'[[providers.keys]]\nname = "k"\nsecret = {json.dumps(secret)}\n'
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sdk(hub: str) -> AsyncIterator[Speakers]:
    """The three SDKs before the recorded providers."""
    async with speakers(hub) as all_of_them:
        yield all_of_them


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def straight(replay: str) -> AsyncIterator[Speakers]:
    """The three SDKs at the recorded providers, without a hub between them."""
    async with speakers(replay) as all_of_them:
        yield all_of_them


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def raw(hub: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Plain HTTP to the hub; paths are given without the address."""
    async with aiohttp.ClientSession(hub, auto_decompress=False) as session:
        yield session


os.environ.pop("GOOGLE_API_KEY", None)  # the SDK warns of a key in the environment beside the one it is given

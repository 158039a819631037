"""A disk that is full, read-only, or fails to sync, under a running hub: nothing is lost in silence, it is told, and
when the disk is well again so is the hub."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from houses import COMPLETION, ask, one_provider

from llmhub_core.contracts import Record
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Syncs fail while the file of that name is there, as on a disk that loses what it was given. */
static int broken(void) { const char *path = getenv("BROKEN_WHILE"); return path && access(path, F_OK) == 0; }

int fsync(int fd) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """A library that lets syncs fail, for LD_PRELOAD."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    (tmp_path / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / "shim.so"), str(tmp_path / "shim.c"), "-ldl"]
    subprocess.run(command, check=True)
    return tmp_path / "shim.so"


@asynccontextmanager
async def serving(folder: Path, config: str, environ: dict[str, str]) -> AsyncIterator[str]:
    """The address of ``llm-hub serve`` in a process of its own, which stops in good order."""
    (folder / "config.toml").write_text(config)
    hub = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmhub_core", "serve", "--config", str(folder / "config.toml"), "--port", "0",
        "--data-dir", str(folder / "data"), env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert hub.stdout is not None
    try:
        async with asyncio.timeout(40):
            line = await hub.stdout.readline()
        yield line.decode().split("listens on ")[1].split()[0]
        hub.terminate()
        async with asyncio.timeout(20):
            assert await hub.wait() == 0
    finally:
        if hub.returncode is None:
            hub.kill()
            await hub.wait()


async def until_ready(client: aiohttp.ClientSession, url: str, status: int) -> None:
    """Until /readyz says so."""
    async with asyncio.timeout(15):
        while True:
            async with client.get(url + "/readyz") as ready:
                if ready.status == status:
                    return
            await asyncio.sleep(0.05)


async def asked(client: aiohttp.ClientSession, url: str, times: int) -> dict[str, int]:
    """Ids of requests and the status of each; a refusal says `meter_full`."""
    answers = {}
    for _ in range(times):
        answer = await ask(client, url)
        answers[answer.headers["x-request-id"]] = answer.status
        if answer.status != 200:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "meter_full"
    return answers


async def recorded(folder: Path, config: str) -> dict[str, Record]:
    async with House(config, folder=folder) as house:
        await house.hub.ledger.flushed()
        records = await house.hub.store.latest(100_000)
    assert len({record.id for record in records}) == len(records)
    return {record.id: record for record in records}


async def test_a_full_disk(
    small_disk: Path, tmp_path: Path, upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    config = one_provider(upstream.url)
    async with serving(small_disk, config, {}) as url:
        answers = await asked(client, url, 10)
        assert set(answers.values()) == {200}
        with (small_disk / "somebody's").open("wb", buffering=0) as filling, pytest.raises(OSError, match="No space"):
            while True:
                filling.write(b"x" * 512)
        calls = len(upstream.requests)
        full = await asked(client, url, 20)
        answers |= full
        refused = sum(status == 503 for status in full.values())
        assert refused > 0, "there is no room to note a request"
        assert len(upstream.requests) - calls == len(full) - refused, "nothing is called that cannot be noted"
        await until_ready(client, url, 503)
        (small_disk / "somebody's").unlink()
        await until_ready(client, url, 200)
        well = await asked(client, url, 10)
        assert set(well.values()) == {200}
        answers |= well
    found = await recorded(small_disk, config)
    assert {id for id, status in answers.items() if status == 200} <= {
        id for id, record in found.items() if record.outcome == "served"
    }


async def test_a_disk_that_becomes_read_only(
    small_disk: Path, upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    """As Linux does by itself with one that has errors. What is open for writing keeps a real remount from happening,
    so the folder of the journal is covered by a read-only one, and the file at hand by its end."""
    upstream.script(json_answer(COMPLETION))
    config = one_provider(upstream.url)
    async with serving(small_disk, config, {}) as url:
        answers = await asked(client, url, 5)
        journal = small_disk / "data" / "journal"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=4k", "none", str(journal)], check=True)
        try:
            answers |= await asked(client, url, 5)
            await until_ready(client, url, 503)
            assert set((await asked(client, url, 1)).values()) <= {200, 503}
        finally:
            subprocess.run(["umount", "-l", str(journal)], check=True)
        await until_ready(client, url, 200)
        answers |= await asked(client, url, 5)
    found = await recorded(small_disk, config)
    assert {id for id, status in answers.items() if status == 200} <= set(found)


async def test_syncs_that_fail(
    shim: Path, tmp_path: Path, upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    config, broken = one_provider(upstream.url), tmp_path / "broken"
    async with serving(tmp_path, config, {"LD_PRELOAD": str(shim), "BROKEN_WHILE": str(broken)}) as url:
        answers = await asked(client, url, 10)
        broken.touch()
        answers |= await asked(client, url, 10)
        await until_ready(client, url, 503)
        answers |= await asked(client, url, 10)
        broken.unlink()
        await until_ready(client, url, 200)
        answers |= await asked(client, url, 10)
    found = await recorded(tmp_path, config)
    assert {id for id, status in answers.items() if status == 200} <= {
        id for id, record in found.items() if record.outcome == "served"
    }

"""A real Redis for a test, which it may freeze and kill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Server:
    """A redis-server of Debian's package on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.folder = folder
        self.options = options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        # With the test run it ends, however that ends.
        own = ("setpriv", "--pdeathsig", "KILL")
        command = (*own, "redis-server", *place, "--save", "", "--daemonize", "no", *self.options)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def ask(self, *words: str) -> str:
        """An answer of one line, by redis-cli's own protocol."""
        said = [word.encode() for word in words]
        with socket.create_connection(("127.0.0.1", self.port)) as line:
            line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in said))
            return line.recv(65536).decode().strip()


def needs_redis() -> None:
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing; .ci/system installs it")
        pytest.skip("redis-server is not installed; .ci/system installs it")


@contextmanager
def counting_in_redis(folder: Path) -> Iterator[str]:
    """The configuration of a hub that does, with a server of its own in `folder`."""
    needs_redis()
    (folder / "redis").mkdir()
    server = Server(folder / "redis")
    yield f'[storage]\nquota = "{server.url}"\n[quota_stores.redis]\ntimeout = 5\nconnect_timeout = 5\n'
    server.stop()

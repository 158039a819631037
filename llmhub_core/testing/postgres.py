"""A PostgreSQL for a test run only: in a folder of its own, by a socket there, as the user that the package made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AS_POSTGRES = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"]


class Postgres:
    """Made by `running`, by default without syncing: a crash of the machine would cost it everything."""

    def __init__(self, folder: Path, programs: Path, options: str) -> None:
        self.folder, self._programs, self._made = folder, programs, 0
        self._as_user = _AS_POSTGRES if os.geteuid() == 0 else []
        self._options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", *options.split()]
        self._server: subprocess.Popen[bytes] | None = None
        if not (folder / "data").exists():
            if self._as_user:
                shutil.chown(folder, "postgres")
            self._run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    @staticmethod
    def programs() -> Path | None:
        """The folder of the newest server that Debian's packages brought."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        return found[-1].parent if found else None

    @classmethod
    @contextmanager
    def running(cls, folder: Path | None = None, options: str = "-c fsync=off") -> Iterator[Postgres]:
        """RuntimeError if none is installed."""
        programs = cls.programs()
        if programs is None:
            raise RuntimeError("no PostgreSQL server is installed in /usr/lib/postgresql")
        memory = Path("/dev/shm")  # noqa: S108 — a folder of our own in it, where deleting takes no time
        where = memory if memory.is_dir() else Path("/tmp")  # noqa: S108 — short, for the socket
        with tempfile.TemporaryDirectory(prefix="llmhub-pg-", dir=where) as passing:
            server = cls(folder or Path(passing), programs, options)
            server.start()
            try:
                yield server
            finally:
                server.stop()

    def start(self) -> None:
        """RuntimeError if it does not take connections within a minute."""
        log = self.folder / "log"
        # With the test run it ends, however that ends: else every run that is killed would leave a server behind.
        passing = [*(self._as_user or ["setpriv"]), "--pdeathsig", "QUIT"]
        command = [*passing, str(self._programs / "postgres"), "-D", f"{self.folder}/data", *self._options]
        with log.open("ab") as output:
            self._server = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output)  # noqa: S603 — our own words
        deadline = time.monotonic() + 60
        while not self._is_ready(self._server.pid):
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()[-2000:]}")
            time.sleep(0.01)

    def _is_ready(self, pid: int) -> bool:
        status = self.folder / "data" / "postmaster.pid"
        words = status.read_text().split() if status.exists() else []
        return words[:1] == [str(pid)] and words[-1:] == ["ready"]

    def stop(self, mode: str = "immediate") -> None:
        """immediate: as if it had crashed; fast: in good order."""
        if self._server is not None:
            self.thaw()
            self._server.send_signal(signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
            self._server.wait(60)
            self._server = None

    def freeze(self) -> None:
        """It holds its connections and answers nothing, as a machine that swaps or a disk that hangs."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in (self.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 — our own words
            [*self._as_user, str(self._programs / program), *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.PIPE if program in ("psql", "pg_dump") else subprocess.DEVNULL,
            timeout=120,
        )
        return (done.stdout or b"").decode()

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def new_database(self, name: str = "", template: str = "template1") -> str:
        """Its address. `template` names a database to which nobody is connected, and of which it is a copy."""
        self._made += 1
        name = name or f"hub{self._made}"
        self._run("createdb", "-h", str(self.folder), "-U", "postgres", "-T", template, name)
        return self.url(name)

    def url(self, name: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def has(self, name: str) -> bool:
        return name in self.sql("postgres", "SELECT datname FROM pg_database").split()

    def dump(self, database: str) -> str:
        """As pg_dump writes it: SQL, nothing but statements."""
        dump = self._run("pg_dump", "-h", str(self.folder), "-U", "postgres", "--no-owner", "--inserts", database)
        return "\n".join(line for line in dump.split("\n") if not line.startswith("\\"))

    def script(self, database: str, sql: str) -> None:
        """Run what `dump` wrote, in an empty database."""
        file = self.folder / "script.sql"
        file.write_bytes(sql.encode())
        where = ("-h", str(self.folder), "-U", "postgres", "-d", database)
        self._run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, "-f", str(file))
        file.unlink()

    def sql(self, database: str, *statements: str) -> str:
        """What psql prints, one row a line."""
        commands = [part for statement in statements for part in ("-c", statement)]
        where = ("-h", str(self.folder), "-U", "postgres", "-d", database)
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, *commands)

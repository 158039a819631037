"""A PostgreSQL for a test run only: in a folder of its own, by a socket there, as the user that the package made."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Postgres:
    """Made by `running`, by default without syncing: a crash of the machine would cost it everything."""

    def __init__(self, folder: Path, programs: Path, options: str) -> None:
        self.folder, self._programs, self._made = folder, programs, 0
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._options = f"-c listen_addresses='' -c unix_socket_directories={folder} {options}"
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
        data = f"{self.folder}/data"
        self._run("pg_ctl", "-D", data, "-o", self._options, "-w", "-l", f"{self.folder}/log", "start")

    def stop(self, mode: str = "immediate") -> None:
        """immediate: as if it had crashed."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 — our own words
            [*self._as_user, str(self._programs / program), *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            timeout=120,
            text=True,
        )
        return done.stdout or ""

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def new_database(self, name: str = "") -> str:
        """Its address."""
        self._made += 1
        name = name or f"hub{self._made}"
        self._run("createdb", "-h", str(self.folder), "-U", "postgres", name)
        return self.url(name)

    def url(self, name: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def has(self, name: str) -> bool:
        return name in self.sql("postgres", "SELECT datname FROM pg_database").split()

    def sql(self, database: str, *statements: str) -> str:
        """What psql prints, one row a line."""
        commands = [part for statement in statements for part in ("-c", statement)]
        where = ("-h", str(self.folder), "-U", "postgres", "-d", database)
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, *commands)

"""llm-hub user, and the link that serve prints: as programs of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
from browsers import CONFIG, PASSWORD, Browser

from llmhub_core.testing.house import House


def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LLMHUB_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "llmhub_core", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, input=text, capture_output=True, text=True, timeout=50)


def test_users_are_made_listed_and_rescued(tmp_path: Path) -> None:
    assert "no user yet" in run(tmp_path, "user", "list").stdout
    made = run(tmp_path, "user", "add", "ann", "--role", "owner", "--json")
    first = json.loads(made.stdout)["password"]
    assert re.fullmatch(r"([a-z2-7]{6}-){3}[a-z2-7]{6}", first)
    again = run(tmp_path, "user", "add", "ann")
    assert (again.returncode, "There is a user ann already." in again.stderr) == (1, True)
    weak = run(tmp_path, "user", "add", "bob", "--password-stdin", text="password\n")
    assert (weak.returncode, "first that anybody would try" in weak.stderr) == (1, True)
    reset = run(tmp_path, "user", "reset", "ann")
    assert reset.returncode == 0
    assert reset.stdout.strip() != first
    assert run(tmp_path, "user", "reset", "eve").returncode == 1
    assert run(tmp_path, "user", "add", "bob", "--role", "king").returncode == 2
    (user,) = json.loads(run(tmp_path, "user", "list", "--json").stdout)
    assert (user["name"], user["role"], user["may_sign_in"]) == ("ann", "owner", "yes")


async def test_a_user_made_beside_a_running_hub_can_sign_in(tmp_path: Path) -> None:
    async with House(CONFIG, folder=tmp_path) as house, aiohttp.ClientSession() as client:
        environ = {**os.environ, "LLMHUB_DATA_DIR": str(house.hub.data), "LLMHUB_CONFIG": str(tmp_path / "config.toml")}
        command = [sys.executable, "-m", "llmhub_core", "user", "add", "ann", "--password-stdin"]
        done = subprocess.run(
            command, env=environ, input=PASSWORD + "\n", capture_output=True, text=True, timeout=50, check=True
        )
        assert PASSWORD not in done.stdout + done.stderr
        assert (await Browser(house.url, client).sign_in("ann")).status == 200


def test_serve_prints_a_link_until_somebody_owns_the_hub(tmp_path: Path) -> None:
    def greeting() -> str:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LLMHUB_DATA_DIR": str(tmp_path / "data")}
        command = [sys.executable, "-m", "llmhub_core", "serve", "--port", "0"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "dashboard" in line:
                    process.send_signal(signal.SIGTERM)
            return said

    link = re.search(r"http://127\.0\.0\.1:\d+/setup\?secret=([\w-]{43})\n", first := greeting())
    assert link is not None, first
    assert link[1] not in greeting(), "each start has its own"
    assert run(tmp_path, "user", "add", "ann", "--role", "owner").returncode == 0
    assert "/setup?" not in greeting()

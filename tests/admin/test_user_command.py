"""llm-hub user, and the link that serve prints: as programs of their own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
from browsers import CONFIG, PASSWORD, Browser
from click.testing import CliRunner

from llmhub_core.cli import main
from llmhub_core.testing.house import House


def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LLMHUB_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "llmhub_core", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, input=text, capture_output=True, text=True, timeout=50)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def invoke(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which is there at once."""
    config = folder / "config.toml"
    if not config.exists():
        config.write_text(CONFIG)
    environ = {"HOME": str(folder), "LLMHUB_DATA_DIR": str(folder / "data"), "LLMHUB_CONFIG": str(config)}
    done = CliRunner().invoke(main, arguments, env=environ)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


async def beside(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Beside a hub in this process, which must go on meanwhile: it may be in the middle of writing."""
    return await asyncio.to_thread(invoke, folder, *arguments)


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


def test_users_are_changed_and_removed(tmp_path: Path) -> None:
    for name, role in (("ann", "owner"), ("bob", "viewer")):
        assert invoke(tmp_path, "user", "add", name, "--role", role).returncode == 0
    edited = invoke(tmp_path, "user", "edit", "bob", "--role", "admin", "--name", "robert", "--json")
    assert json.loads(edited.stdout) == {"name": "robert", "role": "admin", "disabled": False}
    assert invoke(tmp_path, "user", "disable", "robert").stdout == "robert is disabled.\n"
    assert json.loads(invoke(tmp_path, "user", "list", "--json").stdout)[1]["may_sign_in"] == "no"
    assert invoke(tmp_path, "user", "enable", "robert").stdout == "robert is admin.\n"
    for act in (["disable", "ann"], ["remove", "ann"], ["edit", "ann", "--role", "viewer"]):
        refused = invoke(tmp_path, "user", *act)
        assert (refused.returncode, "last owner" in refused.stderr) == (1, True), act
    assert invoke(tmp_path, "user", "edit", "ann").returncode == 2
    assert invoke(tmp_path, "user", "remove", "robert").returncode == 0
    assert invoke(tmp_path, "user", "remove", "robert").returncode == 1


async def test_a_script_gets_its_token_on_the_host(tmp_path: Path) -> None:
    async with House(CONFIG, folder=tmp_path) as house, aiohttp.ClientSession() as client:
        made = await beside(tmp_path, "admin-token", "add", "ci", "--role", "admin", "--json")
        token = json.loads(made.stdout)["token"]
        script = Browser(house.url, client, always={"authorization": f"Bearer {token}"})
        assert (await script.ask("GET", "/admin/api/settings")).status == 200
        assert (await script.ask("GET", "/admin/api/users")).status == 403
        assert (await (await script.ask("GET", "/admin/api/session")).json())["user"]["name"] == "token:ci"
        (line,) = json.loads((await beside(tmp_path, "admin-token", "list", "--json")).stdout)
        assert (line["name"], line["role"], line["user"]) == ("ci", "admin", "")
        assert (await beside(tmp_path, "admin-token", "add", "ci")).returncode == 1
        assert (await beside(tmp_path, "admin-token", "remove", "ci")).returncode == 0
        assert (await script.ask("GET", "/admin/api/settings")).status == 401
        assert (await beside(tmp_path, "admin-token", "remove", "ci")).returncode == 1


def test_shells_complete(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_LLM_HUB_COMPLETE" in invoke(tmp_path, "completion", shell).stdout
    assert invoke(tmp_path, "completion", "tcsh").returncode == 2
    script = invoke(tmp_path, "completion", "bash").stdout
    asked = script + "\nCOMP_WORDS=(llm-hub us); COMP_CWORD=1; _llm_hub_completion llm-hub; echo ${COMPREPLY[@]}"
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", asked], env=environ, capture_output=True, text=True, timeout=50)
    assert done.stdout.split() == ["usage", "user"], done.stderr


async def test_a_user_made_beside_a_running_hub_can_sign_in(tmp_path: Path) -> None:
    async with House(CONFIG, folder=tmp_path) as house, aiohttp.ClientSession() as client:
        environ = {**os.environ, "LLMHUB_DATA_DIR": str(house.hub.data), "LLMHUB_CONFIG": str(tmp_path / "config.toml")}
        command = [sys.executable, "-m", "llmhub_core", "user", "add", "ann", "--password-stdin"]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env=environ,
            input=PASSWORD + "\n",
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
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

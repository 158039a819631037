"""provider, key, route, token, doctor: on the store, beside a hub that runs and without one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmhub_core.cli import main
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

CONFIG = """
[[providers]]
name = "echo"
kind = "echo"
  [[providers.keys]]
  name = "main"
  secret = "sk-file-0123456789abcdef-WXYZ"

[[routes]]
model = "fast"
deployments = [{ provider = "echo", model = "small" }]
"""
SECRET = "sk-stored-0123456789abcdef-QRST"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    monkeypatch.setenv("LLMHUB_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LLMHUB_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def run(*arguments: str, text: str = "") -> Result:
    done = CliRunner().invoke(main, arguments, input=text)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(*arguments: str, text: str = "") -> Any:
    done = run(*arguments, "--json", text=text)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: str, text: str = "") -> str:
    done = run(*arguments, text=text)
    assert done.exit_code == 1, done.output
    return done.stderr


def test_a_hub_is_set_up_by_commands() -> None:
    told("provider", "add", "second", "echo", "--set", "models=['tiny']")
    key = told("key", "add", "second/k1", "--secret-stdin", "--set", "limits.rpm=60", "-s", "priority=2", text=SECRET)
    assert key["settings"] == {"limits": {"rpm": 60}, "priority": 2, "secret": "…QRST"}
    told("route", "add", "mine", "second/tiny", "echo/small", "--set", "strategy=weighted")
    token = told("token", "add", "app", "--set", "models=['mine']", "--set", "limits.budget=5 USD/day")
    assert token["token"].startswith("lh-")
    assert {each["name"]: each["origin"] for each in told("key", "list")} == {
        "echo/main": "file",
        "second/k1": "stored",
    }
    assert "second/k1" in run("key", "list").stdout
    assert SECRET not in run("key", "list").output
    plan = told("route", "list")
    assert plan[1]["settings"]["deployments"][0] == {"model": "tiny", "priority": 1, "provider": "second"}
    assert told("key", "edit", "second/k1", "--set", "priority=")["settings"]["limits"] == {"rpm": 60}
    rolled = told("token", "roll", "app", "--overlap", "1h")
    assert rolled["token"] != token["token"]
    assert "would not work any more" in refused("provider", "remove", "second")
    told("route", "remove", "mine")
    told("provider", "remove", "second")
    assert [each["name"] for each in told("key", "list")] == ["echo/main"]
    told("token", "remove", "app")
    assert told("token", "list") == []


def test_what_is_used_wrongly_is_told() -> None:
    assert "config.toml:5" in refused("key", "edit", "echo/main", "--set", "priority=2")
    assert "did you mean" in refused("provider", "add", "x", "opnai")
    assert "pipe it in" in refused("key", "add", "echo/k", "--secret", SECRET)
    assert "There is no" in refused("route", "remove", "nothing")
    for wrong in (("key", "edit", "echo/main"), ("route", "add", "m"), ("route", "add", "m", "echo"),
                  ("key", "edit", "echo/main", "--set", "priority"), ("token", "add", "a b")):  # fmt: skip
        assert run(*wrong).exit_code == 2, wrong


def test_a_key_of_the_file_is_taken_out_of_use_and_into_it() -> None:
    assert told("key", "disable", "echo/main")["disabled"] is True
    assert told("key", "list")[0]["disabled"] is True
    assert told("key", "enable", "echo/main")["disabled"] is False


def test_references_are_taken_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    key = told("key", "add", "echo/k1", "--secret", "env:MY_KEY")
    assert key["settings"]["secret"] == "env:MY_KEY"
    assert "very secret" in refused("key", "add", "echo/k2", "--secret-stdin", text="sk-file-0123456789abcdef-WXYZ")


def test_many_keys_are_imported(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{SECRET}\nsk-file-0123456789abcdef-WXYZ\n")
    dry = told("key", "import", "echo", str(tmp_path / "keys"), "--dry-run")
    assert (dry["dry_run"], dry["added"]) == (True, 1)
    done = told("key", "import", "echo", str(tmp_path / "keys"))
    assert [each["result"] for each in done.pop("items")] == ["added", "duplicate"]
    assert done == {"added": 1, "duplicates": 1, "refused": 0, "dry_run": False}
    assert SECRET not in json.dumps([dry, done])
    bad = run("key", "import", "echo", text="name,secret\na b,sk-x\n")
    assert (bad.exit_code, "refused" in bad.stdout) == (1, True)


async def test_a_hub_that_runs_sees_it(folder: Path) -> None:
    async with House(CONFIG, folder=folder) as house:
        made = await asyncio.to_thread(told, "token", "add", "app")
        await asyncio.to_thread(told, "key", "add", "echo/k1", "--secret-stdin", text=SECRET)
        for _ in range(200):
            if house.hub.tokens.find(made["token"]) and len(house.hub.catalog.places["echo"].keys) == 2:
                break
            await asyncio.sleep(0.05)
        assert house.hub.tokens.find(made["token"]) is not None
        assert house.hub.catalog.places["echo"].secrets["k1"].reveal() == SECRET


async def test_keys_are_tried_from_the_host(folder: Path) -> None:
    async with FakeUpstream() as upstream:
        await asyncio.to_thread(
            told, "provider", "add", "far", "openai_compatible", "-s", f"base_url={upstream.url}/v1"
        )
        await asyncio.to_thread(told, "key", "add", "far/k1", "--secret-stdin", text=SECRET)
        upstream.script(json_answer({"data": [{"id": "m"}]}))
        assert (await asyncio.to_thread(told, "key", "test", "far/k1"))["models"] == ["m"]
        upstream.script(json_answer({"error": {"message": f"bad key {SECRET}", "code": "invalid_api_key"}}, 401))
        done = await asyncio.to_thread(run, "doctor", "--reach")
        assert done.exit_code == 1
        assert "far/k1 does not work: 401 invalid_api_key" in done.stdout
        assert SECRET not in done.output
        assert "no key" in await asyncio.to_thread(refused, "key", "test", "far/k2")


def test_the_doctor_says_what_is_wrong(folder: Path) -> None:
    first = run("doctor")
    assert first.exit_code == 0, first.output
    assert "Nobody owns this hub yet" in first.stdout
    told("user", "add", "ann", "--role", "owner")
    told("provider", "add", "second", "echo")
    told("key", "add", "second/k1", "--secret-stdin", text=SECRET)
    (folder / "data").chmod(0o755)
    found = json.loads(run("doctor", "--json").stdout)
    assert [each["severity"] for each in found] == ["warning", "warning"]
    assert "chmod 700" in found[-1]["advice"] or "chmod 700" in found[0]["advice"]
    (folder / "data").chmod(0o700)
    (folder / "data" / "root.key").unlink()
    closed = run("doctor")
    assert (closed.exit_code, "vault is closed" in closed.stdout) == (1, True)
    (folder / "config.toml").write_text("[server]\nprot = 1\n")
    assert run("doctor").exit_code == 1

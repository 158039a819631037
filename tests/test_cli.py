"""The command line as somebody types it: what it says, where it says it, and with which exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from houses import COMPLETION, route

from llmhub_core import __version__
from llmhub_core.cli import COMMANDS, main
from llmhub_core.cli.common import known
from llmhub_core.contracts import Entry
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load
from llmhub_core.hub.tokens import digest
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer

ECHO = '[[providers]]\nname = "echo"\nkind = "echo"\n' + route("fast", "echo/m")
CHAT = {"model": "fast", "messages": [{"role": "user", "content": "one two three"}]}

OURS = {
    name: None for name in os.environ if name.startswith("LLMHUB_") or re.search(r"_(API_KEY|BASE_URL)(_\d+)?$", name)
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration and no keys of whoever runs the tests."""
    for name in OURS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLMHUB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | Path, **environ: str) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], env=environ)


def config(folder: Path, text: str = ECHO) -> Path:
    path = folder / "hub.toml"
    path.write_text(text)
    return path


class Served:
    """`llm-hub serve` in a process of its own."""

    def __init__(
        self, *arguments: str | Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        base = {name: value for name, value in os.environ.items() if name not in OURS}
        command = [sys.executable, "-m", "llmhub_core", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, env=base | dict(environ or {}), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.greeting = ""
        for line in self.process.stdout:
            self.greeting += line
            if line.startswith("  data "):
                break
        found = re.search(r"listens on (\S+) \(ready in [\d.]+ s\)", self.greeting)
        if found is None:
            raise AssertionError(self.process.communicate()[1])
        self.url = found[1]

    def post(self, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Any:
        sent = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), sent)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> str:
        """stderr; asserts a clean end."""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        assert "Traceback" not in errors
        return errors


@contextlib.contextmanager
def serving(*arguments: str | Path, **how: Any) -> Iterator[Served]:
    served = Served(*arguments, "--port", "0", **how)
    try:
        yield served
        if served.process.poll() is None:
            served.stop()
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.communicate()


def serve_in_vain(*arguments: str | Path) -> str:
    """What `serve` says when it cannot start."""
    command = [sys.executable, "-m", "llmhub_core", "serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


# help, versions, wrong use


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    for option in ("--help", "-h") if command != "token" else ("--help",):
        result = run(command, option)
        assert result.exit_code in (0, 2 if option == "-h" else 0)
        assert "Usage:" in result.output
    assert command in run("--help").output


def test_the_version() -> None:
    assert __version__ in run("--version").output


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("serve", "--nonsense"),
        ("serve", "--port", "x"),
        ("serve", "--port", "70000"),
        ("serve", "--log-level", "loud"),
        ("usage", "--since", "yesterday"),
        ("usage", "--by", "mood"),
        ("explain",),
        ("token",),
        ("token", "add"),
        ("token", "add", 'a "quoted" name'),
        ("check", "--config", "."),
    ],
)
def test_wrong_use_exits_with_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.output


def test_an_unknown_command_names_those_that_there_are() -> None:
    assert all(command in run("nonsense").stderr for command in COMMANDS)


# check


def test_check_says_good_and_counts(tmp_path: Path) -> None:
    result = run("check", "--config", config(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "hub.toml: good" in result.stdout
    assert "1 providers, 0 keys, 1 routes, 0 tokens" in result.stdout


def test_check_in_json(tmp_path: Path) -> None:
    path = config(tmp_path)
    result = run("check", "--config", path, "--json")
    found = json.loads(result.stdout)
    assert found == {"config": str(path), "warnings": [], "providers": 1, "keys": 0, "routes": 1, "tokens": 0}


def test_check_tells_every_problem_with_its_place(tmp_path: Path) -> None:
    text = (
        '[server]\nport = "x"\nhots = "127.0.0.1"\n'
        '[[providers]]\nname = "echo"\nkind = "ecko"\n'
        '[[routes]]\nmodel = "fast"\nstrategy = "randomly"\ndeployments = [{ provider = "nobody", model = "m" }]\n'
    )
    path = config(tmp_path, text)
    result = run("check", "--config", path)
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert all(re.match(re.escape(str(path)) + r":\d+:\d+: \S+: ", line) for line in lines)
    places = [tuple(map(int, line.removeprefix(f"{path}:").split(":")[:2])) for line in lines]
    assert {line for line, _ in places} >= {2, 3, 6, 9, 10}
    assert places == sorted(places)
    assert 'did you mean "echo"?' in result.stderr


@pytest.mark.parametrize("text", ["port = = 1\n", "a = [\n", '[server]\nhost = "x\n'])
def test_check_tells_where_it_is_not_toml(tmp_path: Path, text: str) -> None:
    path = config(tmp_path, text)
    result = run("check", "--config", path)
    assert result.exit_code == 1
    assert re.fullmatch(re.escape(str(path)) + r":\d+:\d+: is not TOML: .+\n", result.stderr)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for command in (("check",), ("explain", "fast"), ("usage",), ("migrate",), ("serve",)):
        result = run(*command, "--config", tmp_path / "gone.toml")
        assert result.exit_code == 1
        assert "gone.toml" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_secret_that_is_missing_is_told_and_never_a_secret(tmp_path: Path) -> None:
    text = '[[providers]]\nname = "o"\nkind = "openai"\nkeys = [{ name = "k", secret = "env:MY_KEY" }]\n'
    result = run("check", "--config", config(tmp_path, text))
    assert result.exit_code == 1
    assert "MY_KEY" in result.stderr
    literal = config(tmp_path, text.replace("env:MY_KEY", "sk-verysecretkey123456"))
    for arguments in (("check",), ("check", "--json"), ("explain", "o/m"), ("explain", "o/m", "--json")):
        result = run(*arguments, "--config", literal)
        assert result.exit_code == 0
        assert "verysecret" not in result.output


def test_the_file_is_found_by_variable_and_by_name(tmp_path: Path) -> None:
    assert "no configuration file: good" in run("check").stdout
    config(tmp_path).rename(tmp_path / "config.toml")
    assert "config.toml: good" in run("check").stdout
    other = config(tmp_path)
    assert "hub.toml: good" in run("check", LLMHUB_CONFIG=str(other)).stdout


# explain


def two_keys(folder: Path) -> Path:
    keys = '{ name = "a", secret = "" }, { name = "b", secret = "", priority = 0 }'
    text = '[[providers]]\nname = "local"\nkind = "openai_compatible"\nbase_url = "http://127.0.0.1:9/v1"\n'
    text += f"keys = [{keys}]\n"
    return config(
        folder, text + ECHO.replace("fast", "echoing") + route("fast", "local/m", more='fallbacks = ["echoing"]')
    )


def test_explain_shows_the_candidates_in_order(tmp_path: Path) -> None:
    result = run("explain", "fast", "--config", two_keys(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "fast: strategy priority, 3 attempts at most",
        "  1. local/m#b  (priority 1/0, weight 1·1)",
        "  2. local/m#a  (priority 1/1, weight 1·1)",
        "  3. echo/m#none  (priority 1/1, weight 1·1)",
    ]


def test_explain_in_json(tmp_path: Path) -> None:
    found = json.loads(run("explain", "fast", "--config", two_keys(tmp_path), "--json").stdout)
    assert found == {
        "model": "fast",
        "strategy": "priority",
        "attempts": 3,
        "candidates": ["local/m#b", "local/m#a", "echo/m#none"],
        "left_out": [],
    }


def test_explain_of_a_request_shows_what_gets_lost_and_what_it_takes(tmp_path: Path) -> None:
    claude = '[[providers]]\nname = "claude"\nkind = "anthropic"\n'
    claude += 'keys = [{ name = "k", secret = "s", limits = { tpm = 9000 } }]\n'
    path = config(tmp_path, claude + route("fast", "claude/claude-haiku-4-5"))
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"1": 1}, "max_tokens": 100}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    shown = run("explain", "--request", str(file), "--config", path).stdout
    assert "adapted: logit_bias=dropped" in shown
    assert "of 9,000 tokens in 60 s" in shown
    found = json.loads(run("explain", "--request", str(file), "--config", path, "--json").stdout)
    assert 100 < found["tokens"] < 200
    assert found["lost"] == {"claude/claude-haiku-4-5#k": ["logit_bias=dropped"]}
    message = {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    file.write_text(json.dumps(message))
    same = run("explain", "--request", str(file), "--dialect", "anthropic", "--config", path)
    assert "adapted" not in same.stdout
    file.write_text("{}")
    assert run("explain", "fast", "--request", str(file), "--config", path).exit_code == 1
    assert run("explain", "--config", path).exit_code == 2
    assert run("explain", "fast", "--dialect", "latin", "--config", path).exit_code == 2


def test_explain_of_a_name_that_leads_nowhere(tmp_path: Path) -> None:
    result = run("explain", "nope", "--config", two_keys(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nope is not known here" in result.stderr


def test_explain_writes_nothing(tmp_path: Path) -> None:
    run("explain", "fast", "--config", two_keys(tmp_path))
    assert not (tmp_path / "data").exists()


# tokens


def test_a_token_is_shown_once_and_its_table_can_be_pasted(tmp_path: Path) -> None:
    result = run("token", "add", "game-server", "--table")
    assert result.exit_code == 0
    (token,) = re.findall(r"lh-\w{49}", result.stderr)
    assert token not in result.stdout
    assert digest(token) in result.stdout
    checked = run("check", "--config", config(tmp_path, ECHO + result.stdout))
    assert checked.exit_code == 0, checked.stderr
    assert "1 tokens" in checked.stdout


def test_a_token_in_json() -> None:
    made = json.loads(run("token", "add", "app", "--table", "--json").stdout)
    assert made["name"] == "app"
    assert made["hash"] == digest(made["token"])


# the database


def test_migrate_says_what_it_would_do_then_does_it_then_has_nothing_to_do(tmp_path: Path) -> None:
    path = config(tmp_path)
    would = run("migrate", "--dry-run", "--config", path)
    assert (would.exit_code, would.stderr) == (0, "")
    assert would.stdout.startswith("Would migrate from an empty database to ")
    assert run("migrate", "--dry-run", "--config", path).stdout == would.stdout
    assert "\n  all tables, in an empty database\n" in would.stdout
    asked = json.loads(run("migrate", "--dry-run", "--config", path, "--json").stdout)
    assert (asked["from"], asked["done"]) == ("", False)
    did = run("migrate", "--config", path)
    assert (did.exit_code, did.stdout) == (0, f"Migrated from an empty database to {asked['to']}.\n")
    assert "there is nothing to do" in run("migrate", "--config", path).stdout
    assert run("usage", "--config", path).stdout == "Nothing was used in this time.\n"


def test_usage_without_a_hub_that_ran(tmp_path: Path) -> None:
    result = run("usage", "--config", config(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has the hub run yet?" in result.stderr
    (tmp_path / "data").mkdir()
    result = run("usage", "--config", config(tmp_path))
    assert result.exit_code == 1
    assert "run: llm-hub migrate" in result.stderr


@pytest.mark.parametrize("place", ["/dev/null/x", "broken"])
def test_a_data_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "llm-hub.db").write_text("this is no database, and was never one" * 10)
    path = config(tmp_path)
    failed = serve_in_vain("--config", path, "--data-dir", place, "--port", "0")
    results = [run(command, "--config", path, "--data-dir", place) for command in ("migrate", "usage")]
    assert [result.exit_code for result in results] == [1, 1]
    for text in (failed, *(result.stderr for result in results)):
        assert len(text.splitlines()) == 1, text
        assert place in text


# serve


def test_usage_after_real_requests(tmp_path: Path) -> None:
    path = config(tmp_path)
    with serving("--config", path) as served:
        for _ in range(3):
            assert "one two three" in served.post(CHAT)["choices"][0]["message"]["content"]
        with pytest.raises(urllib.error.HTTPError):
            served.post(CHAT | {"messages": []})
        served.post(CHAT | {"model": "echo/other"}, x_llmhub_tags="team=red")
    rows = json.loads(run("usage", "--config", path, "--json", "--by", "model").stdout)
    by_model = {row["group"][0]: row for row in rows}
    assert sum(row["requests"] for row in rows) == 4
    fast = next(row for name, row in by_model.items() if row["requests"] == 3)
    assert (fast["served"], fast["failed"], fast["input_tokens"]) == (3, 0, 9)
    assert fast["output_tokens"] > 0
    table = run("usage", "--config", path, "--by", "provider", "--by", "caller").stdout.splitlines()
    assert table[0].split()[:3] == ["PROVIDER", "CALLER", "REQUESTS"]
    assert table[1].split()[:3] == ["echo", "anyone", "4"]
    assert run("usage", "--config", path, "--since", "90m").exit_code == 0
    table = run("usage", "--config", path, "--by", "tag:team").stdout.splitlines()
    assert table[0].split()[:2] == ["TAG:TEAM", "REQUESTS"]
    assert sorted(line.split()[:2] for line in table[1:]) == [["3", "0"], ["red", "1"]]


def test_serve_without_anything_answers_by_echo(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LLMHUB_DATA_DIR": str(tmp_path / "data")}
    with serving(environ=environ, cwd=tmp_path) as served:
        assert "none: keys from the environment" in served.greeting
        assert "echo answers for model echo" in served.greeting
        assert served.post(CHAT | {"model": "echo"})["choices"][0]["finish_reason"] == "stop"


async def test_serve_with_keys_in_the_environment(tmp_path: Path, upstream: FakeUpstream) -> None:
    lists = {"authorization": "gpt-4o-mini", "x-api-key": "claude-haiku-4-5"}

    def answer(request: ReceivedRequest) -> Answer:
        if "/models" in request.path:
            listed = next(model for header, model in lists.items() if header in request.headers)
            return json_answer({"object": "list", "data": [{"id": listed}], "has_more": False})
        return json_answer(COMPLETION)

    upstream.on(answer)
    environ = {"OPENAI_API_KEY": "sk-from-the-environment", "OPENAI_BASE_URL": upstream.url + "/v1"}
    environ |= {"ANTHROPIC_API_KEY": "sk-from-there-too", "ANTHROPIC_BASE_URL": upstream.url}
    served = await asyncio.to_thread(Served, "--port", "0", environ=environ, cwd=tmp_path)
    try:
        assert "openai (OPENAI_API_KEY)" in served.greeting
        assert "sk-from" not in served.greeting
        said = await asyncio.to_thread(served.post, CHAT | {"model": "gpt-4o-mini"})
        assert said["choices"][0]["message"]["content"] == "Hello!"
        asked = upstream.requests[-1]
        assert (asked.path, asked.headers["authorization"]) == (
            "/v1/chat/completions",
            "Bearer sk-from-the-environment",
        )
        with pytest.raises(urllib.error.HTTPError) as unknown:
            await asyncio.to_thread(served.post, CHAT | {"model": "no-such-model"})
        assert unknown.value.code == 404
        unknown.value.close()
        errors = await asyncio.to_thread(served.stop)
        assert "sk-from" not in errors
    finally:
        served.process.kill()
        served.process.communicate()


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = serve_in_vain("--config", config(tmp_path), "--port", str(port))
    assert failed.startswith(f"Cannot listen on 127.0.0.1:{port}: ")
    assert len(failed.splitlines()) == 1


def test_a_second_hub_on_the_same_folder_does_not_start_and_the_first_stops_cleanly(tmp_path: Path) -> None:
    path = config(tmp_path)
    with serving("--config", path, "--log-format", "json") as served:
        failed = serve_in_vain("--config", path, "--port", "0")
        assert "Another llm-hub runs on the data folder" in failed
        assert len(failed.splitlines()) == 1
        served.post(CHAT)
        lines = [json.loads(line) for line in served.stop(signal.SIGINT).splitlines()]
        assert lines[-1]["message"] == "stopped"


# --- what changes while it runs


def test_check_looks_at_what_is_stored_too(tmp_path: Path) -> None:
    path = config(tmp_path)
    assert run("check", "--config", path).exit_code == 0
    assert not (tmp_path / "data" / "llm-hub.db").exists(), "looking makes nothing"

    async def store() -> None:
        hub = Hub(load(path, {}, known(Registry().discover())).settings, Registry().discover(), tmp_path / "data")
        (tmp_path / "data").mkdir()
        await hub.store.start()
        await hub.store.migrate()
        assert hub.store.configuration is not None
        await hub.store.configuration.put(Entry("token", "app", json.dumps({"hash": digest("lh-x")})))
        await hub.store.configuration.put(Entry("key", "ecko/main", "{}"))
        await hub.store.stop()

    asyncio.run(store())
    done = run("check", "--config", path, "--json")
    assert done.exit_code == 0
    told = json.loads(done.output)
    assert told["tokens"] == 1
    assert told["warnings"] == ['stored key ecko/main: there is no provider "ecko"; did you mean "echo"?']


def test_sighup_reads_the_configuration_again_and_keeps_the_old_one_if_it_is_bad(tmp_path: Path) -> None:
    path = config(tmp_path)
    good = path.read_text()
    with serving("--config", path) as hub:

        def names() -> set[str]:
            with urllib.request.urlopen(f"{hub.url}/v1/models", timeout=10) as answer:
                return {model["id"] for model in json.load(answer)["data"]}

        def until(condition: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 5
            while not condition():
                assert time.monotonic() < deadline
                time.sleep(0.02)

        assert names() == {"fast"}
        path.write_text(good + route("more", "echo/m"))
        hub.process.send_signal(signal.SIGHUP)
        until(lambda: names() == {"fast", "more"})
        path.write_text(good + "[nonsense]\n")
        hub.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert names() == {"fast", "more"}
        assert hub.stop().count("the changed configuration is not used") == 1

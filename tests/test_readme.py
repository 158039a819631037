"""README and first steps, done as they are written: every command, every example, every output that they promise."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from houses import COMPLETION, MESSAGE, STREAM

from llmhub_core.cli import COMMANDS, main
from llmhub_core.contracts import errors as contract_errors
from llmhub_core.contracts.quota_store import LimitReached
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

ROOT = Path(__file__).parents[1]
README, START, ERRORS = ROOT / "README.md", ROOT / "docs" / "start.md", ROOT / "docs" / "errors.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")])
BIN = Path(sys.executable).parent
ADDRESS = "127.0.0.1:8080"

slow = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Block:
    """A fenced passage of a page: its language, further words behind it, its text."""

    language: str
    words: str
    text: str


def blocks(page: Path, language: str = "") -> list[Block]:
    found = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(*each) for each in found if not language or each[0] == language]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, **more: str) -> dict[str, str]:
    """As clean as a newcomer's, without keys that a developer's own shell may hold."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    kept = {name: value for name, value in kept.items() if not name.startswith(("LLMHUB_", "COVERAGE_"))}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "LLMHUB_DATA_DIR": str(folder / "data"), **more}


class Hub:
    """`llm-hub serve` in a process of its own; `said` is what it printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def said(self) -> str:
        return "".join(self._lines)

    @classmethod
    async def serve(cls, command: str, folder: Path, environ: Mapping[str, str]) -> Hub:
        process = await asyncio.create_subprocess_shell(
            f"exec env {command}" if "=" in command.split()[0] else f"exec {command}",
            cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        hub = cls(process)
        async with asyncio.timeout(30):
            await hub._ready.wait()
        assert process.returncode is None and " listens on " in hub.said, hub.said
        return hub

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._lines.append(line.decode())
            if line.startswith(b"  data "):
                self._ready.set()
        self._ready.set()

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await self._process.wait()
            await self._reading
        assert self._process.returncode == 0, self.said


async def run(command: list[str], folder: Path, environ: Mapping[str, str]) -> str:
    """What it prints, on both streams; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == 0, f"{command}\n{said.decode()}"
    return said.decode()


async def sh(script: str, folder: Path, environ: Mapping[str, str]) -> str:
    return await run(["bash", "-euo", "pipefail", "-c", script], folder, environ)


def assert_looks_like(said: str, promised: str) -> None:
    """`promised` is somewhere in `said`, in order; … stands for anything."""
    pieces = [re.escape(piece.strip("\n")) for piece in promised.strip("\n").split("…")]
    assert re.search(".*?".join(pieces), said.replace("\r\n", "\n"), re.DOTALL), f"promised:\n{promised}\nsaid:\n{said}"


# README: examples, as they stand, against the provider that needs no key


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a hub without configuration, as README's first command starts it."""
    folder = tmp_path_factory.mktemp("readme")
    port = free_port()
    environ = environment(folder, LLMHUB_SERVER__PORT=str(port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([BIN / "llm-hub", "serve"], cwd=folder, env=environ, stdout=log, stderr=log)
        try:
            for _ in range(150):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                    pytest.fail((folder / "log").read_text())
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(20) == 0


def first_words(block: Block) -> str:
    return re.sub(r"\W+", " ", block.text)[:40].strip() + f" {'stream' if 'stream' in block.text else ''}"


@slow
@pytest.mark.parametrize("block", blocks(README, "python"), ids=first_words)
async def test_a_python_example_prints_the_answer(block: Block, echo: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block.text.replace(ADDRESS, echo), "utf-8")
    said = await run([sys.executable, "-W", "ignore", "example.py"], tmp_path, environment(tmp_path))
    assert said.strip() == "You said: Hello!"


@slow
@pytest.mark.parametrize("block", [each for each in blocks(README, "sh") if "curl" in each.text], ids=first_words)
async def test_a_curl_example_is_answered(block: Block, echo: str, tmp_path: Path) -> None:
    said = await sh(block.text.replace("curl ", "curl -sS ").replace(ADDRESS, echo), tmp_path, environment(tmp_path))
    if '"stream": true' in block.text:
        texts = [json.loads(line[6:])["choices"][0]["delta"].get("content", "")
                 for line in said.splitlines() if line.startswith("data: {")]  # fmt: skip
        assert "".join(texts) == "You said: Hello!"
        assert said.rstrip().endswith("data: [DONE]")
    else:
        assert '"content":"You said: Hello!"' in said


@slow
async def test_the_node_example_prints_the_answer(echo: str, tmp_path: Path) -> None:
    """Needs node, and a folder in which `npm install openai` was called: LLMHUB_NODE names it."""
    folder = Path(os.environ.get("LLMHUB_NODE", ROOT / "benchmarks" / "none"))
    if shutil.which("node") is None or not (folder / "node_modules" / "openai").is_dir():
        pytest.skip("LLMHUB_NODE names no folder with node_modules/openai")
    (block,) = blocks(README, "js")
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    (tmp_path / "example.mjs").write_text(block.text.replace(ADDRESS, echo), "utf-8")
    assert (await run(["node", "example.mjs"], tmp_path, environment(tmp_path))).strip() == "You said: Hello!"


def test_each_format_has_an_example() -> None:
    code = "".join(block.text for block in blocks(README, "python"))
    imported = {name.module for name in ast.walk(ast.parse(code)) if isinstance(name, ast.ImportFrom)}
    assert imported == {"openai", "anthropic", "google"}
    assert "stream=True" in code
    assert blocks(README, "js")


# README: the configuration with fallback, and what the text says of it


def at(config: str, upstream: FakeUpstream) -> str:
    """The configuration with its providers at another address; nothing else is changed."""
    config = config.replace('kind = "openai"\n', f'kind = "openai"\nbase_url = "{upstream.url}/v1"\n')
    return config.replace('kind = "anthropic"\n', f'kind = "anthropic"\nbase_url = "{upstream.url}"\n')


MESSAGE_STREAM = "".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    for event in (
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello!"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )
)


COMPACT_STREAM = [frame.replace('": ', '":').replace(', "', ',"') for frame in STREAM]
"""As the real one writes it, so that it looks as the pages show it."""


def answer_of(request: ReceivedRequest) -> Answer:
    """Two providers in one place, told apart by their paths; some keys are known, one is out of quota."""
    if request.path.startswith("/v1/models"):
        return json_answer({"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})
    key = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key", "")
    if key == "sk-wrong":
        return json_answer({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, 401)
    if key == "sk-spent":
        return json_answer({"error": {"message": "Rate limit reached"}}, 429, {"retry-after": "30"})
    streamed = request.json.get("stream")
    if request.path == "/v1/messages":
        return sse_answer(MESSAGE_STREAM) if streamed else json_answer(MESSAGE)
    assert request.path == "/v1/chat/completions"
    return sse_answer(COMPACT_STREAM) if streamed else json_answer({**COMPLETION, "model": "gpt-4o-mini"})


@pytest.fixture
async def providers() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.on(answer_of)
        yield upstream


@slow
async def test_the_route_falls_back_over_keys_and_providers(providers: FakeUpstream, tmp_path: Path) -> None:
    config = next(block.text for block in blocks(README, "toml") if "[[routes]]" in block.text)
    assert len(config.splitlines()) <= 25, "it shall be taken in at a glance"
    (tmp_path / "config.toml").write_text(at(config, providers), "utf-8")
    port = free_port()
    environ = environment(
        tmp_path, LLMHUB_SERVER__PORT=str(port), OPENAI_API_KEY="sk-spent", OPENAI_API_KEY_2="sk-wrong",
        ANTHROPIC_API_KEY="sk-ant",
    )  # fmt: skip
    hub = await Hub.serve("llm-hub serve", tmp_path, environ)
    ask = f"""curl -sSi http://127.0.0.1:{port}/v1/chat/completions -H 'content-type: application/json' \
        -d '{{"model": "fast", "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""
    try:
        first, second = await sh(ask, tmp_path, environ), await sh(ask, tmp_path, environ)
    finally:
        await hub.stop()
    asked = [request.headers.get("authorization", "claude") for request in providers.requests]
    assert asked == ["Bearer sk-spent", "Bearer sk-wrong", "claude", "claude"]
    for said, attempts in ((first, 3), (second, 1)):
        assert "x-llmhub-served-by: anthropic/claude-haiku-4-5" in said
        assert f"x-llmhub-attempts: {attempts}" in said
        assert '"content":"Hello!"' in said


async def test_every_configuration_is_good(tmp_path: Path) -> None:
    environ = environment(tmp_path, OPENAI_API_KEY="sk-1", OPENAI_API_KEY_2="sk-2", ANTHROPIC_API_KEY="sk-3")
    for number, block in enumerate([*blocks(README, "toml"), *blocks(START, "toml")]):
        (tmp_path / f"{number}.toml").write_text(block.text, "utf-8")
        said = await run([str(BIN / "llm-hub"), "check", "--config", f"{number}.toml"], tmp_path, environ)
        assert f"{number}.toml: good" in said
        assert "warning" not in said


# First steps: done in order, in one folder, as somebody would who reads them


@slow
async def test_the_first_steps_lead_to_the_end(providers: FakeUpstream, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    environ = environment(
        tmp_path, LLMHUB_SERVER__PORT=address.partition(":")[2], OPENAI_BASE_URL=f"{providers.url}/v1"
    )
    hub: Hub | None = None
    said = token = ""
    steps = 0
    try:
        for block in blocks(START):
            text = block.text.replace(ADDRESS, address)
            if block.words == "install":
                continue
            if block.language == "toml":
                name = re.match(r"# (\S+)\n", text)
                assert name, "a file's first line says what it is called"
                (tmp_path / name[1]).write_text(at(text, providers), "utf-8")
            elif block.language == "text":
                assert_looks_like(hub.said if block.words == "log" and hub else said, text)
            elif text.startswith("export "):
                variable, _, value = text.removeprefix("export ").strip().partition("=")
                environ[variable] = value
            elif "llm-hub serve" in text:
                if hub is not None:
                    await hub.stop()
                hub = await Hub.serve(text.strip(), tmp_path, environ)
                said = hub.said
            else:
                if "usage" in text:
                    await asyncio.sleep(1.5)  # records are written behind, in batches
                said = await sh(text.replace("lh-your-token", token), tmp_path, environ)
                token = token or "".join(re.findall(r"lh-\w{49}", said)[:1])
            steps += 1
    finally:
        if hub is not None:
            await hub.stop()
    assert steps > 30
    assert token


def test_the_installing_steps_are_those_of_the_readme() -> None:
    installing = "".join(block.text for block in blocks(START) if block.words == "install")
    assert "python3 -m venv .venv\n. .venv/bin/activate\npip install .\n" in installing
    text = README.read_text("utf-8")
    assert "`python3 -m venv .venv && . .venv/bin/activate`" in text
    assert "pip install . && llm-hub serve" in text
    assert os.access(ROOT / ".ci" / "test", os.X_OK)


# Commands, paths, links


def test_every_command_named_exists() -> None:
    named = set()
    for page in PAGES:
        for words in re.findall(r"\bllm-hub ((?:[a-z-]+ ?)(?:[^`\n|>&;]*))", page.read_text("utf-8")):
            command, *rest = words.split()
            if command in COMMANDS:
                named.add(command)
                options = [word.rstrip(".,;:)") for word in rest if word.startswith("--")]
                found = main.get_command(click.Context(main), command)
                sub = rest[:1] if isinstance(found, click.Group) else []
                help_text = CliRunner().invoke(main, [command, *sub, "--help"]).output
                assert not [option for option in options if option.partition("=")[0] not in help_text], (
                    f"{page}: {words}"
                )
    assert named == set(COMMANDS), "each is told of, in README at least"
    listed = set(re.findall(r"^\| `llm-hub ([\w-]+)", README.read_text("utf-8"), re.MULTILINE))
    assert listed == set(COMMANDS)


def test_every_command_in_code_is_one_of_ours() -> None:
    for page in (README, START, ROOT / "CONTRIBUTING.md"):
        for block in blocks(page, "sh"):
            for command in re.findall(r"(?:^|&& |\w=\S+ )llm-hub (\S+)", block.text, re.MULTILINE):
                assert command in COMMANDS, f"{page.name}: {command}"
            for script in re.findall(r"^(\.ci/\w+)", block.text, re.MULTILINE):
                assert os.access(ROOT / script, os.X_OK), f"{page.name}: {script}"


async def test_every_path_named_is_served(echo: str, tmp_path: Path) -> None:
    table = README.read_text("utf-8").partition("| format | paths |")[2].partition("\n\n")[0]
    method, asked = "", set()
    for said, path in re.findall(r"`(GET |POST |)(/[^`\s]*)", table):
        method = said.strip() or method  # a path without a method has that of the one before
        asked.add((method, path))
    paths = {path for _, path in asked}
    assert {"/v1/chat/completions", "/v1/chat", "/v1/messages", "/v1beta/models", "/healthz", "/metrics"} <= paths
    for method, path in sorted(asked):
        url = f"http://{echo}{path.replace('{model}', 'echo')}"
        body = "-H 'content-type: application/json' -d '{}'" if method == "POST" else ""
        status = await sh(f"curl -s -o /dev/null -w '%{{http_code}}' {body} '{url}'", tmp_path, environment(tmp_path))
        assert status in (("400", "415") if method == "POST" else ("200",)), f"{method} {path}: {status}"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


# Errors: the table and the code name the same


def codes_in_code() -> set[str]:
    """Every code that an error can be given: defaults of classes, arguments, assignments."""
    codes = {
        each.code
        for each in (*vars(contract_errors).values(), LimitReached)
        if isinstance(each, type) and issubclass(each, contract_errors.HubError)
    }
    for folder in (ROOT / "llmhub_core", ROOT / "plugins"):
        for file in folder.rglob("*.py"):
            if "testing" in file.parts:
                continue
            codes |= codes_in(ast.parse(file.read_text("utf-8")))
    return codes


KINDS = {name for name, each in vars(contract_errors).items() if isinstance(each, type)} | {"cls", "ended"}


def codes_in(tree: ast.Module) -> set[str]:
    constants = {
        target.id: value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(value := getattr(node.value, "value", None), str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in KINDS:
                values += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                values += node.args[2:3] if name == "ended" else []
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                names = [(getattr(name, "attr", ""), getattr(name, "id", ""), value) for name, value in pairs]
                values += [value for attribute, name, value in names if "code" in (attribute, name)]
        for value in values:
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found.add(part.value)
                elif isinstance(part, ast.Name) and part.id in constants:
                    found.add(constants[part.id])
    return {code for code in found if re.fullmatch(r"[a-z]+(_[a-z]+)+|overloaded|forbidden", code)} - NOT_CODES


NOT_CODES = {"client_closed", "hedge_lost", "hub_killed"}
"""Only in records, never in an answer; the page tells of them apart."""


def rows() -> dict[str, list[str]]:
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", ERRORS.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == len({code for code, _ in lines}), "each code has one row"
    return {code: [cell.strip() for cell in cells.split("|")] for code, cells in lines}


def test_the_table_of_errors_is_complete() -> None:
    in_code = codes_in_code()
    assert {"invalid_body", "missing_api_key", "upstream_dns", "meter_full", "content_policy_violation"} <= in_code
    assert set(rows()) == in_code


def test_what_only_records_say_is_told_apart() -> None:
    _, _, apart = ERRORS.read_text("utf-8").partition("## In records only")
    assert set(re.findall(r"^\* `(\w+)`", apart, re.MULTILINE)) == NOT_CODES


def test_the_table_of_errors_tells_the_status_and_source_of_each_class() -> None:
    table = rows()
    for each in vars(contract_errors).values():
        if isinstance(each, type) and issubclass(each, contract_errors.HubError):
            statuses, sources, when, what = table[each.code]
            assert str(each.status) in re.findall(r"\d+", statuses), each
            assert each.source in sources, each
            assert when
            assert what


@pytest.mark.parametrize("code", sorted(rows()) if ERRORS.exists() else [])
def test_a_row_has_known_words(code: str) -> None:
    statuses, sources, _, _ = rows()[code]
    assert re.fullmatch(r"\d{3}(, \d{3})*|the provider's", statuses)
    assert set(sources.split(", ")) <= {"gateway", "capacity", "provider", "network"}

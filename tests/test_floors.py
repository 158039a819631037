"""The import rules of setup.cfg hold, and each catches what it is meant to catch."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

Plant = Callable[[str, str], None]

RULES = configparser.ConfigParser(interpolation=None)
RULES.read(ROOT / "setup.cfg", "utf-8")

FLOORS, JOURNEY, ROOMS, AGREEMENT, DOORS, CORE, ALONE, DRY, PURE = (
    RULES[f"importlinter:contract:{name}"]["name"]
    for name in ("floors", "journey", "rooms", "agreement", "doors", "core", "alone", "dry", "pure")
)


def broken_rules(folder: Path) -> set[str]:
    """Names of the rules that the packages in `folder` break; none may go unread."""
    code = (
        "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--config", "setup.cfg"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    results = re.findall(r"^(\S.*) (KEPT|BROKEN)\b", said, re.MULTILINE)
    rules = {section for section in RULES.sections() if section.startswith("importlinter:contract:")}
    assert {name for name, _ in results} == {RULES[section]["name"] for section in rules}, said + done.stderr
    broken = {name for name, result in results if result == "BROKEN"}
    assert (done.returncode != 0) == bool(broken)
    return broken


def copied(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "llmhub_core", folder / "llmhub_core", ignore=unwanted)
    shutil.copytree(ROOT / "plugins", folder / "llmhub_plugins", ignore=unwanted)
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which something may be broken."""
    return copied(tmp_path_factory.mktemp("floors"))


@pytest.fixture
def plant(house: Path) -> Iterator[Plant]:
    """Adds a line to a file of the copy; afterwards the file is as before."""
    undo: list[tuple[Path, bytes | None]] = []

    def add(path: str, line: str) -> None:
        file = house / path
        before = file.read_bytes() if file.exists() else None
        undo.append((file, before))
        file.write_bytes((before or b"") + f"\n{line}\n".encode())

    yield add
    for file, before in undo:
        file.unlink() if before is None else file.write_bytes(before)


def test_every_rule_is_kept(house: Path) -> None:
    assert broken_rules(house) == set()


# What the contracts import reaches every plugin, hence two rules for one import.
VIOLATIONS = [
    ("a dialect the web", "llmhub_plugins/dialects/openai_chat/head.py", "import aiohttp", {DRY}),
    ("a provider the web", "llmhub_plugins/providers/openai.py", "import aiohttp.client", {DRY}),
    ("the hub the web", "llmhub_core/hub/pool.py", "import aiohttp", {DRY}),
    ("a strategy the clock", "llmhub_plugins/strategies/priority.py", "import time", {PURE}),
    ("a plugin the hub", "llmhub_plugins/observers/access_log.py", "import llmhub_core.hub.tokens", {DOORS}),
    (
        "a plugin the gateway",
        "llmhub_plugins/stores/memory/__init__.py",
        "import llmhub_core.gateway.wire_inflate",
        {DOORS},
    ),
    ("a plugin the suites", "llmhub_plugins/providers/echo.py", "import llmhub_core.testing.records", {DOORS}),
    ("a provider another", "llmhub_plugins/providers/openai.py", "import llmhub_plugins.providers.echo", {ALONE}),
    (
        "a dialect another",
        "llmhub_plugins/dialects/gemini/words.py",
        "import llmhub_plugins.dialects.anthropic",
        {ALONE},
    ),
    (
        "a store an observer",
        "llmhub_plugins/stores/memory/__init__.py",
        "import llmhub_plugins.observers.prometheus",
        {ALONE},
    ),
    ("the core a plugin", "llmhub_core/cli/common.py", "import llmhub_plugins.strategies.priority", {CORE}),
    ("the hub the gateway", "llmhub_core/hub/health.py", "import llmhub_core.gateway.wire_inflate", {FLOORS}),
    ("the dashboard the gateway", "llmhub_core/dashboard/pages.py", "import llmhub_core.gateway.paths", {FLOORS}),
    ("the gateway the dashboard", "llmhub_core/gateway/paths.py", "import llmhub_core.dashboard.pages", {FLOORS}),
    (
        "the contracts the hub",
        "llmhub_core/contracts/usage.py",
        "import llmhub_core.hub.settings_words",
        {FLOORS, DOORS},
    ),
    ("one step another", "llmhub_core/gateway/auth.py", "import llmhub_core.gateway.route", {JOURNEY}),
    ("the wire the chain", "llmhub_core/gateway/wire_http.py", "import llmhub_core.gateway.chain", {JOURNEY}),
    ("a part the whole hub", "llmhub_core/hub/health.py", "import llmhub_core.hub.hub", {ROOMS}),
    ("a value a door", "llmhub_core/contracts/errors.py", "import llmhub_core.contracts.strategy", {AGREEMENT}),
]


@pytest.mark.parametrize(("what", "path", "line", "rules"), VIOLATIONS, ids=[each[0] for each in VIOLATIONS])
def test_what_may_not_be_imported(house: Path, plant: Plant, what: str, path: str, line: str, rules: set[str]) -> None:
    assert (house / path).is_file()
    plant(path, line)
    assert broken_rules(house) == rules, what


@pytest.mark.parametrize(
    ("folder", "rule"), [("", FLOORS), ("gateway", JOURNEY), ("hub", ROOMS), ("contracts", AGREEMENT)]
)
def test_a_new_module_has_to_be_given_a_floor(house: Path, plant: Plant, folder: str, rule: str) -> None:
    plant(str(Path("llmhub_core", folder, "attic.py")), "")
    assert broken_rules(house) == {rule}


def test_inside_the_contracts_nobody_imports_their_face() -> None:
    # It imports everything, so whoever imports it from within sees half a package.
    for file in sorted((ROOT / "llmhub_core" / "contracts").glob("*.py")):
        text = file.read_text("utf-8")
        assert not re.search(r"^\s*(from llmhub_core\.contracts import|import llmhub_core\.contracts$)", text, re.M), (
            file
        )

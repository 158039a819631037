"""The documentation of plugins: every door has its page, every hook and method its exact words, every example runs."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmhub_core.contracts import API, hookspecs
from llmhub_core.contracts.plugin import Plugin
from llmhub_core.hub.registry import DOORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = DOCS / "plugins"

HOOKS = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("register_")]

SUITES = {
    "dialects": "DialectSuite",
    "providers": "ProviderSuite",
    "strategies": "StrategySuite",
    "metadata_stores": "MetadataStoreSuite",
    "quota_stores": "QuotaStoreSuite",
    "interceptors": "InterceptorSuite",
    "observers": "ObserverSuite",
}


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text("utf-8")


def signature(function: object) -> str:
    """``async def name(self, …) -> …``, on one line, as its author wrote it."""
    source = inspect.getsource(function).partition("def ")  # type: ignore[arg-type]
    found = re.match(r".*?\) -> [^\n]*?(?=:\s*(\.\.\.)?\n)", source[2], re.DOTALL)
    assert found, source
    words = " ".join(found[0].split()).replace("( ", "(").replace(", )", ")").replace(",)", ")")
    return ("async " if inspect.iscoroutinefunction(function) else "") + "def " + words


def own_methods(contract: type[Plugin]) -> list[str]:
    return [name for name, member in vars(contract).items() if inspect.isfunction(member) and not name.startswith("_")]


def test_every_hook_is_a_door_and_every_door_has_a_suite() -> None:
    assert {f"register_{door}" for door in DOORS} == set(HOOKS)
    assert set(SUITES) == set(DOORS)


@pytest.mark.parametrize("door", DOORS)
def test_a_door_has_a_page_with_its_hook(door: str) -> None:
    hook = getattr(hookspecs, f"register_{door}")
    text = page(door)
    assert f"@hookspec\n{signature(hook)}:\n" in text
    assert f'"""{hook.__doc__}"""' in text
    assert f"@hookimpl\ndef register_{door}(" in text, "an example shows it in use"
    assert f"{door}.md" in page("README")
    assert f"`register_{door}`" in page("README")


@pytest.mark.parametrize("door", DOORS)
def test_a_page_has_every_method_with_its_exact_signature(door: str) -> None:
    contract, text = DOORS[door], page(door)
    shown = text[: text.index("## A complete one")]
    methods = own_methods(contract)
    assert methods
    for name in methods:
        assert signature(getattr(contract, name)) in shown, f"{door}: {name}"
    for name in set(re.findall(r"def (\w+)\(", shown)) - {f"register_{door}"}:
        assert hasattr(contract, name), f"{door}: {name} is told of and does not exist"


@pytest.mark.parametrize("door", DOORS)
def test_a_page_names_a_suite_that_is_shipped(door: str) -> None:
    assert SUITES[door] in page(door)
    room = {"metadata_stores": "stores", "quota_stores": "stores", "strategies": "strategy"}.get(door, door[:-1])
    assert hasattr(importlib.import_module(f"llmhub_core.testing.{room}"), SUITES[door])


def test_the_promise_names_the_contract_that_this_hub_speaks() -> None:
    assert f"at present **{API}**" in page("versions")
    assert f"this hub speaks {API})" in page("README")


def test_every_metric_is_explained() -> None:
    source = (ROOT / "plugins" / "observers" / "prometheus.py").read_text("utf-8")
    metrics = set(re.findall(r'"(llmhub_\w+)"', source))
    assert len(metrics) == 11
    assert set(re.findall(r"`(llmhub_\w+)`", page("observers"))) == metrics


# examples


def examples() -> dict[str, str]:
    """Code of all pages that says on its first line what file it is."""
    found: dict[str, str] = {}
    for path in sorted(PAGES.glob("*.md")):
        for code in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            name = re.match(r"# (\w+\.py)\n", code)
            if name:
                assert name[1] not in found, f"{name[1]} is in two pages"
                found[name[1]] = code
    return found


@pytest.mark.timeout(120)
def test_the_examples_run_and_pass_their_suites(tmp_path: Path) -> None:
    files = examples()
    for name, code in files.items():
        (tmp_path / name).write_text(code, "utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = [name for name in files if name.startswith("test_")]
    assert len(tests) == len(DOORS) + 2  # one a door, one of a dialect that only passes, and the one with a whole hub
    assert all(f"PASSED {name}::" in done.stdout for name in tests)


@pytest.mark.parametrize("name", [name for name in examples() if not name.startswith("test_")])
def test_the_examples_are_written_as_our_own_code(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(examples()[name], "utf-8")
    for command in (["check", "--quiet"], ["format", "--quiet", "--diff"]):
        options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(tmp_path / name)]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stdout + done.stderr


# links


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.name}: {target}"

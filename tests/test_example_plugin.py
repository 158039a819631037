"""The example plugin, installed beside the hub as a stranger would do it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "llmhub-provider-example"
UNWANTED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".pytest_cache")

pytestmark = pytest.mark.timeout(180)


class Installed:
    """A copy of the example, and a folder into which it was installed."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.target = folder / "site"
        shutil.copytree(EXAMPLE, self.source, ignore=UNWANTED)
        options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
        self.run("-m", "pip", "install", *options, "--target", str(self.target), str(self.source))
        shutil.rmtree(self.source / "src")  # what is found from now on is what was installed

    def run(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.target), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.source, env=environment, capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("example"))


def test_it_appears_like_a_built_in(installed: Installed) -> None:
    said = installed.run("-m", "llmhub_core", "plugins", "--json")
    reports: dict[str, dict[str, Any]] = {report["entry"]: report for report in json.loads(said)}
    for entry in ("providers.parrot", "strategies.fewest_in_flight"):
        assert reports[entry] == {
            "entry": entry,
            "distribution": "llmhub-provider-example",
            "version": "0.1.0",
            "state": "loaded",
            "reason": "",
            "brought": [entry],
        }
    assert {report["state"] for report in reports.values()} == {"loaded"}


def test_the_registry_hands_it_out(installed: Installed) -> None:
    code = (
        "from llmhub_core.hub.registry import Registry; registry = Registry().discover();"
        "print(registry.providers.get('parrot').__module__, registry.strategies.get('fewest_in_flight').__module__)"
    )
    assert installed.run("-c", code).split() == [
        "llmhub_provider_example.parrot",
        "llmhub_provider_example.fewest_in_flight",
    ]


def test_its_own_tests_pass(installed: Installed) -> None:
    said = installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA")
    assert "test_a_hub_answers_with_it" in said
    assert "skipped" not in said.splitlines()[-1]

"""Who comes in through the doors, who does not, and what is said about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmhub_core.contracts import (
    Candidate,
    CandidateStats,
    Choice,
    Deployment,
    NoSettings,
    Observer,
    PluginError,
    ProviderKey,
    Strategy,
    hookimpl,
)
from llmhub_core.hub.registry import Registry

HEAD = "from llmhub_core.contracts import *\nfrom llmhub_core.contracts import hookimpl\n"
STRATEGY = HEAD + (
    "class Mine(Strategy):\n    name = '{name}'\n    {more}\n"
    "    def order(self, choice, standing):\n        return standing\n"
    "@hookimpl\ndef register_strategies():\n    return [Mine]\n"
)


def strategy(name: str = "mine", more: str = "") -> str:
    return STRATEGY.format(name=name, more=more)


def distribution(folder: Path, name: str, modules: dict[str, str], entries: dict[str, str]) -> None:
    """An installed distribution, as pip leaves it: modules, and a .dist-info that names the entry points."""
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = [f"{entry} = {target}" for entry, target in entries.items()]
    (info / "entry_points.txt").write_text("[llmhub.plugins]\n" + "\n".join(lines) + "\n")
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code)


def plugins(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "llmhub_core", "plugins", *arguments],
        env=environ, cwd=folder, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


FAULTS = {
    "strategies.good": ("acme_good", strategy("good")),
    "strategies.raises": ("acme_raises", "raise RuntimeError('no licence\\nfound')\n"),
    "strategies.exits": ("acme_exits", "import sys\nsys.exit(3)\n"),
    "strategies.syntax": ("acme_syntax", "def (:\n"),
    "strategies.needs": ("acme_needs", "import a_package_that_nobody_has.part\n"),
    "strategies.prefix": ("acme_prefix", "import acme_pre\n"),
    "strategies.gone": ("acme_gone", ""),
    "strategies.future": ("acme_future", strategy("future", "api = 99")),
    "strategies.taken": ("acme_taken", strategy("priority")),
    "strategies.hook": ("acme_hook", strategy("hook").replace("register_strategies", "register_strategy")),
    "strategies.wrong": ("acme_wrong", strategy("wrong").replace("(Strategy)", "(Observer)")),
    "strategies.value": ("acme_value", strategy("value").replace("[Mine]", "['mine']")),
    "strategies.half": ("acme_half", strategy("half").replace("def order", "def sort")),
    "strategies.nothing": ("acme_nothing", "x = 1\n"),
    "strategies.empty": ("acme_empty", strategy("empty").replace("[Mine]", "[]")),
    "strategies.nameless": ("acme_nameless", strategy("")),
    "strategies.bursts": ("acme_bursts", strategy("bursts").replace("return [Mine]", "raise ValueError('oh')")),
    "strategies.asks": ("acme_asks", strategy("asks").replace("register_strategies()", "register_strategies(hub)")),
}

REASONS = {
    "strategies.raises": ("refused", "it failed to import: RuntimeError: no licence found"),
    "strategies.exits": ("refused", "it failed to import: SystemExit: 3"),
    "strategies.syntax": ("refused", "it failed to import: SyntaxError"),
    "strategies.needs": ("unavailable", "the package a_package_that_nobody_has is not installed"),
    "strategies.prefix": ("unavailable", "the package acme_pre is not installed"),
    "strategies.gone": ("refused", "its own module acme_gone is not there"),
    "strategies.future": ("refused", "future is built for contract 99, this hub speaks 1"),
    "strategies.taken": ("refused", "the name priority is already taken by strategies.priority"),
    "strategies.hook": ("refused", "there is no hook register_strategy; did you mean register_strategies?"),
    "strategies.wrong": ("refused", "is no Strategy"),
    "strategies.value": ("refused", "'mine' is no Strategy"),
    "strategies.half": ("refused", "half does not implement order"),
    "strategies.nothing": ("refused", "it brings nothing"),
    "strategies.empty": ("refused", "it brings nothing"),
    "strategies.nameless": ("refused", "Mine has no name"),
    "strategies.bursts": ("refused", "ValueError: oh"),
    "strategies.asks": ("refused", "PluginValidationError"),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with one plugin for each fault; the one called strategies.gone lost its module."""
    folder = tmp_path_factory.mktemp("site")
    modules = {module: code for module, code in FAULTS.values() if module != "acme_gone"}
    distribution(folder, "acme-plugins", modules, {entry: module for entry, (module, _) in FAULTS.items()})
    return folder


@pytest.fixture(scope="module")
def reported(faulty: Path) -> dict[str, dict[str, Any]]:
    return {report["entry"]: report for report in json.loads(plugins(faulty, "--json"))}


@pytest.mark.parametrize("entry", REASONS)
def test_each_fault_is_told_in_one_sentence(reported: dict[str, dict[str, Any]], entry: str) -> None:
    report, (state, reason) = reported[entry], REASONS[entry]
    assert (report["state"], report["brought"]) == (state, [])
    assert reason in report["reason"]
    assert "\n" not in report["reason"]
    assert (report["distribution"], report["version"]) == ("acme-plugins", "1.2")


def test_everything_else_still_works(reported: dict[str, dict[str, Any]]) -> None:
    assert reported["strategies.good"]["brought"] == ["strategies.good"]
    ours = [report for report in reported.values() if report["distribution"] == "llm-hub"]
    assert len(ours) >= 15
    assert {report["state"] for report in ours} == {"loaded"}


def test_the_table_has_every_plugin_and_every_reason(faulty: Path) -> None:
    table = plugins(faulty)
    for entry, (state, reason) in REASONS.items():
        assert f"\n{entry} is {state}: " in table
        assert reason in table
    good = next(line for line in table.splitlines() if line.startswith("strategies.good"))
    assert good.split() == ["strategies.good", "acme-plugins", "1.2", "loaded", "strategies.good"]


def test_a_name_sorted_before_ours_cannot_displace_a_built_in(tmp_path: Path) -> None:
    distribution(tmp_path, "aaa", {"aaa": strategy("weighted")}, {"a.first": "aaa"})
    found = {report["entry"]: report for report in json.loads(plugins(tmp_path, "--json"))}
    assert found["strategies.weighted"]["brought"] == ["strategies.weighted"]
    assert found["a.first"]["reason"] == "the name weighted is already taken by strategies.weighted"


def test_two_distributions_with_one_entry_point_name(tmp_path: Path) -> None:
    distribution(tmp_path, "one", {"one_mod": strategy("one")}, {"strategies.mine": "one_mod"})
    distribution(tmp_path, "two", {"two_mod": strategy("two")}, {"strategies.mine": "two_mod"})
    reports = [report for report in json.loads(plugins(tmp_path, "--json")) if report["entry"] == "strategies.mine"]
    assert [report["brought"] for report in reports] == [["strategies.one"], ["strategies.two"]]


def test_a_plugin_from_outside_is_used(tmp_path: Path) -> None:
    distribution(tmp_path, "acme", {"acme": strategy("backwards")}, {"strategies.backwards": "acme"})
    config = tmp_path / "config.toml"
    config.write_text(
        '[[providers]]\nname = "echo"\nkind = "echo"\n[[routes]]\nmodel = "m"\nstrategy = "backwards"\n'
        'deployments = [{ provider = "echo", model = "m" }]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "llmhub_core", "explain", "m", "--config", str(config), "--data-dir", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "strategy backwards" in done.stdout


def test_a_plugin_that_is_missing_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    code = "import a_package_that_nobody_has\n"
    distribution(tmp_path, "acme", {"acme": code}, {"strategies.clever": "acme"})
    config = tmp_path / "config.toml"
    config.write_text(
        '[[providers]]\nname = "echo"\nkind = "echo"\n[[routes]]\nmodel = "m"\nstrategy = "clever"\n'
        'deployments = [{ provider = "echo", model = "m" }]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "llmhub_core", "check", "--config", str(config)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{config}:6:12: " in done.stderr
    assert "the package a_package_that_nobody_has is not installed" in done.stderr


# In this process: what a test or an embedding program admits.


class Backwards(Strategy):
    name = "backwards"

    def order(self, choice: Choice, standing: Any) -> Any:
        return list(reversed(standing))


class Quiet(Observer):
    name = "quiet"


def bringing(**classes: Any) -> SimpleNamespace:
    """A plugin object whose hooks bring `classes`, by door."""
    plugin = SimpleNamespace()
    for door, brought in classes.items():
        setattr(plugin, f"register_{door}", hookimpl(_bound(brought)))
    return plugin


def _bound(brought: Any) -> Any:
    def register() -> Any:
        return brought

    return register


def test_one_plugin_may_come_through_several_doors() -> None:
    registry = Registry()
    report = registry.admit_module(bringing(strategies=[Backwards], observers=[Quiet]), "both")
    assert report.state == "loaded"
    assert sorted(report.brought) == ["observers.quiet", "strategies.backwards"]
    assert registry.strategies.names == ("backwards",)
    assert "quiet" in registry.observers
    assert registry.observers.settings_types() == {"quiet": NoSettings}
    made = registry.strategies.get("backwards")(NoSettings())
    standing = [CandidateStats(Candidate(Deployment("p", m), ProviderKey("p", "k"))) for m in ("a", "b")]
    assert made.order(Choice("r", 0, 0.5), standing) == standing[::-1]


def test_a_hook_may_bring_nothing_where_another_brings_something() -> None:
    report = Registry().admit_module(bringing(strategies=[Backwards], observers=None), "one")
    assert (report.state, report.brought) == ("loaded", ["strategies.backwards"])


def test_asking_for_what_is_not_there_names_the_nearest() -> None:
    registry = Registry().discover()
    with pytest.raises(PluginError, match=r"there is no round_robbin; did you mean round_robin\?"):
        registry.strategies.get("round_robbin")
    with pytest.raises(PluginError, match=r"there is no zzz; there are: .*priority"):
        registry.strategies.get("zzz")


def test_registries_share_nothing() -> None:
    one, two = Registry(), Registry()
    one.admit_module(bringing(strategies=[Backwards]), "x")
    assert two.strategies.names == ()

"""What is shipped: every folder is a listed package, every plugin an entry point, and a wheel carries it all."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"llmhub_core": "llmhub_core", "plugins": "llmhub_plugins", "templates": "llmhub_templates"}
FOLDERS["static"] = "llmhub_static"

SETUP = configparser.ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg", "utf-8")

slow = pytest.mark.timeout(240)


def module_of(path: Path) -> str:
    """The name under which a folder or file of the checkout is imported."""
    first, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[first], *rest])


def shipped_files() -> set[str]:
    """Everything that lies in the packages, by its path in the wheel."""
    files: set[str] = set()
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                files.add(str(Path(package, file.relative_to(ROOT / folder))))
    return files


# the lists


def test_the_list_of_packages_is_the_folders() -> None:
    listed = SETUP["options"]["packages"].split()
    found = {module_of(file.parent) for folder in FOLDERS for file in (ROOT / folder).rglob("__init__.py")}
    assert set(listed) == found
    assert listed == sorted(listed), "in order, so that a missing one is seen"
    folders_with_code = {file.parent for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}
    assert {module_of(folder) for folder in folders_with_code} == found, "a folder with code lacks __init__.py"


def brings_a_plugin(file: Path) -> bool:
    """Whether a module has a marked hook; others are rooms of a plugin, or shared by several of one folder."""
    decorators = [
        decorator
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
    ]
    return any(isinstance(one, ast.Name) and one.id == "hookimpl" for one in decorators)


def test_the_entry_points_are_the_modules_with_hooks() -> None:
    lines = SETUP["options.entry_points"]["llmhub.plugins"].strip().splitlines()
    listed = dict(line.replace(" ", "").split("=") for line in lines)
    modules = [
        module_of(file.parent if file.name == "__init__.py" else file)
        for file in (ROOT / "plugins").rglob("*.py")
        if brings_a_plugin(file)
    ]
    expected = {}
    for module in modules:
        folder, *rest = module.split(".")[1:]
        expected[f"{folder}.{'_'.join(rest)}"] = module
    assert listed == expected


def imported(folder: Path) -> set[str]:
    """Top-level names of everything that the code in `folder` imports, wherever in it."""
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    return names - sys.stdlib_module_names - set(FOLDERS.values())


def plain(distribution: str) -> str:
    """The one spelling of its many."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_what_is_imported_is_required() -> None:
    # In a developer's environment the tools bring half the world along, so nobody notices there.
    distributions = packages_distributions()
    lists = [
        SETUP["options"]["install_requires"],
        *(SETUP["options.extras_require"][name] for name in ("apprise", "postgres", "redis", "vertex", "bedrock")),
    ]
    required = {plain(re.split(r"[\[>=;\s]", line)[0]) for lines in lists for line in lines.split("\n") if line.strip()}
    missing = {
        name
        for folder in FOLDERS
        for name in imported(ROOT / folder)
        if not {plain(each) for each in distributions.get(name, (name,))} & required
    }
    assert missing == {"pytest", "hypothesis"}, "these are for the suites, and whoever runs these has them"


# the wheel


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLMHUB_", "PYTHON", "PIP_"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, which `build` makes from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(
        "__pycache__", ".*cache", ".git", ".venv", ".hypothesis", "build", "dist", "*.egg-info", ".env-*", "*.db*"
    )
    shutil.copytree(ROOT, source, ignore=unwanted)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@slow
def test_the_sdist_has_what_building_and_testing_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("setup.cfg", "setup.py", "pyproject.toml", "config.example.toml", "LICENSE", "CHANGELOG.md"):
        assert wanted in names
    for wanted in (".ci/test", "docs/plugins/README.md", "tests/test_packaging.py", "benchmarks/run.py"):
        assert wanted in names
    assert "examples/llmhub-provider-example/pyproject.toml" in names
    assert not [name for name in names if name.endswith((".pyc", ".db")) or "/.venv/" in name]


@slow
def test_the_wheel_carries_everything_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == shipped_files()


@slow
def test_a_wheel_from_the_checkout_is_the_same(built: Path, wheel: Path, tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        tmp_path,
        built.parent / "source",
        cwd=tmp_path,
    )
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert {name: one.read(name) for name in one.namelist() if not name.endswith("/RECORD")} == {
            name: other.read(name) for name in other.namelist() if not name.endswith("/RECORD")
        }


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with the wheel in it and nothing of the checkout; dependencies are borrowed from ours.

    Only the path is borrowed: hooks of an editable install, which would find the checkout, are not run there.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (folder / "lib" / version / "site-packages" / "zz-borrowed.pth").write_text("\n".join(borrowed) + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    run(*pip, "--no-deps", "--ignore-installed", "--quiet", wheel, cwd=folder)
    return folder


@slow
def test_the_command_lists_every_built_in_as_loaded(clean: Path, tmp_path: Path) -> None:
    entries = {
        line.split("=")[0].strip() for line in SETUP["options.entry_points"]["llmhub.plugins"].strip().splitlines()
    }
    for command in ((clean / "bin" / "llm-hub",), (clean / "bin" / "python", "-m", "llmhub_core")):
        reports = json.loads(run(*command, "plugins", "--json", cwd=tmp_path))
        ours = {report["entry"]: report["state"] for report in reports if report["distribution"] == "llm-hub"}
        assert ours == dict.fromkeys(entries, "loaded")


LOOK = """
import asyncio, importlib.util, json, sys
from importlib.resources import files
from pathlib import Path
from llmhub_core.hub.registry import Registry
from llmhub_core.dashboard.render import load_assets

async def migrated(url):
    cls = Registry().discover().metadata_stores.get("sqlite")
    store = cls(cls.Settings(url=url))
    await store.start()
    state = await store.migrate()
    await store.stop()
    return state.is_current

names = ("llmhub_core", "llmhub_plugins", "llmhub_templates", "llmhub_static")
print(json.dumps({
    "origins": [importlib.util.find_spec(name).origin for name in names],
    "templates": sorted(path.name for path in Path(str(files("llmhub_templates"))).rglob("*.html")),
    "assets": sorted(path.name for path in Path(str(files("llmhub_static"))).rglob("*.*") if "py" not in path.suffix),
    "migrated": asyncio.run(migrated(sys.argv[1])),
}))
"""


@slow
def test_templates_assets_and_migrations_are_found(clean: Path, tmp_path: Path) -> None:
    said = json.loads(run(clean / "bin" / "python", "-c", LOOK, f"sqlite:///{tmp_path / 'hub.db'}", cwd=tmp_path))
    assert all(Path(origin).is_relative_to(clean) for origin in said["origins"]), said["origins"]
    assert said["templates"] == sorted(file.name for file in (ROOT / "templates").rglob("*.html"))
    assert said["assets"] == sorted(file.name for file in (ROOT / "static").rglob("*.*") if "py" not in file.suffix)
    assert said["migrated"] is True


@slow
def test_the_checkout_as_current_folder_does_no_harm(clean: Path) -> None:
    # Python puts the current folder first, so this runs the checkout's core with the installed plugins.
    reports = json.loads(run(clean / "bin" / "python", "-m", "llmhub_core", "plugins", "--json", cwd=ROOT))
    assert {report["state"] for report in reports} == {"loaded"}

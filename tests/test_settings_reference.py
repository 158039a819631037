"""The example has every setting and runs; the documentation is current."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from settings_help import KNOWN, ROOT, CompatiblePlace, folder, read  # noqa: F401

from llmhub_core.hub import settings_reference
from llmhub_core.hub.settings import Settings
from llmhub_core.hub.settings_environment import PLACES, variables
from llmhub_core.hub.settings_file import load
from llmhub_core.hub.settings_of_entries import RouteSettings
from llmhub_core.hub.settings_positions import Positions


def switched_on() -> str:
    """config.example.toml with every setting of it in use."""
    text = (ROOT / "config.example.toml").read_text("utf-8")
    return re.sub(r"^#: ?", "", text, flags=re.MULTILINE)


def test_the_example_runs_as_it_is() -> None:
    loaded = load(ROOT / "config.example.toml", {}, KNOWN)
    assert loaded.warnings == []
    defaults = Settings()
    for table in ("server", "storage", "auth", "secrets", "routing", "upstream"):
        assert getattr(loaded.settings, table) == getattr(defaults, table)
    assert [provider.kind for provider in loaded.settings.providers] == ["echo"]
    assert [route.model for route in loaded.settings.routes] == ["echo"]


def test_the_example_runs_with_everything_switched_on() -> None:
    keys = ("OPENAI", "ANTHROPIC", "GEMINI", "GROQ", "AZURE_OPENAI")
    environ = dict.fromkeys([*(f"{name}_API_KEY" for name in keys), "OPENAI_API_KEY_2"], "x" * 20)
    loaded = read(switched_on(), environ)
    assert loaded.warnings == []
    assert {provider.kind for provider in loaded.settings.providers} == set(KNOWN.provider_kinds)


def values_of(document: Any, key: str) -> list[Any]:
    """Every value that the document has for ``providers[].keys[].name``."""
    values = [document]
    for step in key.split("."):
        values = [value[step.removesuffix("[]")] for value in values if step.removesuffix("[]") in value]
        if step.endswith("[]"):
            values = [one for value in values for one in value]
    return values


@pytest.mark.parametrize("doc", settings_reference.reference(), ids=lambda doc: doc.key)
def test_the_example_has_every_setting_with_its_default_and_its_sentence(doc: settings_reference.SettingDoc) -> None:
    text = (ROOT / "config.example.toml").read_text("utf-8")
    values = values_of(tomllib.loads(switched_on()), doc.key)
    assert values
    if doc.default:
        assert tomllib.loads(f"x = {doc.default}")["x"] in values
    assert doc.help in re.sub(r"\n# ", " ", text)


def test_the_documentation_is_current() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert settings_reference.renewed(page) == page, (
        "run: python -m llmhub_core.hub.settings_reference docs/configuration.md"
    )
    assert all(variable in page for place in PLACES for variable in place.variables)


def test_a_page_is_renewed_in_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before {settings_reference.BEGIN} old {settings_reference.END} after", "utf-8")
    settings_reference.main([str(page)])
    text = page.read_text("utf-8")
    assert text.startswith("before ") and text.endswith(" after") and "| `port` | integer | `8080` |" in text
    assert " old " not in text


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        settings_reference.renewed("no markers")


def test_every_setting_has_a_sentence_and_every_plain_one_a_variable() -> None:
    docs = settings_reference.reference()
    assert all(doc.help.endswith(".") and doc.type for doc in docs)
    assert {doc.variable for doc in docs if doc.variable} == set(variables())
    assert all(bool(doc.variable) is ("[]" not in doc.key) for doc in docs)


def test_settings_of_plugins_are_described_too() -> None:
    ttl = settings_reference.settings_of(CompatiblePlace)[2]
    assert (ttl.key, ttl.type, ttl.default, ttl.help, ttl.required) == (
        "ttl",
        "duration",
        '"1 min"',
        "How long.",
        False,
    )
    assert not settings_reference.settings_of(CompatiblePlace)[0].required
    assert settings_reference.settings_of(RouteSettings)[0].required


def every_leaf(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all scalars of a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield path
        return
    for key, one in pairs:
        yield from every_leaf(one, (*path, key))


def test_every_value_of_the_example_is_found_where_it_stands() -> None:
    text = switched_on()
    at, lines = Positions(text.encode()).find, text.split("\n")
    paths = list(every_leaf(tomllib.loads(text)))
    assert len(paths) > 80
    for path in paths:
        line, column = at(path, "value")
        value = tomllib.loads(text)
        for step in path:
            value = value[step]
        found = re.match(r'"[^"]*"|[^\s,\]}]+', lines[line - 1][column - 1 :])
        assert found and tomllib.loads(f"x = {found[0]}")["x"] == value, path


def test_positions_cost_nothing_where_all_is_well() -> None:
    code = (
        "import sys; from pathlib import Path; from llmhub_core.hub.settings_file import *;"
        "from llmhub_core.contracts import NoSettings as N;"
        "k = Known({'echo': N}, {'priority': N}, metadata_stores={'sqlite': N}, quota_stores={'memory': N});"
        "load(Path(sys.argv[1]), {}, k);"
        "print([m for m in ('tree_sitter', 'pydantic', 'aiohttp') if m in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(ROOT / "config.example.toml")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

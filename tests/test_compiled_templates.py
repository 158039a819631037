"""Compiled templates are kept beside them, and where that cannot be, pages come all the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from llmhub_core.dashboard.compiled import kept_in


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "page.html").write_text("{% if name %}\nDear {{ name }}{% endif %}")
    return folder


def shown(folder: Path, **options: Any) -> str:
    cache = kept_in(folder, options)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), bytecode_cache=cache, **options)  # noqa: S701 — nobody reads it
    return environment.get_template("page.html").render(name="<Ann>")


def test_what_is_kept_is_used_until_the_template_or_an_option_is_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(folder) == "\nDear <Ann>"
    (kept,) = (folder / "__pycache__").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", lambda *_: pytest.fail("it was compiled again"))
        assert shown(folder) == "\nDear <Ann>"
    assert shown(folder, autoescape=True, trim_blocks=True) == "Dear &lt;Ann&gt;"
    assert shown(folder) == "\nDear <Ann>"
    (folder / "page.html").write_text("Hello {{ name }}")
    assert shown(folder) == "Hello <Ann>"
    kept.write_bytes(kept.read_bytes()[:-20])
    assert shown(folder) == "Hello <Ann>", "half a file is none"


def test_where_none_can_be_written_pages_come_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "__pycache__").write_text("no folder")
    assert kept_in(folder, {}) is None
    assert shown(folder) == "\nDear <Ann>"
    (folder / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert kept_in(folder, {}) is None
    assert not (folder / "__pycache__").exists()
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    cache = kept_in(folder, {})
    assert cache is not None
    (folder / "__pycache__").rmdir()  # as if it became read-only: root may write anywhere
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), bytecode_cache=cache)  # noqa: S701 — nobody reads it
    assert environment.get_template("page.html").render(name="Ann") == "\nDear Ann"


def test_a_place_for_all_bytecode_is_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "cache"))
    assert shown(folder) == "\nDear <Ann>"
    assert not (folder / "__pycache__").exists()
    assert len([path for path in (tmp_path / "cache").rglob("*.jinja") if path.is_file()]) == 1

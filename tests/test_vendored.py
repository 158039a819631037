"""The front-end libraries are what their table says, with their licences beside them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from llmhub_core.dashboard.render import load_assets

FOLDER = Path(__file__).parents[1] / "static" / "vendor"
TABLE = re.findall(
    r"^\| `([^`]+)` \| .* (\S+), `[^`]+` \| (\S+) \| `([0-9a-f]{64})` \|$", (FOLDER / "README.md").read_text(), re.M
)
SHIPPED = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*") if path.name != "LICENSE")


def test_the_table_has_every_file() -> None:
    assert sorted(file for file, *_ in TABLE) == SHIPPED


@pytest.mark.parametrize(("file", "version", "licence", "digest"), TABLE)
def test_a_file_is_as_it_came(file: str, version: str, licence: str, digest: str) -> None:
    body = (FOLDER / file).read_bytes()
    assert hashlib.sha256(body).hexdigest() == digest
    said = re.search(rb"version[:=]\"([\d.]+)\"|\(v([\d.]+)\)", body)
    assert said is None or version.encode() in said.groups()
    assert {"0BSD": "Zero-Clause BSD", "MIT": "The MIT License"}[licence] in (FOLDER / file).with_name(
        "LICENSE"
    ).read_text()


def test_pages_load_them_ahead_of_our_own() -> None:
    for kind, own in (("js", "function localize"), ("css", ":root")):
        served = load_assets()[f"hub.{kind}"].body.decode()
        ends = [
            served.index(text) + len(text)
            for file in SHIPPED
            if file.endswith(kind)
            for text in [(FOLDER / file).read_text()]
        ]
        assert ends == sorted(ends)
        assert ends[-1] < served.index(own, ends[-1])

"""The example configuration runs as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_cli import clean, run, serving

__all__ = ["clean"]

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"


def test_it_is_good() -> None:
    result = run("check", "--config", EXAMPLE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "config.example.toml: good" in result.stdout


@pytest.mark.parametrize("model", ["echo", "echo/anything"])
def test_it_explains_its_route(model: str) -> None:
    assert "echo/" in run("explain", model, "--config", EXAMPLE).stdout


def test_it_serves(tmp_path: Path) -> None:
    with serving("--config", EXAMPLE, "--data-dir", tmp_path / "d") as served:
        answer = served.post({"model": "echo", "messages": [{"role": "user", "content": "hello there"}]})
        assert "hello there" in answer["choices"][0]["message"]["content"]
        message = {"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello there"}]}
        assert "hello there" in served.post(message, "/v1/messages")["content"][0]["text"]
    assert (tmp_path / "d" / "llm-hub.db").is_file()

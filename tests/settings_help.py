"""For the tests of settings: plugins that have some, and a folder with a config.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmhub_core.contracts import NoSettings, SettingsError
from llmhub_core.hub.settings_file import Known, Loaded, load

ROOT = Path(__file__).parents[1]
HASH = "sha256:" + "0" * 64


# Plugins as the registry would know them.


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    base_url: str = "https://api.example.com/v1"
    organization: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatiblePlace:
    base_url: str = ""
    token: str = field(default="", repr=False)
    ttl: float = field(default=60.0, metadata={"unit": "seconds", "minimum": 1, "help": "How long."})
    ports: tuple[int, ...] = ()
    preset: str = ""
    account: str = ""
    speaks: tuple[str, ...] = ()
    structured_output: str = ""

    def __post_init__(self) -> None:
        if not self.preset and not self.base_url.startswith("http"):
            raise ValueError("base_url must begin with http:// or https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPlace:
    project: str = ""
    location: str = ""
    publisher: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    url: str | None = None
    level: int | str = 3
    spool: Path | None = None


KNOWN = Known(
    provider_kinds={
        "openai": Place,
        "anthropic": Place,
        "gemini": Place,
        "openai_compatible": CompatiblePlace,
        "vertex": CloudPlace,
        "bedrock": CloudPlace,
        "echo": NoSettings,
    },
    strategies={"priority": NoSettings, "round_robin": NoSettings, "weighted": NoSettings},
    dialects={"openai_chat": NoSettings},
    observers={"alert": Alert, "access_log": NoSettings},
    metadata_stores={"sqlite": NoSettings},
    quota_stores={"memory": NoSettings, "sqlite": NoSettings},
    missing={"sagemaker": "the package boto3 is not installed", "stores.redis": "the package redis is not installed"},
)

ECHO = '[[providers]]\nname = "echo"\nkind = "echo"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a current folder of its own, so that no config.toml is found by accident."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str | bytes, environ: Mapping[str, str] | None = None, known: Known = KNOWN) -> Loaded:
    Path("config.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load(None, environ or {}, known)


def problems(text: str | bytes, environ: Mapping[str, str] | None = None, known: Known = KNOWN) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(text, environ, known)
    return caught.value.problems

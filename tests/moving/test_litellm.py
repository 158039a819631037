"""LiteLLM's configuration as one of this hub's, with a word about each line that could not be carried."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from places import place
from test_cli import run

from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.tokens import digest
from llmhub_core.moving import yaml_lines
from llmhub_core.moving.litellm import Converted, Converter
from llmhub_core.moving.toml_text import written

FILE = Path(__file__).parent / "litellm.yaml"
LITERAL = "sk-canary-0123456789-literal"
_NAMED = ("AZURE_EU_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "OPENAI_KEY_1", "HOST_10_0_0_5_8000_KEY_1")
ENVIRON = dict.fromkeys(_NAMED, "sk-of-a-variable-0123456789")


def converted(text: str, **environ: str) -> Converted:
    return Converter(yaml_lines.read(text), environ).convert()


def line_of(words: str) -> int:
    return next(n for n, line in enumerate(FILE.read_text().splitlines(), 1) if words in line)


@pytest.fixture
def config() -> dict[str, Any]:
    result = run("import-litellm", str(FILE), **ENVIRON)
    assert result.exit_code == 0, result.output
    return tomllib.loads(result.stdout)


def test_providers_and_keys(config: dict[str, Any]) -> None:
    found = {each.pop("name"): each for each in config["providers"]}
    assert found["azure-my-resource"] == {
        "kind": "openai_compatible", "preset": "azure_deployments", "account": "my-resource",
        "api_version": "2024-10-21",
        "keys": [{"name": "azure-eu-key", "secret": "env:AZURE_EU_KEY",
                  "limits": {"rpm": 6, "tpm": 60_000}}],
    }  # fmt: skip
    assert found["openai"] == {"kind": "openai", "keys": [{"name": "key-1", "secret": "env:OPENAI_KEY_1"}]}
    assert found["anthropic"]["keys"] == [{"name": "anthropic-api-key", "secret": "env:ANTHROPIC_API_KEY"}]
    assert found["ollama"] == {"kind": "openai_compatible", "preset": "ollama", "base_url": "http://localhost:11434/v1"}
    assert found["host-10-0-0-5-8000"]["base_url"] == "http://10.0.0.5:8000/v1"
    assert found["bedrock"] == {"kind": "bedrock", "region": "us-east-1", "keys": [{"name": "main", "secret": ""}]}
    assert found["groq"]["preset"] == "groq"


def test_routes(config: dict[str, Any]) -> None:
    found = {each["model"]: each for each in config["routes"]}
    assert set(found) == {"fast", "smart", "deep", "local", "house", "cloud", "gpt-4"}
    assert found["fast"]["deployments"] == [
        {"provider": "azure-my-resource", "model": "gpt-small-eu"},
        {"provider": "openai", "model": "gpt-4o-mini", "weight": 3, "input_price": 0.15, "output_price": 0.6},
    ]
    assert found["fast"]["strategy"] == "lowest_latency"
    assert found["fast"]["fallbacks"] == ["smart"]
    assert found["fast"]["fallbacks_on"] == {"context_length": ["deep"]}
    assert found["fast"]["timeouts"] == {"total": "600 s"}
    assert found["smart"]["timeouts"] == {"total": "300 s", "first_token": "20 s"}
    assert found["deep"]["fallbacks"] == []
    assert found["local"]["fallbacks"] == ["deep"]
    assert found["house"]["deployments"][0]["priority"] == 2
    assert found["gpt-4"] == {**found["fast"], "model": "gpt-4"}


def test_the_rest(config: dict[str, Any]) -> None:
    assert config["routing"] == {"attempts": 3, "cooldown": "30 s", "breaker_failures": 4}
    assert config["auth"] == {"api": "token"}
    assert config["tokens"] == [{"name": "master", "hash": digest("sk-1234567890-master-key"), "hint": "-key"}]


def test_each_line_that_was_left_is_told() -> None:
    said = run("import-litellm", str(FILE), **ENVIRON)
    for words, why in {
        "REDIS_HOST": "set it in the environment that the hub is started in",
        "id: eu-1": "has no id of its own",
        "temperature": "has no place here",
        "rpm: 50": "this one serves 2 models",
        "rpm: 10": "this one serves 2 models",
        "groq/*": "every model of a provider is served by that name",
        "watsonx/granite": "is at watsonx, which is not known here",
        "model_name: half": "needs model_name and litellm_params",
        "fallbacks: [": "is no model of this file that could be carried",
        "model_group_alias": "leads to no model",
        "redis_host": "[storage] quota",
        "drop_params": "done by itself",
        "success_callback": "langfuse: left out: there are webhook",
        "cache: true": "has no place here",
        "master_key": "is the client token master",
        "database_url": "virtual keys do not come along",
        "guardrails": "is not known here",
        "api_key: sk-canary": "put it into the variable OPENAI_KEY_1",
    }.items():
        number = line_of(words)
        number += words == "groq/*" and -2  # told of the deployment
        told = [line for line in said.stderr.splitlines() if line.startswith(f"line {number}: ")]
        assert any(why in line for line in told), (words, number, said.stderr)
    assert LITERAL not in said.output
    assert "to mend" not in said.stderr


def test_what_a_hub_would_say_of_it_is_told() -> None:
    assert "to mend: providers[0].keys[0].secret" in run("import-litellm", str(FILE)).stderr
    told = json.loads(run("import-litellm", str(FILE), "--json", **ENVIRON).stdout)
    assert not told["problems"]
    assert {"line", "what", "why", "carried"} == set(told["told"][0])


def test_it_is_stored_with_its_secrets_sealed(tmp_path: Path) -> None:
    hub = place(tmp_path / "hub")
    words = ("import-litellm", str(FILE), "--apply")
    assert hub.run(*words, "--dry-run", **ENVIRON).exit_code == 0
    assert not hub.everything()["configuration"]
    done = hub.run(*words, **ENVIRON)
    assert done.exit_code == 0, done.output
    assert "[routing]\nattempts = 3" in done.stderr
    kept = hub.everything()["configuration"]
    assert LITERAL not in json.dumps(kept)
    keys = {row["name"]: row for row in kept if row["kind"] == "key"}
    assert keys["openai/key-1"]["sealed"].startswith("lhv1.")
    assert json.loads(keys["groq/groq-api-key"]["body"])["secret"] == "env:GROQ_API_KEY"
    assert "host-10-0-0-5-8000" in hub.do("route", "list")
    again = hub.json(*words, **ENVIRON)
    assert (again["parts"][0]["added"], again["parts"][0]["same"]) == (0, len(kept))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "That is no YAML: line 1"),
        ("providers: []", "no config.yaml of LiteLLM"),
        ("- 1", "no config.yaml of LiteLLM"),
        ("", "no config.yaml of LiteLLM"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str, says: str) -> None:
    with pytest.raises(StartError, match=says):
        converted(text)


def test_nothing_in_a_file_is_executed_or_grows() -> None:
    harmless = converted('model_list: []\ngeneral_settings:\n  x: !!python/object/apply:os.system ["false"]\n')
    assert harmless.told[0].line == 3
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    with pytest.raises(StartError, match="too many places"):
        yaml_lines.read(bomb)


def test_plain_values_as_toml() -> None:
    document = {
        "server": {"host": 'a"b\\\n\x7fü😀', "on": True, "most": 1.5},
        "routes": [{"model": "a b", "deployments": [{"x y": ["1", 2]}], "empty": []}],
    }
    assert tomllib.loads(written(document)) == document

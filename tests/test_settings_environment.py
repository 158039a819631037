"""Variables that override settings, and providers that are found without a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from settings_help import KNOWN, Place, folder, problems, read  # noqa: F401

from llmhub_core.contracts import NoSettings, SettingsError
from llmhub_core.hub.settings_environment import PLACES
from llmhub_core.hub.settings_file import Known, load


def test_variables_override_the_file() -> None:
    environ = {
        "LLMHUB_SERVER__PORT": "9000",
        "LLMHUB_SERVER__SERVED_BY_HEADER": "False",
        "LLMHUB_SERVER__DRAIN": "1 min",
        "LLMHUB_SERVER__MAX_BODY": "1024",
        "LLMHUB_STORAGE__QUOTA": "sqlite:///q.db\n",
        "LLMHUB_AUTH__API": "token",
        "LLMHUB_SECRETS__KEYS": "env:A, env:B",
        "LLMHUB_ROUTING__ATTEMPTS": "5",
        "LLMHUB_UPSTREAM__IDLE": "2.5",
        "LLMHUB_DATA_DIR": "x",
        "LLMHUB_TRAFFIC": "x",
        "A": "1" * 32,
        "B": "2" * 32,
    }
    settings = read('[server]\nport = 1\nhost = "::1"', environ).settings
    assert (settings.server.host, settings.server.port) == ("::1", 9000)
    assert settings.server.served_by_header is False
    assert (settings.server.drain, settings.server.max_body) == (60.0, 1024)
    assert settings.storage.quota == "sqlite:///q.db"
    assert settings.auth.api == "token"
    assert settings.secrets.keys == ("env:A", "env:B")
    assert settings.routing.attempts == 5
    assert settings.upstream.idle == 2.5


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("LLMHUB_SERVER__PORT", "x", "server.port: must be an integer, not a string"),
        ("LLMHUB_SERVER__PORT", "70000", "server.port: must be at most 65535, not 70000"),
        ("LLMHUB_SERVER__PORT", "", "server.port: must be an integer, not a string"),
        ("LLMHUB_AUTH__ALLOW_OPEN_NETWORK", "yes", "auth.allow_open_network: must be true or false, not a string"),
        ("LLMHUB_AUTH__API", "tokn", 'auth.api: must be "open" or "token", not "tokn"; did you mean "token"?'),
        ("LLMHUB_SERVER__PROT", "1", "is not a setting; did you mean LLMHUB_SERVER__PORT?"),
        ("LLMHUB_QQQ__X", "1", "is not a setting; settings are LLMHUB_TABLE__KEY"),
        ("LLMHUB_SECRETS__KEYS", "env:GONE", "secrets.keys[0]: leads to the variable GONE that is not set"),
        (
            "LLMHUB_SECRETS__KEYS",
            "short",
            "secrets.keys[0]: is shorter than 32 characters; `llm-hub secrets new` makes a root key",
        ),
        ("LLMHUB_STORAGE__QUOTA", "sqlit:password", 'storage.quota: "sqlit" is not known; did you mean "sqlite"?'),
    ],
)
def test_mistakes_in_variables_name_the_variable(variable: str, text: str, complaint: str) -> None:
    assert problems("[server]\nport = 1", {variable: text}) == [f"{variable}: {complaint}"]


def test_a_problem_between_file_and_variable_is_told_where_it_stands() -> None:
    (line,) = problems('[server]\nhost = "127.0.0.1"', {"LLMHUB_SERVER__HOST": "192.0.2.1"})
    assert line.startswith('LLMHUB_SERVER__HOST: server.host: "192.0.2.1" can be reached')
    (line,) = problems('[server]\nhost = "192.0.2.1"', {"LLMHUB_AUTH__API": "open"})
    assert line.startswith("config.toml:2:8: server.host:")
    allowed = read('[server]\nhost = "192.0.2.1"', {"LLMHUB_AUTH__ALLOW_OPEN_NETWORK": "1"})
    assert allowed.settings.auth.allow_open_network is True
    assert problems("server = 1", {"LLMHUB_SERVER__PORT": "1"}) == [
        "config.toml:1:10: server: must be a table, not an integer"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_addresses_of_this_machine_may_be_open(host: str) -> None:
    assert read(f'[server]\nhost = "{host}"').settings.server.host == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "::ffff:127.0.0.1", "0"]
)
def test_other_addresses_may_not(host: str) -> None:
    assert len(problems(f'[server]\nhost = "{host}"')) == 1
    assert read(f'[server]\nhost = "{host}"\n[auth]\napi = "token"').settings.server.host == host


# Without a file.


def test_providers_are_found_in_the_environment() -> None:
    loaded = load(
        None,
        {
            "OPENAI_API_KEY": "canary",
            "OPENAI_API_KEY_3": "canary",
            "OPENAI_API_KEY_2": "canary",
            "OPENAI_API_KEY_4": " ",
            "OPENAI_API_KEY_FILE": "x",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
            "ANTHROPIC_API_KEY": "",
            "GOOGLE_API_KEY": "canary",
            "GROQ_API_KEY": "canary",
        },
        KNOWN,
    )
    openai, gemini, groq = loaded.settings.providers
    assert [(key.name, key.secret) for key in openai.keys] == [
        ("key-1", "env:OPENAI_API_KEY"),
        ("key-2", "env:OPENAI_API_KEY_2"),
        ("key-3", "env:OPENAI_API_KEY_3"),
    ]
    assert openai.options == Place(base_url="http://127.0.0.1:1/v1")
    assert (gemini.name, gemini.kind, gemini.options) == ("gemini", "gemini", Place())
    assert (groq.kind, groq.options.preset, groq.options.base_url) == ("openai_compatible", "groq", "")
    assert loaded.settings.routes == ()
    assert loaded.path is None
    assert loaded.found == [
        "openai (OPENAI_API_KEY, OPENAI_API_KEY_2 and OPENAI_API_KEY_3) at http://127.0.0.1:1/v1",
        "gemini (GOOGLE_API_KEY)",
        "groq (GROQ_API_KEY)",
    ]
    assert "canary" not in repr(loaded)


def test_every_place_is_found_by_its_key() -> None:
    for place in PLACES:
        for variable in place.variables:
            (provider,) = load(None, {variable: "x"}, KNOWN).settings.providers
            assert (provider.name, provider.kind) == (place.name, place.kind)


def test_echo_answers_where_nothing_is_found() -> None:
    loaded = load(None, {}, KNOWN)
    (provider,) = loaded.settings.providers
    (route,) = loaded.settings.routes
    assert (provider.name, provider.kind, provider.keys) == ("echo", "echo", ())
    assert (route.model, route.deployments[0].provider, route.deployments[0].model) == ("echo", "echo", "echo")
    assert loaded.found == ["none, so that provider echo answers for model echo"]


def test_a_found_provider_whose_plugin_is_missing_is_left_out_and_told() -> None:
    known = Known(
        provider_kinds={"echo": NoSettings},
        strategies=KNOWN.strategies,
        metadata_stores=KNOWN.metadata_stores,
        quota_stores=KNOWN.quota_stores,
        missing={"providers.openai": "it failed to import"},
    )
    loaded = load(None, {"OPENAI_API_KEY": "x"}, known)
    assert [provider.name for provider in loaded.settings.providers] == ["echo"]
    assert loaded.warnings == ['OPENAI_API_KEY: not used; "openai" could not be loaded: it failed to import']


def test_mistakes_without_a_file_are_the_environments() -> None:
    known = dataclasses.replace(KNOWN, provider_kinds={"openai": NoSettings})
    with pytest.raises(SettingsError) as caught:
        load(None, {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": "http://x"}, known)
    (line,) = caught.value.problems
    assert line.startswith("environment: providers[0].base_url: is not a setting; there is ")


def test_which_file_is_read(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("server.port = 2")
    environ = {"LLMHUB_CONFIG": str(other), "OPENAI_API_KEY": "x"}
    assert load(None, environ, KNOWN).path == other
    (tmp_path / "config.toml").write_text("server.port = 1")
    assert load(None, environ, KNOWN).settings.server.port == 2
    loaded = load(None, {"OPENAI_API_KEY": "x"}, KNOWN)
    assert (loaded.settings.server.port, loaded.settings.providers) == (1, ())
    assert load(Path("config.toml"), environ, KNOWN).settings.server.port == 1
    with pytest.raises(SettingsError):
        load(None, {"LLMHUB_CONFIG": "gone.toml"}, KNOWN)

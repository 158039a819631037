"""config.toml: what is read, what is refused and how that is told; the secrets that it leads to."""

from __future__ import annotations

import pickle
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_help import ECHO, HASH, KNOWN, Alert, CompatiblePlace, folder, problems, read  # noqa: F401

from llmhub_core.contracts import NoSettings, SettingsError
from llmhub_core.hub.settings import Settings
from llmhub_core.hub.settings_file import LARGEST_FILE, Known, load
from llmhub_core.hub.settings_of_entries import TimeoutSettings
from llmhub_core.hub.settings_values import Budget

# What is read.


def test_an_empty_file_is_all_defaults() -> None:
    loaded = read("")
    assert loaded.settings == Settings()
    assert (loaded.path, loaded.warnings, loaded.found) == (Path("config.toml"), [], [])


def test_the_whole_format() -> None:
    loaded = read(
        """
        [server]
        port = 0
        max_body = 1024
        drain = 2.5
        [auth]
        api = "token"
        [[providers]]
        name = "local"
        kind = "openai_compatible"
        base_url = "http://127.0.0.1:1"
        ttl = "1 min"
        models = ["m"]
        timeouts = { total = "250 ms" }
          [[providers.keys]]
          name = "main"
          secret = "env:KEY"
          limits = { rpm = 5, concurrency = 8 }
          reset = "America/Los_Angeles"
        [[routes]]
        model = "fast"
        strategy = "weighted"
        deployments = [
          { provider = "local", model = "m", input_price = 1, weight = 0 },
          { provider = "local", model = "n" },
        ]
        fallbacks = ["slow"]
        fallbacks_on = { context_length = ["slow"], content_filter = [] }
        timeouts = { connect = "", stall = 1 }
        [[routes]]
        model = "slow"
        deployments = [{ provider = "local", model = "o" }]
        [[tokens]]
        name = "game-server"
        hash = "sha256:%s"
        limits = { rpm = 60, budget = "20 USD/month" }
        [observers.alert]
        url = "http://x"
        spool = "alerts"
        [observers.access_log]
        """
        % ("ab" * 32),
        {"KEY": "a-secret-of-enough-length"},
    )
    settings = loaded.settings
    (provider,) = settings.providers
    fast, slow = settings.routes
    (token,) = settings.tokens
    assert (settings.server.port, settings.server.max_body, settings.server.drain) == (0, 1024, 2.5)
    assert provider.options == CompatiblePlace(base_url="http://127.0.0.1:1", ttl=60.0)
    assert provider.timeouts == TimeoutSettings(total=0.25)
    assert provider.keys[0].limits.rpm == 5
    assert provider.keys[0].limits.tpm is None
    assert provider.keys[0].secret == "env:KEY"
    assert fast.deployments[0].input_price == 1.0
    assert fast.fallbacks_on == {"context_length": ("slow",), "content_filter": ()}
    assert fast.timeouts == TimeoutSettings(connect=None, stall=1.0)
    assert slow.timeouts == TimeoutSettings()
    assert token.limits.budget == Budget(20 * 10**9, 30 * 86400)
    assert settings.plugins["observers"] == {
        "alert": Alert("http://x", spool=Path("alerts")),
        "access_log": NoSettings(),
    }
    assert settings.plugins["strategies"] == {}
    assert loaded.warnings == []


def test_a_file_may_begin_with_a_byte_order_mark_and_end_lines_as_on_windows() -> None:
    assert read(b"\xef\xbb\xbf[server]\r\nport = 1\r\n").settings.server.port == 1


def test_settings_can_be_sent_to_other_processes() -> None:
    settings = read(ECHO).settings
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301


# What is refused.


def mistakes() -> list[Any]:
    """settings/mistakes.txt: `===` and a name, what stands in the file, `---`, the lines that it makes."""
    cases = []
    for case in (Path(__file__).parent / "settings" / "mistakes.txt").read_text("utf-8").split("=== ")[1:]:
        name, _, rest = case.partition("\n")
        text, _, lines = rest.partition("\n---\n")
        cases.append(pytest.param(text, lines.strip().split("\n"), id=name))
    return cases


@pytest.mark.parametrize(("text", "expected"), mistakes())
def test_a_mistake_is_told_with_its_place(text: str, expected: list[str]) -> None:
    assert problems(text, {"KEY": "x" * 30}) == [f"config.toml:{line}" for line in expected]


@pytest.mark.parametrize(("data", "place"), [(b"[server]\nhost = '\xe9'", "2:9"), ("é = '".encode() + b"\xff'", "1:6")])
def test_other_encodings_are_refused(data: bytes, place: str) -> None:
    assert problems(data) == [f"config.toml:{place}: is not UTF-8; save the file as UTF-8"]


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        """\
[server]
prot = 1
port = "80"
host = "::"
drain = "soon"
[storage]
quota = "redis://x"
[auth]
api = "shut"
[[providers]]
name = "a"
kind = "opnai"
[[providers]]
name = "b"
kind = "openai"
base_ulr = "x"
keys = [{ name = "k", secret = "env:NOT_THERE", weight = -1, reset = "Mars/Olympus" }]
[[routes]]
model = "r"
strategy = "best"
deployments = [{ provider = "c", model = "m" }]
fallbacks = ["r"]
[[tokens]]
name = "t t"
hash = "md5:1"
models = []
""",
        {"LLMHUB_SERVER__WORKERS": "many", "LLMHUB_SERVER__HOTS": "x"},
    )
    assert [re.sub(r"^config.toml:(\d+:\d+): ([^:]+):.*", r"\1 \2", line) for line in found] == [
        "2:1 server.prot",
        "3:8 server.port",
        "4:8 server.host",
        "5:9 server.drain",
        "7:9 storage.quota",
        "9:7 auth.api",
        "12:8 providers[0].kind",
        "16:1 providers[1].base_ulr",
        "17:32 providers[1].keys[0].secret",
        "17:58 providers[1].keys[0].weight",
        "17:70 providers[1].keys[0].reset",
        "20:12 routes[0].strategy",
        "21:29 routes[0].deployments[0].provider",
        "22:14 routes[0].fallbacks[0]",
        "24:8 tokens[0].name",
        "25:8 tokens[0].hash",
        "26:10 tokens[0].models",
        "LLMHUB_SERVER__WORKERS: server.workers: must be an integer, not a string",
        "LLMHUB_SERVER__HOTS: is not a setting; did you mean LLMHUB_SERVER__HOST?",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def complaint(path: Path) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(path, {}, KNOWN)
        return caught.value.problems

    assert complaint(tmp_path / "none.toml") == [f"{tmp_path}/none.toml: cannot be read: No such file or directory"]
    assert complaint(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert complaint(Path("a\0b")) == ["a\0b: cannot be read: not a path"]
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * LARGEST_FILE)
    assert load(large, {}, KNOWN).settings == Settings()
    large.write_bytes(b"#" * (LARGEST_FILE + 1))
    assert complaint(large) == [f"{large}: is larger than 1 MiB, which no configuration is"]
    large.write_bytes(b"a = " + b"[" * 100_000)
    assert complaint(large) == [f"{large}: is nested too deeply"]


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read(data)
    except SettingsError as error:
        assert all(line.startswith("config.toml:") for line in error.problems)


def test_a_plugin_whose_settings_cannot_be_understood_is_named() -> None:
    class NotADataclass:
        pass

    @dataclass
    class Unresolvable:
        x: Nowhere  # type: ignore[name-defined]  # noqa: F821

    for cls in (NotADataclass, Unresolvable):
        known = Known(observers={"odd": cls}, metadata_stores=KNOWN.metadata_stores, quota_stores=KNOWN.quota_stores)
        (line,) = problems("[observers.odd]", {}, known)
        assert line.startswith(
            "config.toml:1:12: observers.odd: cannot be read, its plugin declares no usable Settings: "
        )


# Secrets.


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("env:NOT_THERE", "leads to the variable NOT_THERE that is not set"),
        ("env:EMPTY", "leads to the variable EMPTY that is empty"),
        ("env:", "must have the name of an environment variable after env:"),
        ("env:sk-canary-0123456789", "must have the name of an environment variable after env:"),
        ("env:gsk_canary0123456789", "leads to a variable that is not set"),
        ("file:", "must have a path after file:"),
        ("file:/none/canary", "leads to a file that cannot be read: No such file or directory"),
        ("${CANARY}", "looks like a variable, but nothing is replaced in this file; write env:NAME"),
        (" ", "is nothing but white space"),
    ],
)
def test_secrets_that_lead_nowhere(reference: str, complaint: str) -> None:
    found = problems(
        f'[secrets]\nkeys = ["{reference}"]\n{ECHO}[[providers.keys]]\nname = "k"\nsecret = "{reference}"',
        {"EMPTY": "\n"},
    )
    assert found == [
        f"config.toml:2:9: secrets.keys[0]: {complaint}",
        f"config.toml:8:10: providers[0].keys[0].secret: {complaint}",
    ]  # fmt: skip
    assert "canary" not in "".join(found).lower()


def test_literal_secrets_and_white_space_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "fine").write_text("from-a-file\n")
    (tmp_path / "loose").write_text(" from-a-file \n\n")
    loaded = read(
        f"""{ECHO}
keys = [
  {{ name = "a", secret = "canary-1" }},
  {{ name = "b", secret = "env:LOOSE" }},
  {{ name = "c", secret = "env:FINE" }},
  {{ name = "d", secret = "file:fine" }},
  {{ name = "e", secret = "file:loose" }},
  {{ name = "f", secret = " canary-2" }},
  {{ name = "g", secret = "" }},
]""",
        {"LOOSE": "canary-3\n", "FINE": "canary-4"},
    )
    literal = "is the secret itself, open to all who can read it here; write env:NAME or file:/path"
    space = "has white space around the secret, which is left out; remove it"
    assert loaded.warnings == [
        f"config.toml:6:26: providers[0].keys[0].secret: {literal}",
        f"config.toml:7:26: providers[0].keys[1].secret: {space}",
        f"config.toml:10:26: providers[0].keys[4].secret: {space}",
        f"config.toml:11:26: providers[0].keys[5].secret: {literal}",
        f"config.toml:11:26: providers[0].keys[5].secret: {space}",
    ]


def test_nothing_secret_is_ever_shown() -> None:
    text = f"""
[storage]
metadata = "sqlite://user:canary@x"
quota = "memory:canary"
[secrets]
keys = ["canary-key-of-32-characters-or-more"]
[[providers]]
name = "a"
kind = "openai_compatible"
base_url = "http://canary"
token = "canary"
keys = [{{ name = "k", secret = "canary-secret" }}]
[[tokens]]
name = "t"
hash = "{HASH}"
"""
    loaded = read(text)
    shown = repr(loaded) + str(loaded.settings) + "".join(loaded.warnings)
    assert "canary" not in shown
    assert "0" * 64 not in shown
    assert "canary" not in "".join(problems(text.replace("[secrets]", "oops = 1\n[secrets]")))


def test_the_secret_key_of_the_environment_is_used_unless_the_file_names_others() -> None:
    environ = {"LLMHUB_SECRET_KEY": "x" * 44, "OTHER": "y" * 44}
    assert read("").settings.secrets.keys == ()
    assert read("", environ).settings.secrets.keys == ("env:LLMHUB_SECRET_KEY",)
    assert read('secrets.keys = ["env:OTHER"]', environ).settings.secrets.keys == ("env:OTHER",)
    assert problems('secrets.keys = ["env:LLMHUB_SECRET_KEY"]')

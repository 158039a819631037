"""What lasts, into a file and out of it: from each database into each."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databases import Store
from places import HEADER, PASSWORD, SECRET, WORDS, Place, fill, place

from llmhub_core.admin.passwords import matches
from llmhub_core.cli.database import open_hub, open_vault_of
from llmhub_core.hub.build import build_tokens
from llmhub_core.hub.tokens import PURPOSE, Tokens
from llmhub_core.hub.vault import NEEDED
from llmhub_core.moving.copy_file import FORMAT
from llmhub_core.testing.records import NOON, a_record

Database = Callable[[str], str]

pytestmark = pytest.mark.timeout(240)  # each command finds its plugins and opens its database anew

LASTING = ("alerts", "alert_mutes", "usage_hours", "usage_totals", "users", "admin_tokens", "records")


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    def url(kind: str) -> str:
        if kind == "sqlite":
            return ""
        template = request.getfixturevalue("postgresql_template")
        return str(request.getfixturevalue("postgres").new_database(template=template))

    return url


def counts(told: Any) -> dict[str, tuple[int, int, int, int]]:
    return {each["part"]: (each["added"], each["same"], each["conflicts"], each["refused"]) for each in told["parts"]}


@pytest.mark.parametrize(("here", "there"), [("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_everything_arrives_with_a_passphrase(here: str, there: str, database: Database, tmp_path: Path) -> None:
    source = place(tmp_path / "a", database(here))
    token = fill(source)
    file = tmp_path / "hub.export.gz"
    source.do("export", str(file), "--records", "--passphrase-from", "env:WORDS", WORDS=WORDS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = gzip.decompress(file.read_bytes())
    for secret in (SECRET, HEADER, PASSWORD, token, WORDS):
        assert secret.encode() not in text

    target = place(tmp_path / "b", database(there))
    words = ("--passphrase-from", "env:WORDS")
    planned = target.json("import", str(file), "--dry-run", *words, WORDS=WORDS)
    assert planned["complete"]
    assert not target.everything()["users"], "a dry run writes nothing"
    done = target.json("import", str(file), *words, WORDS=WORDS)
    assert counts(done) == counts(planned)
    assert all(not (same or conflicts or refused) for _, same, conflicts, refused in counts(done).values())

    before, after = source.everything(), target.everything()
    for part in LASTING:
        assert after[part] == before[part], part
    assert after["audit"][: len(before["audit"])] == before["audit"]
    assert after["audit"][-1]["action"] == "import"
    listed = [json.loads(hub.do("key", "list", "--json", MAIN_TWO="sk-two")) for hub in (source, target)]
    assert listed[0] == listed[1]
    (provider,) = (row for row in after["configuration"] if row["name"] == "main" and row["kind"] == "provider")
    assert HEADER not in provider["body"]
    assert provider["sealed"].startswith("lhv1.")
    (user,) = after["users"]
    assert matches(PASSWORD, user["verifier"])
    assert _recognises(target, token)

    again = target.json("import", str(file), *words, WORDS=WORDS)
    assert again["complete"]
    assert all(same and not added for added, same, _, _ in counts(again).values())
    assert {part: len(rows) for part, rows in target.everything().items()} == {
        part: len(rows) for part, rows in after.items()
    }


def _recognises(hub: Place, token: str) -> bool:
    """Whether a hub that starts there knows the client token."""

    async def look() -> bool:
        async with open_hub(hub.folder / "hub.toml", hub.folder / "data") as opened:
            await open_vault_of(opened)
            await opened.configuration.add_stored()
            tokens: Tokens = build_tokens(opened.settings.tokens, opened.vault.derive(PURPOSE))
            return tokens.find(token) is not None

    return asyncio.run(look())


def test_without_a_passphrase_no_secret_goes_along(tmp_path: Path) -> None:
    source, target = place(tmp_path / "a"), place(tmp_path / "b")
    token = fill(source)
    said = source.run("export", f"{tmp_path}/file")
    assert "key main/one, provider main, user olga" in said.stderr
    text = (tmp_path / "file").read_text()
    for secret in (SECRET, HEADER, PASSWORD, token, "scrypt", "$2b$", "lhv1."):
        assert secret not in text
    assert "record" not in {next(iter(json.loads(line))) for line in text.split("\n")[1:-2]}

    done = target.json("import", f"{tmp_path}/file", code=1)
    entries = next(each for each in done["parts"] if "keys" in each["part"])
    assert [(left["name"], left["result"]) for left in entries["left"]] == [("token game", "refused")]
    assert set(entries["needs"]) == {"provider main", "key main/one", "key main/two"}
    assert "the variable MAIN_TWO that is not set" in entries["needs"]["key main/two"]
    (needing,) = [row for row in target.everything()["configuration"] if row["name"] == "main/one"]
    assert needing["sealed"] == NEEDED
    listed = {each["name"]: each for each in json.loads(target.do("key", "list", "--json"))}
    assert listed["main/one"]["settings"]["secret"] == "***"
    assert listed["main/two"]["settings"]["secret"] == "env:MAIN_TWO"
    (user,) = target.everything()["users"]
    assert not matches(PASSWORD, user["verifier"])
    assert state_of(target, "main", "one") == (
        "invalid", "cannot be opened: was not carried along; give it again")  # fmt: skip


def state_of(hub: Place, provider: str, name: str) -> tuple[str, str]:
    """How a hub that starts there sees the key."""

    async def look() -> tuple[str, str]:
        async with open_hub(hub.folder / "hub.toml", hub.folder / "data") as opened:
            await open_vault_of(opened)
            await opened.configuration.add_stored()
            (key,) = (each for each in opened.catalog.places[provider].keys if each.name == name)
            mark = opened.key_state(key)
            return mark.state, mark.reason

    return asyncio.run(look())


def test_what_is_here_stays_and_is_told_by_name(tmp_path: Path) -> None:
    source, target = place(tmp_path / "a"), place(tmp_path / "b")
    fill(source), fill(target, records=3)
    target.do("key", "edit", "main/one", "--set", "priority=7")
    source.do("route", "add", "slow", "echo/n")
    source.do("export", f"{tmp_path}/file", "--records", "--passphrase-from", "env:WORDS", WORDS=WORDS)
    before = target.everything()
    done = target.json("import", f"{tmp_path}/file", "--passphrase-from", "env:WORDS", WORDS=WORDS, code=1)
    left = {each["name"]: (each["result"], each["why"]) for part in done["parts"] for each in part["left"]}
    assert left["key main/one"] == ("conflict", "the one that is here has other settings")
    assert left["user olga"] == ("conflict", "another user here has that name")
    assert left["admin token ci"][0] == "conflict"
    assert left["token game"][0] == "conflict"
    assert left["the secret behind client tokens"][0] == "conflict"
    assert left["the audit"][0] == "refused"
    assert left["the sums of usage"][0] == "refused"
    found = counts(done)
    assert found["providers, keys, routes, tokens"][:2] == (1, 4), "the new route; what is the same is known"
    assert found["requests"] == (17, 9, 0, 0)
    after = target.everything()
    assert after["users"] == before["users"]
    assert after["audit"][:-1] == before["audit"]
    assert sum(row["requests"] for row in after["usage_hours"]) == len(after["records"]) == 26
    assert after["usage_hours"] == source.everything()["usage_hours"], "the same requests, each counted once"


def test_requests_are_counted_once_however_often_it_is_done(tmp_path: Path) -> None:
    source, target = place(tmp_path / "a"), place(tmp_path / "b")
    source.append([a_record(f"s{n}", arrived_at=NOON + n) for n in range(5)])
    target.append([a_record(f"t{n}", arrived_at=NOON + n) for n in range(7)])
    source.do("export", f"{tmp_path}/file", "--records")
    for added in (5, 0):
        done = target.json("import", f"{tmp_path}/file", code=1)
        assert counts(done)["requests"] == (added, 5 - added, 0, 0)
        assert sum(row["requests"] for row in target.everything()["usage_hours"]) == 12
    source.append([a_record("s9", arrived_at=NOON)])
    source.do("export", f"{tmp_path}/later", "--records")
    assert counts(target.json("import", f"{tmp_path}/later", code=1))["requests"] == (1, 5, 0, 0)
    assert sum(row["requests"] for row in target.everything()["usage_hours"]) == 13


def test_what_the_file_says_counts(tmp_path: Path) -> None:
    source = place(tmp_path / "a")
    target = place(tmp_path / "b", more='[[providers]]\nname = "echo"\nkind = "echo"\nmodels = ["a"]\n')
    fill(source)
    source.do("export", f"{tmp_path}/file")
    done = target.json("import", f"{tmp_path}/file", code=1)
    left = {each["name"]: each["why"] for part in done["parts"] for each in part["left"]}
    assert left["provider echo"] == "the configuration file has one, which counts"


def test_an_entry_that_cannot_be_used_is_refused_with_all_that_needs_it(tmp_path: Path) -> None:
    source, target = place(tmp_path / "a"), place(tmp_path / "b")
    fill(source)
    source.do("export", f"{tmp_path}/file")
    text = (tmp_path / "file").read_text()
    rewrite(tmp_path / "file", [line for line in text.split("\n")[:-1] if '"name":"main","body"' not in line])
    done = target.json("import", f"{tmp_path}/file", code=1)
    left = {each["name"]: each["why"] for part in done["parts"] for each in part["left"]}
    assert "there is no provider" in left["key main/one"]
    assert "there is no provider" in left["key main/two"]


def rewrite(path: Path, lines: list[str]) -> None:
    """With an end that fits again."""
    body = "".join(line + "\n" for line in lines[:-1])
    kinds = Counter(next(iter(json.loads(line))) for line in lines[1:-1])
    end = {"end": {"lines": kinds, "sha256": hashlib.sha256(body.encode()).hexdigest()}}
    path.write_text(body + json.dumps(end) + "\n")


def broken(text: str) -> dict[str, tuple[str, str]]:
    lines = text.splitlines(keepends=True)
    return {
        "cut": ("".join(lines[:-1]), "ends in the middle, after line"),
        "cut in a line": (text[: len(text) // 2], "is not whole"),
        "changed": (text.replace('"olga"', '"olgb"'), "its checksum is another"),
        "longer": (text + lines[1], "something follows the end"),
        "newer": (
            text.replace(f'"llm-hub export":{FORMAT}', '"llm-hub export":99'),
            f"has format 99, this version reads {FORMAT}",
        ),
        "something else": ('{"a": 1}\n', "is no file of llm-hub export"),
        "no JSON": ("model_list:\n- a\n", "is no file of llm-hub export"),
        "unknown": (
            f'{{"llm-hub export":{FORMAT}}}\n{{"thing":{{}}}}\n',
            "line 2, says something that this version does not know",
        ),
    }


def test_a_file_that_is_not_whole_is_refused_before_anything_is_used(tmp_path: Path) -> None:
    source, target = place(tmp_path / "a"), place(tmp_path / "b")
    fill(source)
    source.do("export", f"{tmp_path}/file")
    for text, says in broken((tmp_path / "file").read_text()).values():
        (tmp_path / "bad").write_text(text)
        result = target.run("import", f"{tmp_path}/bad")
        assert result.exit_code == 1
        assert says in result.stderr, result.stderr
    (tmp_path / "bad.gz").write_bytes(gzip.compress((tmp_path / "file").read_bytes())[:-20])
    assert "cannot be read" in target.run("import", f"{tmp_path}/bad.gz").stderr
    assert not target.everything()["users"]


def test_passphrases_are_no_arguments_and_must_fit(tmp_path: Path) -> None:
    source = place(tmp_path / "a")
    fill(source, records=0)
    export = ("export", f"{tmp_path}/file", "--passphrase-from")
    assert source.run(*export, WORDS).exit_code == 2
    assert "fewer than 12 characters" in source.run(*export, "env:W", W="short").stderr
    assert "not set" in source.run(*export, "env:NOBODY").stderr
    assert not (tmp_path / "file").exists()
    typed = source.run(*export, "prompt", stdin=f"{WORDS}\n{WORDS}\n")
    assert typed.exit_code == 0
    assert WORDS not in typed.output
    assert "already" in source.run("export", f"{tmp_path}/file").stderr
    assert "does not open" in source.run(
        "import", f"{tmp_path}/file", "--passphrase-from", "env:W", W="other words in a row").stderr  # fmt: skip
    (tmp_path / "words").write_text(WORDS + "\n")
    assert source.json("import", f"{tmp_path}/file", "--passphrase-from", f"file:{tmp_path}/words")["complete"]
    source.do("export", f"{tmp_path}/plain")
    assert "holds no secrets" in source.run(
        "import", f"{tmp_path}/plain", "--passphrase-from", "env:W", W=WORDS).stderr  # fmt: skip


def test_many_requests_take_no_memory(tmp_path: Path) -> None:
    """Neither way holds more than a few thousand of them."""
    source, target = place(tmp_path / "a"), place(tmp_path / "b")
    source.append([a_record(f"m{n:06d}", arrived_at=NOON + n % 3000) for n in range(6000)])
    source.do("export", f"{tmp_path}/warm")
    tracemalloc.start()
    try:
        source.do("export", f"{tmp_path}/file", "--records")
        target.do("import", f"{tmp_path}/file")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25 * 2**20
    assert sum(row["requests"] for row in target.everything()["usage_hours"]) == 6000


MANY = int(os.environ.get("LLMHUB_MOVED", 1_000_000))

MEASURED = """
import sys
from llmhub_core.cli import main
main(sys.argv[1:], standalone_mode=False)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_million_requests_take_no_memory(tmp_path: Path) -> None:
    """pytest -m soak tests/moving; LLMHUB_MOVED sets how many."""
    source, target, many = place(tmp_path / "a"), place(tmp_path / "b"), MANY
    for begin in range(0, many, 20_000):
        source.append([a_record(f"m{n:08d}", arrived_at=NOON + n) for n in range(begin, begin + 20_000)])
    for hub, words in ((source, ("export", f"{tmp_path}/f.gz", "--records")), (target, ("import", f"{tmp_path}/f.gz"))):
        command = [sys.executable, "-c", MEASURED, *words, *hub.options]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert int(said.split()[-2]) < 150_000, "kB at most"

    async def counted(store: Store) -> int:
        assert store.archive is not None
        return (await store.archive.sums())["usage requests"]

    assert target.with_store(counted) == many

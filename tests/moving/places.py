"""Hubs with something in them, and what is in them."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from databases import Store, opened, store_of

from llmhub_core.admin import client_tokens
from llmhub_core.admin.passwords import verifier_of
from llmhub_core.cli import main
from llmhub_core.cli.carrying import ON_HOST, entries_of
from llmhub_core.cli.database import open_hub
from llmhub_core.contracts import PARTS, AdminToken, Record, User
from llmhub_core.testing.records import NOON, a_record
from llmhub_core.testing.records import records as every_kind

SECRET = "sk-canary-0123456789-abcdefghij"
HEADER = "header-canary-0123456789"
PASSWORD = "correct horse battery staple"
VERIFIER = verifier_of(PASSWORD)
WORDS = "a few words in a row"


@dataclass(frozen=True)
class Place:
    """A hub's folder and database, on which commands run."""

    folder: Path
    url: str

    @property
    def options(self) -> tuple[str, ...]:
        return ("--config", f"{self.folder}/hub.toml", "--data-dir", f"{self.folder}/data")

    def run(self, *words: str, stdin: str | None = None, **environ: str) -> Result:
        result = CliRunner().invoke(main, [*words, *self.options], env=environ, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def do(self, *words: str, stdin: str | None = None, **environ: str) -> str:
        result = self.run(*words, stdin=stdin, **environ)
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *words: str, code: int = 0, **environ: str) -> Any:
        result = self.run(*words, "--json", **environ)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def append(self, records: list[Record]) -> None:
        async def work(store: Store) -> None:
            await store.append(records)

        self.with_store(work)

    def with_store(self, work: Any) -> Any:
        async def inside() -> Any:
            async with opened(store_of(self.url)) as store:
                return await work(store)

        return asyncio.run(inside())

    def everything(self) -> dict[str, list[Any]]:
        """All rows of all parts, in an order that does not depend on the database."""

        async def work(store: Store) -> dict[str, list[Any]]:
            assert store.archive is not None
            async with store.archive.snapshot() as snapshot:
                found: dict[str, list[Any]] = {
                    part: sorted([row async for batch in snapshot.rows(part) for row in batch], key=repr)
                    for part in PARTS
                }
                found["audit"].sort(key=lambda entry: int(entry["number"]))
                found["records"] = [each async for batch in snapshot.records() for each in batch]
            return found

        found: dict[str, list[Any]] = self.with_store(work)
        return found


def place(folder: Path, url: str = "", more: str = "") -> Place:
    """A hub that has done nothing yet; on SQLite if no other database is named."""
    folder.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    url = url or f"sqlite:///{folder}/data/llm-hub.db"
    (folder / "hub.toml").write_text(f'[storage]\nmetadata = "{url}"\nkeep = 0\n{more}')
    return Place(folder, url)


def fill(hub: Place, records: int = 20) -> str:
    """Something of everything that lasts; the client token that was made."""

    async def work() -> str:
        async with open_hub(hub.folder / "hub.toml", hub.folder / "data") as opened_hub:
            _, entries = await entries_of(opened_hub)
            headers = {"x-tenant": HEADER}
            main = {"kind": "openai_compatible", "base_url": "https://example.com/v1", "headers": headers}
            await entries.add("provider", "main", main, ON_HOST)
            await entries.add("provider", "echo", {"kind": "echo"}, ON_HOST)
            await entries.add("key", "main/one", {"secret": SECRET}, ON_HOST)
            await entries.add("key", "main/two", {"secret": "env:MAIN_TWO"}, ON_HOST)
            await entries.add("route", "fast", {"deployments": [{"provider": "echo", "model": "m"}]}, ON_HOST)
            _, token = await client_tokens.make(entries, "game", {}, ON_HOST)
            people = opened_hub.store.people
            assert people is not None
            id = f"usr_{secrets.token_hex(6)}"
            await people.add_user(User(id, "olga", "owner", VERIFIER, NOON))
            await people.add_admin_token(AdminToken(secrets.token_hex(6), "ci", id, "…", "viewer", id, NOON))
            extra = [a_record(f"x{n:05d}", arrived_at=NOON + 60 * n) for n in range(records)]
            await opened_hub.store.append([*every_kind(), *extra])
            return token

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAIN_TWO", "sk-of-a-variable")
        return asyncio.run(work())

"""The table of prices is asked in a process of its own: the hub's never holds it, and no price is lost by that."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, provider, route
from prices import look_up_here

from llmhub_core.contracts import Observer, Record
from llmhub_core.hub import price_lookup
from llmhub_core.hub.price_lookup import Name, NoAnswer, look_up
from llmhub_core.hub.tariff import Tariff
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

NAMES = [
    ("openai", "gpt-4o-mini"),
    ("openai", "no-such"),
    ("anthropic", "claude-sonnet-4-5"),
    ("deepseek", "deepseek-chat"),
]
COST = 150 * 11 + 600 * 3
"""Of the answer that the provider here gives, as gpt-4o-mini."""


def config(upstream: FakeUpstream, more: str = "") -> str:
    return provider("openai", upstream.url) + route("fast", "openai/gpt-4o-mini") + more


async def test_a_process_says_what_the_table_says() -> None:
    assert await look_up(NAMES) == await look_up_here(NAMES)


def program(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "program.py").write_text(text)
    monkeypatch.setattr(price_lookup, "_PROGRAM", folder / "program.py")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise SystemExit('no such library')", "its process ended with status 1: no such library"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with status -9: "),
        ("print('[nul')", "its answer could not be read (DecodeError)"),
        ("print('[[1]]')", "its answer could not be read (ValidationError)"),
        ("print('[null, null]')", "2 answers came to 1 questions"),
        ("import time; time.sleep(60)", "it did not answer within 0 s"),
    ],
)
async def test_why_there_is_no_answer(text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(text, tmp_path, monkeypatch)
    monkeypatch.setattr(price_lookup, "PATIENCE", 0.3 if "sleep" in text else 30)
    with pytest.raises(NoAnswer) as error:
        await look_up(NAMES[:1])
    assert str(error.value) == why


async def test_no_process_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(NoAnswer, match="does not start: No such file"):
        await look_up(NAMES[:1])


async def test_a_question_that_nobody_waits_for_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)",
            tmp_path, monkeypatch)  # fmt: skip
    asking = asyncio.create_task(look_up(NAMES))
    async with asyncio.timeout(10):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait([asking])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_the_process_is_given_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    program("import os; raise SystemExit('names: ' + ' '.join(sorted(os.environ)))", tmp_path, monkeypatch)
    with pytest.raises(NoAnswer) as error:
        await look_up(NAMES)
    names = str(error.value).partition("names: ")[2].split()
    assert all(name.startswith(("PYTHON", "LD_", "LC_")) for name in names), names


# in a hub


class Ear(Observer):
    """What an observer is told of costs."""

    name = "ear"

    def __init__(self) -> None:
        self.costs: list[int | None] = []

    def finished(self, record: Record) -> None:
        self.costs.append(record.cost)

    def priced(self, record: Record) -> None:
        self.costs.append(record.cost)


async def test_what_the_table_is_asked_for_first_counts_as_soon_as_it_answers(
    upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is about money waits for it. The caller's place is free at once."""
    questions: list[Sequence[Name]] = []
    may_answer = asyncio.Event()

    async def slowly(names: Sequence[Name]) -> list[Tariff | None]:
        questions.append(names)
        await may_answer.wait()
        return await look_up_here(names)

    monkeypatch.setattr(price_lookup, "look_up", slowly)
    upstream.script(json_answer(COMPLETION))
    token = mint()
    limits = f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\n'
    limits += 'limits = { concurrency = 1, tpm = 100000, budget = "5 USD/day" }\n'
    ear = Ear()
    async with House(config(upstream, limits), tune=lambda hub: hub.observers.append(ear)) as house:
        hub = house.hub
        hub.telling.hear = [*hub.observers]
        caller = hub.tokens.find(token)
        assert caller is not None

        async def used() -> dict[str, int]:
            return {level.limit.kind: level.used for level in await hub.quota.levels(caller.limits)}

        async def ask() -> None:
            headers = {"authorization": f"Bearer {token}"}
            async with client.post(house.url + "/v1/chat/completions", json=CHAT, headers=headers) as answer:
                assert answer.status == 200
                await answer.read()
            await hub.idle()

        await ask()
        await ask()
        assert await used() == {"concurrency": 0, "tokens": 28, "money": 0}
        assert ear.costs == [None, None]
        may_answer.set()
        await hub.settled()
        assert await used() == {"concurrency": 0, "tokens": 28, "money": 2 * COST}
        await ask()
        assert (await used())["money"] == 3 * COST, "known by now"
        assert ear.costs == [None, None, COST, COST, COST]
        assert [record.cost for record in await house.records()] == [COST] * 3
    assert questions == [[("openai", "gpt-4o-mini")]]


async def test_an_order_by_price_is_right_from_the_first_request_on(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    text = provider("openai", upstream.url) + route("fast", "openai/gpt-4o", "openai/gpt-4o-mini", strategy="cheapest")
    async with House(text.replace("priority = 2", "priority = 1")) as house:
        for answer_by in ("gpt-4o-mini", "gpt-4.1-nano"):
            async with client.post(house.url + "/v1/chat/completions", json=CHAT) as answer:
                assert answer.status == 200
            assert upstream.requests[-1].json["model"] == answer_by
            house.config.write_text(house.config.read_text().replace('"gpt-4o"', '"gpt-4.1-nano"'))
            await house.hub.reload()


@asynccontextmanager
async def serving(folder: Path, *python: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    hub = await asyncio.create_subprocess_exec(
        sys.executable, *python, "-m", "llmhub_core", "serve", "--config", str(folder / "config.toml"), "--port", "0",
        "--data-dir", str(folder / "data"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )  # fmt: skip
    assert hub.stdout is not None
    try:
        async with asyncio.timeout(40):
            while b"listens on" not in (line := await hub.stdout.readline()):
                assert line
        yield hub, line.decode().split("listens on ")[1].split()[0]
    finally:
        if hub.returncode is None:
            hub.kill()
            await hub.wait()


async def ask(client: aiohttp.ClientSession, url: str) -> None:
    async with client.post(url + "/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200
        await answer.read()


async def costs(folder: Path) -> list[int | None]:
    """Of the records that the database in a hub's folder has when a hub starts there again."""
    async with House((folder / "config.toml").read_text(), folder=folder) as house:
        return [record.cost for record in await house.records()]


async def test_a_serving_process_holds_nothing_that_it_does_not_need_and_stops_without_losing_a_price(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.script(json_answer(COMPLETION))
    (tmp_path / "config.toml").write_text(config(upstream))
    async with serving(tmp_path, "-X", "importtime") as (hub, url):
        await ask(client, url)
        began = time.monotonic()
        hub.send_signal(signal.SIGTERM)
        _, told = await hub.communicate()
        assert hub.returncode == 0
        assert time.monotonic() - began < 20
    imported = {line.rpartition("|")[2].strip() for line in told.decode().splitlines()}
    assert {"aiohttp", "msgspec", "sqlalchemy"} <= imported
    assert not {"genai_prices", "pydantic", "pydantic_core", "httpx2", "sqlalchemy.orm", "alembic"} & imported
    assert await costs(tmp_path) == [COST]


async def test_a_hub_that_is_killed_while_it_asks_loses_no_price(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.script(json_answer(COMPLETION))
    (tmp_path / "config.toml").write_text(config(upstream))
    async with serving(tmp_path) as (hub, url):
        await ask(client, url)
        await client.get(url + "/healthz")  # by now the outcome is in the journal
        hub.kill()
        await hub.communicate()
    assert await costs(tmp_path) == [COST]

"""What pages say within five seconds of a fault: of a provider that refuses, limits or is not there, of a Redis and of
a PostgreSQL that are gone or frozen. Four workers, each of which must say it; and five seconds after, that it is over.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from browsers import PASSWORD, Browser, people_of
from clusters import SLOWLY, WORKERS, Cluster, Ground
from houses import COMPLETION, ask

from llmhub_core.admin.accounts import Accounts
from llmhub_core.testing.upstream import FakeUpstream, json_answer

WITHIN = 5.0
EVERYBODY = 4 * WORKERS
"""Pages in a row, each over a connection of its own, that must all say it: who answers is chance."""

AWAY = "The database does not answer."
NO_REDIS = "The quota store (redis) does not answer."

pytestmark = [pytest.mark.timeout(300)]


def config(url: str, down: str) -> str:
    text = ""
    for name, place in (("first", url), ("second", down)):
        text += f'[[providers]]\nname = "{name}"\nkind = "openai_compatible"\nbase_url = "{place}"\n'
        for key in ("main", "spare"):
            text += f'[[providers.keys]]\nname = "{key}"\nsecret = "sk-{name}-{key}-0123456789"\n'
            text += "limits = { rpm = 600 }\n"
        text += f'[[routes]]\nmodel = "{name}"\ndeployments = [{{ provider = "{name}", model = "small" }}]\n'
    return text + "[routing]\nattempts = 1\n"


class Watcher:
    """Somebody who opens pages, each time as if anew."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    async def look(self, path: str) -> tuple[int, str]:
        answer = await self.browser.ask("GET", path, headers={"accept": "text/html"})
        text = re.sub(r"<(script|svg|title)\b.*?</\1>", " ", await answer.text(), flags=re.S)
        return answer.status, " ".join(re.sub(r"<[^>]+>", " ", text).split())

    async def finds(self, *paths: str, says: str = "", never: str = "", status: int = 200) -> None:
        deadline = time.monotonic() + WITHIN * SLOWLY
        for path in paths:
            right = 0
            while right < EVERYBODY:
                got, text = await self.look(path)
                is_right = got == status and says in text and (not never or never not in text)
                right = right + 1 if is_right else 0
                assert is_right or time.monotonic() < deadline, f"{path} is {got}: {text}"


@asynccontextmanager
async def watched(ground: Ground, text: str) -> AsyncIterator[tuple[Cluster, Watcher, aiohttp.ClientSession]]:
    async with Cluster(text, ground=ground) as hub:
        accounts = Accounts(people_of(hub))
        await accounts.add("owner", "owner", PASSWORD)
        accounts.close()
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), connector=connector) as session:
            browser = Browser(hub.url, session)
            assert (await browser.sign_in("owner")).status == 200
            yield hub, Watcher(browser), session


async def test_of_a_provider(ground: Ground, upstream: FakeUpstream, unused_tcp_port: int) -> None:
    slow = json_answer({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "600"})
    refused = json_answer({"error": {"message": "no such key", "code": "invalid_api_key"}}, status=401)
    text = config(upstream.url, f"http://127.0.0.1:{unused_tcp_port}")
    async with watched(ground, text) as (hub, ann, client):
        await ann.finds("/", "/health", says="All is well.")

        upstream.script(slow)
        await ask(client, hub.url, {"model": "first", "messages": [{"role": "user", "content": "a"}]})
        await ann.finds("/keys", "/keys/first/main", says="Back in")
        await ann.finds("/", "/health", says="The key first/main rests for a moment")

        upstream.script(refused)
        await ask(client, hub.url, {"model": "first", "messages": [{"role": "user", "content": "b"}]})
        await ann.finds("/keys", "/keys/first/spare", says="Until somebody resets it")
        await ann.finds("/", "/health", says="first refuses the key spare")

        for number in range(15 * WORKERS):  # each counts for itself how often in a row it failed
            body = {"model": "second", "messages": [{"role": "user", "content": f"c{number}"}]}
            assert (await ask(client, hub.url, body)).status >= 500
        await ann.finds("/", says="second fails for small")
        await ann.finds("/health", "/providers", "/providers/second", says="partly out")
        await ann.finds("/", says="60 attempts, 100 % failed")
        await ann.finds("/health", says="60 attempts in this hour and the last, 100 % failed")

        upstream.script(json_answer(COMPLETION))
        for key in ("main", "spare"):
            answer = await ann.browser.ask("POST", f"/admin/api/keys/first/{key}/reset")
            assert answer.status == 200
        await ann.finds("/keys/first/main", "/keys/first/spare", never="Back in")
        await ann.finds("/", "/health", never="the key")


async def test_of_redis_and_of_postgresql(ground: Ground) -> None:
    async with watched(ground, config("http://127.0.0.1:9", "http://127.0.0.1:9")) as (hub, ann, _):
        well = ("/", "/health")
        await ann.finds(*well, says="All is well.")

        hub.redis.stop()
        await ann.finds(*well, says=NO_REDIS)
        hub.redis.start()
        await ann.finds(*well, says="All is well.")
        hub.redis.signal(signal.SIGSTOP)
        await ann.finds(*well, says=NO_REDIS)
        hub.redis.signal(signal.SIGCONT)
        await ann.finds(*well, says="All is well.")

        pages = ("/", "/requests", "/keys", "/sign-in")
        ground.postgres.freeze()
        try:
            await ann.finds(*pages, says=AWAY, status=503)
        finally:
            ground.postgres.thaw()
        await ann.finds(*well, says="All is well.")
        ground.postgres.stop()
        try:
            await ann.finds(*pages, says=AWAY, status=503)
            async with ann.browser.session.get(f"{hub.url}/admin/api/health") as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (503, "database_away")
        finally:
            ground.postgres.start()
        await ann.finds(*well, says="All is well.")


async def test_a_live_page_is_told_that_it_is_not_live(ground: Ground) -> None:
    long = aiohttp.ClientTimeout(total=120)
    async with (
        watched(ground, config("http://127.0.0.1:9", "http://127.0.0.1:9")) as (hub, _, client),
        client.get(f"{hub.url}/admin/api/events", timeout=long) as events,
    ):

        async def told(kind: bytes) -> None:
            async with asyncio.timeout(WITHIN * SLOWLY):
                while b"event: " + kind not in await events.content.readuntil(b"\n\n"):
                    pass

        await told(b"state")
        ground.postgres.freeze()
        try:
            await told(b"away")
        finally:
            ground.postgres.thaw()
        await told(b"state")

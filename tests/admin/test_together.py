"""What only several workers can get wrong: they know of each other's acts, count together, and tell people once."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest
from browsers import CONFIG, PASSWORD, Browser, people_of
from clusters import SLOWLY, WITHIN, Cluster, Ground, everywhere, spoil
from houses import ask

from llmhub_core.admin.accounts import Accounts
from llmhub_core.contracts.errors import UpstreamDenied
from llmhub_core.testing.upstream import FakeUpstream, json_answer

ROOT = "/admin/api"


@pytest.mark.timeout(300)
async def test_four_workers_are_one_hub(ground: Ground, upstream: FakeUpstream) -> None:
    upstream.script(json_answer({}))
    more = "[alerts]\nevery = 0.1\n[server]\nfault_lab = true\n" + f'[observers.webhook]\nurl = "{upstream.url}/told"\n'
    async with Cluster(CONFIG + more, ground=ground) as hub:
        connector = aiohttp.TCPConnector(force_close=True)  # each request to whoever takes it
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), connector=connector) as client:
            accounts = Accounts(people_of(hub))
            await accounts.add("owner", "owner", PASSWORD)
            accounts.close()
            ann = Browser(hub.url, client)
            assert (await ann.sign_in("owner")).status == 200

            async def did(method: str, path: str, sent: Any = None) -> Any:
                answer = await ann.ask(method, ROOT + path, json=sent)
                assert answer.status == 200, await answer.text()
                return await answer.json()

            # A fault begins and ends in all.
            sent = {"provider": "echo", "key": "spare", "kind": "overloaded", "percent": 100, "lasts": 600}
            fault = await did("POST", "/faults", sent)
            await everywhere(hub, "/faults", lambda told: [each["id"] for each in told["items"]] == [fault["id"]])
            await did("DELETE", f"/faults/{fault['id']}", {})
            await everywhere(hub, "/faults", lambda told: told["items"] == [])

            # What all of them served is one sum on every page.
            for _ in range(12):
                assert (await ask(client, hub.url)).status == 200
            await everywhere(hub, "/keys/echo/main", lambda told: told["attempts"] == 12)

            # An event within a second of what another process learned; one alert, told once.
            async with client.get(hub.url + ROOT + "/events", timeout=aiohttp.ClientTimeout(total=60)) as events:
                assert b"event: state" in await events.content.readuntil(b"\n\n")
                began = time.monotonic()
                await spoil(hub, "main", UpstreamDenied("no"))
                told = b""
                while b'"invalid"' not in told:
                    told = await events.content.readuntil(b"\n\n")
                assert time.monotonic() - began < (WITHIN + 0.5) * SLOWLY
            await everywhere(hub, "/alerts?state=open", lambda told: len(told["items"]) == 1)
            await upstream.wait_for(1)
            await did("POST", "/keys/echo/main/reset")
            await everywhere(hub, "/alerts?state=open", lambda told: told["items"] == [])
            await upstream.wait_for(2)
            assert [request.json["type"] for request in upstream.requests] == ["alert.open", "alert.recovered"]

            # A token that is revoked opens nothing anywhere, as soon as that is answered.
            made = await did("POST", "/tokens", {"name": "game"})
            await did("POST", "/tokens/game/disable", {})
            await everywhere(hub, "/tokens/game", lambda told: told["disabled"])
            assert made["token"].startswith("lh-")

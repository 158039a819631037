"""Stored texts from outside, seen in a real browser: nothing of them runs, and no policy is broken."""

from __future__ import annotations

import aiohttp
from watching import Visit, add_people

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

PAYLOADS = (
    "<img/src=x/onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "'-alert(1)-'",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{7*7}}${alert(1)}",
)
PATHS = ("/", "/requests", "/usage?by=model", "/providers", "/providers/bad", "/keys", "/keys/bad/main", "/routes",
         "/tokens", "/health", "/alerts", "/setup/call", "/routes?add=1", "/tokens?add=1")  # fmt: skip


async def test_nothing_that_is_stored_runs(visit: Visit) -> None:
    async with FakeUpstream() as upstream:
        error = {"error": {"message": " ".join(PAYLOADS), "code": PAYLOADS[0], "type": PAYLOADS[1]}}
        upstream.on(lambda request: json_answer(error, status=401))
        models = ", ".join(f"'''{each}'''" if "'" not in each else f'"{each}"' for each in PAYLOADS)
        config = f"""
[[providers]]
name = "bad"
kind = "openai_compatible"
base_url = "{upstream.url}/v1"
models = [{models}]
keys = [{{ name = "main", secret = "sk-canary-0123456789abcdef", group = '''{PAYLOADS[0]}''' }}]
"""
        async with House(config) as house, aiohttp.ClientSession() as client:
            await add_people(house)
            for payload in PAYLOADS:
                body = {"model": f"bad/{payload}", "messages": [{"role": "user", "content": payload}]}
                headers = {"x-llmhub-tags": f"name={payload.replace(',', '')}"}
                url = house.url + "/v1/chat/completions"
                async with client.post(url, json=body, headers=headers) as answer:
                    assert answer.status >= 400
            ids = [record.id for record in await house.records()]
            assert ids
            ann = await visit(house, "owner")
            for path in (*PATHS, *(f"/requests/{each}" for each in ids)):
                await ann.go(path)
                assert ann.wrong == [], path
            await ann.go("/keys/bad/main")
            ann.expected = ("Failed to load resource",)
            await ann.page.get_by_role("button", name="Test it").click()
            await ann.page.get_by_role("alert").wait_for()
            assert PAYLOADS[0] in await ann.page.locator("main").inner_text()
            assert ann.wrong == []

"""Stored texts from outside, seen in a real browser: they stand there as text, nothing of them runs."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from clusters import OpenHouse
from watching import Visit, Watched, add_people

from llmhub_core.admin.accounts import Accounts
from llmhub_core.contracts import Attempt, Record, hookimpl
from llmhub_core.contracts.alerts import Alert, NotDelivered, Notice
from llmhub_core.contracts.observer import Observer
from llmhub_core.contracts.people import AdminToken, User
from llmhub_core.hub.registry import Registry
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
ALL = " ".join(PAYLOADS)
NAME = PAYLOADS[0]
MADE = "img:not(.brand img), iframe, main script, [onerror], [onload], [href^=javascript]"
MOST = 90


class Channel(Observer):
    """An alert channel of somebody else's, by a name that nobody would like."""

    name = NAME

    async def deliver(self, notice: Notice) -> None:
        raise NotDelivered(ALL, again=False)


def registry() -> Registry:
    found = Registry().discover()
    plugin = SimpleNamespace(register_observers=hookimpl(_channel))
    assert found.admit_module(plugin, f"observers.{NAME}").state == "loaded"
    found.reports[-1].distribution, found.reports[-1].reason = ALL, ALL
    return found


def _channel() -> Any:
    return [Channel]


def config(upstream: str) -> str:
    models = ", ".join(f"'''{each}'''" if "'" not in each else f'"{each}"' for each in PAYLOADS)
    return f"""
[server]
fault_lab = true
[observers.'{NAME}']
[[providers]]
name = "bad"
kind = "openai_compatible"
base_url = "{upstream}/v1"
models = [{models}]
headers = {{ x-note = '''{NAME}''' }}
keys = [{{ name = "main", secret = "sk-canary-0123456789abcdef", group = '''{NAME}''', limits = {{ rpm = 100 }} }}]
[[routes]]
model = '''{PAYLOADS[1]}'''
deployments = [{{ provider = "bad", model = '''{NAME}''' }}]
fallbacks = ['''{PAYLOADS[3]}''']
[[routes]]
model = '''{PAYLOADS[3]}'''
deployments = [{{ provider = "bad", model = '''{NAME}''' }}]
[[tokens]]
name = "game"
hash = "sha256:{"1" * 64}"
models = ['''{NAME}''']
limits = {{ rpm = 5 }}
"""


async def poison(house: House) -> None:
    """Payloads wherever a text can rest: also where nobody could put them by any call, should one be found."""
    hub, now = house.hub, time.time()
    people = hub.store.people
    assert people is not None
    assert hub.store.alerts is not None
    texts = "caller model route code provider served_model key finish lane source dialect operation client_request_id"
    attempt = Attempt(ALL, ALL, ALL, 0.0, ALL, 500, 1.0, 2.0, ALL, ALL, ALL)
    for number, text in enumerate((ALL, *PAYLOADS)):
        facts: Any = dict.fromkeys(texts.split(), text)
        await hub.store.append(
            [Record(f"req_{number}", now - number, **facts, stream=True, outcome="failed", status=502, total_ms=3.0,
                    attempts=[attempt], left_out=[(text, text)], adapted=[text], tags={text: text})]
        )  # fmt: skip
    await people.add_user(User("u-x", ALL, "viewer", "-", now))
    await people.add_admin_token(AdminToken("t-x", ALL, "0" * 64, NAME, "viewer", "u-x", now))
    accounts = Accounts(people)
    await accounts.note(ALL, ALL, ALL, ALL, "failed", {NAME: ALL}, {ALL: NAME})
    accounts.close()
    over = Alert("alr_0", ALL, ALL, "error", ALL, ALL, NAME, now - 60, now - 30)
    await hub.store.alerts.keep_alert(over)
    hub.alerts.open["x", "y"] = Alert("alr_1", ALL, ALL, "warning", ALL, ALL, NAME, now)
    await hub.alerts.mute("key_invalid", ALL, 3600, ALL)


async def crawl(ann: Watched, seen: set[str]) -> None:
    """Every page that links lead to, and what each must not have."""
    waiting = ["/", "/account", "/users/u-x", "/setup/key", "/setup/call", "/keys?add=many", "/settings"]
    while waiting and len(seen) < MOST:
        path = waiting.pop(0)
        if path in seen or path.startswith(("/admin/", "/static/", "/v1/", "/readyz")):
            continue
        seen.add(path)
        await ann.go(path)
        assert ann.wrong == [], path
        assert await ann.page.locator(MADE).count() == 0, path
        found = await ann.page.locator("a[href^='/']").evaluate_all("all => all.map(each => each.getAttribute('href'))")
        # Of one page with many queries two are enough.
        for each in found:
            place = urlsplit(each).path
            if sum(urlsplit(known).path == place for known in (*seen, *waiting)) < 2:
                waiting.append(each)


async def test_nothing_that_is_stored_runs(visit: Visit) -> None:
    async with FakeUpstream() as upstream:
        error = {"error": {"message": ALL, "code": PAYLOADS[0], "type": PAYLOADS[1]}}
        upstream.on(lambda request: json_answer(error, status=401))
        async with House(config(upstream.url), registry=registry()) as house, aiohttp.ClientSession() as client:
            await add_people(house)
            for payload in PAYLOADS:
                body = {"model": f"bad/{payload}", "messages": [{"role": "user", "content": payload}]}
                headers = {"x-llmhub-tags": f"name={payload.replace(',', '')}", "x-request-id": payload}
                url = house.url + "/v1/chat/completions"
                async with client.post(url, json=body, headers=headers) as answer:
                    assert answer.status >= 400
            ids = [record.id for record in await house.records()]
            await poison(house)
            ann = await visit(house, "owner")
            seen: set[str] = set()
            ann.expected = ("Failed to load resource",)
            await crawl(ann, seen)
            must = ("/requests/req_0", "/providers/bad", "/keys/bad/main", "/tokens/game", "/users/u-x", "/alerts")
            assert set(must) <= seen
            assert any(path.startswith("/routes/") for path in seen)
            for path in (
                "/requests/req_0",
                "/users/u-x",
                "/audit",
                "/alerts",
                "/plugins",
                *(f"/requests/{id}" for id in ids[:1]),
            ):
                await ann.go(path)
                text = await ann.page.locator("main").inner_text()
                assert NAME in text or f"bad/{PAYLOADS[0]}" in text, path
            await ann.go("/usage?by=model&from=24h")
            await ann.page.get_by_role("slider").press("End")
            told = ann.page.locator(".tip")
            assert PAYLOADS[3] in await told.inner_text()
            assert PAYLOADS[3] in await ann.page.locator(".legend").inner_text()
            await ann.go("/keys/bad/main")
            await ann.press("Test it")
            await ann.page.get_by_role("alert").wait_for()
            assert NAME in await ann.page.locator("main").inner_text()
            await ann.go("/alerts")
            await ann.press("Send a test")
            await ann.page.get_by_text("The test did not arrive").wait_for()
            assert f"did not arrive by {NAME}" in await ann.page.locator("main").inner_text()
            assert await ann.page.locator(MADE).count() == 0
            ann.well()


@pytest.mark.parametrize("path", ["/sign-in?next={}", "/setup?secret={}"])
async def test_nothing_that_an_address_says_runs(visit: Visit, open_house: OpenHouse, path: str) -> None:
    from urllib.parse import quote

    async with open_house("") as house:
        ann = await visit(house)
        ann.expected = ("Failed to load resource",)
        for payload in PAYLOADS:
            await ann.go(path.format(quote(payload, safe="")))
            assert await ann.page.locator(MADE).count() == 0
        ann.well()

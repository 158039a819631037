"""Who may read what was asked and answered, what a look leaves behind, and that no other place tells of it."""

from __future__ import annotations

import re

import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse

from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.api import ROOT
from llmhub_core.testing.bodies import a_body, bodies_of
from llmhub_core.testing.house import House

KEEPS = CONFIG + '[bodies]\nstore = "all"\n'
SAID = "<script>alert(1)</script> & a secret word"


async def open_for_all(house: House) -> None:
    accounts = Accounts(people_of(house))
    for role in ("viewer", "admin", "owner"):
        await accounts.add(role, role, PASSWORD)  # type: ignore[arg-type]
    accounts.close()


async def one_request(house: House, browser: Browser) -> str:
    body = {"model": "fast", "messages": [{"role": "user", "content": SAID}]}
    async with browser.session.post(house.url + "/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
    (record,) = await house.records()
    if house.hub.body_keeper.waiting:
        await house.hub.body_keeper.flushed()
    return record.id


@pytest.mark.alone
async def test_an_owner_reads_it_and_is_noted(open_house: OpenHouse, browser: MakeBrowser) -> None:
    async with open_house(KEEPS) as house:
        await open_for_all(house)
        ann = await browser("owner", house.url)
        id = await one_request(house, ann)
        for _ in range(2):
            answer = await ann.ask("GET", f"{ROOT}/requests/{id}/body")
            assert answer.status == 200
            said = await answer.json()
            assert SAID in said["request"]["text"]
            assert said["answer"]["form"] == "json"
        audit = await people_of(house).audit(10)
        looks = [(entry.actor, entry.action, entry.subject) for entry in audit if entry.action == "body.read"]
        assert looks == [("owner", "body.read", id)] * 2
        assert SAID not in repr(audit)
        for role in ("viewer", "admin"):
            other = await browser(role, house.url)
            assert (await other.ask("GET", f"{ROOT}/requests/{id}/body")).status == 403
            assert (await other.ask("DELETE", f"{ROOT}/requests/{id}/body")).status == 403
            told = await (await other.ask("GET", f"{ROOT}/requests/{id}")).json()
            assert told["body_kept"] is True
        for path in ("/requests", f"/requests/{id}", "/requests?format=csv", "/audit", "/health", "/usage"):
            assert "secret word" not in await (await ann.ask("GET", ROOT + path)).text(), path
        assert (await (await ann.ask("DELETE", f"{ROOT}/requests/{id}/body")).json())["done"]
        assert not (await (await ann.ask("DELETE", f"{ROOT}/requests/{id}/body")).json())["done"]
        gone = await (await ann.ask("GET", f"{ROOT}/requests/{id}/body")).json()
        assert (gone["request"], gone["answer"]) == (None, None)
        assert "for 3 d" in gone["why"]
        assert (await people_of(house).audit(1))[0].action == "body.forget"
        assert (await ann.ask("GET", f"{ROOT}/requests/none/body")).status == 404


@pytest.mark.alone
async def test_what_cannot_be_opened_says_why(open_house: OpenHouse, browser: MakeBrowser) -> None:
    async with open_house(KEEPS) as house:
        await open_for_all(house)
        ann = await browser("owner", house.url)
        id = await one_request(house, ann)
        await bodies_of(house.hub.store).forget_body(id)
        await bodies_of(house.hub.store).keep_bodies([a_body(id, sealed="lhv1.0123." + "A" * 80)])
        answer = await ann.ask("GET", f"{ROOT}/requests/{id}/body")
        assert answer.status == 409
        assert "was sealed with the root key 0123" in (await answer.json())["error"]["message"]
        assert (await people_of(house).audit(1))[0].result == "failed"


@pytest.mark.alone
async def test_where_it_is_off_it_says_so(house: House, browser: MakeBrowser) -> None:
    ann = await browser("owner")
    id = await one_request(house, ann)
    told = await (await ann.ask("GET", f"{ROOT}/requests/{id}/body")).json()
    assert "[bodies] store" in told["why"]
    page = await (await ann.ask("GET", f"/requests/{id}")).text()
    assert "Not kept." in page


@pytest.mark.alone
async def test_its_page_shows_it_by_an_act_alone(open_house: OpenHouse, browser: MakeBrowser) -> None:
    async with open_house(KEEPS) as house:
        await open_for_all(house)
        ann = await browser("owner", house.url)
        id = await one_request(house, ann)
        before = await (await ann.ask("GET", f"/requests/{id}")).text()
        assert "Show it" in before
        assert "secret word" not in before
        shown = await (await ann.form(f"/requests/{id}/body", {})).text()
        assert "secret word" in shown
        assert "<script>alert" not in shown
        assert re.search(r"&lt;script&gt;alert\(1\)&lt;/script&gt; &amp; a secret word", shown)
        assert (await people_of(house).audit(1))[0].action == "body.read"
        viewer = await browser("viewer", house.url)
        page = await (await viewer.ask("GET", f"/requests/{id}")).text()
        assert "an owner may look at it" in page
        assert (await viewer.form(f"/requests/{id}/body", {})).status == 403
        ann.csrf, csrf = "", ann.csrf
        assert (await ann.form(f"/requests/{id}/body", {})).status == 403
        ann.csrf = csrf
        assert (await ann.form(f"/requests/{id}/body/forget", {})).status == 303
        assert "Not kept." in await (await ann.ask("GET", f"/requests/{id}")).text()

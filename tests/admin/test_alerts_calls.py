"""Alerts and the fault lab by the admin API: lists, mutes, tests, faults, what the audit and the status line say."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse, everywhere, spoil

from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.api import ROOT
from llmhub_core.contracts.errors import UpstreamDenied
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer


async def did(browser: Browser, method: str, path: str, sent: Any = None, status: int = 200) -> Any:
    answer = await browser.ask(method, ROOT + path, json=sent if method != "GET" else None)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def peopled(house: House) -> None:
    accounts = Accounts(people_of(house))
    for role in ("viewer", "admin", "owner"):
        await accounts.add(role, role, PASSWORD)  # type: ignore[arg-type]
    accounts.close()


@pytest.fixture
async def receiver() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        fake.script(json_answer({}))
        yield fake


@pytest.fixture
async def house(open_house: OpenHouse, receiver: FakeUpstream) -> AsyncIterator[House]:
    more = "[alerts]\nevery = 0.1\n[server]\nfault_lab = true\n"
    more += f'[observers.webhook]\nurl = "{receiver.url}/canary-address"\n'
    async with open_house(CONFIG + more) as house:
        await peopled(house)
        yield house


async def until_open(house: House, count: int = 1) -> None:
    await everywhere(house, "/alerts?state=open", lambda told: len(told["items"]) == count)


async def test_alerts_are_listed_page_by_page(house: House, browser: MakeBrowser, receiver: FakeUpstream) -> None:
    ann = await browser("viewer")
    assert (await did(ann, "GET", "/alerts"))["items"] == []
    await spoil(house, "main", UpstreamDenied("no"))
    await spoil(house, "spare", UpstreamDenied("no"))
    await until_open(house, 2)
    await receiver.wait_for(2)
    await everywhere(house, "/alerts", lambda told: all(each["told_at"] for each in told["items"]))
    whole = (await did(ann, "GET", "/alerts"))["items"]
    first = await did(ann, "GET", "/alerts?limit=1")
    second = await did(ann, "GET", f"/alerts?limit=1&cursor={first['next']}")
    assert [*first["items"], *second["items"]] == whole
    assert second["next"] is None
    assert {each["subject"] for each in whole} == {"key:echo/main", "key:echo/spare"}
    house.hub.pool.reset(house.hub.catalog.places["echo"].keys[0])
    await until_open(house, 1)
    (still,) = (await did(ann, "GET", "/alerts?state=open"))["items"]
    assert (still["subject"], still["recovered_at"]) == ("key:echo/spare", None)
    await did(ann, "GET", "/alerts?cursor=nonsense", status=400)
    await did(ann, "GET", "/alerts?state=shut", status=400)
    text = await (await ann.ask("GET", ROOT + "/alerts?format=csv")).text()
    assert text.startswith("id,rule,subject")


async def test_the_test_button(house: House, browser: MakeBrowser, receiver: FakeUpstream) -> None:
    ann = await browser("admin")
    assert (await did(ann, "POST", "/alerts/test", {}))["items"] == [{"name": "webhook", "problem": ""}]
    (request,) = receiver.requests
    assert request.json["type"] == "alert.test"
    receiver.script(json_answer({}, status=404))
    (tried,) = (await did(ann, "POST", "/alerts/test", {}))["items"]
    assert tried["problem"] == "The receiver answered 404."
    (channel,) = (await did(ann, "GET", "/alerts/channels"))["items"]
    assert (channel["delivered"], channel["problem"]) == (1, "The receiver answered 404.")
    problems = (await did(ann, "GET", "/health"))["problems"]
    assert [each["page"] for each in problems] == ["alerts"]
    assert "canary-address" not in str(problems)
    settings = await did(ann, "GET", "/settings")
    assert "canary-address" not in str(settings)
    assert [entry.action for entry in await people_of(house).audit(2)] == ["alert.test"] * 2


async def test_a_mute_and_its_end(house: House, browser: MakeBrowser) -> None:
    ann = await browser("admin")
    made = await did(ann, "POST", "/alerts/mutes", {"subject": "key:echo/main", "seconds": 600})
    assert (made["rule"], made["by"]) == ("", "admin")
    assert (await did(ann, "GET", "/alerts/mutes"))["items"] == [made]
    await spoil(house, "main", UpstreamDenied("no"))
    await until_open(house)
    (alert,) = (await did(ann, "GET", "/alerts"))["items"]
    assert (alert["muted"], alert["told_at"]) == (True, None)
    assert await did(ann, "DELETE", f"/alerts/mutes/{made['id']}", {}) == {"done": True}
    await did(ann, "DELETE", f"/alerts/mutes/{made['id']}", {}, 404)
    (alert,) = (await did(ann, "GET", "/alerts"))["items"]
    assert not alert["muted"]
    noted = [(entry.action, entry.subject) for entry in await people_of(house).audit(2)]
    assert noted == [("alert.unmute", "* key:echo/main"), ("alert.mute", "* key:echo/main")]


@pytest.mark.parametrize(
    "sent",
    [{}, {"rule": "nothing"}, {"rule": "journal", "seconds": 5}, {"rule": "journal", "seconds": 1e9}, {"subject": 5},
     {"subject": "x" * 501}, {"rule": "journal", "seconds": "soon"}, {"rule": "journal", "until": 5}],
)  # fmt: skip
async def test_mutes_that_cannot_be(browser: MakeBrowser, sent: Any) -> None:
    assert "error" in await did(await browser("admin"), "POST", "/alerts/mutes", sent, 400)


async def test_a_fault_is_begun_seen_and_ended(house: House, browser: MakeBrowser) -> None:
    ann = await browser("owner")
    sent = {"provider": "echo", "key": "main", "kind": "overloaded", "percent": 50, "lasts": 120}
    made = await did(ann, "POST", "/faults", sent)
    assert made["ends_at"] == pytest.approx(time.time() + 120, abs=5)
    assert [each["id"] for each in (await did(ann, "GET", "/faults"))["items"]] == [made["id"]]
    (problem,) = (await did(ann, "GET", "/health"))["problems"]
    assert problem["what"].startswith("FAULT LAB: echo fails on purpose for another ")
    assert (await did(ann, "DELETE", f"/faults/{made['id']}", {}))["struck"] == 0
    await did(ann, "DELETE", f"/faults/{made['id']}", {}, 404)
    assert (await did(ann, "GET", "/faults"))["items"] == []
    noted = [(entry.action, entry.subject) for entry in await people_of(house).audit(2)]
    assert noted == [("fault.stop", "echo"), ("fault.start", "echo")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 400),
        ({"provider": "nobody", "kind": "reset"}, 404),
        ({"provider": "echo", "kind": "reset", "key": "nobody"}, 404),
        ({"provider": "echo", "kind": "explode"}, 400),
        ({"provider": "echo", "kind": "reset", "lasts": 3601}, 400),
        ({"provider": "echo", "kind": "reset", "lasts": 0}, 400),
        ({"provider": "echo", "kind": "reset", "percent": 101}, 400),
        ({"provider": "echo", "kind": "slow", "seconds": 601}, 400),
    ],
)
async def test_faults_that_cannot_be(house: House, browser: MakeBrowser, sent: Any, status: int) -> None:
    ann = await browser("owner")
    await did(ann, "POST", "/faults", sent, status)
    assert (await did(ann, "GET", "/faults"))["items"] == []


async def test_there_are_not_too_many_faults(browser: MakeBrowser) -> None:
    ann = await browser("owner")
    for _ in range(20):
        await did(ann, "POST", "/faults", {"provider": "echo", "kind": "reset"})
    assert (await did(ann, "POST", "/faults", {"provider": "echo", "kind": "reset"}, 409))["error"]["code"] == (
        "too_many_faults"
    )


async def test_only_an_owner_and_only_where_it_is_allowed(
    open_house: OpenHouse, house: House, browser: MakeBrowser
) -> None:
    sent = {"provider": "echo", "kind": "reset"}
    await did(await browser("admin"), "POST", "/faults", sent, 403)
    async with open_house(CONFIG) as other:
        await peopled(other)
        denied = await did(await browser("owner", other.url), "POST", "/faults", sent, 409)
        assert denied["error"]["code"] == "fault_lab_off"
        assert "fault_lab = true" in denied["error"]["advice"]


# --- the pages


async def text_of(browser: Browser, path: str, status: int = 200) -> str:
    answer = await browser.ask("GET", path)
    assert answer.status == status
    return await answer.text()


async def test_the_page_of_alerts(house: House, browser: MakeBrowser, receiver: FakeUpstream) -> None:
    ann, eve = await browser("admin"), await browser("viewer")
    assert "Nothing is wrong." in await text_of(eve, "/alerts")
    await spoil(house, "main", UpstreamDenied("no"))
    await until_open(house)
    text = await text_of(ann, "/alerts")
    assert "The provider refuses the key echo/main" in text
    assert "Mute for 8 hours" in text
    assert "Mute for 8 hours" not in await text_of(eve, "/alerts")
    tried = await (await ann.form("/alerts/test", {})).text()
    assert "The test arrived by webhook." in tried
    muted = await ann.form("/alerts/mutes", {"rule": "key_invalid", "subject": "key:echo/main", "hours": "8"})
    assert (muted.status, muted.headers["location"]) == (303, "/alerts")
    (mute,) = (await did(ann, "GET", "/alerts/mutes"))["items"]
    assert "Tell again" in await text_of(ann, "/alerts")
    assert (await eve.form(f"/alerts/mutes/{mute['id']}/end", {})).status == 403
    assert (await ann.form(f"/alerts/mutes/{mute['id']}/end", {})).status == 303
    assert (await did(ann, "GET", "/alerts/mutes"))["items"] == []
    wrong = await ann.form("/alerts/mutes", {"rule": "nothing", "hours": "8"})
    assert (wrong.status, "There is no rule of that name." in await wrong.text()) == (400, True)
    wrong = await ann.form("/alerts/mutes", {"rule": "journal", "hours": "many"})
    assert (wrong.status, "hours must be a number." in await wrong.text()) == (400, True)
    house.hub.pool.reset(house.hub.catalog.places["echo"].keys[0])
    await until_open(house, 0)
    assert "Alerts that are over" in await text_of(eve, "/alerts")


async def test_the_page_of_the_fault_lab(house: House, browser: MakeBrowser) -> None:
    ann, eve = await browser("owner"), await browser("admin")
    assert "Only an owner may begin a fault." in await text_of(eve, "/fault-lab")
    sent = {"target": "echo/main", "kind": "slow", "percent": "50", "minutes": "2", "seconds": "1,5"}
    assert (await eve.form("/fault-lab", sent)).status == 403
    assert (await ann.form("/fault-lab", sent)).status == 303
    (fault,) = (await did(ann, "GET", "/faults"))["items"]
    assert (fault["provider"], fault["key"], fault["percent"], fault["seconds"]) == ("echo", "main", 50.0, 1.5)
    assert "echo · key main" in await text_of(eve, "/fault-lab")
    assert "FAULT LAB" in await text_of(eve, "/")
    wrong = await ann.form("/fault-lab", {**sent, "minutes": "61"})
    assert (wrong.status, "Must be from 1 to 60." in await wrong.text()) == (400, True)
    wrong = await ann.form("/fault-lab", {**sent, "kind": "explode"})
    assert (wrong.status, "no such way to fail" in await wrong.text()) == (400, True)
    assert (await ann.form(f"/fault-lab/{fault['id']}/end", {})).status == 303
    assert (await did(ann, "GET", "/faults"))["items"] == []

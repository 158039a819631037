"""Reading the configuration again by the admin API, and what the dashboard says of it."""

from __future__ import annotations

from browsers import MakeBrowser, people_of
from clusters import everywhere, soon

from llmhub_core.testing.house import House

RELOAD = "/admin/api/reload"


async def test_it_answers_what_changed_or_why_not(house: House, browser: MakeBrowser) -> None:
    admin = await browser("admin")
    good = house.config.read_text()
    house.config.write_text(good.replace('model = "fast"', 'model = "quick"'))
    answer = await (await admin.ask("POST", RELOAD)).json()
    assert (answer["refused"], answer["changes"]) == (False, ["route quick added", "route fast removed"])
    await soon(lambda: "quick" in house.hub.catalog.routes)
    house.config.write_text(good + "[server]\nprot = 1\n")
    answer = await (await admin.ask("POST", RELOAD)).json()
    assert answer["refused"]
    assert answer["problems"] == [f'{house.config}:25:1: server.prot: is not a setting; did you mean "port"?']
    health = await (await admin.ask("GET", "/admin/api/health")).json()
    assert any("The changed configuration is not used" in problem["what"] for problem in health["problems"])
    page = await (await admin.ask("GET", "/health")).text()
    assert "The changed configuration is not used" in page
    refused, done = await people_of(house).audit(2)
    assert (refused.action, refused.result, done.result) == ("configuration.reload", "refused", "done")
    assert "sk-canary" not in done.after + refused.after
    house.config.write_text(good)
    assert (await (await admin.ask("POST", RELOAD)).json())["problems"] == []
    health = await (await admin.ask("GET", "/admin/api/health")).json()
    assert not any("configuration" in problem["what"] for problem in health["problems"])


async def test_a_viewer_may_not(house: House, browser: MakeBrowser) -> None:
    viewer = await browser("viewer")
    assert (await viewer.ask("POST", RELOAD)).status == 403
    assert house.hub.configuration.last.at == 0.0


async def test_disabled_keys_are_shown_as_such(house: House, browser: MakeBrowser) -> None:
    viewer = await browser("viewer")
    house.config.write_text(house.config.read_text().replace("priority = 2", "priority = 2\n  disabled = true"))
    await house.hub.reload()
    await everywhere(
        house, "/keys/echo/spare", lambda told: told["state"] == "disabled", within=2
    )  # a file is looked at twice
    keys = (await (await viewer.ask("GET", "/admin/api/keys")).json())["items"]
    assert {key["name"]: key["state"] for key in keys} == {"main": "active", "spare": "disabled"}
    health = await (await viewer.ask("GET", "/admin/api/health")).json()
    assert health["providers"][0]["state"] == "active", "nothing is missing that was wanted"

"""Coming in and going out, in a real browser: the set-up link, signing in and out, sessions that end, forged forms."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time

import pytest
from clusters import OpenHouse
from playwright.async_api import expect
from watching import CONFIG, PASSWORD, Visit, ask

from llmhub_core.admin import sessions, throttle
from llmhub_core.admin.accounts import Accounts
from llmhub_core.testing.house import House

# --- coming in and going out


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_from_the_setup_link_to_the_first_answer(visit: Visit, open_house: OpenHouse, scripts: bool) -> None:
    async with open_house(CONFIG) as house:
        assert house.hub.store.people is not None
        accounts = Accounts(house.hub.store.people)
        secret = await accounts.offer_setup()
        accounts.close()
        ann = await visit(house, java_script_enabled=scripts)
        ann.expected = ("Failed to load resource: the server responded with a status of 400",)
        await ann.go(f"/setup?secret={secret}")
        for again in ("something else", PASSWORD):
            await ann.page.get_by_label("Name").fill("ann")
            await ann.page.get_by_label("Password", exact=True).fill(PASSWORD)
            await ann.page.get_by_label("The same password again").fill(again)
            await ann.page.get_by_role("button", name="Make the owner").click()
            if again != PASSWORD:
                again_field = ann.page.get_by_label("The same password again")
                await expect(again_field).to_have_attribute("aria-invalid", "true")
        for step in ("Which provider", "Who calls this hub", "The first call"):
            await expect(ann.page.get_by_role("heading", name=step)).to_be_visible()
            await ann.page.get_by_role("link", name="Skip this").click()
        await expect(ann.page.get_by_role("heading", name="No request yet")).to_be_visible()
        call = await ann.page.locator("#call").inner_text()
        assert house.url in call
        assert await ask(house, "fast") == 200
        if not scripts:
            await ann.page.get_by_role("link", name="Look again").click()
        # With scripts nobody has to do anything: the page waits for the first request.
        await expect(ann.page.get_by_role("heading", name="Requests by outcome")).to_be_visible()
        ann.well()


async def test_a_wrong_password_and_too_many_of_them(visit: Visit, house: House) -> None:
    assert house.hub.store.people is not None
    viewer = throttle.subjects("viewer", "", throttle.key_of(house.hub.vault))[0].key
    for _ in range(9):
        await house.hub.store.people.count_failure(viewer, time.time(), 0)
    ann = await visit(house)
    ann.expected = ("Failed to load resource: the server responded with a status of 4",)
    await ann.go("/sign-in?next=%2Frequests%3Foutcome%3Dfailed")
    for said in ("is wrong", "too many failed attempts"):
        await ann.page.get_by_label("Name").fill("viewer")
        await ann.page.get_by_label("Password").fill("not this one")
        await ann.page.get_by_role("button", name="Sign in").click()
        await expect(ann.page.get_by_role("alert")).to_contain_text(said)
    await expect(ann.page.get_by_label("Password")).to_have_value("")
    ann.well()


async def test_signing_in_leads_on_and_signing_out_leaves_nothing(visit: Visit, house: House) -> None:
    ann = await visit(house)
    await ann.go("/requests?outcome=failed")
    assert "/sign-in?next=" in ann.page.url
    await ann.page.get_by_label("Name").fill("viewer")
    await ann.page.get_by_label("Password").fill(PASSWORD)
    await ann.page.keyboard.press("Enter")
    await ann.page.wait_for_url("**/requests?outcome=failed")
    (cookie,) = [each for each in await ann.page.context.cookies() if each["name"] == "llmhub"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    await ann.go("/keys")
    await ann.page.get_by_role("button", name="Sign out").click()
    await ann.page.wait_for_url("**/sign-in")
    await ann.page.go_back()
    await ann.page.wait_for_url("**/sign-in**")
    assert "sk-" not in await ann.page.content()
    assert await ann.page.get_by_role("heading", name="Sign in").is_visible()
    assert await ann.page.evaluate("localStorage.length + sessionStorage.length") == 0
    ann.well()


ENDINGS = ("signed out elsewhere", "the user is removed", "the user may not sign in any more")


@pytest.mark.alone
async def test_a_session_that_is_too_old_leads_to_the_sign_in_page(
    visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await visit(house, "viewer")
    await ann.go("/keys")
    monkeypatch.setattr(sessions, "IDLE", 0.0)
    await ann.page.wait_for_url("**/sign-in?next=%2Fkeys")
    assert "sk-" not in await ann.page.content()


@pytest.mark.parametrize("how", ENDINGS)
async def test_a_session_that_has_ended_leads_to_the_sign_in_page(visit: Visit, house: House, how: str) -> None:
    people = house.hub.store.people
    assert people is not None
    ann = await visit(house, "viewer")
    await ann.go("/keys")
    user = await people.find_user("viewer")
    assert user is not None
    if how == "signed out elsewhere":
        await people.end_sessions(user.id)
    elif how == "the user is removed":
        await people.remove_user(user.id)
    else:
        await people.change_user(dataclasses.replace(user, disabled=True))
    # The stream of events notices, or is refused; nobody has to click.
    await ann.page.wait_for_url("**/sign-in?next=%2Fkeys")
    assert "sk-" not in await ann.page.content()


async def test_signing_out_in_one_tab_empties_the_others(visit: Visit, house: House) -> None:
    ann = await visit(house, "viewer")
    await ann.go("/usage?by=caller")
    other = await ann.page.context.new_page()
    await other.goto(house.url + "/routes")
    await other.get_by_role("button", name="Sign out").click()
    await ann.page.wait_for_url("**/sign-in?next=%2Fusage%3Fby%3Dcaller")
    ann.well()


async def test_a_page_that_nothing_keeps_live_looks_too(visit: Visit, house: House) -> None:
    people = house.hub.store.people
    assert people is not None
    ann = await visit(house, "viewer")
    await ann.go("/usage")
    user = await people.find_user("viewer")
    assert user is not None
    await people.end_sessions(user.id)
    await ann.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await ann.page.wait_for_url("**/sign-in?next=%2Fusage")
    ann.well()


@pytest.mark.alone
async def test_that_a_session_ends_is_said_before(visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await visit(house, "viewer")
    monkeypatch.setattr(sessions, "IDLE", 100.0)
    monkeypatch.setattr(sessions, "NOTED_EVERY", 0.0)
    await ann.go("/usage")
    warning = ann.page.get_by_role("alert")
    await expect(warning).to_contain_text(re.compile(r"signed out in 1 min \d+ s"))
    assert await ann.accessibility() == []
    monkeypatch.setattr(sessions, "IDLE", 1800.0)
    await ann.press("Stay signed in")
    await expect(warning).to_be_hidden()
    ann.well()


@pytest.mark.alone
async def test_a_live_page_that_is_looked_at_keeps_the_session(
    visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "NOTED_EVERY", 0.0)
    monkeypatch.setattr(sessions, "IDLE", 122.0)
    ann = await visit(house, "viewer")
    await ann.page.wait_for_load_state("load")
    people = house.hub.store.people
    assert people is not None
    (cookie,) = [each for each in await ann.page.context.cookies() if each["name"] == "llmhub"]
    before = (await people.find_session(sessions.digest_of(cookie["value"])) or [None])[0]
    assert before is not None
    async with asyncio.timeout(20):
        while True:
            now = (await people.find_session(before.digest) or [None])[0]
            assert now is not None
            if now.seen_at > before.seen_at:
                break
            await asyncio.sleep(0.2)
    await expect(ann.page.locator("[data-ending]")).to_be_hidden()


async def test_a_form_without_its_token_changes_nothing(visit: Visit, house: House) -> None:
    ann = await visit(house, "owner")
    ann.expected = ("Failed to load resource",)
    await ann.go("/users")
    await ann.page.evaluate("for (const each of document.querySelectorAll('[name=csrf]')) each.value = 'x'.repeat(43)")
    await ann.page.get_by_label("Name").fill("eve")
    await ann.page.get_by_role("button", name="Add the user").click()
    await expect(ann.page.locator("main")).to_contain_text("foreign_request")
    assert house.hub.store.people is not None
    assert await house.hub.store.people.find_user("eve") is None

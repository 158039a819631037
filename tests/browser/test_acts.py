"""What people do with the pages, step by step in a real browser, with scripts and without."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect
from watching import PASSWORD, Visit, Watched, add_people

from llmhub_core.admin import sessions, throttle
from llmhub_core.admin.accounts import Accounts
from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.testing.house import House

expect.set_options(timeout=15_000)

CONFIG = """
[[providers]]
name = "echo"
kind = "echo"
models = ["small"]
  [[providers.keys]]
  name = "main"
  secret = "sk-canary-0123456789abcdef-WXYZ"
  limits = { rpm = 60 }
  [[providers.keys]]
  name = "spare"
  secret = "sk-other-0123456789abcdef"
[[routes]]
model = "fast"
deployments = [{ provider = "echo", model = "small" }]
"""


@pytest_asyncio.fixture(loop_scope="session")
async def house() -> AsyncIterator[House]:
    async with House(CONFIG) as house:
        await add_people(house)
        yield house


async def ask(house: House, model: str = "fast") -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession() as client, client.post(house.url + "/v1/chat/completions", json=body) as answer:
        await answer.read()
        await house.records()
        return answer.status


def well(ann: Watched) -> None:
    assert ann.wrong == []


# --- coming in and going out


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_from_the_setup_link_to_the_first_answer(visit: Visit, scripts: bool) -> None:
    async with House(CONFIG) as house:
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
        well(ann)


async def test_a_wrong_password_and_too_many_of_them(visit: Visit, house: House) -> None:
    assert house.hub.store.people is not None
    for _ in range(9):
        await house.hub.store.people.count_failure(throttle.subjects("viewer", "")[0].key, time.time(), 0)
    ann = await visit(house)
    ann.expected = ("Failed to load resource: the server responded with a status of 4",)
    await ann.go("/sign-in?next=%2Frequests%3Foutcome%3Dfailed")
    for said in ("is wrong", "too many failed attempts"):
        await ann.page.get_by_label("Name").fill("viewer")
        await ann.page.get_by_label("Password").fill("not this one")
        await ann.page.get_by_role("button", name="Sign in").click()
        await expect(ann.page.get_by_role("alert")).to_contain_text(said)
    await expect(ann.page.get_by_label("Password")).to_have_value("")
    well(ann)


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
    well(ann)


async def test_a_session_that_has_ended_leads_to_the_sign_in_page(
    visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await visit(house, "viewer")
    await ann.go("/keys")
    monkeypatch.setattr(sessions, "IDLE", 0.0)
    # The stream of events notices; nobody has to click.
    await ann.page.wait_for_url("**/sign-in**")
    monkeypatch.undo()


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


# --- colours


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_colours_are_chosen_and_kept(visit: Visit, house: House, scripts: bool) -> None:
    ann = await visit(house, "viewer", java_script_enabled=scripts, color_scheme="light")
    await ann.go("/usage?by=caller")
    await ann.page.get_by_role("button", name="Dark").click()
    await ann.page.wait_for_url("**/usage?by=caller")
    await expect(ann.page.locator("html")).to_have_attribute("data-theme", "dark")
    await ann.go("/health")
    await expect(ann.page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    await ann.page.get_by_role("button", name="As the system").click()
    await expect(ann.page.locator("html[data-theme]")).to_have_count(0)
    well(ann)


async def test_on_a_phone_the_menu_opens_and_closes(visit: Visit, house: House) -> None:
    ann = await visit(house, "viewer", java_script_enabled=False, viewport={"width": 375, "height": 700})
    link = ann.page.get_by_role("link", name="Health", exact=True).first
    await expect(ann.page.locator("#menu")).to_be_hidden()
    await ann.page.get_by_role("button", name="Menu").click()
    await link.click()
    await ann.page.wait_for_url("**/health")
    await expect(ann.page.locator("#menu")).to_be_hidden()


# --- what is live


async def test_figures_follow_and_lists_hold_still(visit: Visit, house: House) -> None:
    assert await ask(house) == 200
    front, back = await visit(house, "viewer"), await visit(house, "viewer")
    await back.go("/requests")
    rows = back.page.locator("tbody tr")
    await expect(rows).to_have_count(1)
    requests = front.page.locator(".tiles dd").first
    await expect(requests).to_have_text("1")
    for _ in range(3):
        await ask(house)
    await expect(back.page.get_by_role("status")).to_have_text("3 new")
    await expect(rows).to_have_count(1)
    await back.page.get_by_role("link", name="3 new").click()
    await expect(rows).to_have_count(4)
    await front.page.bring_to_front()
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
    house.hub.pool.note(stats, UpstreamDenied("no").said(code="invalid_api_key"))
    await expect(front.page.locator(".problems")).to_contain_text("refuses the key main")
    await expect(requests).to_have_text("4")
    for each in (front, back):
        well(each)


async def test_what_is_live_can_be_paused(visit: Visit, house: House) -> None:
    ann = await visit(house, "viewer")
    await ann.go("/keys")
    switch = ann.page.get_by_role("button", name="Live")
    await switch.click()
    await expect(ann.page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
    house.hub.pool.note(stats, UpstreamDenied("no").said(code="invalid_api_key"))
    await ann.page.wait_for_timeout(5000)
    assert await ann.page.get_by_text("invalid_api_key").count() == 0
    await ann.page.get_by_role("button", name="Paused").click()
    await expect(ann.page.get_by_text("invalid_api_key")).to_be_visible()


async def test_a_cooldown_counts_down_and_is_lifted(visit: Visit, house: House) -> None:
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
    house.hub.pool.note(stats, UpstreamLimited("slow", retry_after=40))
    ann = await visit(house, "admin")
    await ann.go("/keys")
    left = ann.page.locator("[data-until]")
    first = int((await left.inner_text()).split()[0])
    await ann.page.wait_for_timeout(2200)
    assert int((await left.inner_text()).split()[0]) < first <= 40
    await ann.page.get_by_role("button", name="Use it again now").click()
    await expect(ann.page.get_by_text("echo/main may be used again.")).to_be_visible()
    assert house.hub.pool.calm
    well(ann)


async def test_times_stand_in_the_zone_of_who_looks(visit: Visit, house: House) -> None:
    await ask(house)
    there = time.strftime("%H:%M", time.gmtime(time.time() + 9 * 3600))
    ann = await visit(house, "viewer", timezone_id="Asia/Tokyo")
    await ann.go("/requests")
    when = ann.page.locator("tbody time")
    assert there[:2] in await when.inner_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", await when.get_attribute("title") or "")


# --- routes


async def test_a_dry_run_says_where_a_request_would_go(visit: Visit, house: House) -> None:
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
    house.hub.pool.note(stats, UpstreamDenied("no"))
    ann = await visit(house, "viewer")
    await ann.go("/routes")
    await ann.page.get_by_label("Model").fill("fast")
    await ann.page.get_by_role("button", name="Try it dry").click()
    await expect(ann.page.locator("ol.lines").first).to_contain_text("echo/small#spare")
    await expect(ann.page.locator("ul.lines").first).to_contain_text("echo/small#main")
    await ann.page.get_by_label("Model").fill("no/such")
    await ann.page.get_by_role("button", name="Try it dry").click()
    await expect(ann.page.get_by_label("Model")).to_have_attribute("aria-invalid", "true")
    well(ann)


# --- users, account, audit


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_a_user_is_made_changed_and_removed(visit: Visit, house: House, scripts: bool) -> None:
    ann = await visit(house, "owner", java_script_enabled=scripts)
    ann.expected = ("Failed to load resource: the server responded with a status of 4",)
    page = ann.page
    await ann.go("/users")
    await page.get_by_label("Name").fill("viewer")
    await page.get_by_role("button", name="Add the user").click()
    await expect(page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#name-fault")).to_contain_text("There is a user viewer already.")
    await page.get_by_label("Name").fill("bob")
    await page.locator("#role").select_option("admin")
    await page.get_by_role("button", name="Add the user").click()
    password = await page.locator("#made").inner_text()
    bob = await visit(house)
    await bob.sign_in("bob", password)
    await page.get_by_role("link", name="bob").click()
    await page.locator("#role").select_option("viewer")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_contain_text("Changed.")
    await bob.go("/keys")
    assert "/sign-in" in bob.page.url, "with other rights the session is over"
    await page.get_by_role("button", name="Make a new password").click()
    again = await page.locator("#made").inner_text()
    assert again != password
    await page.goto(page.url.removesuffix("/reset"))
    await page.get_by_role("button", name="Keep from signing in").click()
    await expect(page.get_by_role("button", name="Let sign in again")).to_be_visible()
    await page.get_by_text("Remove", exact=True).click()
    await page.get_by_role("button", name="Remove bob").click()
    await page.wait_for_url("**/users")
    assert await page.get_by_role("link", name="bob").count() == 0
    await ann.go("/audit?action=user.add")
    await expect(page.locator("tbody")).to_contain_text("bob")
    await page.get_by_role("link", name="Check the chain").click()
    await expect(page.get_by_role("status")).to_contain_text("are as they were written")
    well(ann)


async def test_the_last_owner_stays(visit: Visit, house: House) -> None:
    ann = await visit(house, "owner")
    ann.expected = ("Failed to load resource",)
    await ann.go("/users")
    await ann.page.get_by_role("link", name="owner").first.click()
    await ann.go("/users")
    await ann.page.locator("tbody").get_by_role("link", name="owner").click()
    await ann.page.get_by_text("Remove", exact=True).click()
    await ann.page.get_by_role("button", name="Remove owner").click()
    await expect(ann.page.get_by_role("alert")).to_contain_text("is the last owner")


async def test_a_password_of_ones_own_and_a_token_for_scripts(visit: Visit, house: House) -> None:
    ann = await visit(house, "admin")
    ann.expected = ("Failed to load resource",)
    page = ann.page
    await ann.go("/account")
    for old, new, again, field in (
        ("wrong one", "a new set of words", "a new set of words", "password"),
        (PASSWORD, "short", "short", "new"),
        (PASSWORD, "a new set of words", "another set of words", "again"),
    ):
        await page.evaluate("for (const each of document.querySelectorAll('[minlength]')) each.minLength = 0")
        await page.locator("#password").fill(old)
        await page.locator("#new").fill(new)
        await page.locator("#again").fill(again)
        await page.get_by_role("button", name="Change it").click()
        await expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
    await page.locator("#password").fill(PASSWORD)
    await page.locator("#new").fill("a new set of words")
    await page.locator("#again").fill("a new set of words")
    await page.get_by_role("button", name="Change it").click()
    await expect(page.get_by_role("status")).to_contain_text("Your password is changed")
    await page.get_by_label("Name of a new token").fill("nightly")
    await page.get_by_role("button", name="Make the token").click()
    token = await page.locator("#made").inner_text()
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as client:
        async with client.get(house.url + "/admin/api/health", headers=headers) as answer:
            assert answer.status == 200
        await page.get_by_text("Revoke", exact=True).click()
        await page.get_by_role("button", name="Revoke nightly").click()
        await expect(page.get_by_role("status")).to_contain_text("revoked")
        async with client.get(house.url + "/admin/api/health", headers=headers) as answer:
            assert answer.status == 401
    assert token not in await page.content()

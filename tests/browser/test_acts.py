"""What people do with the pages, step by step in a real browser, with scripts and without."""

from __future__ import annotations

import re
import time

import aiohttp
import pytest
from clusters import everywhere, spoil
from playwright.async_api import expect
from watching import PASSWORD, Visit, ask

from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.testing.house import House

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
    ann.well()


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
    await spoil(house, "main", UpstreamDenied("no").said(code="invalid_api_key"))
    await expect(front.page.locator(".problems")).to_contain_text("refuses the key main")
    await expect(requests).to_have_text("4")
    for each in (front, back):
        each.well()


async def test_what_is_live_can_be_paused(visit: Visit, house: House) -> None:
    ann = await visit(house, "viewer")
    await ann.go("/keys")
    switch = ann.page.get_by_role("button", name="Live")
    await switch.click()
    await expect(ann.page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")
    await spoil(house, "main", UpstreamDenied("no").said(code="invalid_api_key"))
    await ann.page.wait_for_timeout(5000)
    assert await ann.page.get_by_text("invalid_api_key").count() == 0
    await ann.page.get_by_role("button", name="Paused").click()
    await expect(ann.page.get_by_text("invalid_api_key")).to_be_visible()


async def test_a_cooldown_counts_down_and_is_lifted(visit: Visit, house: House) -> None:
    await spoil(house, "main", UpstreamLimited("slow", retry_after=40))
    ann = await visit(house, "admin")
    await ann.go("/keys")
    left = ann.page.locator("main [data-until]")
    first = int((await left.inner_text()).split()[0])
    await ann.page.wait_for_timeout(2200)
    assert int((await left.inner_text()).split()[0]) < first <= 40
    await ann.page.get_by_role("button", name="Use it again now").click()
    await expect(ann.page.get_by_text("echo/main may be used again.")).to_be_visible()
    await everywhere(house, "/keys/echo/main", lambda told: told["state"] == "active")
    ann.well()


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
    await spoil(house, "main", UpstreamDenied("no"))
    ann = await visit(house, "viewer")
    await ann.go("/routes")
    await ann.page.get_by_label("Model").fill("fast")
    await ann.page.get_by_role("button", name="Dry run").click()
    await expect(ann.page.locator("ol.lines").first).to_contain_text("echo/small#spare")
    await expect(ann.page.locator("ul.lines").first).to_contain_text("echo/small#main")
    await ann.page.get_by_label("Model").fill("no/such")
    await ann.page.get_by_role("button", name="Dry run").click()
    await expect(ann.page.get_by_label("Model")).to_have_attribute("aria-invalid", "true")
    ann.well()


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
    ann.well()


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

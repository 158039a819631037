"""What is not well, in a real browser: alerts that are muted and tried, failures on purpose, filters, the keyboard."""

from __future__ import annotations

import pytest
from clusters import OpenHouse, everywhere, spoil
from playwright.async_api import expect
from watching import CONFIG, Visit, add_people, ask

from llmhub_core.contracts.errors import UpstreamDenied
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])


@SCRIPTS
async def test_alerts_are_muted_told_again_and_tried(visit: Visit, open_house: OpenHouse, scripts: bool) -> None:
    async with FakeUpstream() as receiver:
        receiver.on(lambda request: json_answer({}, status=200))
        config = f'{CONFIG}\n[alerts]\nevery = 0.1\n[observers.webhook]\nurl = "{receiver.url}/hook"\n'
        async with open_house(config) as house:
            await add_people(house)
            await spoil(house, "main", UpstreamDenied("no").said(code="invalid_api_key"))
            await everywhere(house, "/alerts?state=open", lambda told: len(told["items"]) == 1)
            ann = await visit(house, "admin", java_script_enabled=scripts)
            page = ann.page
            await ann.go("/alerts")
            row = page.locator("tbody tr").filter(has_text="echo/main").first
            await expect(row).to_contain_text("key invalid")
            await row.get_by_role("button", name="Mute for 8 hours").click()
            await expect(row).to_contain_text("muted")
            await expect(row.get_by_role("button")).to_have_count(0)
            await ann.press("Tell again")
            await expect(page.get_by_text("Nothing is muted.")).to_be_visible()
            await page.get_by_label("Rule to mute", exact=True).select_option("provider_down")
            await page.get_by_label("For", exact=True).select_option("24")
            await ann.press("Mute")
            await expect(page.get_by_role("cell", name="admin")).to_be_visible()
            before = len(receiver.requests)
            await ann.press("Send a test")
            await expect(page.get_by_text("The test arrived by webhook.")).to_be_visible()
            assert len(receiver.requests) > before
            # The page that answers a form can be left for the other colours.
            await page.get_by_role("button", name="Dark").click()
            await page.wait_for_url("**/alerts")
            receiver.on(lambda request: json_answer({}, status=500))
            await ann.press("Send a test")
            await expect(page.get_by_text("The test did not arrive by webhook.")).to_be_visible()
            ann.well()


@SCRIPTS
async def test_a_failure_on_purpose_begins_and_ends(visit: Visit, open_house: OpenHouse, scripts: bool) -> None:
    async with open_house(f"{CONFIG}\n[server]\nfault_lab = true\n") as house:
        await add_people(house)
        ann = await visit(house, "owner", java_script_enabled=scripts)
        ann.expected, page = ("Failed to load resource",), ann.page
        await ann.go("/fault-lab")
        await page.get_by_label("Who fails").select_option("echo")
        await page.get_by_label("How", exact=True).select_option("server_error")
        await page.get_by_label("Percent of attempts").fill("many")
        await ann.press("Let it fail")
        await expect(page.locator("#percent-fault")).to_contain_text("Must be a number.")
        await expect(page.get_by_label("How", exact=True)).to_have_value("server_error")
        await page.get_by_label("Percent of attempts").fill("100")
        await ann.press("Let it fail")
        await expect(page.locator("tbody")).to_contain_text("server error")
        assert await ask(house) >= 500
        await ann.go("/")
        await expect(page.locator("main")).to_contain_text("on purpose")
        await ann.go("/fault-lab")
        await ann.press("End it now")
        await expect(page.get_by_text("Nobody fails on purpose.")).to_be_visible()
        assert await ask(house) == 200
        ann.well()


async def test_where_the_fault_lab_is_off_there_is_no_button(visit: Visit, house: House) -> None:
    ann = await visit(house, "owner")
    await ann.go("/fault-lab")
    await expect(ann.page.get_by_text("The fault lab is switched off.")).to_be_visible()
    assert await ann.page.get_by_role("button", name="Let it fail").count() == 0


@SCRIPTS
async def test_requests_are_filtered_paged_and_opened(visit: Visit, house: House, scripts: bool) -> None:
    for _ in range(3):
        assert await ask(house) == 200
    assert await ask(house, "no/such") == 404
    ann = await visit(house, "viewer", java_script_enabled=scripts)
    page = ann.page
    rows = page.locator("tbody tr")
    await ann.go("/requests?limit=2")
    await expect(rows).to_have_count(2)
    await page.get_by_role("link", name="Older").click()
    await expect(rows).to_have_count(2)
    await page.get_by_role("link", name="Newest").click()
    await ann.go("/requests")
    await page.get_by_label("Outcome").select_option("served")
    await page.get_by_label("Model").fill("fast")
    await ann.press("Filter")
    await expect(rows).to_have_count(3)
    await expect(page.get_by_label("Outcome")).to_have_value("served")
    csv = await page.context.request.get(
        house.url + (await page.get_by_role("link", name="CSV").get_attribute("href") or "")
    )
    assert len((await csv.text()).strip().splitlines()) == 4
    await rows.first.get_by_role("link").click()
    await expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    await expect(page.locator(".waterfall li")).to_have_count(1)
    await page.go_back()
    await page.get_by_role("link", name="Clear").click()
    await expect(rows).to_have_count(4)
    await page.get_by_label("Caller").fill("nobody-of-that-name")
    await ann.press("Filter")
    await expect(page.get_by_role("heading", name="No request fits these filters")).to_be_visible()
    await page.get_by_role("link", name="Clear the filters").click()
    await expect(rows).to_have_count(4)
    await ann.go("/usage?from=24h")
    await page.locator("#by").select_option("provider")
    await page.locator("#show").select_option("tokens")
    await ann.press("Show")
    await expect(page.get_by_role("heading", name="Tokens by provider")).to_be_visible()
    await page.get_by_text("The same as a table").click()
    await expect(page.get_by_role("region", name="as a table")).to_be_visible()
    await page.get_by_role("link", name="echo", exact=True).first.click()
    await expect(rows).to_have_count(3)
    ann.well()


async def test_settings_and_colours_by_the_keyboard_alone(visit: Visit, house: House) -> None:
    ann = await visit(house, "admin")
    page = ann.page
    await ann.go("/settings")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="All", exact=True)).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/settings?only=set")
    assert await page.get_by_text("default", exact=True).count() == 0
    summary = page.locator("summary").first
    await summary.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("details").first).not_to_have_attribute("open", "")
    ann.well()


async def test_a_page_prints_without_the_frame(visit: Visit, house: House) -> None:
    assert await ask(house) == 200
    ann = await visit(house, "viewer")
    await ann.go("/usage")
    await ann.page.emulate_media(media="print")
    await expect(ann.page.locator(".side")).to_be_hidden()
    await expect(ann.page.locator("form.filters")).to_be_hidden()
    ann.well()

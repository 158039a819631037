"""What is live, in a real browser: one line to the hub, one request for each renewal, and nothing of it kept."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import Route, expect
from watching import Visit, Watched, ask

from llmhub_core.testing.house import House

LIGHT = "[data-stream]"
STREAM = "/admin/api/events"
KEPT = "[localStorage.length, sessionStorage.length, Object.keys(history.state ?? {}).join()]"
SEEN = """seen => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => !seen });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def renewals(ann: Watched) -> list[float]:
    """When this page was asked for again, in milliseconds."""
    found = [each for each in ann.asked if each.resource_type == "fetch" and each.url == ann.page.url]
    return [each.timing["startTime"] for each in found]


def lines(ann: Watched) -> int:
    return sum(each.url.endswith(STREAM) for each in ann.asked)


async def test_a_renewal_is_one_request_and_leaves_what_is_in_use(visit: Visit, house: House) -> None:
    assert await ask(house) == 200
    ann = await visit(house, "viewer")
    page = ann.page
    await ann.go("/")
    await expect(page.locator(".tiles dd").first).to_have_text("1")
    await page.wait_for_timeout(500)
    ann.forget()
    await page.get_by_text("The same as a table").click()
    name = page.get_by_role("button", name="failed", exact=True)
    await name.focus()
    for number in (2, 3, 4):
        assert await ask(house) == 200
        await expect(page.locator(".tiles dd").first).to_have_text(str(number))
    await expect(page.locator(".twin td").first).to_have_text("4")
    await expect(page.get_by_role("region", name="as a table")).to_be_visible()
    await expect(name).to_be_focused()
    await expect(page.locator(".legend button")).to_have_count(len(await page.locator(".legend > *").all()))
    times = renewals(ann)
    assert len(times) >= 3
    assert all(later - earlier > 3500 for earlier, later in pairwise(times)), times
    # Its logo comes out of the cache.
    others = {each.url for each in ann.asked if "/static/" not in each.url} - {page.url}
    assert others == set(), "all parts come with the page"
    assert await page.evaluate(KEPT) == [0, 0, "htmx"]
    assert await page.evaluate("document.adoptedStyleSheets.length") == 0
    ann.well()


async def test_each_live_part_can_be_found_again(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    for path in ("/", "/providers", "/keys", "/quotas", "/health"):
        await ann.go(path)
        ids = await ann.page.locator("[data-live]").evaluate_all("all => all.map(each => each.id)")
        assert ids, path
        assert len({*ids} - {""}) == len(ids), path
        await expect(ann.page.locator(LIGHT)).to_have_text("Live")
    ann.well()


async def test_a_database_that_is_away_is_told(visit: Visit, house: House) -> None:
    ann = await visit(house, "viewer")
    light = ann.page.locator(LIGHT)
    await expect(light).to_have_text("Live")
    await light.evaluate("light => htmx.trigger(light.parentElement, 'away')")
    await expect(light).to_have_text("Not live, the database is away")
    await expect(light).to_have_attribute("data-lost", "")
    assert await ask(house) == 200
    await expect(light).to_have_text("Live")
    ann.well()


@pytest.mark.parametrize("how", ["refused", "cut"])
async def test_a_line_that_is_refused_or_cut_is_tried_again(visit: Visit, house: House, how: str) -> None:
    ann = await visit(house, "viewer")
    ann.expected = ("Failed to load resource",)
    page = ann.page
    told = "event: state\ndata: {}\n\n" if how == "cut" else "{}"
    answer = (200, "text/event-stream") if how == "cut" else (429, "application/json")
    await page.route(f"**{STREAM}", lambda route: route.fulfill(status=answer[0], content_type=answer[1], body=told))
    await ann.go("/health")
    light = page.locator(LIGHT)
    await expect(light).to_have_text("Not live, trying again")
    await page.unroute(f"**{STREAM}")
    await expect(light).to_have_text("Live")
    assert await ask(house) == 200
    await expect(page.locator("main")).to_contain_text("1 attempt in this hour")
    assert "/sign-in" not in page.url
    ann.well()


@pytest.mark.parametrize("how", ["hidden", "paused"])
async def test_nothing_is_asked_while_nobody_looks(visit: Visit, house: House, how: str) -> None:
    assert await ask(house) == 200
    ann = await visit(house, "viewer")
    page = ann.page
    await ann.go("/")
    light = page.locator(LIGHT)
    await page.wait_for_timeout(500)
    if how == "hidden":
        await page.evaluate(SEEN, False)
    else:
        await light.click()
        await expect(light).to_have_text("Paused")
    assert lines(ann) >= 1
    ann.forget()
    assert await ask(house) == 200
    await page.wait_for_timeout(7000)
    assert [each.url for each in ann.asked] == []
    if how == "hidden":
        await page.evaluate(SEEN, True)
    else:
        await light.click()
    await expect(page.locator(".tiles dd").first).to_have_text("2")
    await expect(light).to_have_text("Live")
    assert lines(ann) == 1
    ann.well()


# --- filters


async def test_filters_change_the_page_without_leaving_it(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    page = ann.page
    for path, name, value, button, seen in (
        ("/requests", "Outcome", "served", "Filter", "Clear"),
        ("/usage", "By", "provider", "Show", "As CSV"),
    ):
        await ann.go(path)
        await page.evaluate("window.stayed = true")
        await page.locator(f"#{name.lower()}").select_option(value)
        ann.forget()
        await ann.press(button)
        await page.wait_for_url(f"**{path}?*{value}*")
        await expect(page.get_by_role("link", name=seen, exact=True)).to_be_visible()
        await expect(page.get_by_role("button", name=button)).to_be_focused()
        assert await page.evaluate("window.stayed")
        assert await page.locator("body").get_attribute("data-here") == page.url.removeprefix(ann.url)
        assert len([each for each in ann.asked if each.url == page.url]) == 1
        await page.go_back()
        await page.wait_for_url(f"**{path}")
        await expect(page.locator(f"#{name.lower()}")).not_to_have_value(value)
        assert await page.evaluate(KEPT) == [0, 0, "htmx"]
    await ann.go("/usage?from=24h")
    await page.locator("#from").select_option("30d")
    await ann.press("Show")
    await expect(page.locator(".chart")).to_have_attribute("data-unit", "day")
    await expect(page.locator(".chart canvas")).to_have_count(1)
    ann.well()


async def answer(kind: dict[str, Any] | None, route: Route) -> None:
    await (route.fulfill(**kind) if kind else route.abort())


async def test_a_filter_that_gets_no_answer_says_so(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    ann.expected = ("Failed to load resource", "htmx: htmx:error")
    page = ann.page
    await ann.go("/requests")
    rows = await page.locator("tbody tr").count()
    kinds = ({"status": 502, "body": "<p>Bad gateway"}, {"status": 200, "body": "<p>Who are you"}, None)
    for kind in kinds:
        at = "**/requests?*outcome=*"
        await page.route(at, partial(answer, kind))
        await ann.press("Filter")
        notice = page.get_by_role("alert")
        await expect(notice).to_contain_text("The hub did not answer.")
        assert await page.locator("tbody tr").count() == rows
        assert await ann.accessibility() == []
        await page.unroute(at)
        await ann.press("Try again")
        await page.wait_for_url("**/requests?*outcome=*")
        await expect(notice).to_be_hidden()
        await ann.go("/requests")
    await ann.go("/usage")
    await page.context.clear_cookies()
    await ann.press("Show")
    await page.wait_for_url("**/sign-in?next=*usage*")
    ann.well()

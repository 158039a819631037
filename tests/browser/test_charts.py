"""Charts in a real browser: what they are drawn with, what a bar tells, how a shorter time is chosen."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.async_api import Locator, Page, expect
from watching import Visit, Watched, ask

from llmhub_core.dashboard import charts, words
from llmhub_core.testing.house import House

MONTH = "/usage?by=model&from=30d"
PIXEL = """(canvas, [x, y]) => {
    const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, -Math.round(x * devicePixelRatio), -Math.round(y * devicePixelRatio));
    return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""
COLOUR = "swatch => getComputedStyle(swatch).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"


def bars(page: Page) -> Locator:
    return page.get_by_role("slider", name="One bar of: ")


async def values(page: Page) -> list[list[int]]:
    """Of each series over time, lowest first, as the page brings them."""
    return await page.evaluate("JSON.parse(document.querySelector('.chart').dataset.values)")  # type: ignore[no-any-return]


async def point(page: Page, place: int, press: str = "") -> None:
    """To the foot of a bar."""
    await bars(page).scroll_into_view_if_needed()
    box, count = await bars(page).bounding_box(), len((await values(page))[0])
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * (place + 0.5) / count, box["y"] + box["height"] - 2)
    if press == "down":
        await page.mouse.down()
    elif press == "up":
        await page.mouse.up()
    elif press == "click":
        await page.mouse.down()
        await page.mouse.up()


async def drawn(page: Page, place: int = 10) -> list[int]:
    """The colour at the foot of a bar."""
    box, count = await bars(page).bounding_box(), len((await values(page))[0])
    canvas = page.locator(".chart canvas")
    around = await canvas.bounding_box()
    assert box is not None
    assert around is not None
    x = box["x"] - around["x"] + box["width"] * (place + 0.5) / count
    return await canvas.evaluate(PIXEL, [x, box["height"] + box["y"] - around["y"] - 4])  # type: ignore[no-any-return]


async def told(page: Page, place: int) -> list[str]:
    """What the table has of a bar: its name and its figures, highest first, without those that are nothing."""
    columns = await values(page)
    row = sum(any(column[each] for column in columns) for each in range(place))
    cells = await page.locator(".twin tbody tr").nth(row).locator("th, td").all_text_contents()
    return [cells[0], *(cell for cell in reversed(cells[1:]) if cell != "0")]


async def test_a_bar_tells_its_figures_to_the_pointer_and_to_the_keyboard(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    page, tip = ann.page, ann.page.locator(".tip")
    await ann.go(MONTH)
    await expect(page.locator(".chart > svg.plot")).to_be_hidden()
    await expect(page.get_by_role("img", name="Requests by model over time")).to_be_visible()
    await point(page, 10)
    head, *figures = await told(page, 10)
    await expect(tip.locator("b")).to_have_text(head)
    for figure in figures:
        await expect(tip).to_contain_text(figure)
    await page.mouse.move(1, 1)
    await expect(tip).to_be_hidden()
    await bars(page).focus()
    await page.keyboard.press("Home")
    for _ in range(10):
        await page.keyboard.press("ArrowRight")
    await expect(tip.locator("b")).to_have_text(head)
    await expect(bars(page)).to_have_attribute("aria-valuenow", "10")
    said = await bars(page).get_attribute("aria-valuetext") or ""
    assert said.startswith(f"{head}: {figures[0]} ")
    assert all(f" {figure} " in said for figure in figures)
    await page.keyboard.press("Escape")
    await expect(tip).to_be_hidden()
    assert await ann.accessibility() == []
    ann.well()


async def test_hours_stand_in_the_zone_of_the_viewer(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer", timezone_id="Asia/Kathmandu")
    await ann.go("/usage?by=hour&from=24h")
    await point(ann.page, 3)
    await expect(ann.page.locator(".tip b")).to_have_text(re.compile(r"^\d\d \w+, \d\d:45$"))
    ann.well()


@pytest.mark.parametrize("way", ["drag", "clicks", "keys"])
async def test_chosen_bars_are_looked_at_closer(visit: Visit, busy: House, way: str) -> None:
    ann = await visit(busy, "viewer")
    page = ann.page
    await ann.go(f"{MONTH}&show=tokens")
    if way == "drag":
        await point(page, 10, "down")
        await point(page, 11)
        await point(page, 12, "up")
    elif way == "clicks":
        await point(page, 12, "click")
        await point(page, 10, "click")
        await page.get_by_role("link", name="Look closer at").click()
    else:
        await bars(page).focus()
        await page.keyboard.press("Home")
        for _ in range(10):
            await page.keyboard.press("ArrowRight")
        for _ in range(2):
            await page.keyboard.press("Shift+ArrowRight")
        await page.keyboard.press("Enter")
    await page.wait_for_url("**/usage?*to=*")
    asked = dict(parse_qsl(urlsplit(page.url).query))
    assert (asked["by"], asked["show"]) == ("model", "tokens")
    assert charts.start(asked["to"]) - charts.start(asked["from"]) == 3 * charts.DAY
    assert len((await values(page))[0]) == 72
    # Another grouping is of the same time, and the last days are the last days again.
    await page.locator("#by").select_option("provider")
    await ann.press("Show")
    await page.wait_for_url("**/usage?*by=provider*")
    assert len((await values(page))[0]) == 72
    assert f"to={asked['to']}" in (await page.locator("tbody th a").first.get_attribute("href") or "")
    await page.locator("#from").select_option("7d")
    await ann.press("Show")
    await expect(page.get_by_text("until now")).to_be_visible()
    await page.go_back()
    await page.go_back()
    await page.go_back()
    assert page.url.endswith(f"{MONTH}&show=tokens")
    ann.well()


async def test_the_overview_leads_to_usage(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    page = ann.page
    await ann.go("/")
    first = await page.locator(".chart").get_attribute("data-first")
    await point(page, 5, "down")
    await point(page, 6, "up")
    await page.wait_for_url("**/usage?*to=*")
    asked = dict(parse_qsl(urlsplit(page.url).query))
    since, until = (charts.start(asked[name].replace("Z", ":00")) for name in ("from", "to"))
    assert (since, until) == (float(first or 0) + 5 * charts.HOUR, float(first or 0) + 7 * charts.HOUR)
    await expect(page.get_by_role("heading", name="Requests by outcome")).to_be_visible()
    ann.well()


async def test_what_is_chosen_can_be_let_go(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    page, way = ann.page, ann.page.get_by_role("link", name="Look closer at")
    await ann.go(MONTH)
    note = page.get_by_text("by the day, days of UTC")
    await point(page, 7, "click")
    await expect(way).to_be_visible()
    await expect(note).to_be_hidden()
    await point(page, 7, "click")
    await expect(way).to_have_count(0)
    await expect(note).to_be_visible()
    await point(page, 7, "down")
    await point(page, 9)
    await expect(way).to_be_visible()
    await page.locator(".u-over").dispatch_event("pointercancel")
    await expect(way).to_have_count(0)
    await page.mouse.up()
    await bars(page).focus()
    await page.keyboard.press("ArrowLeft")
    await expect(way).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(way).to_have_count(0)
    await page.keyboard.press("Enter")
    assert page.url.endswith(MONTH)
    ann.well()


async def test_a_finger_reads_bars_and_chooses_them_one_after_the_other(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer", has_touch=True, viewport={"width": 375, "height": 800})
    page, tip = ann.page, ann.page.locator(".tip")
    await ann.go(MONTH)
    await bars(page).scroll_into_view_if_needed()
    box = await bars(page).bounding_box()
    assert box is not None
    await page.touchscreen.tap(box["x"] + box["width"] * 10.5 / 30, box["y"] + 60)
    await expect(tip.locator("b")).to_have_text((await told(page, 10))[0])
    await page.touchscreen.tap(box["x"] + box["width"] * 14.5 / 30, box["y"] + 60)
    await expect(tip.locator("b")).to_have_text((await told(page, 14))[0])
    await page.get_by_role("heading", name="Requests by model").tap()
    await expect(tip).to_be_hidden()
    await page.get_by_role("link", name="Look closer at").tap()
    await page.wait_for_url("**/usage?*to=*")
    asked = dict(parse_qsl(urlsplit(page.url).query))
    assert charts.start(asked["to"]) - charts.start(asked["from"]) == 5 * charts.DAY
    ann.well()


async def test_names_hide_and_show_their_part_of_the_bars(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer")
    page, legend = ann.page, ann.page.locator(".legend button")
    await ann.go(MONTH)
    names = await legend.all_text_contents()
    colours = [await each.locator("i").evaluate(COLOUR) for each in await legend.all()]
    assert await drawn(page) == colours[0]
    lowest = page.get_by_role("button", name=names[0], exact=True)
    await expect(lowest).to_have_attribute("aria-pressed", "true")
    await lowest.focus()
    await page.keyboard.press("Enter")
    await expect(lowest).to_have_attribute("aria-pressed", "false")
    assert await drawn(page) == colours[1]
    await lowest.hover()
    await expect(lowest).to_have_css("text-decoration-line", "line-through")
    await point(page, 10)
    await expect(page.locator(".tip")).not_to_contain_text(names[0])
    for box in [await each.bounding_box() for each in await legend.all()]:
        assert box is not None
        assert box["height"] >= 24
    await lowest.click()
    await expect(lowest).to_have_attribute("aria-pressed", "true")
    assert await drawn(page) == colours[0]
    ann.well()


async def test_bars_have_the_colours_of_the_page(visit: Visit, busy: House) -> None:
    seen = []
    for ratio in (1, 1.5):
        ann = await visit(busy, "viewer", device_scale_factor=ratio, color_scheme="light")
        await ann.go(MONTH)
        swatch = ann.page.locator(".legend i").first
        for media in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}):
            await ann.page.emulate_media(**media)  # type: ignore[arg-type]
            await ann.page.wait_for_timeout(50)
            assert await drawn(ann.page) == await swatch.evaluate(COLOUR)
            seen.append(tuple(await drawn(ann.page)))
        ann.well()
    assert len({*seen}) == 2, "light and dark; forced colours leave it at that"


async def test_the_drawing_is_as_wide_as_its_place_and_crisp(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer", device_scale_factor=2)
    page = ann.page
    await ann.go(MONTH)
    for width in (1280, 375, 768, 1920):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.wait_for_timeout(50)
        size = await page.locator(".chart").evaluate("chart => [chart.clientWidth, chart.clientHeight]")
        canvas = page.locator(".chart canvas")
        assert await canvas.evaluate("canvas => [canvas.width, canvas.height]") == [2 * each for each in size]
        assert await ann.overflow() <= 0
    await page.emulate_media(media="print")
    await expect(page.locator(".chart > svg.plot")).to_be_visible()
    await expect(page.locator(".chart canvas")).to_be_hidden()
    ann.well()


async def test_what_comes_in_meanwhile_leaves_the_rest_as_it_is(visit: Visit, house: House) -> None:
    assert await ask(house) == 200
    ann = await visit(house, "viewer")
    page = ann.page
    await ann.go("/")
    last = len((await values(page))[0]) - 1
    await page.get_by_role("button", name="failed", exact=True).click()
    await page.evaluate("window.before = document.querySelector('.chart canvas')")
    await point(page, last)
    await expect(page.locator(".tip")).to_contain_text("1")
    assert await ask(house) == 200
    await renewed(ann, last)
    await expect(page.locator(".tip span").first).to_have_text("served2")
    await expect(page.get_by_role("button", name="failed", exact=True)).to_have_attribute("aria-pressed", "false")
    await expect(page.get_by_role("button", name="failed", exact=True)).to_be_focused()
    assert await page.evaluate("document.querySelector('.chart canvas') === window.before")
    assert await page.locator(".chart canvas").count() == 1
    ann.well()


async def renewed(ann: Watched, last: int) -> None:
    """When the page has taken up a second request, by itself."""
    await ann.page.wait_for_function(
        "last => JSON.parse(document.querySelector('.chart').dataset.values)[0][last] === 2", arg=last, timeout=20_000
    )


async def test_without_scripts_there_is_the_servers_drawing(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "viewer", java_script_enabled=False)
    await ann.go(MONTH)
    await expect(ann.page.get_by_role("img", name="Requests by model over time")).to_be_visible()
    assert await ann.page.locator("g.bar").count() >= 30
    assert "fast" in (await ann.page.locator("g.bar title").nth(10).text_content() or "")
    assert await ann.page.locator(".chart canvas, .legend button").count() == 0
    ann.well()


async def test_axes_say_what_the_server_would(visit: Visit, empty: House) -> None:
    ann = await visit(empty, "viewer")
    leads = (1, 1.3, 2.5, 7.1, 9.99)
    sums = sorted({*range(130), *(int(lead * 10**size) for size in range(2, 13) for lead in leads)})
    for kind in ("requests", "tokens", "money"):
        tops = [charts._round_up(each, kind) for each in sums]  # type: ignore[arg-type]
        assert await ann.page.evaluate("([sums, kind]) => sums.map(sum => roundUp(sum, kind))", [sums, kind]) == tops
        ticks = [tick for top in tops for tick in (0, top / 2, top)]
        written = await ann.page.evaluate("([ticks, kind]) => ticks.map(each => tick(each, kind))", [ticks, kind])
        assert written == [words.tick(each, kind) for each in ticks]

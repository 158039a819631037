"""What must hold for each page, light and dark, on a phone and on a desk, empty and after a busy month."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from watching import Visit, Watched, paths

from llmhub_core.testing.house import House

TWICE = "[...document.querySelectorAll('[id]')].map(each => each.id).filter((id, at, all) => all.indexOf(id) !== at)"
WIDTHS = {320: 700, 375: 800, 768: 1024, 1280: 900, 1920: 1080}


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("state", ["empty", "filled"])
async def test_every_page(visit: Visit, empty: House, busy: House, state: str, half: int) -> None:
    house = empty if state == "empty" else busy
    ann = await visit(house, "owner")
    faults: dict[str, list[str]] = {}
    for path in (await paths(house))[half::2]:
        await ann.page.goto("about:blank")
        ann.forget()
        ann.expected = ("Failed to load resource",) if "non" in path else ()
        await ann.go(path)
        loaded = [request for request in ann.asked if not request.url.startswith("data:")]
        found = []
        if len(loaded) > 6:
            found.append(f"{len(loaded)} requests")
        if sum(ann.sizes) >= 150_000:
            found.append(f"{sum(ann.sizes)} bytes compressed")
        found += [f"the id {id} stands there twice" for id in await ann.page.evaluate(TWICE)]
        found += [fault async for fault in seen_by_everybody(ann)]
        if found := [*ann.wrong, *found]:
            faults[path] = found
    assert not faults, "\n".join(f"{path}: {fault}" for path, each in faults.items() for fault in each)


async def seen_by_everybody(ann: Watched) -> AsyncIterator[str]:
    """What axe says and what does not fit, in each combination of colours and width."""
    for width, height in WIDTHS.items():
        await ann.page.set_viewport_size({"width": width, "height": height})
        if (wider := await ann.overflow()) > 0:
            yield f"{wider} pixels wider than {width}"
    await ann.thin_out()
    for width in (375, 1280):
        await ann.page.set_viewport_size({"width": width, "height": WIDTHS[width]})
        for scheme in ("light", "dark"):
            await ann.page.emulate_media(color_scheme=scheme)
            for fault in await ann.accessibility(colours_only=scheme == "dark"):
                yield f"{scheme}, {width}: {fault}"


async def test_pages_before_anybody_is_signed_in(visit: Visit, empty: House) -> None:
    ann = await visit(empty)
    ann.expected = ("Failed to load resource",)
    for path in ("/", "/sign-in", "/setup?secret=wrong", "/sign-in?next=%2Fusage"):
        await ann.go(path)
        assert [fault async for fault in seen_by_everybody(ann)] == [], path
        assert ann.wrong == [], path


async def test_the_watch_sees_what_is_wrong(visit: Visit, empty: House) -> None:
    ann = await visit(empty, "viewer")
    await ann.page.evaluate(
        "document.querySelector('main').innerHTML += '<img src=/none><i style=color:#eee>x</i>"
        "<script>alert(1)</script><img src=https://elsewhere.example/x.png><b onclick=alert(2)>x</b>"
        "<p id=wide>x</p>'; document.querySelector('#wide').style.width = '9000px'"
    )
    await ann.page.wait_for_timeout(200)
    said = "\n".join(ann.wrong)
    assert "CSP: style-src" in said
    assert "CSP: img-src" in said
    assert await ann.overflow() > 1000
    assert any(fault.startswith("image-alt") for fault in await ann.accessibility())


async def test_reading_needs_no_scripts(visit: Visit, busy: House) -> None:
    ann = await visit(busy, "owner", java_script_enabled=False)
    for path in await paths(busy):
        ann.expected = ("Failed to load resource",) if "non" in path else ()
        await ann.go(path)
        assert await ann.page.locator("h1").count() == 1, path
        assert await ann.page.locator("main").inner_text()
    assert ann.wrong == []
    await ann.go("/requests?from=24h")
    await ann.page.get_by_label("Outcome").select_option("served")
    await ann.page.get_by_role("button", name="Filter").click()
    assert "outcome=served" in ann.page.url

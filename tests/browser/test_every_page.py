"""What must hold for each page, light and dark, on a phone and on a desk, empty and after a busy month."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from watching import Visit, Watched

from llmhub_core.dashboard.pages import PAGES
from llmhub_core.testing.house import House

OPEN = {"/sign-in", "/setup"}
WIDTHS = {375: 800, 1280: 900}


async def paths(house: House) -> list[str]:
    """Every page that can be opened by its address alone, and one of each that names something."""
    found = [page.path for page in PAGES if page.method == "GET" and "{" not in page.path and page.path not in OPEN]
    found += ["/keys?add=one", "/keys?add=many", "/providers?add=1", "/routes?add=1", "/tokens?add=1"]
    found += [f"/providers/{name}" for name in list(house.hub.catalog.places)[:1]]
    found += [f"/routes/{name}" for name in list(house.hub.catalog.routes)[:1]]
    found += [f"/keys/{key.id}" for place in list(house.hub.catalog.places.values())[:2] for key in place.keys[:3]]
    found += [f"/tokens/{caller.name}" for caller in list(house.hub.tokens.callers)[:1]]
    if latest := await house.hub.store.latest(300):
        hard = max(latest, key=lambda record: len(record.attempts))
        found += [f"/requests/{hard.id}", "/usage?by=caller&from=30d"]
        found[found.index("/requests")] = "/requests?limit=12"
    return [*found, "/requests?model=none", "/requests/none", "/usage?by=nonsense"]


@pytest.mark.parametrize("state", ["empty", "filled"])
async def test_every_page(visit: Visit, empty: House, busy: House, state: str) -> None:
    house = empty if state == "empty" else busy
    ann = await visit(house, "owner")
    faults: dict[str, list[str]] = {}
    for path in await paths(house):
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
        found += [fault async for fault in seen_by_everybody(ann)]
        if found := [*ann.wrong, *found]:
            faults[path] = found
    assert not faults, "\n".join(f"{path}: {fault}" for path, each in faults.items() for fault in each)


async def seen_by_everybody(ann: Watched) -> AsyncIterator[str]:
    """What axe says and what does not fit, in each combination of colours and width."""
    for width, height in WIDTHS.items():
        await ann.page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await ann.page.emulate_media(color_scheme=scheme)
            for fault in await ann.accessibility():
                yield f"{scheme}, {width}: {fault}"
        if (wider := await ann.overflow()) > 0:
            yield f"{wider} pixels wider than {width}"


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

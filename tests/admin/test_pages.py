"""The pages: forms and where they lead, what stands on them, and that what comes from outside is only text."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse, spoil

from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.views import UsageLine
from llmhub_core.contracts import Attempt, Record
from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.dashboard import charts, hub_pages, words
from llmhub_core.dashboard.audited import differences
from llmhub_core.dashboard.page import inside
from llmhub_core.dashboard.pages import PAGES
from llmhub_core.testing.house import House
from llmhub_core.testing.records import HOSTILE, a_record

LISTS = (
    "/",
    "/requests",
    "/usage",
    "/usage?by=caller",
    "/keys",
    "/quotas",
    "/health",
    "/plugins",
    "/alerts",
    "/fault-lab",
)


class Reader(HTMLParser):
    """What a page is made of: its tags with the names of their attributes, its links, its text, its cells."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(text)
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "formaction")]
        self.links = [link for link in self.links if link != "#main"]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


async def page(browser: Browser, path: str, status: int = 200) -> Reader:
    answer = await browser.ask("GET", path)
    assert answer.status == status, (path, answer.status, await answer.text())
    assert answer.content_type == "text/html"
    return Reader(await answer.text())


@pytest.mark.alone
async def test_keys_show_learned_limits_beside_declared_ones(house: House, browser: MakeBrowser) -> None:
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
    learning = house.hub.learning
    for second in range(3):
        learning.clock = lambda second=second: time.time() + 2 * second - 4  # type: ignore[misc]
        learning.look(stats, {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "450"}, 0.0)
    learning.clock = time.time
    shown = (await page(await browser("viewer"), "/keys")).text
    assert "requests a minute of small" in " ".join(shown.split())
    assert "told in headers, 3 times" in shown
    assert "only shown" in shown
    assert "last reset" in shown  # of the declared day
    answer = await (await browser("viewer")).ask("GET", "/admin/api/quotas")
    items = (await answer.json())["items"]
    (learned,) = [each for each in items if each["learned"]]
    assert (learned["owner"], learned["amount"], learned["used"]) == ("model key:echo/main/small", 500, 50)
    day = next(each for each in items if each["window"] == 86_400)
    assert 0 <= time.time() - day["last_reset"] < 86_400
    assert {each["last_reset"] for each in items if each["window"] == 60} == {None}


@pytest.mark.alone
async def test_a_key_does_not_cool_any_more_when_its_time_is_over(house: House, browser: MakeBrowser) -> None:
    stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
    eve = await browser("viewer")
    house.hub.pool.note(stats, UpstreamLimited("slow down", retry_after=600.0))
    assert "cooling" in (await page(eve, "/keys/echo/main")).text
    for mark in house.hub.pool.held(stats.candidate.key):
        mark.until = time.monotonic() - 1
    shown = (await page(eve, "/keys/echo/main")).text
    assert "cooling" not in shown
    assert "the next request tries it" in shown


# --- forms


async def test_set_up_in_a_browser_and_not_twice(open_house: OpenHouse) -> None:
    async with open_house(CONFIG) as house, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        accounts = Accounts(people_of(house))
        secret = await accounts.offer_setup()
        accounts.close()
        ann = Browser(house.url, client)
        assert "Who owns this hub?" in (await page(ann, f"/setup?secret={secret}")).text
        fields = {"secret": secret, "name": "ann", "password": PASSWORD, "again": PASSWORD}
        unequal = await ann.form("/setup", {**fields, "again": "something else"})
        assert (unequal.status, "not equal" in await unequal.text()) == (400, True)
        assert PASSWORD not in await unequal.text()
        done = await ann.form("/setup", fields)
        assert (done.status, done.headers["location"]) == (303, "/setup/key")
        assert "No request yet" in (await page(ann, "/")).text
        assert "does not work" in (await page(ann, f"/setup?secret={secret}", 403)).text


async def test_signing_in_leads_where_one_wanted_to_go(house: House, browser: MakeBrowser) -> None:
    ann = await browser()
    sent = await ann.ask("GET", "/requests?outcome=failed&from=24h")
    assert sent.status == 303
    assert sent.headers["location"] == "/sign-in?next=%2Frequests%3Foutcome%3Dfailed%26from%3D24h"
    await page(ann, sent.headers["location"])
    wrong = await ann.form("/sign-in", {"name": "viewer", "password": "no", "next": "/requests"})
    assert wrong.status == 401
    assert "The name or the password is wrong." in await wrong.text()
    right = await ann.form("/sign-in", {"name": "viewer", "password": PASSWORD, "next": "/requests?outcome=failed"})
    assert (right.status, right.headers["location"]) == (303, "/requests?outcome=failed")
    assert (await ann.ask("GET", "/sign-in")).headers["location"] == "/"
    text = await (await ann.ask("GET", "/")).text()
    csrf = re.search(r'name="csrf" value="([\w-]{43})"', text)
    assert csrf is not None
    assert (await ann.form("/sign-out", {"csrf": "x" * 43})).status == 403
    out = await ann.form("/sign-out", {"csrf": csrf[1]})
    assert (out.status, out.headers["location"]) == (303, "/sign-in")
    assert (await ann.ask("GET", "/requests")).status == 303


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example", "\\\\evil",
     "/\n/evil", "evil.example", "", "/ü", "///evil.example", "/\x00/evil", "data:text/html,x", " /x"],
)  # fmt: skip
def test_nothing_leads_away(path: str) -> None:
    assert inside(path) == "/"


def test_what_leads_inside_is_kept() -> None:
    for path in ("/", "/requests", "/requests?model=a%2Fb&from=24h", "/requests/req_1"):
        assert inside(path) == path


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}], ids=str)
async def test_forms_of_strangers_are_refused(browser: MakeBrowser, headers: dict[str, str]) -> None:
    eve = await browser()
    for path in ("/sign-in", "/setup"):
        answer = await eve.form(path, {"name": "viewer", "password": PASSWORD}, **headers)
        assert answer.status == 403
        assert answer.content_type == "text/html"


async def test_a_form_that_says_nothing_of_where_it_is_from_is_refused(house: House, browser: MakeBrowser) -> None:
    eve = await browser()
    answer = await eve.session.post(house.url + "/sign-in", data={"name": "viewer", "password": PASSWORD})
    assert answer.status == 403
    answer.close()


async def test_a_browser_that_hides_the_origin_is_believed_by_its_site(browser: MakeBrowser) -> None:
    ann = await browser()
    fields = {"name": "viewer", "password": PASSWORD, "next": "/"}
    answer = await ann.form("/sign-in", fields, origin="null", **{"sec-fetch-site": "same-origin"})
    assert answer.status == 303


async def test_only_an_admin_is_offered_what_only_an_admin_may(house: House, browser: MakeBrowser) -> None:
    plan = await (await (await browser("viewer")).ask("GET", "/admin/api/explain?model=fast")).json()
    assert plan["candidates"]
    await spoil(house, "main", UpstreamDenied("no"))
    viewer, admin = await browser("viewer"), await browser("admin")
    assert "Use it again now" not in (await page(viewer, "/keys")).text
    assert "Use it again now" in (await page(admin, "/keys")).text
    refused = await viewer.form("/keys/echo/main/reset", {})
    assert refused.status == 403
    assert "needs the role admin" in await refused.text()
    done = await admin.form("/keys/echo/main/reset", {})
    assert (done.status, done.headers["location"]) == (303, "/keys?reset=echo%2Fmain")
    assert "echo/main may be used again." in (await page(admin, done.headers["location"])).text


# --- what stands there


async def test_every_page_empty_and_filled(house: House, browser: MakeBrowser) -> None:
    ann = await browser("owner")
    assert "All is well." in (await page(ann, "/")).text
    assert "No request yet" in (await page(ann, "/requests")).text
    assert "No request fits these filters" in (await page(ann, "/requests?model=none")).text
    assert "Nothing was used in this time" in (await page(ann, "/usage")).text
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}
    async with ann.session.post(house.url + "/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
    (record,) = await house.records()
    for path in (*LISTS, f"/requests/{record.id}"):
        found = await page(ann, path)
        assert [tag for tag, _ in found.tags].count("h1") == 1, path
        assert not {"style", "iframe", "object", "embed"} & {tag for tag, _ in found.tags}, path
        assert all("style" not in names and not [n for n in names if n.startswith("on")] for _, names in found.tags)
        assert all(link.startswith("/") and not link.startswith("//") for link in found.links), path
        quiet = path in ("/alerts", "/fault-lab")  # nothing is wrong
        assert quiet or any(name in found.text for name in ("echo", "fast", "anyone")), path
    assert "1. echo/small" in (await page(ann, f"/requests/{record.id}")).text
    assert "There is no request of that id here." in (await page(ann, "/requests/none", 404)).text


async def test_a_page_is_small(house: House, browser: MakeBrowser) -> None:
    await house.hub.store.append([a_record(f"r-{n}") for n in range(100)])
    ann = await browser("owner")
    answer = await ann.ask("GET", "/requests")
    found = Reader(await answer.text())
    assets = [link for link in found.links if link.startswith("/static/")]
    whole = [await answer.read()]
    for path in dict.fromkeys(assets):
        got = await ann.ask("GET", path)
        assert (got.status, "immutable" in got.headers["cache-control"]) == (200, True)
        whole.append(await got.read())
    assert len(whole) <= 6
    assert sum(len(gzip.compress(each)) for each in whole) < 100_000


async def test_problems_are_told_with_what_helps(house: House, browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    await ann.ask("GET", "/admin/api/explain?model=fast")
    await spoil(house, "main", UpstreamDenied("no").said(code="invalid_api_key"))
    await spoil(house, "spare", UpstreamLimited("slow", retry_after=400))
    for path in ("/", "/health"):
        found = await page(ann, path)
        assert "echo refuses the key main (invalid_api_key)." in found.text
        assert "Put a good key in its place" in found.text
        assert "All is well" not in found.text
    keys = re.sub(r"\s+", " ", (await page(ann, "/keys")).text)
    assert re.search(r"It rests: rate_limit_exceeded ?\. Back in 6 min", keys)
    assert re.search(r"refuses it: invalid_api_key ?\. Until somebody resets it", keys)


async def test_pages_of_requests_lead_on(house: House, browser: MakeBrowser) -> None:
    await house.hub.store.append([a_record(f"r-{n:03}", caller="a&b=c") for n in range(120)])
    ann = await browser("viewer")
    path, seen = "/requests?caller=a%26b%3Dc", []
    while path:
        found = await page(ann, path)
        seen += [link for link in found.links if link.startswith("/requests/r-")]
        path = next((link for link in found.links if "cursor=" in link), "")
    assert len(seen) == len(set(seen)) == 120


async def test_pages_say_what_is_no_longer_kept(house: House, browser: MakeBrowser) -> None:
    now = time.time()
    await house.hub.store.append([a_record("r-old", arrived_at=now - 3 * 86_400), a_record("r-new", arrived_at=now)])
    ann = await browser("viewer")
    for path in ("/requests", "/usage?from=7d", "/requests?caller=nobody"):
        assert "no longer kept" not in (await page(ann, path)).text, path
    while await house.hub.store.prune(time.time() - 86_400):
        pass
    for path in ("/requests", "/usage?from=7d", "/requests?caller=nobody"):
        assert "no longer kept" in (await page(ann, path)).text, path
    assert "no longer kept" not in (await page(ann, "/usage?from=90m")).text
    kept = await house.hub.store.kept_since()
    for path in ("/requests", "/usage"):
        assert (await (await ann.ask("GET", f"/admin/api{path}")).json())["kept_since"] == kept
    gone = await ann.ask("GET", "/admin/api/requests/r-old")
    assert gone.status == 404
    assert "are no longer kept" in (await gone.json())["error"]["advice"]


# --- what comes from outside is text


PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></textarea><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "--><b>bold</b><!--",
    "&lt;b&gt;&#60;b&#62;",
    "<a href=//evil.example>x</a>",
    "../../x?y#z",
    HOSTILE,
]


def hostile(text: str, id: str) -> Any:
    names = "caller model route code provider served_model key finish lane source dialect operation client_request_id"
    everything = dict.fromkeys(names.split(), text)
    attempt = Attempt(text, text, text, 0.0, text, 500, 1.0, 2.0, text, text, text)
    return a_record(id, outcome="failed", attempts=[attempt, attempt], left_out=[(text, text)], adapted=[text, text],
                    tags={text: text, "x": text}, arrived_at=msgspec.UNSET, **everything)  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_stored_text_makes_no_element(house: House, browser: MakeBrowser, payload: str) -> None:
    ann = await browser("owner")
    await house.hub.store.append([a_record("r-0")])
    shapes: list[dict[str, Any]] = []
    for text, id in (("harmless", "r-1"), (payload, "r-2")):
        record = msgspec.structs.replace(hostile(text, id), arrived_at=time.time() - 5)
        await house.hub.store.append([record])
        found = {path: await page(ann, path) for path in ("/requests?limit=1", "/requests/" + id)}
        shapes.append({path.replace(id, "ID"): each.tags for path, each in found.items()})
        for each in found.values():
            assert all(re.match(r"/(?!/)", link) for link in each.links)
    assert shapes[0] == shapes[1]
    for path in ("/", "/usage?by=caller,model", "/usage?by=provider", "/usage?by=key"):
        each = await page(ann, path)
        assert not {"img", "b", "iframe"} & {tag for tag, names in each.tags if "alt" not in names}
        assert [tag for tag, _ in each.tags].count("script") == 1
        assert all(not name.startswith("on") for _, names in each.tags for name in names)
        assert all(re.match(r"/(?!/)", link) for link in each.links)


@pytest.mark.parametrize("payload", PAYLOADS[:-1])
async def test_asked_text_makes_no_element(browser: MakeBrowser, payload: str) -> None:
    ann, nobody = await browser("owner"), await browser()
    asked = quote(payload, safe="")
    for who, path, form in (
        (ann, f"/requests?model={asked}&caller={asked}&provider={asked}", None),
        (ann, f"/requests?from={asked}", None),
        (ann, f"/usage?by={asked}", None),
        (ann, f"/keys?reset={asked}", None),
        (ann, f"/requests/{asked}", None),
        (nobody, f"/sign-in?next={asked}", None),
        (nobody, f"/setup?secret={asked}", None),
        (nobody, "/sign-in", {"name": payload, "password": "x", "next": payload}),
    ):
        answer = await (who.form(path, form) if form else who.ask("GET", path))
        if answer.status == 404 and answer.content_type == "application/json":
            continue  # no page has such a path
        found = Reader(await answer.text())
        assert answer.content_type == "text/html", path
        assert not {"b", "iframe", "svg/onload"} & {tag for tag, _ in found.tags}, path
        assert [tag for tag, _ in found.tags].count("script") == 1, path
        assert all(not name.startswith("on") for _, names in found.tags for name in names), path
        assert all(re.match(r"/(?!/)", link) for link in found.links), path


# --- words and drawings


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (words.short(None), "–"), (words.short(0), "0"), (words.short(999), "999"), (words.short(999.9), "1k"),
        (words.short(1000), "1k"), (words.short(12_345), "12.3k"), (words.short(1_340_000), "1.34M"),
        (words.short(123_456_789), "123M"), (words.milliseconds(0.4), "< 1 ms"), (words.milliseconds(340), "340 ms"),
        (words.milliseconds(1234), "1.2 s"), (words.milliseconds(None), "–"), (words.seconds(59.4), "59 s"),
        (words.seconds(125), "2 min 5 s"), (words.seconds(5120), "1 h 25 min"), (words.seconds(200_000), "2 d 7 h"),
        (words.money(None), "–"), (words.money(0), "$0"), (words.money(42_940_000_000), "$42.94"),
        (words.money(643_000_000, 7_670_000_000), "$0.64"), (words.money(400_000, 16_100_000), "$0.0004"),
        (words.money(2_000_000, 7_670_000_000), "< $0.01"), (words.money(0, 7_670_000_000), "$0"),
        (words.tick(250_000_000, "money"), "$0.25"), (words.tick(1_500_000, "money"), "$0.0015"),
        (words.day("2025-11-03"), "Mon 03 Nov 2025"), (words.day("9999-01-01"), "Fri 01 Jan 9999"),
        (words.money(12_300_000), "$0.0123"), (words.money(7000), "$0.00000700"), (words.percent(1, 0), "–"),
        (words.percent(999_999, 1_000_000), "99.9 %"), (words.percent(5, 5), "100 %"), (words.change(5, 0), ""),
        (words.change(150, 100), "▲ 50 %"), (words.change(50, 100), "▼ 50 %"), (words.change(100, 100), "as before"),
        (words.tick(600_000_000, "money"), "$0.60"), (words.tick(30_000_000_000, "money"), "$30"),
        (words.tick(0, "money"), "$0"), (words.tick(1_500_000_000, "money"), "$1.50"),
        (words.waits("cooling: slow, back in 17323 s"), "cooling: slow, back in 4 h 48 min"),
        (words.subject("key:openai/main:requests/86400"), "openai/main, requests a day"),
        (words.subject("token:ann:money/2592000"), "ann, spend a month"), (words.subject("key:a/b"), "a/b"),
        (words.held("key:openai/main", "openai/main"), "the key itself"),
        (words.held("model:key:openai/main/ft/one", "openai/main"), "the model ft/one"),
        (words.held("model:group:openai/team/gpt-5", "openai/main"), "the model gpt-5"),
        (words.held("group:openai/team", "openai/main"), "its account team"),
        (words.held("provider:openai", "openai/main"), "the provider openai"),
        (words.live(0.00050931, "first_token"), "< 1 ms"), (words.live(0.483, "first_token"), "483 ms"),
        (words.live(None, "price"), "–"), (words.live(0.0, "last_pick"), "never"), (words.live(3, "in_flight"), "3"),
        (words.live(0.123456, "quota_left"), "0.123"), (words.live(6261.344, "last_pick"), "6,261"),
        (words.breakable("no_<b>"), "no_<wbr>&lt;b&gt;"), (words.subject("gemini"), "gemini"),
        (words.subject("model:openai/main/ft:one"), "openai/main/ft:one"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(said: str, meant: str) -> None:
    assert said == meant


async def test_people_see_a_page_where_nothing_is_and_programs_an_error(house: House, browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    answer = await ann.ask("GET", "/nowhere", headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status, answer.content_type) == (404, "text/html")
    found = Reader(await answer.text())
    assert "There is nothing at this address." in found.text
    answer = await ann.ask("GET", "/dry-run", headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status, answer.content_type, answer.headers["allow"]) == (405, "text/html", "POST")
    assert "This address only takes what a form sends." in await answer.text()
    async with aiohttp.ClientSession() as program:
        for path, status, code in (("/nowhere", 404, "route_not_found"), ("/dry-run", 405, "method_not_allowed")):
            async with program.get(house.url + path) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)


async def test_a_page_that_is_refused_leads_on(house: House, browser: MakeBrowser) -> None:
    """To the list that it belongs to, where one may see that; from an address that is not ours nowhere leads."""
    html = {"accept": "text/html"}
    ann, eve = await browser("owner"), await browser()
    assert {"/providers", "/"} <= set((await page(ann, "/providers/none", 404)).links)
    assert 'class="button" href="/providers"' in await (await ann.ask("GET", "/providers/none")).text()
    for path in ("/", "/sign-in", "/nowhere"):
        astray = await eve.ask("GET", path, headers={**html, "host": "hub.example"})
        assert (astray.status, astray.content_type) == (421, "text/html")
        found = Reader(await astray.text())
        assert "public_url = " in found.text
        assert {link for link in found.links if not link.startswith("/static/")} == {"/"}  # the mark


def test_over_time_the_chart_shows_what_was_asked_for() -> None:
    known = {"requests": 4, "failed": 1, "input_tokens": 30, "output_tokens": 12}
    none = dict.fromkeys(UsageLine.__struct_fields__[1:], 0)
    line = UsageLine(group=["1970-01-01T02:00:00Z"], **{**none, **known})
    chart = charts.in_all(
        [line], (0, 24 * 3600), "tokens", "tokens", lambda each: each.input_tokens + each.output_tokens
    )
    assert [bar.values for bar in chart.bars[1:4]] == [(0,), (42,), (0,)]
    assert chart.series == (("s1", "tokens"),)
    assert charts.in_all([line], (0, 3600), "failures", "requests", lambda each: each.failed).series[0][0] == "failed"


def test_every_hour_has_its_bar_and_every_part_its_height() -> None:
    none = dict.fromkeys((name for name in UsageLine.__struct_fields__ if name != "group"), 0)
    line = UsageLine(group=["1970-01-01T05:00:00Z"], **{**none, "requests": 10, "served": 6, "failed": 3})
    chart = charts.by_outcome([line], 0, 24 * 3600)
    assert (len(chart.bars), [tick.value for tick in chart.ticks], chart.unit) == (24, [0, 5, 10], "hour")
    bar = chart.bars[5]
    assert [(piece.kind, piece.value, piece.y, piece.height) for piece in bar.pieces] == [
        ("served", 6, 37.6, 50.4), ("other", 1, 29.2, 8.4), ("failed", 3, 4.0, 25.2)
    ]  # fmt: skip
    assert all(not other.pieces for other in chart.bars if other is not bar)
    assert [sum(values) for values in json.loads(chart.columns)] == [6, 1, 3]
    assert [values[5] for values in json.loads(chart.columns)] == [6, 1, 3]
    days = charts.by_outcome([line], 0, 30 * 86_400)
    assert (len(days.bars), days.unit, sum(days.bars[0].values)) == (30, "day", 10)
    assert charts.by_outcome([], 0, 3600).empty
    each_day = [
        UsageLine(group=[f"1970-{day:%m-%d}"], **{**none, "requests": 1, "served": 1})
        for day in (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(number) for number in range(120))
    ]
    weeks = charts.by_outcome(each_day, 0, 120 * 86_400)
    assert (weeks.unit, charts.asked_by(0, 120 * 86_400), len(weeks.bars)) == ("week", "day", 18)
    assert [sum(bar.values) for bar in weeks.bars] == [4, *[7] * 16, 4], "from Thursday to Thursday"
    assert weeks.bars[1].label == "Week of 05 Jan 1970"


def test_an_axis_names_its_middle_as_it_is() -> None:
    for kind in ("requests", "tokens"):
        tops = [charts._round_up(value, kind) for value in (0, 1, 2, 3, 5, 9, 10, 11, 13, 17, 250, 251)]
        assert tops == [2, 2, 2, 4, 6, 10, 10, 12, 16, 20, 300, 300]
    assert [charts._round_up(value, "money") for value in (0, 3, 1_300_000_000)] == [2e9, 3, 1.6e9]


def test_the_largest_groups_have_their_colours_and_the_rest_share_one() -> None:
    none = dict.fromkeys((name for name in UsageLine.__struct_fields__ if name != "group"), 0)
    figures = [{**none, "requests": 10 - n, "cost": n} for n in range(8)]
    groups = [UsageLine(group=[f"m{n}"], **each) for n, each in enumerate(figures)]
    at = "1970-01-01T05:00:00Z"
    whole = [UsageLine(group=[at], **{**none, "requests": 52, "cost": 28})]
    times = (0, 24 * 3600)

    def drawn(kind: charts.Kind, value: Callable[[UsageLine], int]) -> charts.Chart:
        names, others = charts.largest(groups, value)
        own = [UsageLine(group=[at, name], **figures[int(name[1:])]) for name in names]
        return charts.by_group(own, whole, (names, others), times, kind, value)

    chart = drawn("requests", lambda line: line.requests)
    assert [name for _, name in chart.series] == ["m0", "m1", "m2", "m3", "m4", "3 others"]
    assert chart.bars[5].values == (10, 9, 8, 7, 6, 5 + 4 + 3)
    by_cost = drawn("money", lambda line: line.cost)
    assert [name for _, name in by_cost.series] == ["m7", "m6", "m5", "m4", "m3", "2 others"]
    assert by_cost.bars[5].values == (7, 6, 5, 4, 3, 2 + 1 + 0)


async def test_many_callers_in_a_month_are_drawn(house: House, browser: MakeBrowser) -> None:
    """Two hundred callers on each of thirty days: more lines than one answer has."""
    now = time.time()
    await house.hub.store.append(
        [
            a_record(f"r-{day}-{caller}", arrived_at=now - day * 86_400 - 60, caller=f"c{caller:03}")
            for day in range(29)
            for caller in range(200)
        ]
    )
    ann = await browser("viewer")
    text = await (await ann.ask("GET", "/usage?by=caller&from=30d")).text()
    assert "195 others" in text
    assert "100 lines more with fewer requests" in text
    told = await (await ann.ask("GET", "/admin/api/usage?by=caller,day&from=30d")).json()
    assert told["total"]["requests"] == sum(line["requests"] for line in told["items"])


async def test_the_usage_page_tells_what_plain_sums_tell(house: House, browser: MakeBrowser) -> None:
    """Of every selection that it offers and some more, with the period before, in a zone of half hours too."""
    hour = time.time() // 3600 * 3600 + 3600
    kept = [
        a_record(
            f"r-{number}",
            arrived_at=hour - 4000 - (number * 7919 % 5_100_000),
            caller=f"c{number % 7}",
            model=f"m{number % 3}",
            input_tokens=number,
        )
        for number in range(800)
    ]
    await house.hub.store.append(kept)
    ann = await browser("viewer")
    spans = {f"{days}d" if days > 1 else "24h": (hour - days * 86_400, hour) for days in (1, 7, 30)}
    since, until = hour - 20 * 86_400 + 1800, hour - 86_400 - 9000
    spans[f"{since}&to={until}"] = (since, until)
    for asked, (since, until) in spans.items():
        for by in ("caller", "model", "caller,model", "caller,day", "hour", "day", "minute"):
            names = by.split(",")
            found = await page(ann, f"/usage?by={by}&from={asked}&show=tokens")
            own = [one for one in kept if since <= one.arrived_at < until]
            told: dict[tuple[str, ...], int] = {}
            earlier: dict[tuple[str, ...], int] = {}
            for one in own:
                group = _group(one, names)
                told[group] = told.get(group, 0) + 1
            for one in kept:
                if 2 * since - until <= one.arrived_at < since:
                    earlier[_group(one, names)] = earlier.get(_group(one, names), 0) + 1
            compared = not {"hour", "day", "minute"} & {*names}
            shown = sorted(told)[-100:]
            if names[0] not in ("hour", "day", "minute"):
                shown = sorted(told, key=lambda group: (-told[group], group))[:100]
            lines = [[*_as_shown(group, names), str(told[group])] for group in shown]
            if compared:
                for group, line in zip(shown, lines, strict=True):
                    line.append(words.change(told[group], earlier.get(group, 0)) or "–")
            head = next(place for place, row in enumerate(found.rows) if row[len(names) :][:1] == ["Requests"])
            assert [row[: len(lines[0])] for row in found.rows[head + 1 :]] == lines, (by, asked)
            text = "".join(found.text.split())
            change = words.change(len(own), sum(earlier.values())) or "nothing to compare"
            assert f"Requests{words.short(len(own))}{change}".replace(" ", "") in text
            assert f"Tokensin{words.short(sum(one.input_tokens for one in own))}" in text
            assert ("Morelines" in text or "linesmore" in text) == (len(told) > 100)


@pytest.mark.alone
async def test_settings_of_many_tables_come_page_by_page(
    house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await browser("admin")

    def tables(found: Reader) -> list[str]:
        return re.findall(r"Settings of (\S+)Setting", "".join(found.text))

    every = tables(await page(ann, "/settings"))
    assert every[0] == "server"
    assert len(every) == len(set(every)) > 8
    monkeypatch.setattr(hub_pages, "TABLES", 3)
    found, path, seen = [], "/settings", []
    while path:
        shown = await page(ann, path)
        assert len(tables(shown)) <= 3
        found += tables(shown)
        seen.append(path)
        path = next((link for link in shown.links if link.startswith("/settings?page=") and link not in seen), "")
    assert found == every
    assert tables(await page(ann, "/settings?page=999")) == every[-(len(every) % 3 or 3) :]
    assert tables(await page(ann, "/settings?page=-1")) == every[:3]
    assert tables(await page(ann, "/settings?find=[ECHO]")) == [name for name in every if "[echo]" in name][:3]
    assert "Nothing is called so" in (await page(ann, "/settings?find=nothing-of-the-kind")).text
    assert (await page(ann, "/settings?page=x", 400)).tags


def _group(record: Record, names: list[str]) -> tuple[str, ...]:
    shapes = {"minute": "%Y-%m-%dT%H:%M:00Z", "hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d"}
    at = datetime.fromtimestamp(record.arrived_at // 60 * 60, UTC)
    return tuple(f"{at:{shapes[name]}}" if name in shapes else getattr(record, name) for name in names)


def _as_shown(group: tuple[str, ...], names: list[str]) -> list[str]:
    return [words.day(value) if name == "day" else value for name, value in zip(names, group, strict=True)]


def test_pages_are_in_the_navigation_and_have_names() -> None:
    from llmhub_core.dashboard.render import NAVIGATION

    paths = {page.path for page in PAGES if page.method == "GET"}
    assert {path for _, entries in NAVIGATION for path, *_ in entries} <= paths


async def test_what_is_wrong_stands_beside_each_field(browser: MakeBrowser) -> None:
    """And nothing else does: neither whose setting it is nor what is wrong with another field."""
    ann = await browser("admin")
    sent = {"name": "app", "limits.budget": "lots", "expires": "soon", "more": "colour = 'red'"}
    found = await (await ann.form("/tokens", sent)).text()
    faults = dict(re.findall(r'class="fault" id="([^"]+)-fault">.*?<span>([^<]+)</span>', found, re.DOTALL))
    assert faults["limits.budget"].startswith("Must be money in a period")
    assert faults["expires"].startswith("Must be a date or a time")
    assert "token app" not in found
    assert re.search(r'<p class="notice bad" role="alert">.*?<span>colour: ', found, re.DOTALL)
    row = {"deployments[0].provider": "echo", "deployments[0].model": "small", "deployments[0].priority": "first"}
    found = await (
        await ann.form("/routes", {"model": "x", "strategy": "priority", "fallbacks": "nobody", **row})
    ).text()
    faults = dict(re.findall(r'class="fault" id="([^"]+)-fault">.*?<span>([^<]+)</span>', found, re.DOTALL))
    assert set(faults) == {"deployments[0].priority", "fallbacks"}
    assert faults["deployments[0].priority"] == "Must be an integer."
    found = await (await ann.form("/routes", {"model": "x", "strategy": "priority"})).text()
    assert re.search(r'<legend>Deployments</legend><p class="fault">.*?<span>Is missing.</span>', found, re.DOTALL)


def test_of_a_change_is_told_what_became_another() -> None:
    was = '{"hint": "a1b2", "limits": {"rpm": 60, "budget": "5 USD/day"}, "models": ["*"]}'
    now = '{"disabled": true, "hint": "a1b2", "limits": {"rpm": 90.0}, "models": ["fast", "smart"]}'
    assert differences(was, now) == [
        ("limits.rpm", "60", "90"),
        ("limits.budget", "5 USD/day", ""),
        ("models", "*", "fast, smart"),
        ("disabled", "", "yes"),
    ]
    assert differences("", '{"deployments": [{"provider": "a", "weight": 3}], "note": ""}') == [
        ("deployments[0]", "", "provider a, weight 3")
    ]
    assert differences("", "") == differences(was, was) == []
    assert differences("", "<b>no table</b>") == [("", "", "<b>no table</b>")]


def test_times_in_a_sentence_are_put_into_the_zone_of_the_viewer() -> None:
    noon = 86_400.0 * 365 + 12 * 3600
    said = words.zoned("<b>It is spent at 11:30 UTC, and back at 12:05 UTC.", noon)
    assert 'datetime="1971-01-02T11:30:00Z"' in said
    assert 'datetime="1971-01-01T12:05:00Z"' in said
    assert said.startswith("&lt;b&gt;It is spent at <time ")

"""Lists of the admin API: each comes page by page, by what its items have, as JSON and as CSV.

What is tried is taken from the table of calls: a list that cannot be asked for page by page fails here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse, everywhere

from llmhub_core.admin import limits
from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.api import ENDPOINTS, ROOT, Endpoint
from llmhub_core.admin.lists import MOST, Limit
from llmhub_core.contracts.alerts import Alert
from llmhub_core.contracts.candidate import Limit as AnyLimit
from llmhub_core.contracts.quota_store import Amount
from llmhub_core.hub.hub import Hub
from llmhub_core.testing.house import House
from llmhub_core.testing.records import NOON, records

MORE = """
[server]
fault_lab = true

[observers.webhook]
url = "http://127.0.0.1:9/"

[[providers]]
name = "Second"
kind = "openai_compatible"
base_url = "http://127.0.0.1:9/v1"
disabled = true
  [[providers.keys]]
  name = "a"
  secret = "sk-a-0123456789abcdef"
  limits = { rpm = 1 }
  group = "org-b"

[[routes]]
model = "spare/route"
disabled = true
deployments = [{ provider = "echo", model = "small" }]

[[tokens]]
name = "batch"
hash = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
limits = { concurrency = 2 }
"""

SUMS = "/usage"
"""Has items, and no pages: what is asked for decides how many lines there are."""


def listed(endpoint: Endpoint) -> bool:
    kind = getattr(endpoint.answer, "__origin__", endpoint.answer)
    fields = getattr(kind, "__struct_fields__", ())
    return endpoint.method == "GET" and "items" in fields and endpoint.path != SUMS


LISTS = {endpoint.path: endpoint for endpoint in ENDPOINTS if listed(endpoint)}

PAGING = {"limit", "cursor", "format"}

FOUND: Mapping[str, Callable[[Any], str]] = {
    "/keys": lambda item: item["id"],
    "/quotas": lambda item: item["owner"],
    "/settings": lambda item: item["key"],
    "/plugins": lambda item: item["entry"],
}
"""What `find` is a part of, where it is not the name."""

TOLD: Mapping[tuple[str, str], Callable[[Any], Any]] = {
    ("/quotas", "state"): lambda item: limits.state_of(msgspec.convert(item, limits.LevelView)),
    ("/plugins", "kind"): lambda item: item["entry"].partition(".")[0],
    ("/settings", "only"): lambda item: "set" if item["origin"] != "default" else None,
}
"""What a filter looks at, where it is not the field of its name."""

ELSEWHERE = {"from", "to"}
"""Tried with what only some lists have; as is `state` of alerts, which is for those that the hub has open."""

FREE = {
    *(("/requests", name) for name in ("caller", "model", "provider")),
    *(("/audit", name) for name in ("actor", "action", "subject")),
    *(("/faults", name) for name in ("provider", "key", "model")),
    *(("/alerts/mutes", name) for name in ("subject", "by")),
}
"""Names that may have been, or may come: nothing is known of what they can be."""


def identity(item: Mapping[str, Any]) -> str:
    """What tells an item from all others of its list, and does not change."""
    return str(next(item[name] for name in ("id", "number", "entry", "key", "name") if name in item))


async def told(browser: Browser, path: str, status: int = 200, **asked: object) -> Any:
    answer = await browser.ask("GET", f"{ROOT}{path}?{urlencode(asked)}")
    assert answer.status == status, await answer.text()
    return await answer.json()


async def walked(browser: Browser, path: str, limit: int = 1, **asked: object) -> list[str]:
    found, cursor = [], ""
    while True:
        page = await told(browser, path, limit=limit, cursor=cursor, **asked)
        assert len(page["items"]) == limit or page["next"] is None
        found += map(identity, page["items"])
        cursor = page["next"]
        if not cursor:
            return found


@pytest.fixture
async def house(open_house: OpenHouse) -> AsyncIterator[House]:
    async with open_house(CONFIG + MORE) as house:
        accounts = Accounts(people_of(house))
        for role in ("viewer", "admin", "owner"):
            await accounts.add(role, role, PASSWORD)  # type: ignore[arg-type]
        accounts.close()
        await house.hub.store.append(records())
        yield house


@pytest.fixture
async def ann(house: House, browser: MakeBrowser) -> Browser:
    """An owner, of a hub in which every list has something."""
    ann = await browser("owner")
    for path, each in (
        ("/admin-tokens", {"name": "one", "role": "viewer"}),
        ("/admin-tokens", {"name": "two", "role": "admin"}),
        ("/alerts/mutes", {"rule": "key_invalid", "seconds": 7200}),
        ("/alerts/mutes", {"subject": "token:batch", "seconds": 3600}),
        ("/faults", {"provider": "echo", "key": "main", "kind": "overloaded", "lasts": 600}),
        ("/faults", {"provider": "echo", "model": "small", "kind": "reset", "lasts": 600}),
        ("/providers", {"name": "stored", "kind": "echo"}),
        ("/routes", {"model": "stored", "deployments": [{"provider": "stored", "model": "x"}]}),
        ("/tokens", {"name": "stored"}),
        ("/keys", {"provider": "stored", "name": "k", "secret": "sk-k-0123456789abcdef"}),
    ):
        answer = await ann.ask("POST", ROOT + path, json=each)
        assert answer.status == 200, await answer.text()
    for id, taken in (("group:Second/org-b:", 1), ("token:game-server:", 55)):
        limit = next(each.limit for each in limits._all(house.hub).values() if each.limit.id.startswith(id))
        assert limit.kind == "requests"
        await house.hub.quota.reserve([limit], Amount(requests=taken), 600)
    alerts = house.hub.store.alerts
    assert alerts is not None
    for number in range(3):
        alert = Alert(f"a-{number}", "key_invalid", f"key:echo/{number}", "error", "w", "a", "keys", NOON + number)
        await alerts.open_alert(replace(alert, recovered_at=NOON + 60))
    await everywhere(house, "/keys", lambda page: any(item["id"] == "stored/k" for item in page["items"]))
    await everywhere(house, "/faults", lambda page: len(page["items"]) == 2)
    await everywhere(house, "/alerts/mutes", lambda page: len(page["items"]) == 2)
    return ann


def test_every_list_can_be_asked_for_page_by_page() -> None:
    assert len(LISTS) == 15
    for path, endpoint in LISTS.items():
        fields = {field.encode_name: field for field in msgspec.structs.fields(endpoint.asked)}
        assert fields.keys() >= PAGING, f"{path} cannot be asked for page by page"
        assert fields["limit"].type is Limit, path


async def test_the_description_tells_how(ann: Browser) -> None:
    paths = (await told(ann, "/openapi.json"))["paths"]
    for path in LISTS:
        shapes = {each["name"]: each["schema"] for each in paths[ROOT + path]["get"]["parameters"]}
        assert (shapes["limit"]["minimum"], shapes["limit"]["maximum"]) == (1, MOST), path
        assert set(shapes["format"]["enum"]) == {"json", "csv"}, path


async def test_pages_joined_are_the_whole(ann: Browser) -> None:
    for path in LISTS:
        whole = [identity(item) for item in (await told(ann, path, limit=MOST))["items"]]
        assert len(whole) >= (1 if path == "/alerts/channels" else 2), path
        assert len({*whole}) == len(whole) or path == "/settings", path
        limit = 7 if len(whole) > 30 else 1
        assert await walked(ann, path, limit) == whole, path


async def test_the_shorter_lists_come_whole_unless_said_otherwise(ann: Browser) -> None:
    for path in LISTS.keys() - {"/requests", "/audit", "/alerts"}:
        one, most = await told(ann, path), await told(ann, path, limit=MOST)
        assert [*map(identity, one["items"])] == [*map(identity, most["items"])], path


@pytest.mark.parametrize("path", LISTS)
async def test_a_filter_gives_exactly_those(ann: Browser, path: str) -> None:
    whole = (await told(ann, path, limit=MOST))["items"]
    described = (await told(ann, "/openapi.json"))["paths"][ROOT + path]["get"]["parameters"]
    for name in {each["name"] for each in described} - PAGING - ELSEWHERE - {"find"}:
        if (path, name) == ("/alerts", "state"):
            continue
        look = TOLD.get((path, name), lambda item, name=name: item[name])
        values = {look(item) for item in whole} - {None, ""}
        assert values, f"{path}: nothing to filter by {name}"
        for value in values:
            asked = {name: str(value).lower() if isinstance(value, bool) else value}
            there = [identity(item) for item in whole if look(item) == value]
            assert [*map(identity, (await told(ann, path, limit=MOST, **asked))["items"])] == there, asked
            if len(there) < 30:
                assert await walked(ann, path, 1, **asked) == there, asked
        if (path, name) not in FREE:
            await told(ann, path, 400, **{name: "colourless"})


@pytest.mark.parametrize("path", [path for path, each in LISTS.items() if "find" in each.asked.__struct_fields__])
async def test_a_part_of_the_name_finds(ann: Browser, path: str) -> None:
    look = FOUND.get(path, lambda item: item["name"])
    whole = (await told(ann, path))["items"]
    part = look(whole[0])[1:].swapcase()
    there = [identity(item) for item in whole if part.casefold() in look(item).casefold()]
    assert len(there) >= 1
    assert [*map(identity, (await told(ann, path, find=part))["items"])] == there
    assert (await told(ann, path, find="nobody is called so")) == {"items": [], "next": None}


def test_the_lists_that_can_be_long_are_searched() -> None:
    found = {path for path, each in LISTS.items() if "find" in each.asked.__struct_fields__}
    assert found >= {"/providers", "/keys", "/routes", "/tokens", "/users", "/quotas", "/settings", "/plugins"}


async def test_what_cannot_be_meant_is_refused(ann: Browser) -> None:
    of_another = (await told(ann, "/settings", limit=1))["next"]
    for path in LISTS:
        for asked in (
            {"limit": 0}, {"limit": MOST + 1}, {"limit": "x"}, {"limit": "1e9"}, {"cursor": "%%%"}, {"cursor": "ä"},
            {"cursor": "AAAA"}, {"cursor": "W10"}, {"cursor": "WzFd"}, {"colour": "red"}, {"format": "xml"},
            {"cursor": of_another} if path != "/settings" else {"only": "unset"},
        ):  # fmt: skip
            error = (await told(ann, path, 400, **asked))["error"]
            assert error["code"] == "invalid_request"
            if "cursor" in asked:
                assert error["message"] == "The cursor is none of ours."
            if "limit" in asked and isinstance(asked["limit"], int):
                assert error["message"] == f"limit must be from 1 to {MOST}."


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("/keys", {"state": "resting"}, 'state cannot be "resting"; there is active, cooling, disabled, exhausted and'),
        ("/keys", {"provider": "ecco"}, 'provider cannot be "ecco"; did you mean "echo"?'),
        ("/providers", {"kind": "ecco"}, 'kind cannot be "ecco"; did you mean "echo"?'),
        ("/quotas", {"owner": "token game-serve"}, 'did you mean "token game-server"?'),
        ("/users", {"role": "ownr"}, 'role cannot be "ownr"; did you mean "owner"?'),
        ("/alerts/mutes", {"rule": "key_inwalid"}, 'did you mean "key_invalid"?'),
        ("/requests", {"format": "xml"}, 'format cannot be "xml"; there is csv and json.'),
    ],
)
async def test_a_filter_that_cannot_be_tells_what_could(
    ann: Browser, path: str, asked: dict[str, str], said: str
) -> None:
    assert said in (await told(ann, path, 400, **asked))["error"]["message"]


async def test_csv_has_the_same_page(ann: Browser) -> None:
    for path in LISTS:
        page = await told(ann, path, limit=2)
        answer = await ann.ask("GET", f"{ROOT}{path}?limit=2&format=csv")
        rows = list(csv.DictReader(io.StringIO(await answer.text())))
        assert [identity(row) for row in rows] == [identity(item) for item in page["items"]], path
        assert [*rows[0]] == [*page["items"][0]], path
        assert answer.headers.get("x-next-cursor") == page["next"], path


ADDED = (
    ("/users", "name", lambda name: {"name": name, "role": "viewer"}, "id"),
    ("/tokens", "name", lambda name: {"name": name}, "name"),
    ("/keys", "id", lambda name: {"provider": "stored", "name": name, "secret": f"sk-{name}-0123456789abcdef"}, "id"),
)


@pytest.mark.parametrize(("path", "named", "made", "id"), ADDED, ids=[each[0] for each in ADDED])
async def test_what_comes_and_goes_moves_nothing(
    house: House, ann: Browser, path: str, named: str, made: Callable[[str], Any], id: str
) -> None:
    """Between two pages the last that was shown goes, and others come before it and after it."""
    names = ["m1", "m2", "m3", "m4"]
    for name in names:
        assert (await ann.ask("POST", ROOT + path, json=made(name))).status == 200
    await everywhere(house, path, lambda page: sum(item[named].endswith(("m1", "m4")) for item in page["items"]) == 2)
    before = [*map(identity, (await told(ann, path))["items"])]
    shown, cursor = [], ""
    while not (shown and shown[-1][named].endswith("m2")):
        page = await told(ann, path, limit=1, cursor=cursor)
        shown, cursor = [*shown, *page["items"]], page["next"]
    gone = shown[-1]
    parts = "/".join(quote(part, safe="") for part in gone[id].split("/"))
    assert (await ann.ask("DELETE", f"{ROOT}{path}/{parts}", json={})).status == 200
    for name in ("m0", "m5"):
        assert (await ann.ask("POST", ROOT + path, json=made(name))).status == 200
    await everywhere(
        house, path, lambda page: {item[named][-2:] for item in page["items"]} & {"m0", "m2", "m5"} == {"m0", "m5"}
    )
    rest = (await told(ann, path, cursor=cursor))["items"]
    joined = [identity(item) for item in (*shown, *rest)]
    assert len({*joined}) == len(joined)
    assert [each for each in joined if each in before] == before  # m2 is told once, from when it was there
    assert [item[named][-2:] for item in rest if item[named][-2:] in ("m0", "m3", "m4", "m5")] == ["m3", "m4", "m5"]


@pytest.mark.alone
async def test_only_what_is_shown_is_asked_where_it_stands(
    house: House, ann: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten thousand keys the limits of a page are looked up."""
    asked: list[str] = []
    levels = limits._levels

    async def watched(hub: Hub, wanted: Any) -> Any:
        wanted = [*wanted]
        asked.extend(each.id for each in wanted if isinstance(each, AnyLimit))
        return await levels(hub, wanted)

    monkeypatch.setattr(limits, "_levels", watched)
    for path, query, most in (
        ("/keys", {"provider": "echo", "find": "main"}, 3),
        ("/keys", {"limit": 1}, 1),
        ("/tokens", {"find": "batch"}, 1),
        ("/quotas", {"limit": 1}, 1),
        ("/quotas", {"owner": "token batch"}, 1),
        ("/quotas", {"owner": "token batch", "state": "fine"}, 1),
    ):
        asked.clear()
        assert (await told(ann, path, **query))["items"]
        assert 1 <= len({*asked}) <= most, (path, asked)

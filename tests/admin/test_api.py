"""The admin API: who may do what, what it answers, and that it describes itself as it is."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import time
from dataclasses import replace
from typing import Any

import jsonschema
import msgspec
import pytest
from aiohttp import web
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse, spoil

from llmhub_core.admin import past
from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.api import ENDPOINTS, ROOT, Endpoint
from llmhub_core.admin.doors import Policy
from llmhub_core.admin.scripts import NewAdminToken, made
from llmhub_core.app import make_app
from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.contracts.people import USER_ROLES, AuditEntry
from llmhub_core.hub import tokens
from llmhub_core.hub.hub import Hub
from llmhub_core.testing.house import House
from llmhub_core.testing.records import NOON, a_record, records

WHO = (None, *USER_ROLES)


async def got(browser: Browser, path: str, status: int = 200) -> Any:
    answer = await browser.ask("GET", ROOT + path)
    assert answer.status == status, await answer.text()
    return await answer.json()


def address(endpoint: Endpoint) -> str:
    path = endpoint.path.replace("{provider}", "echo").replace("{key}", "main")
    path = path.replace("{id}", "r-1" if path.startswith("/requests") else "nobody")
    return ROOT + path + ("?model=fast" if (endpoint.method, endpoint.path) == ("GET", "/explain") else "")


def about_nobody(endpoint: Endpoint) -> bool:
    """Whether it asks for something that is not there, so that who may pass changes nothing."""
    return "{id}" in endpoint.path and not endpoint.path.startswith("/requests")


# --- who may


def routes(hub: Hub) -> list[Any]:
    return list(make_app(hub).router.routes())


async def _asked(request: web.Request) -> web.Response:
    raise NotImplementedError


async def test_every_route_says_who_may_pass(house: House) -> None:
    """Generated from the live router: a route of the control plane without a policy cannot be added unseen."""
    hub = house.hub
    known = web.UrlDispatcher()
    for dialect in hub.dialects.values():
        for path in (*dialect.paths, *dialect.models_paths, *(f"{each}/{{model:.+}}" for each in dialect.models_paths)):
            known.add_get(path, _asked)
    gateway = {resource.canonical for resource in known.resources()}
    absent = {path for dialect in hub.dialects.values() for path in dialect.absent}
    gateway |= {"/healthz", "/readyz", "/metrics"}
    guarded = 0
    for route in routes(hub):
        path = route.resource.canonical
        policy = getattr(route.handler, "policy", None)
        if path in gateway or path.startswith("/static/"):
            assert policy is None
            assert route.method in ("GET", "POST")
        elif path in absent:
            assert policy is None  # answers nothing but that it is not there, whatever the method
        else:
            assert isinstance(policy, Policy), f"{route.method} {path} lets anybody pass"
            guarded += 1
    assert guarded > len(ENDPOINTS)


async def test_what_is_open_to_anybody_is_known(house: House) -> None:
    free = {
        f"{route.method} {route.resource.canonical}"
        for route in routes(house.hub)
        if getattr(route.handler, "policy", Policy("owner")).role is None
    }
    assert free == {
        "POST /admin/api/session", "GET /admin/api/session", "GET /admin/api/setup", "POST /admin/api/setup",
        "* /admin/api/{rest}", "GET /", "GET /sign-in", "POST /sign-in", "GET /setup", "POST /setup",
    }  # fmt: skip


CREDENTIALS = ("session", "token", "session without csrf", "stale token", "client token", "digest of a token")


def rank(who: str | None) -> int:
    return -1 if who is None else USER_ROLES.index(who)  # type: ignore[arg-type]


async def as_scripts_do(house: House, browser: Browser, who: str | None, credential: str) -> Browser:
    """Without cookies: what is presented instead."""
    token, text = made(NewAdminToken(name="ci", role=who or "owner"), None)  # type: ignore[arg-type]
    if credential == "stale token":
        token = replace(token, until=1.0)
    await people_of(house).add_admin_token(token)
    presented = {"client token": tokens.mint(), "digest of a token": f"lha-{token.digest}"}.get(credential, text)
    browser.always = {"authorization": f"Bearer {presented}"}
    return browser


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("who", WHO, ids=str)
async def test_the_matrix(house: House, browser: MakeBrowser, who: Any, credential: str) -> None:
    """Every call × every method × everybody × what is presented: what is allowed, and nothing else."""
    await house.hub.store.append([a_record("r-1", arrived_at=time.time())])  # old ones are forgotten
    mismatches = []
    calls = {endpoint.path for endpoint in ENDPOINTS}
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    if "session" in credential:
        visitor = await browser(who or "")
        if credential != "session":
            visitor.csrf = ""
    else:
        if who is None:
            pytest.skip("somebody's token")
        visitor = await as_scripts_do(house, await browser(), who, credential)
    if credential not in ("session", "session without csrf", "token"):
        who = None
    bad_token = credential in ("stale token", "digest of a token")
    for path in sorted(calls):
        known = {endpoint.method: endpoint for endpoint in ENDPOINTS if endpoint.path == path}
        for method in methods:
            endpoint = known.get(method) or next(iter(known.values()))
            if (method, path) in (("DELETE", "/session"), ("GET", "/events")) and who:
                continue  # these end something, and are tried elsewhere
            json_body = {} if method != "GET" else None
            answer = await visitor.ask(method, address(endpoint), json=json_body)
            needs_csrf = credential == "session without csrf" and who is not None and method != "GET"
            if bad_token:
                wanted = {401}
            elif needs_csrf and (method not in known or endpoint.role is None):
                wanted = {403}
            elif method not in known:
                wanted = {405}
            elif endpoint.role is not None and who is None:
                wanted = {401}
            elif endpoint.role is not None and (rank(who) < rank(endpoint.role) or needs_csrf):
                wanted = {403}
            elif endpoint.role is None:
                wanted = {400} if method == "POST" else ({200} if who or path == "/setup" else {401})
            elif about_nobody(endpoint):
                wanted = {400, 404}
            elif "{provider}" in path and method in ("PATCH", "DELETE"):
                wanted = {400, 409}  # the file's
            elif credential == "token" and path == "/session/password":
                wanted = {400, 403}
            else:
                wanted = {400} if endpoint.sent is not None and not endpoint.may_be_empty else {200}
            if answer.status not in wanted:
                mismatches.append((method, path, answer.status, wanted))
    assert mismatches == []


async def test_a_refusal_is_noted(house: House, browser: MakeBrowser) -> None:
    viewer = await browser("viewer")
    await got(viewer, "/audit", 403)
    entry = (await people_of(house).audit(1))[0]
    assert (entry.actor, entry.action, entry.subject, entry.result) == (
        "viewer", "forbidden", "GET api.audit.get", "refused"
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/admin/api", "/admin/api/", "/admin/api/keys/", "/admin/api//keys", "/admin/api/KEYS",
             "/admin/api/%6beys/", "/admin/api/../api/keysx"],
)  # fmt: skip
async def test_odd_paths_open_nothing(browser: MakeBrowser, path: str) -> None:
    answer = await (await browser()).ask("GET", path)
    assert answer.status in (401, 404)


async def test_every_answer_has_its_headers(browser: MakeBrowser) -> None:
    for visitor in (await browser(), await browser("owner")):
        for path in ("/admin/api/keys", "/admin/api/nothing", "/admin/api/requests/none", "/sign-in", "/", "/requests"):
            answer = await visitor.ask("GET", path)
            headers = answer.headers
            assert headers["cache-control"] == "no-store", path
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "aiohttp" not in str(headers).lower()


# --- what it answers


async def call_echo(house: House, browser: Browser, times: int = 1) -> None:
    for _ in range(times):
        body = {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}
        async with browser.session.post(house.url + "/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            await answer.read()
    await house.records()


async def test_a_request_is_seen_in_every_place(house: House, browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    await call_echo(house, ann, 3)
    page = await got(ann, "/requests")
    assert (len(page["items"]), page["next"]) == (3, None)
    line = page["items"][0]
    assert (line["model"], line["provider"], line["served_model"], line["key"], line["outcome"]) == (
        "fast", "echo", "small", "main", "served"
    )  # fmt: skip
    one = await got(ann, f"/requests/{line['id']}")
    assert [(each["provider"], each["key"], each["reason"]) for each in one["tried"]] == [("echo", "main", "ok")]
    assert one["cost"] == line["cost"] > 0
    used = await got(ann, "/usage?by=provider,model&from=2h")
    assert [(row["group"], row["requests"]) for row in used["items"]] == [(["echo", "fast"], 3)]
    assert used["total"]["requests"] == 3
    levels = {level["id"]: level for level in (await got(ann, "/quotas"))["items"]}
    assert levels["key:echo/main:requests/60"]["used"] == 3
    assert levels["key:echo/main:requests/60"]["left"] == 57
    assert {level["owner"] for level in levels.values()} == {"key echo/main", "token game-server"}
    health = await got(ann, "/health")
    assert health["problems"] == []
    assert [(each["name"], each["state"], each["requests"]) for each in health["providers"]] == [("echo", "active", 3)]
    (deployment,) = [each for each in health["providers"][0]["deployments"] if each["key"] == "main"]
    assert (deployment["state"], deployment["attempts"]) == ("active", 3)
    assert deployment["first_token_ms"] > 0
    await got(ann, "/requests/none", 404)


async def test_no_answer_holds_a_secret(house: House, browser: MakeBrowser) -> None:
    ann = await browser("owner")
    await call_echo(house, ann)
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET" and endpoint.path != "/events" and not about_nobody(endpoint):
            text = await (await ann.ask("GET", address(endpoint))).text()
            for secret in (
                "sk-canary-0123456789",
                "sk-other-0123",
                "0" * 64,
                "bcrypt-hmac",
                "storage.metadata: sqlite",
            ):
                assert secret not in text, endpoint.path
    keys = {key["id"]: key["hint"] for key in (await got(ann, "/keys"))["items"]}
    assert keys == {"echo/main": "WXYZ", "echo/spare": "cdef"}
    settings = {each["key"]: each for each in (await got(ann, "/settings"))["items"]}
    assert settings["providers[echo].keys[main].secret"]["value"] == "***"
    assert settings["server.drain"] | {"help": ""} == {
        "key": "server.drain", "value": 30.0, "origin": "default", "where": "", "secret": False, "help": "",
        "unit": "seconds",
    }  # fmt: skip


@pytest.mark.alone
async def test_each_setting_tells_where_it_comes_from(open_house: OpenHouse, browser: MakeBrowser) -> None:
    async with open_house(CONFIG + "[server]\nport = 8090\n", {"LLMHUB_SERVER__DRAIN": "7"}) as house:
        accounts = Accounts(people_of(house))
        await accounts.add("ann", "admin", PASSWORD)
        accounts.close()
        ann = await browser("", house.url)
        assert (await ann.sign_in("ann")).status == 200
        for path, sent in (
            ("/providers", {"name": "more", "kind": "echo", "models": ["m"]}),
            ("/keys", {"provider": "echo", "name": "k1", "secret": "sk-stored-0123456789abcdef", "weight": 3}),
            ("/routes/fast/disable", {}),
        ):
            assert (await ann.ask("POST", ROOT + path, json=sent)).status == 200
        told = {each["key"]: each for each in (await got(ann, "/settings"))["items"]}
        wanted = {
            "server.drain": ("environment", "LLMHUB_SERVER__DRAIN"),
            "server.port": ("file", "config.toml:25"),
            "server.host": ("default", ""),
            "providers[echo].kind": ("file", "config.toml:4"),
            "providers[echo].keys[main].limits.rpm": ("file", "config.toml:8"),
            "providers[echo].keys[main].limits.rpd": ("default", ""),
            "providers[echo].keys[k1].weight": ("stored", ""),
            "providers[echo].keys[k1].priority": ("default", ""),
            "providers[echo].keys[k1].secret": ("stored", ""),
            "providers[more].models": ("stored", ""),
            "routes[fast].disabled": ("stored", ""),
            "routes[fast].strategy": ("default", ""),
            "routes[fast].deployments[echo/small].input_price": ("file", "config.toml:16"),
        }
        assert {key: (told[key]["origin"], told[key]["where"]) for key in wanted} == wanted
        assert told["providers[echo].keys[k1].secret"]["value"] == "***"


@pytest.mark.everywhere
async def test_a_key_that_is_out_is_told_and_can_be_reset(house: House, browser: MakeBrowser) -> None:
    ann = await browser("admin")
    await call_echo(house, ann)
    await spoil(house, "main", UpstreamDenied("no").said(status=401, code="invalid_api_key"))
    await spoil(house, "spare", UpstreamLimited("slow", retry_after=90))
    keys = {key["name"]: key for key in (await got(ann, "/keys"))["items"]}
    assert (keys["main"]["state"], keys["main"]["reason"], keys["main"]["until"]) == (
        "invalid",
        "invalid_api_key",
        None,
    )
    assert keys["spare"]["state"] == "cooling"
    assert 60 < keys["spare"]["until"] - time.time() < 91
    health = await got(ann, "/health")
    assert [problem["severity"] for problem in health["problems"]] == ["error", "note"]
    assert health["providers"][0]["state"] == "out"
    plan = await got(ann, "/explain?model=fast")
    assert plan["candidates"] == []
    assert {each["candidate"] for each in plan["left_out"]} == {"echo/small#main", "echo/small#spare"}
    answer = await ann.ask("POST", ROOT + "/keys/echo/main/reset")
    assert (answer.status, (await answer.json())["state"]) == (200, "active")
    entry = (await people_of(house).audit(1))[0]
    assert (entry.actor, entry.action, entry.subject) == ("admin", "key.reset", "echo/main")
    assert (json.loads(entry.before)["state"], json.loads(entry.after)["state"]) == ("invalid", "active")
    assert [each["candidate"] for each in (await got(ann, "/explain?model=fast"))["candidates"]] == ["echo/small#main"]
    assert (await ann.ask("POST", ROOT + "/keys/echo/nothing/reset")).status == 404


async def test_explaining_takes_no_turn_and_knows_its_words(house: House, browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    first, second = [await got(ann, "/explain?model=fast&dialect=anthropic") for _ in range(2)]
    assert first == second
    assert [each["candidate"] for each in first["candidates"]] == ["echo/small#main", "echo/small#spare"]
    sent = await ann.ask("POST", ROOT + "/explain", json={"model": "fast", "dialect": "anthropic"})
    assert await sent.json() == first
    sent = await ann.ask("POST", ROOT + "/explain", json={"model": "fast", "token": "game-server"})
    assert (await sent.json())["candidates"] == first["candidates"]
    await got(ann, "/explain?model=fast&token=nobody", 404)
    await got(ann, "/explain?model=" + "x" * 300, 404)
    assert "Choose from" in (await got(ann, "/explain?model=fast&dialect=latin", 400))["error"]["advice"]


LOSSY = """
[[providers]]
name = "claude"
kind = "anthropic"
keys = [{ name = "k", secret = "sk-a", limits = { tpm = 5000 } }]
[[providers]]
name = "local"
kind = "openai_compatible"
base_url = "http://127.0.0.1:9/v1"
keys = [{ name = "small", secret = "", priority = 2, limits = { tpm = 100 } }, { name = "k", secret = "" }]
[[routes]]
model = "mixed"
affinity = "session"
deployments = [{ provider = "claude", model = "claude-haiku-4-5" }, { provider = "local", model = "m" }]
[[tokens]]
name = "narrow"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
models = ["mixed"]
limits = { rpm = 60 }
"""


async def test_explaining_a_request_shows_its_losses_its_tokens_and_its_limits(browser: MakeBrowser) -> None:
    async with House(LOSSY) as house:
        accounts = Accounts(people_of(house))
        await accounts.add("viewer", "viewer", PASSWORD)
        accounts.close()
        ann = await browser("viewer", house.url)
        messages = [{"role": "user", "content": "Hello"}]
        request = {"model": "mixed", "messages": messages, "logit_bias": {"50256": -1}, "max_tokens": 500}

        async def tried(status: int = 200, **asked: Any) -> Any:
            answer = await ann.ask("POST", ROOT + "/explain", json=asked)
            assert answer.status == status, await answer.text()
            return await answer.json()

        plain = await tried(model="mixed")
        assert plain["candidates"][0]["candidate"] == "claude/claude-haiku-4-5#k"
        assert (plain["tokens"], plain["candidates"][0]["lost"]) == (None, [])
        shown = await tried(request=request, token="narrow")
        # What Claude's format cannot say is asked of the other one first; what does not fit into a limit is left out.
        assert [each["candidate"] for each in shown["candidates"]] == ["local/m#k", "claude/claude-haiku-4-5#k"]
        assert "logit_bias=dropped" in shown["candidates"][1]["lost"]
        assert 500 < shown["tokens"] < 600
        (fit,) = shown["candidates"][1]["limits"]
        assert (fit["kind"], fit["needs"], fit["left"], fit["fits"]) == ("tokens", shown["tokens"], 5000, True)
        left_out = {each["candidate"]: each["why"] for each in shown["left_out"]}
        assert "100 tokens in 60 s, never for a request of this size" in left_out["local/m#small"]
        assert "loss" in left_out["claude/claude-haiku-4-5#k"]
        assert [(each["kind"], each["needs"], each["left"]) for each in shown["caller_limits"]] == [("requests", 1, 60)]
        claude = {"model": "mixed", "max_tokens": 50, "messages": messages}
        same = await tried(dialect="anthropic", request=claude)
        assert same["candidates"][0]["candidate"] == "claude/claude-haiku-4-5#k"
        assert same["candidates"][0]["lost"] == []
        gemini = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
        assert (await tried(dialect="gemini", model="mixed", request=gemini))["tokens"] > 1000
        assert (await tried(400, request={"model": "mixed"}))["error"]["code"] == "missing_field"
        assert "Give a model" in (await tried(400))["error"]["advice"]
        assert (await tried(403, token="narrow", model="local/m"))["error"]["code"] == "model_not_allowed"
        level = next(each for each in (await got(ann, "/quotas"))["items"] if each["owner"] == "key claude/k")
        assert (level["used"], level["reserved"]) == (0, 0)

        form = {"model": "", "dialect": "openai_chat", "request": json.dumps(request), "csrf": ann.csrf}
        page = await ann.session.post(house.url + "/dry-run", data=form, headers={"origin": house.url})
        text = await page.text()
        assert page.status == 200, text
        assert "adapted: logit_bias=dropped" in text
        assert "It would reserve" in text
        wrong = await ann.session.post(
            house.url + "/dry-run", data={**form, "request": "{"}, headers={"origin": house.url}
        )
        assert (wrong.status, "This is no JSON object." in await wrong.text()) == (400, True)


# --- lists


async def test_pages_follow_each_other_and_filters_hold(house: House, browser: MakeBrowser) -> None:
    batch = [a_record(f"r-{n:03}", arrived_at=NOON + n // 3, caller=f"c{n % 2}") for n in range(100)]
    await house.hub.store.append(batch)
    ann = await browser("viewer")
    seen, cursor = [], ""
    while True:
        page = await got(ann, f"/requests?caller=c1&limit=7&cursor={cursor}")
        seen += [line["id"] for line in page["items"]]
        if (cursor := page["next"]) is None:
            break
    wanted = sorted(
        (one for one in batch if one.caller == "c1"), key=lambda one: (one.arrived_at, one.id), reverse=True
    )
    assert seen == [one.id for one in wanted]
    assert (await got(ann, "/requests?outcome=failed"))["items"] == []
    assert len((await got(ann, f"/requests?from={NOON}&to={NOON + 2}&limit=500"))["items"]) == 6


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "cursor=%%%", "cursor=AAAA", "outcome=lost", "from=yesterday", "colour=red",
     "format=xml", "from=2026-13-45", "caller=a&limit=1e9"],
)  # fmt: skip
async def test_a_query_that_cannot_be_used_says_what_could(browser: MakeBrowser, query: str) -> None:
    said = await got(await browser("viewer"), f"/requests?{query}", 400)
    assert said["error"]["code"] == "invalid_request"
    assert said["error"]["message"]


async def test_usage_knows_its_words(browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    assert "provider, model" in (await got(ann, "/usage?by=colour", 400))["error"]["advice"]
    for by, said in (
        ("tag", "not summed by tag."),
        ("tag:", "not summed by tag:."),
        ("tag:a,tag:b", "one tag at a time"),
        ("model,tag:a", "not with other groups"),
    ):
        error = (await got(ann, f"/usage?by={by}", 400))["error"]
        assert said in error["message"]
        assert "tag:NAME" in error["advice"]
    assert (await got(ann, "/usage"))["total"]["requests"] == 0


async def test_usage_by_the_values_of_a_tag(house: House, browser: MakeBrowser) -> None:
    """From what callers sent with their requests."""
    ann = await browser("viewer")
    for tags in ("team=red,app=a:b", "team=red", "team=blue", ""):
        body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
        sent = {"x-llmhub-tags": tags} if tags else {}
        async with ann.session.post(house.url + "/v1/chat/completions", json=body, headers=sent) as answer:
            assert answer.status == 200
    await house.records()
    told = await got(ann, "/usage?by=tag:team&from=24h")
    assert told["by"] == ["tag:team"]
    assert [(line["group"], line["requests"]) for line in told["items"]] == [([""], 1), (["blue"], 1), (["red"], 2)]
    assert told["total"]["requests"] == 4
    assert [line["group"][1] for line in (await got(ann, "/usage?by=day,tag:app"))["items"]] == ["", "a:b"]
    text = await (await ann.ask("GET", "/usage?by=tag:team&from=24h")).text()
    assert re.search(r"<option[^>]*value=\"tag:team\" selected>tag team</option>", text)
    assert re.search(r"<option[^>]*value=\"tag:app\">tag app</option>", text)
    assert ">Tag team</th>" in text
    csv_rows = list(
        csv.reader(io.StringIO(await (await ann.ask("GET", f"{ROOT}/usage?by=tag:team&format=csv")).text()))
    )
    assert [row[:2] for row in csv_rows] == [["tag:team", "requests"], ["", "1"], ["blue", "1"], ["red", "2"]]


async def test_more_lines_of_usage_than_anybody_reads_are_refused(house: House, browser: MakeBrowser) -> None:
    """Whether they are of time or not; and as many as may be are given."""
    began = 1_750_000_000 // 86_400 * 86_400
    many = [
        a_record(f"many-{place}", arrived_at=began + 3600 * (place % 20), caller=f"one-{place // 20}")
        for place in range(past.MOST_ROWS)
    ]
    await house.hub.store.append(many)
    ann = await browser("viewer")
    span = f"from={began}&to={began + 86_400}"
    assert len((await got(ann, f"/usage?by=hour,caller&{span}"))["items"]) == past.MOST_ROWS
    more = [a_record(f"more-{place}", arrived_at=began + 60, caller=f"other-{place}") for place in range(19_001)]
    await house.hub.store.append(more)
    for by in ("hour,caller", "caller"):
        error = (await got(ann, f"/usage?by={by}&{span}", 400))["error"]
        assert error["message"] == "That would be more than 20,000 lines."
        assert "shorter time" in error["advice"]


async def test_lists_come_as_csv_without_formulas(house: House, browser: MakeBrowser) -> None:
    await house.hub.store.append(
        [*records(), a_record("r-9", model="=HYPERLINK(1)", caller="@x", key="+1", route="-1")]
    )
    ann = await browser("owner")
    for path in ("/requests", "/keys", "/quotas", "/usage", "/plugins", "/settings", "/audit"):
        answer = await ann.ask("GET", f"{ROOT}{path}?format=csv")
        assert answer.status == 200, path
        assert answer.content_type == "text/csv"
        rows = list(csv.reader(io.StringIO(await answer.text())))
        assert len({len(row) for row in rows}) == 1, path
        assert len(rows) > 1 or path == "/usage", path
        for row in rows[1:]:
            for cell in row:
                assert not cell.startswith(("=", "@", "+")), cell
                assert not cell.startswith("-") or cell[1:].replace(".", "").isdigit(), cell


async def test_the_audit_tells_whether_it_is_whole(house: House, browser: MakeBrowser) -> None:
    ann = await browser("owner")
    page = await got(ann, "/audit?limit=2")
    assert [entry["sound"] for entry in page["items"]] == [True, True]
    rest = await got(ann, f"/audit?cursor={page['next']}")
    assert rest["items"][-1]["number"] == 1
    async with house.hub.store._database._engine.begin() as connection:  # type: ignore[attr-defined]
        await connection.exec_driver_sql("DELETE FROM audit WHERE number = 2")
    sound = {entry["number"]: entry["sound"] for entry in (await got(ann, "/audit"))["items"]}
    assert sound[3] is False
    assert sound[1] is True
    checked = await got(ann, "/audit/check")
    assert (checked["sound"], checked["breaks"]) == (
        False, [{"number": 3, "what": "the entries before this one are missing: 2"}]
    )  # fmt: skip


async def test_the_whole_audit_is_looked_at(
    house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmhub_core.admin.audit.PAGE", 4)
    people = people_of(house)
    for number in range(20):
        await people.note(AuditEntry(NOON + number, "ann", "", "do", str(number)))
    ann = await browser("admin")
    whole = await got(ann, "/audit/check")
    assert (whole["sound"], whole["entries"], whole["breaks"]) == (True, whole["last"], [])
    last = (await people.audit(1))[0]
    assert (whole["last"], whole["last_digest"]) == (last.number, last.digest)
    remembered = f"/audit/check?number={last.number}&digest={last.digest}"
    assert (await got(ann, remembered))["sound"] is True

    async def tampered(statement: str) -> list[tuple[int, str]]:
        async with house.hub.store._database._engine.begin() as connection:  # type: ignore[attr-defined]
            await connection.exec_driver_sql(statement)
        checked = await got(ann, remembered)
        assert checked["sound"] is False
        return [(each["number"], each["what"]) for each in checked["breaks"]]

    changed = (9, "was changed after it was written")
    assert await tampered("UPDATE audit SET actor = 'eve' WHERE number = 9") == [changed]
    gone = (16, "the entries before this one are missing: 13 to 15")
    assert await tampered("DELETE FROM audit WHERE number IN (13, 14, 15)") == [changed, gone]
    start = (2, "the entries before this one are missing")
    assert await tampered("DELETE FROM audit WHERE number = 1") == [start, changed, gone]
    cut = (last.number, "and all after it were cut off")
    assert await tampered("DELETE FROM audit WHERE number = (SELECT max(number) FROM audit)") == [
        start,
        changed,
        gone,
        cut,
    ]


async def test_the_audit_is_asked_for_what_one_looks_for(house: House, browser: MakeBrowser) -> None:
    for number in range(5):
        await people_of(house).note(AuditEntry(NOON + number, f"u{number % 2}", "", "key.add", str(number)))
    ann = await browser("admin")
    page = await got(ann, "/audit?actor=u0&limit=2")
    assert [entry["subject"] for entry in page["items"]] == ["4", "2"]
    rest = await got(ann, f"/audit?actor=u0&limit=2&cursor={page['next']}")
    assert ([entry["subject"] for entry in rest["items"]], rest["next"]) == (["0"], None)
    assert len((await got(ann, f"/audit?from={NOON + 1}&to={NOON + 3}"))["items"]) == 2
    assert all(entry["sound"] for entry in page["items"])
    await got(ann, "/audit?result=lost", 400)


# --- it describes itself


async def test_answers_are_as_described(house: House, browser: MakeBrowser) -> None:
    await house.hub.store.append(records())
    ann = await browser("owner")
    described = await got(ann, "/openapi.json")
    assert described["openapi"].startswith("3.1")
    assert {f"{method.upper()} {path}" for path, item in described["paths"].items() for method in item} == {
        f"{endpoint.method} {ROOT}{endpoint.path}" for endpoint in ENDPOINTS
    }
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or endpoint.answer is None or about_nobody(endpoint):
            continue
        operation = described["paths"][ROOT + endpoint.path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        answer = await (await ann.ask("GET", address(endpoint))).json()
        jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(answer)
    refused = await (await (await browser()).ask("GET", ROOT + "/keys")).json()
    jsonschema.validate(refused, described["components"]["schemas"]["Error"])
    names = [parameter["name"] for parameter in described["paths"]["/admin/api/requests"]["get"]["parameters"]]
    assert sorted(names) == ["caller", "cursor", "format", "from", "limit", "model", "outcome", "provider", "to"]


# --- events


async def next_event(answer: Any) -> tuple[str, Any]:
    async with asyncio.timeout(15):
        lines = []
        while line := (await answer.content.readline()).decode().rstrip("\n"):
            lines.append(line)
    fields = dict(line.split(": ", 1) for line in lines)
    return fields["event"], msgspec.json.decode(fields["data"])


async def test_events_tell_what_changes_and_end_with_the_session(
    house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmhub_core.admin.events.EVERY", 0.05)
    ann = await browser("viewer")
    async with ann.session.get(house.url + ROOT + "/events") as answer:
        assert answer.content_type == "text/event-stream"
        kind, state = await next_event(answer)
        assert (kind, state["keys"]["echo/main"]["state"]) == ("state", "active")
        stats = next(each for each in house.hub.catalog.stats if each.candidate.key.name == "main")
        house.hub.pool.note(stats, UpstreamDenied("no"))
        kind, state = await next_event(answer)
        assert (kind, state["keys"]["echo/main"]["state"]) == ("state", "invalid")
        assert state["problems"][0]["severity"] == "error"
        user = await people_of(house).find_user("viewer")
        assert user is not None
        await people_of(house).end_sessions(user.id)
        assert (await next_event(answer))[0] == "end"
        assert await answer.content.read() == b""


async def test_streams_do_not_hold_up_the_end(browser: MakeBrowser) -> None:
    began = time.monotonic()
    ann = await browser("viewer")
    answer = await ann.session.get(ann.url + ROOT + "/events")
    await next_event(answer)
    answer.close()
    assert time.monotonic() - began < 20

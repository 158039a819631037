"""Providers, keys, routes and tokens by the API: true at once, checked as the file is, never telling a secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from browsers import CONFIG, Browser, MakeBrowser, people_of
from clusters import soon
from houses import COMPLETION

from llmhub_core.admin.api import ROOT
from llmhub_core.contracts import Entry
from llmhub_core.hub.vault import RootKey, Secret, Vault
from llmhub_core.hub.vault.opening import new_key
from llmhub_core.hub.vault.rotation import rotate
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

SECRET = "sk-stored-0123456789abcdef-QRST"
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


async def done(browser: Browser, method: str, path: str, status: int = 200, **sent: Any) -> Any:
    headers = sent.pop("headers", None)
    answer = await browser.ask(method, ROOT + path, json=sent if method != "GET" else None, headers=headers)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def refused(browser: Browser, method: str, path: str, status: int, **sent: Any) -> tuple[str, str]:
    error = (await done(browser, method, path, status, **sent))["error"]
    return error["code"], error["message"]


async def call(house: House, browser: Browser, model: str, token: str = "") -> tuple[int, str]:
    """The status, and who served it."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    body = {"model": model, **CHAT}
    async with browser.session.post(house.url + "/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-llmhub-served-by", "")


async def audited(house: House) -> tuple[str, str, str, Any, Any]:
    entry = (await people_of(house).audit(1))[0]
    before, after = (json.loads(text) if text else None for text in (entry.before, entry.after))
    return entry.actor, entry.action, entry.subject, before, after


@pytest.fixture
async def admin(browser: MakeBrowser) -> Browser:
    return await browser("admin")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        yield upstream


# --- from nothing to an answer


async def test_a_provider_its_key_and_a_route_serve_at_once(house: House, admin: Browser) -> None:
    made = await done(admin, "POST", "/providers", name="second", kind="echo", models=["tiny"])
    assert (made["origin"], made["kind"], made["problem"], made["settings"]) == (
        "stored", "echo", "", {"kind": "echo", "models": ["tiny"]}
    )  # fmt: skip
    key = await done(admin, "POST", "/keys", provider="second", name="k1", secret=SECRET, priority=3)
    assert (key["id"], key["state"], key["hint"], key["priority"]) == ("second/k1", "active", "QRST", 3)
    assert key["settings"] == {"priority": 3, "secret": "…QRST"}
    route = await done(admin, "POST", "/routes", model="a/name", deployments=[{"provider": "second", "model": "tiny"}])
    assert route["candidates"] == ["second/tiny#k1"]
    assert await call(house, admin, "a/name") == (200, "second/tiny")
    assert (await done(admin, "GET", "/routes/a%2Fname"))["name"] == "a/name"
    entry = await audited(house)
    assert entry[:3] == ("admin", "route.add", "a/name")
    everything = [each.after + each.before for each in await people_of(house).audit(100)]
    assert SECRET not in "".join(everything)
    assert [each["name"] for each in (await done(admin, "GET", "/providers"))["items"]] == ["echo", "second"]
    origins = {each["id"]: (each["origin"], each["where"]) for each in (await done(admin, "GET", "/keys"))["items"]}
    assert origins == {
        "echo/main": ("file", "config.toml:5"), "echo/spare": ("file", "config.toml:9"), "second/k1": ("stored", "")
    }  # fmt: skip


async def test_secrets_go_in_and_never_out(house: House, admin: Browser) -> None:
    await done(admin, "POST", "/keys", provider="echo", name="k1", secret=SECRET)
    for path in ("/keys", "/keys/echo/k1", "/providers", "/settings", "/audit", "/health", "/quotas"):
        text = await (await admin.ask("GET", ROOT + path)).text()
        assert SECRET not in text, path
        assert "sk-canary" not in text, path
    async with house.hub.store._database._engine.connect() as connection:  # type: ignore[attr-defined]
        rows = (await connection.exec_driver_sql("SELECT * FROM configuration")).all()
    assert SECRET not in str(rows)
    assert "lhv1." in str(rows)


async def test_a_masked_secret_sent_back_changes_nothing(house: House, admin: Browser) -> None:
    key = await done(admin, "POST", "/keys", provider="echo", name="k1", secret=SECRET)
    same = await done(admin, "PATCH", "/keys/echo/k1", **key["settings"])
    assert same["revision"] == key["revision"]
    for seen in ("***", "…QRST", SECRET):
        changed = await done(admin, "PATCH", "/keys/echo/k1", secret=seen, weight=1)
        assert changed["hint"] == "QRST"
    assert (await refused(admin, "PATCH", "/keys/echo/k1", 400, secret="…ABCD"))[0] == "invalid_request"
    assert (await refused(admin, "POST", "/keys", 400, provider="echo", name="k2", secret="***"))[0]
    other = await done(admin, "PATCH", "/keys/echo/k1", secret="sk-another-0123456789-WXYZ0", priority=7)
    assert (other["hint"], other["priority"], other["weight"]) == ("XYZ0", 7, 1)
    _, action, subject, before, after = await audited(house)
    assert (action, subject, before["secret"], after["secret"]) == ("key.change", "echo/k1", "…QRST", "…XYZ0")
    back = await done(admin, "PATCH", "/keys/echo/k1", priority=None)
    assert back["priority"] == 1


async def test_only_the_host_may_name_where_a_secret_lies(admin: Browser) -> None:
    for reference in ("env:HOME", "file:/etc/passwd"):
        code, message = await refused(admin, "POST", "/keys", 400, provider="echo", name="x", secret=reference)
        assert code == "invalid_request"
        assert "host" in message
    assert "echo/x" not in str(await done(admin, "GET", "/keys"))


async def test_keys_are_not_sent_elsewhere_by_an_admin(browser: MakeBrowser, admin: Browser) -> None:
    await done(admin, "POST", "/providers", name="far", kind="openai_compatible", base_url="http://127.0.0.1:9/v1")
    await done(admin, "PATCH", "/providers/far", base_url="http://127.0.0.1:8/v1")
    await done(admin, "POST", "/keys", provider="far", name="k1", secret=SECRET)
    code, _ = await refused(admin, "PATCH", "/providers/far", 403, base_url="http://127.0.0.1:7/v1")
    assert code == "keys_at_stake"
    await done(admin, "PATCH", "/providers/far", models=["m"])
    owner = await browser("owner")
    changed = await done(owner, "PATCH", "/providers/far", base_url="http://127.0.0.1:7/v1")
    assert changed["settings"]["base_url"] == "http://127.0.0.1:7/v1"


HOSTS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"kind": "openai"}, {"base_url": "http://127.0.0.1:7/v1"}),
    ({"kind": "openai_compatible", "preset": "azure", "account": "ours"}, {"account": "theirs"}),
    ({"kind": "openai_compatible", "preset": "groq"}, {"preset": "mistral"}),
    ({"kind": "bedrock", "region": "eu-west-1"}, {"region": "us-east-1"}),
    ({"kind": "vertex", "project": "p-1"}, {"location": "europe-west4"}),
    ({"kind": "vertex", "project": "p-1"}, {"kind": "openai"}),
)


@pytest.mark.parametrize(("made", "moved"), HOSTS, ids=[f"{a['kind']} {next(iter(b))}" for a, b in HOSTS])
async def test_whatever_moves_the_host_of_keys_is_an_owners(
    browser: MakeBrowser, admin: Browser, made: dict[str, Any], moved: dict[str, Any]
) -> None:
    await done(admin, "POST", "/providers", name="far", **made)
    await done(admin, "POST", "/keys", provider="far", name="k1", secret=f"id:{SECRET}")
    assert (await refused(admin, "PATCH", "/providers/far", 403, **moved))[0] == "keys_at_stake"
    page = await admin.form("/providers/far", _form(made, moved))
    assert page.status == 403
    assert "An owner may do that" in await page.text()
    assert (await done(admin, "GET", "/providers/far"))["settings"] == made
    owner = await browser("owner")
    await done(owner, "PATCH", "/providers/far", **moved)


def _form(made: dict[str, Any], moved: dict[str, Any]) -> dict[str, str]:
    """The form of a provider with one field changed."""
    both = made | moved
    fields = {f"{both['kind']}.{name}": str(value) for name, value in both.items() if isinstance(value, str)}
    fields["kind"] = both["kind"] + (f":{both['preset']}" if "preset" in both else "")
    return fields | {"base_url": both.get("base_url", "")}


async def test_keys_that_outlived_their_provider_go_nowhere_by_an_admin(
    house: House, browser: MakeBrowser, admin: Browser
) -> None:
    """As when the file had it, and has it no more."""
    far: dict[str, Any] = {"name": "far", "kind": "openai_compatible", "base_url": "http://127.0.0.1:9/v1"}
    made = await done(admin, "POST", "/providers", **far)
    await done(admin, "POST", "/keys", provider="far", name="k1", secret=SECRET)
    store = house.hub.store.configuration
    assert store is not None
    assert await store.remove("provider", "far", made["revision"])
    await done(admin, "POST", "/reload")
    assert (await done(admin, "GET", "/keys/far/k1"))["problem"]
    assert (await refused(admin, "POST", "/providers", 403, **far))[0] == "keys_at_stake"
    owner = await browser("owner")
    assert (await done(owner, "POST", "/providers", **far))["keys"] == ["far/k1"]


async def test_what_the_machine_has_is_lent_by_an_owner_alone(browser: MakeBrowser, admin: Browser) -> None:
    """Its role and its files would go to whatever address an admin wrote."""
    await done(admin, "POST", "/providers", name="g", kind="vertex", project="p-1", base_url="http://127.0.0.1:9")
    await done(admin, "POST", "/providers", name="a", kind="bedrock", region="eu-west-1", base_url="http://127.0.0.1:9")
    file = json.dumps({"type": "external_account", "credential_source": {"file": "/etc/passwd"}})
    for provider, secret in (("g", ""), ("g", file), ("g", file.replace("ext", "\\u0065xt")), ("a", ""), ("a", None)):
        code, message = await refused(admin, "POST", "/keys", 403, provider=provider, name="k", secret=secret)
        assert code == "keys_at_stake"
        assert "machine" in message
    await done(admin, "POST", "/keys", provider="a", name="k", secret=f"id:{SECRET}")
    assert (await refused(admin, "PATCH", "/keys/a/k", 403, secret=None))[0] == "keys_at_stake"
    await done(admin, "PATCH", "/keys/a/k", priority=3)
    owner = await browser("owner")
    await done(owner, "PATCH", "/keys/a/k", secret=None)
    assert (await done(admin, "PATCH", "/keys/a/k", priority=4, secret=""))["priority"] == 4
    local = await done(admin, "POST", "/keys", provider="echo", name="none", secret="")
    assert local["settings"]["secret"] == ""


# --- what the file says


async def test_what_the_file_says_is_changed_there(house: House, admin: Browser) -> None:
    for method, path, sent in (
        ("PATCH", "/providers/echo", {"models": ["x"]}), ("DELETE", "/providers/echo", {}),
        ("PATCH", "/keys/echo/main", {"priority": 9}), ("DELETE", "/keys/echo/main", {}),
        ("PATCH", "/routes/fast", {"strategy": "weighted"}), ("DELETE", "/tokens/game-server", {}),
        ("POST", "/tokens/game-server/roll", {}),
    ):  # fmt: skip
        code, message = await refused(admin, method, path, 409, **sent)
        assert (code, "config.toml:" in message) == ("from_file", True), path
    assert (await refused(admin, "POST", "/providers", 409, name="echo", kind="echo"))[0] == "name_taken"


async def test_what_the_file_says_can_be_taken_out_of_use(house: House, admin: Browser) -> None:
    key = await done(admin, "POST", "/keys/echo/main/disable")
    assert (key["state"], key["disabled"], key["origin"]) == ("disabled", True, "file")
    plan = await done(admin, "GET", "/explain?model=fast")
    assert [each["candidate"] for each in plan["candidates"]] == ["echo/small#spare"]
    assert (await audited(house))[:3] == ("admin", "key.disable", "echo/main")
    await done(admin, "POST", "/routes/fast/disable")
    assert (await call(house, admin, "fast"))[0] == 404
    await done(admin, "POST", "/routes/fast/enable")
    assert (await call(house, admin, "fast"))[0] == 200
    await done(admin, "POST", "/providers/echo/disable")
    assert (await call(house, admin, "fast"))[0] == 503
    await done(admin, "PATCH", "/providers/echo", disabled=False)
    key = await done(admin, "POST", "/keys/echo/main/enable")
    assert key["state"] == "active"
    assert (await call(house, admin, "fast"))[0] == 200


# --- checked as the file is


@pytest.mark.parametrize(
    ("path", "sent", "said"),
    [
        ("/providers", {"name": "x", "kind": "opnai"}, "openai"),
        ("/providers", {"name": "x", "kind": "echo", "modles": []}, "models"),
        ("/providers", {"name": "a b", "kind": "echo"}, "name"),
        ("/providers", {"kind": "echo"}, "name"),
        ("/keys", {"provider": "ecko", "name": "k", "secret": "s"}, "echo"),
        ("/keys", {"provider": "echo", "name": "k", "secret": "s", "limits": {"rpm": 0}}, "at least 1"),
        ("/keys", {"provider": "echo", "name": "k", "secret": 7}, "text"),
        ("/routes", {"model": "m", "deployments": [{"provider": "ecko", "model": "x"}]}, "echo"),
        ("/routes", {"model": "m", "deployments": [], "strategy": "best"}, "strategy"),
        ("/routes", {"model": "m", "deployments": [{"provider": "echo", "model": "x"}], "fallbacks": ["gone"]}, "gone"),
        ("/tokens", {"name": "t", "limits": {"budget": "many"}}, "budget"),
        ("/tokens", {"name": "t", "hash": "sha256:" + "0" * 64}, "hash"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_told_and_not_stored(
    house: House, admin: Browser, path: str, sent: dict[str, Any], said: str
) -> None:
    code, message = await refused(admin, "POST", path, 400, **sent)
    assert code == "invalid_request"
    assert said in message
    assert house.hub.store.configuration is not None
    assert (await house.hub.store.configuration.entries())[1] == []


async def test_what_is_needed_stays(house: House, admin: Browser) -> None:
    await done(admin, "POST", "/providers", name="second", kind="echo")
    await done(admin, "POST", "/keys", provider="second", name="k1", secret=SECRET)
    await done(admin, "POST", "/routes", model="m", deployments=[{"provider": "second", "model": "tiny"}])
    code, message = await refused(admin, "DELETE", "/providers/second", 409)
    assert (code, "route m" in message) == ("in_use", True)
    await done(admin, "DELETE", "/routes/m")
    await done(admin, "DELETE", "/providers/second")
    assert "second" not in str(await done(admin, "GET", "/keys")), "its keys went with it"
    actions = [entry.action for entry in await people_of(house).audit(3)]
    assert actions == ["provider.remove", "key.remove", "route.remove"]


async def test_of_two_who_change_one_is_told(admin: Browser) -> None:
    made = await done(admin, "POST", "/keys", provider="echo", name="k1", secret=SECRET)
    answer = await admin.ask("GET", ROOT + "/keys/echo/k1")
    assert answer.headers["etag"] == f'"{made["revision"]}"'
    seen = {"if-match": answer.headers["etag"]}
    await done(admin, "PATCH", "/keys/echo/k1", headers=seen, priority=2)
    assert (await refused(admin, "PATCH", "/keys/echo/k1", 409, headers=seen, priority=3))[0] == "changed_meanwhile"
    assert (await refused(admin, "DELETE", f"/keys/echo/k1?revision={made['revision']}", 409))[0] == "changed_meanwhile"
    assert (await done(admin, "GET", "/keys/echo/k1"))["priority"] == 2
    sent = [admin.ask("PATCH", ROOT + "/keys/echo/k1", json={"weight": n}) for n in range(2, 8)]
    statuses = sorted(answer.status for answer in await asyncio.gather(*sent))
    assert statuses[0] == 200
    assert set(statuses) <= {200, 409}


async def test_the_same_secret_twice_is_seen(admin: Browser) -> None:
    await done(admin, "POST", "/keys", provider="echo", name="k1", secret=SECRET)
    code, message = await refused(admin, "POST", "/keys", 409, provider="echo", name="k2", secret=f" {SECRET}\n")
    assert (code, "echo/k1" in message) == ("duplicate", True)
    of_file = "sk-canary-0123456789abcdef-WXYZ"
    assert (await refused(admin, "POST", "/keys", 409, provider="echo", name="k2", secret=of_file))[0] == "duplicate"


# --- many keys at once


async def test_many_keys_come_with_a_word_about_each(house: House, admin: Browser) -> None:
    lines = f"# ours\n{SECRET}\n\nsk-b-0123456789abcdef-0002\n{SECRET}\nsk-canary-0123456789abcdef-WXYZ\n***\n"
    dry = await done(admin, "POST", "/keys/import", provider="echo", text=lines, dry_run=True)
    assert (dry["added"], dry["duplicates"], dry["refused"]) == (2, 2, 1)
    assert len((await done(admin, "GET", "/keys"))["items"]) == 2
    told = await done(admin, "POST", "/keys/import", provider="echo", text=lines, settings={"priority": 5})
    assert [(each["line"], each["name"], each["result"]) for each in told["items"]] == [
        (2, "key-1", "added"), (4, "key-2", "added"), (5, "key-3", "duplicate"), (6, "key-3", "duplicate"),
        (7, "key-3", "refused"),
    ]  # fmt: skip
    keys = {key["id"]: key for key in (await done(admin, "GET", "/keys"))["items"]}
    assert (keys["echo/key-2"]["priority"], keys["echo/key-2"]["hint"]) == (5, "0002")
    assert (await audited(house))[1:] == ("key.import", "echo", None, {"keys": ["echo/key-1", "echo/key-2"]})
    assert SECRET not in json.dumps(told)


async def test_keys_come_as_csv_and_json(admin: Browser) -> None:
    text = "name, secret, rpm, models\none, sk-1-0123456789abcdef-0001, 60, a b*\ntwo, sk-2, x,\nthree, sk-3\n"
    told = await done(admin, "POST", "/keys/import", provider="echo", text=text)
    assert [each["result"] for each in told["items"]] == ["added", "refused", "added"]
    one = await done(admin, "GET", "/keys/echo/one")
    assert (one["models"], one["settings"]["limits"]) == (["a", "b*"], {"rpm": 60})
    text = json.dumps(
        ["sk-4", {"name": "five", "secret": "sk-5", "weight": 2}, 7, {"name": "six"}, {"secret": "s", "x": 1}]
    )
    told = await done(admin, "POST", "/keys/import", provider="echo", text=text, prefix="j")
    assert [(each["name"], each["result"]) for each in told["items"]] == [
        ("j-1", "added"), ("five", "added"), ("j-2", "refused"), ("six", "refused"), ("j-2", "refused")
    ]  # fmt: skip
    text = "# from .env\nexport ECHO_KEY_7='sk-env 7'\nECHO_KEY_8 = sk-env-8 # the other\n"
    told = await done(admin, "POST", "/keys/import", provider="echo", text=text)
    assert [(each["line"], each["name"], each["result"]) for each in told["items"]] == [
        (2, "echo-key-7", "added"), (3, "echo-key-8", "added")]  # fmt: skip
    told = await done(admin, "POST", "/keys/import", provider="echo", text="K=sk-env-8\nnothing\n", format="env")
    assert [each["result"] for each in told["items"]] == ["duplicate", "refused"]
    for wrong in ("[", "{}", "", "name,secret,colour\n"):
        assert (await refused(admin, "POST", "/keys/import", 400, provider="echo", text=wrong))[0] == "invalid_request"
    assert (await refused(admin, "POST", "/keys/import", 404, provider="nobody", text="x"))[0] == "not_found"


# --- a key is tried


async def test_a_key_is_tried_with_one_cheap_call(house: House, admin: Browser, upstream: FakeUpstream) -> None:
    await done(admin, "POST", "/providers", name="far", kind="openai_compatible", base_url=upstream.url + "/v1")
    await done(admin, "POST", "/keys", provider="far", name="k1", secret=SECRET)
    upstream.script(json_answer({"object": "list", "data": [{"id": "small"}, {"id": "large"}]}))
    told = await done(admin, "POST", "/keys/far/k1/test")
    assert (told["works"], told["asked"], told["models"], told["state"]) == (
        True,
        "models",
        ["large", "small"],
        "active",
    )
    assert told["ms"] > 0
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    said = {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "invalid_api_key"}}
    upstream.script(json_answer(said, 401))
    told = await done(admin, "POST", "/keys/far/k1/test", model="small")
    assert (told["works"], told["asked"], told["status"], told["code"]) == (False, "answer", 401, "invalid_api_key")
    assert SECRET not in json.dumps(told)
    assert upstream.requests[-1].path == "/v1/chat/completions"
    assert (await audited(house))[1:3] == ("key.test", "far/k1")
    assert (await done(admin, "POST", "/keys/echo/main/test"))["works"] is True


async def test_headers_of_a_provider_rest_sealed(house: House, admin: Browser, upstream: FakeUpstream) -> None:
    table = {"name": "far", "kind": "openai_compatible", "base_url": upstream.url + "/v1", "models": ["small"]}
    sent = await admin.ask("POST", ROOT + "/providers", json={**table, "headers": {"x-tenant": SECRET}})
    made = await sent.json()
    assert (sent.status, made["settings"]["headers"]) == (200, {"x-tenant": "***"}), made
    await done(admin, "POST", "/keys", provider="far", name="k1", secret="sk-another-0123456789abcdef")
    store = house.hub.store.configuration
    assert store is not None

    async def stored() -> Entry:
        return next(each for each in (await store.entries())[1] if (each.kind, each.name) == ("provider", "far"))

    assert (await stored()).sealed.startswith("lhv1.")
    assert SECRET not in (await stored()).body
    assert "headers" not in (await stored()).body
    upstream.script(json_answer(COMPLETION))
    assert (await call(house, admin, "far/small"))[0] == 200
    assert upstream.requests[-1].headers["x-tenant"] == SECRET

    await done(admin, "PATCH", "/providers/far", models=["small", "large"])
    assert (await call(house, admin, "far/large"))[0] == 200
    assert upstream.requests[-1].headers["x-tenant"] == SECRET
    before = await stored()
    await done(admin, "PATCH", "/providers/far", models=["small", "large"])
    assert await stored() == before, "nothing changed, so nothing is sealed anew"
    await done(admin, "POST", "/providers/far/disable")
    await done(admin, "POST", "/providers/far/enable")
    assert (await call(house, admin, "far/large"))[0] == 200
    assert upstream.requests[-1].headers["x-tenant"] == SECRET

    new = Vault([RootKey(Secret(new_key())), *house.hub.vault.keys])
    moved = await rotate(new, store, lambda state: None)
    assert (moved.lost, (await stored()).sealed.split(".")[1]) == ({}, new.keys[0].id)
    # This hub does not know that key: it says so, and calls nobody without the header.
    await done(admin, "POST", "/reload")
    (item,) = [each for each in (await done(admin, "GET", "/providers"))["items"] if each["name"] == "far"]
    assert "what is sealed in it cannot be opened: it was sealed with the root key" in item["problem"]
    asked = len(upstream.requests)
    await call(house, admin, "far/large")
    assert len(upstream.requests) == asked


# --- client tokens


@pytest.mark.everywhere
async def test_a_token_is_made_rolled_and_revoked(house: House, admin: Browser) -> None:
    made = await done(admin, "POST", "/tokens", name="app", models=["fast"], limits={"rpm": 100})
    assert made["token"].startswith("lh-")
    assert made["token"].endswith(made["hint"])
    await soon(lambda: (found := house.hub.tokens.find(made["token"])) and found.name == "app")
    (listed,) = [each for each in (await done(admin, "GET", "/tokens"))["items"] if each["name"] == "app"]
    assert {"token", "hash"}.isdisjoint({*listed, *listed["settings"]})
    assert listed["levels"][0]["amount"] == 100
    rolled = await done(admin, "POST", "/tokens/app/roll", overlap="1h")
    for token in (made["token"], rolled["token"]):
        await soon(lambda token=token: (found := house.hub.tokens.find(token)) and found.name == "app")  # type: ignore[misc]
    again = await done(admin, "POST", "/tokens/app/roll", overlap="0")
    await soon(lambda: house.hub.tokens.find(rolled["token"]) is None)
    changed = await done(admin, "PATCH", "/tokens/app", models=["other"], limits=None)
    assert (changed["settings"]["models"], changed["levels"]) == (["other"], [])
    for ours in ({"hash": "sha256:" + "0" * 64}, {"hint": "x"}, {"previous": None}):
        assert (await refused(admin, "PATCH", "/tokens/app", 400, **ours))[0] == "invalid_request"
    await done(admin, "POST", "/tokens/app/disable")
    await soon(lambda: house.hub.tokens.find(again["token"]) is None)
    await done(admin, "POST", "/tokens/app/enable")
    await soon(lambda: house.hub.tokens.find(again["token"]) is not None)
    await done(admin, "DELETE", "/tokens/app")
    await soon(lambda: house.hub.tokens.find(again["token"]) is None)
    actions = [entry.action for entry in await people_of(house).audit(7)]
    assert actions == ["token.remove", "token.enable", "token.disable", "token.change", "token.roll", "token.roll",
                       "token.add"]  # fmt: skip
    audit = "".join(each.before + each.after for each in await people_of(house).audit(20))
    assert "sha256:" not in audit


async def test_what_is_stored_counts_after_a_start(tmp_path: Any, browser: MakeBrowser) -> None:
    from llmhub_core.admin.entries import By
    from llmhub_core.admin.entry_acts import entries_of

    async with House(CONFIG, folder=tmp_path) as house:
        entries = entries_of(house.control)
        await entries.add("key", "echo/k1", {"secret": SECRET}, By("ann"))
    async with House(CONFIG, folder=tmp_path) as house:
        assert [key.name for key in house.hub.catalog.places["echo"].keys] == ["main", "spare", "k1"]
        assert house.hub.catalog.places["echo"].secrets["k1"].reveal() == SECRET

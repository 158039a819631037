"""Users and admin tokens by the API: who may be what, what ends when rights change, what a token may do."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from browsers import PASSWORD, Browser, MakeBrowser, people_of

from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.api import ROOT
from llmhub_core.admin.refusals import Denied
from llmhub_core.testing.house import House


async def done(browser: Browser, method: str, path: str, status: int = 200, **sent: Any) -> Any:
    answer = await browser.ask(method, ROOT + path, json=sent if method != "GET" else None)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def code(browser: Browser, method: str, path: str, status: int, **sent: Any) -> str:
    return str((await done(browser, method, path, status, **sent))["error"]["code"])


async def id_of(house: House, name: str) -> str:
    user = await people_of(house).find_user(name)
    assert user is not None
    return user.id


async def last_entry(house: House) -> tuple[str, str, str, str, Any, Any]:
    entry = (await people_of(house).audit(1))[0]
    before, after = (json.loads(text) if text else None for text in (entry.before, entry.after))
    return entry.actor, entry.action, entry.subject, entry.result, before, after


# --- users


async def test_an_owner_makes_changes_and_removes_users(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    bob = await done(owner, "POST", "/users", name="bob", role="admin")
    assert len(bob["password"]) > 20
    assert await last_entry(house) == ("owner", "user.add", "bob", "done", None, {"role": "admin"})
    assert {"verifier", "password"}.isdisjoint(await done(owner, "GET", f"/users/{bob['id']}"))
    him = await browser()
    assert (await him.sign_in("bob", bob["password"])).status == 200
    changed = await done(owner, "PATCH", f"/users/{bob['id']}", name="robert", role="viewer")
    assert (changed["name"], changed["role"], changed["disabled"]) == ("robert", "viewer", False)
    assert await last_entry(house) == (
        "owner", "user.change", "bob", "done", {"name": "bob", "role": "admin"}, {"name": "robert", "role": "viewer"}
    )  # fmt: skip
    assert await code(him, "GET", "/keys", 401) == "not_signed_in", "other rights are another session"
    assert (await him.sign_in("robert", bob["password"])).status == 200
    await done(owner, "PATCH", f"/users/{bob['id']}", disabled=True)
    assert await code(him, "GET", "/keys", 401) == "not_signed_in"
    assert (await him.sign_in("robert", bob["password"])).status == 401
    assert [user["name"] for user in (await done(owner, "GET", "/users"))["items"]] == [
        "admin", "owner", "robert", "viewer"
    ]  # fmt: skip
    await done(owner, "DELETE", f"/users/{bob['id']}")
    assert await last_entry(house) == (
        "owner", "user.remove", "robert", "done", {"role": "viewer", "disabled": True}, None
    )  # fmt: skip
    for method in ("GET", "DELETE"):
        assert await code(owner, method, f"/users/{bob['id']}", 404) == "not_found"


async def test_a_reset_ends_sessions_and_tells_the_password_once(house: House, browser: MakeBrowser) -> None:
    owner, viewer = await browser("owner"), await browser("viewer")
    id = await id_of(house, "viewer")
    made = await done(owner, "POST", f"/users/{id}/reset")
    assert await code(viewer, "GET", "/keys", 401) == "not_signed_in"
    assert (await viewer.sign_in("viewer")).status == 401
    assert (await viewer.sign_in("viewer", made["password"])).status == 200
    given = await done(owner, "POST", f"/users/{id}/reset", password="another four words here")
    assert given["password"] is None
    assert (await viewer.sign_in("viewer", "another four words here")).status == 200
    assert await code(owner, "POST", f"/users/{await id_of(house, 'owner')}/reset", 409) == "own_password"


@pytest.mark.parametrize("change", [{"role": "admin"}, {"disabled": True}, None], ids=str)
async def test_the_last_owner_stays(house: House, browser: MakeBrowser, change: dict[str, Any] | None) -> None:
    owner = await browser("owner")
    path = f"/users/{await id_of(house, 'owner')}"
    method = "DELETE" if change is None else "PATCH"
    assert await code(owner, method, path, 409, **(change or {})) == "last_owner"
    assert (await last_entry(house))[3] == "refused"
    second = await done(owner, "POST", "/users", name="second", role="owner")
    await done(owner, method, path, **(change or {}))
    if change == {"role": "admin"}:
        assert (await done(owner, "GET", "/session"))["user"]["role"] == "admin", "goes on, with less rights"
        assert await code(owner, "GET", "/users", 403) == "forbidden"
    else:
        assert await code(owner, "GET", "/session", 401) == "not_signed_in"
    him = await browser()
    assert (await him.sign_in("second", second["password"])).status == 200


async def test_what_cannot_be_a_user_is_told(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    assert await code(owner, "POST", "/users", 409, name="admin") == "name_taken"
    for wrong in ({"name": "a\nb"}, {"name": "x", "password": "password"}, {"name": "x", "role": "king"}, {}):
        assert await code(owner, "POST", "/users", 400, **wrong) == "invalid_request"
    path = f"/users/{await id_of(house, 'viewer')}"
    assert await code(owner, "PATCH", path, 409, name="admin") == "name_taken"
    for wrong in ({}, {"verifier": "x"}, {"id": "usr_1"}, {"name": ""}, {"disabled": "yes"}, {"created_at": 0}):
        assert await code(owner, "PATCH", path, 400, **wrong) == "invalid_request"
    user = await people_of(house).find_user("viewer")
    assert user is not None
    assert (user.role, user.disabled) == ("viewer", False)


# --- one's own password


async def test_one_changes_ones_own_password(house: House, browser: MakeBrowser) -> None:
    here, elsewhere = await browser("viewer"), await browser("viewer")
    cookie = next(iter(here.session.cookie_jar)).value
    assert await code(here, "POST", "/session/password", 403, password="wrong", new="x" * 20) == "wrong_password"
    assert await code(here, "POST", "/session/password", 400, password=PASSWORD, new="short") == "invalid_request"
    session = await done(here, "POST", "/session/password", password=PASSWORD, new="another four words")
    here.csrf = session["csrf"]
    assert next(iter(here.session.cookie_jar)).value != cookie
    await done(here, "GET", "/keys")
    assert await code(elsewhere, "GET", "/keys", 401) == "not_signed_in"
    assert (await elsewhere.sign_in("viewer")).status == 401
    assert (await elsewhere.sign_in("viewer", "another four words")).status == 200
    assert (await last_entry(house))[1] == "session.begin"


async def test_a_reset_is_not_undone_by_who_knows_the_old_password(house: House, browser: MakeBrowser) -> None:
    """It comes while the old password is being compared, which takes half a second in life."""
    people, given = people_of(house), "another four words"
    owners, accounts = Accounts(people), Accounts(people)
    matches = accounts._passwords.matches

    async def reset_meanwhile(password: str, verifier: str | None) -> bool:
        found = await matches(password, verifier)
        await owners.reset("viewer", given)
        return found

    accounts._passwords.matches = reset_meanwhile  # type: ignore[method-assign]
    viewer = await people.find_user("viewer")
    assert viewer is not None
    with pytest.raises(Denied) as denied:
        await accounts.change_password(viewer, PASSWORD, "words of somebody else", "::1")
    assert denied.value.code == "wrong_password"
    assert (await last_entry(house))[1:4] == ("password.change", "viewer", "refused")

    await owners.reset("viewer", PASSWORD)
    signed_in = await accounts.sign_in("viewer", PASSWORD, "::1")
    store, answer = house.control.sessions, web.Response()
    session = await store.begin(signed_in)
    await store.save_session(make_mocked_request("GET", "/"), answer, session)
    assert await store.find(str(session.identity)) is None
    assert not answer.cookies
    for each in (owners, accounts):
        each.close()
    stranger = await browser()
    assert (await stranger.sign_in("viewer")).status == 401
    assert (await stranger.sign_in("viewer", given)).status == 200


async def test_guessing_ones_own_password_is_slowed_down_too(house: House, browser: MakeBrowser) -> None:
    here = await browser("viewer")
    codes = [await code(here, "POST", "/session/password", 403, password=f"guess {n}", new="x" * 20) for n in range(10)]
    assert set(codes) == {"wrong_password"}
    assert await code(here, "POST", "/session/password", 429, password=PASSWORD, new="y" * 20) == "too_many_failures"


# --- admin tokens


async def script(browser: MakeBrowser, token: str) -> Browser:
    made = await browser()
    made.always = {"authorization": f"Bearer {token}"}
    return made


async def test_a_script_works_with_a_token(house: House, browser: MakeBrowser) -> None:
    admin = await browser("admin")
    made = await done(admin, "POST", "/admin-tokens", name="ci", role="admin")
    assert made["token"].startswith("lha-")
    assert made["token"].endswith(made["hint"])
    assert made["until"] == pytest.approx(time.time() + 90 * 86_400, abs=60)
    ci = await script(browser, made["token"])
    assert (await done(ci, "GET", "/session"))["user"] == {"name": "admin", "role": "admin"}
    await done(ci, "POST", "/keys/echo/main/reset")
    assert (await last_entry(house))[:3] == ("token:ci", "key.reset", "echo/main")
    (line,) = (await done(admin, "GET", "/admin-tokens"))["items"]
    assert (line["name"], line["user"], line["used_at"]) == ("ci", "admin", pytest.approx(time.time(), abs=60))
    assert "token" not in line
    assert "digest" not in line
    await done(admin, "DELETE", f"/admin-tokens/{made['id']}")
    assert await code(ci, "GET", "/keys", 401) == "invalid_token"
    assert (await last_entry(house))[:3] == ("admin", "admin_token.revoke", "ci")


async def test_a_token_may_no_more_than_who_made_it(house: House, browser: MakeBrowser) -> None:
    viewer, admin, owner = await browser("viewer"), await browser("admin"), await browser("owner")
    assert await code(viewer, "POST", "/admin-tokens", 403, name="x", role="admin") == "forbidden"
    made = await done(admin, "POST", "/admin-tokens", name="ci", role="admin", lasts="never")
    assert made["until"] is None
    ci = await script(browser, made["token"])
    await done(ci, "GET", "/settings")
    assert (await done(viewer, "GET", "/admin-tokens"))["items"] == []
    assert await code(viewer, "DELETE", f"/admin-tokens/{made['id']}", 404) == "not_found"
    path = f"/users/{await id_of(house, 'admin')}"
    await done(owner, "PATCH", path, role="viewer")
    assert await code(ci, "GET", "/settings", 403) == "forbidden", "its user may not any more"
    await done(ci, "GET", "/keys")
    await done(owner, "PATCH", path, disabled=True)
    assert await code(ci, "GET", "/keys", 401) == "invalid_token"
    await done(owner, "DELETE", path)
    assert (await done(owner, "GET", "/admin-tokens"))["items"] == []


async def test_what_is_a_persons_own_takes_a_person(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    made = await done(owner, "POST", "/admin-tokens", name="ci", role="owner", lasts="1h")
    ci = await script(browser, made["token"])
    assert await code(ci, "POST", "/admin-tokens", 403, name="more") == "needs_person"
    assert await code(ci, "POST", "/session/password", 403, password=PASSWORD, new="x" * 20) == "needs_person"
    assert await code(ci, "DELETE", "/session", 403) == "needs_person"
    await done(ci, "POST", "/users", name="from-a-script")
    assert (await last_entry(house))[:3] == ("token:ci", "user.add", "from-a-script")


async def test_names_and_times_of_tokens(browser: MakeBrowser) -> None:
    owner = await browser("owner")
    await done(owner, "POST", "/admin-tokens", name="ci")
    assert await code(owner, "POST", "/admin-tokens", 409, name="ci") == "name_taken"
    for wrong in ({"name": ""}, {"name": "a b"}, {"name": "x", "lasts": "0d"}, {"name": "x", "lasts": "soon"}):
        assert await code(owner, "POST", "/admin-tokens", 400, **wrong) == "invalid_request"


async def test_a_token_is_no_cookie_and_opens_no_page(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    made = await done(owner, "POST", "/admin-tokens", name="ci", role="owner")
    ci = await script(browser, made["token"])
    answer = await ci.ask("GET", "/requests")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?next=%2Frequests")
    other = await browser("viewer")
    other.always = {"authorization": "Bearer lha-" + "x" * 49}
    assert await code(other, "GET", "/keys", 401) == "invalid_token", "a wrong token is not mended by a cookie"
    other.always = {"authorization": "Basic eDp5"}
    await done(other, "GET", "/keys")
    for path in ("/keys", "/session"):
        assert "set-cookie" not in (await ci.ask("GET", ROOT + path)).headers


async def test_events_end_with_the_token(house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmhub_core.admin.events.EVERY", 0.05)
    owner = await browser("owner")
    made = await done(owner, "POST", "/admin-tokens", name="ci")
    headers = {"authorization": f"Bearer {made['token']}"}
    async with owner.session.get(house.url + ROOT + "/events", headers=headers) as answer:
        assert (await answer.content.readline()).startswith(b"id: 1")
        await people_of(house).remove_admin_token(made["id"])
        async with asyncio.timeout(10):
            assert (await answer.content.read()).endswith(b"event: end\ndata: {}\n\n")


async def test_the_database_opens_no_door(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    made = await done(owner, "POST", "/admin-tokens", name="ci", role="owner")
    (kept,) = await people_of(house).admin_tokens()
    assert made["token"] not in str(kept)
    for wrong in (kept.digest, f"lha-{kept.digest}", kept.id, made["token"][:-1]):
        ci = await script(browser, wrong)
        assert (await ci.ask("GET", ROOT + "/keys")).status == 401
    await people_of(house).remove_admin_token(kept.id)
    await people_of(house).add_admin_token(replace(kept, until=time.time() - 1))
    assert await code(await script(browser, made["token"]), "GET", "/keys", 401) == "invalid_token"


# --- acts that are sent again


@pytest.mark.everywhere
async def test_an_act_that_is_sent_again_is_done_once(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    key = {"idempotency-key": "5b6f0a52-first"}
    sent = {"name": "bob", "role": "viewer"}
    first = await owner.ask("POST", ROOT + "/users", json=sent, headers=key)
    again = await owner.ask("POST", ROOT + "/users", json={"role": "viewer", "name": "bob"}, headers=key)
    assert (again.status, await again.json()) == (200, await first.json()), "the password too, which is shown once"
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert len(await people_of(house).users()) == 4
    other = await owner.ask("POST", ROOT + "/users", json={"name": "eve"}, headers=key)
    assert (other.status, (await other.json())["error"]["code"]) == (422, "key_used")
    elsewhere = await owner.ask("POST", ROOT + "/explain", json={"model": "fast"}, headers=key)
    assert elsewhere.status == 200
    await done(owner, "PATCH", f"/users/{await id_of(house, 'admin')}", role="owner")
    somebody = await browser("admin")
    theirs = await somebody.ask("POST", ROOT + "/users", json=sent, headers=key)
    assert (theirs.status, (await theirs.json())["error"]["code"]) == (409, "name_taken"), "another's key is another"


async def test_what_was_refused_may_be_tried_again(browser: MakeBrowser) -> None:
    owner = await browser("owner")
    key = {"idempotency-key": "k"}
    refused = await owner.ask("POST", ROOT + "/users", json={"name": ""}, headers=key)
    assert refused.status == 400
    assert (await owner.ask("POST", ROOT + "/users", json={"name": "bob"}, headers=key)).status == 200
    odd = await owner.ask("POST", ROOT + "/users", json={"name": "x"}, headers={"idempotency-key": "a b"})
    assert odd.status == 400


async def test_of_many_at_once_one_is_done(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    sent = [
        owner.ask("POST", ROOT + "/users", json={"name": "bob"}, headers={"idempotency-key": "k"}) for _ in range(8)
    ]
    answers = await asyncio.gather(*sent)
    assert {answer.status for answer in answers} <= {200, 409}
    assert {(await answer.json())["error"]["code"] for answer in answers if answer.status == 409} <= {"under_way"}
    entries = await people_of(house).audit(50)
    assert [entry.subject for entry in entries if entry.action == "user.add" and entry.actor == "owner"] == ["bob"]


async def test_kept_answers_rest_sealed(house: House, browser: MakeBrowser) -> None:
    owner = await browser("owner")
    answer = await owner.ask("POST", ROOT + "/users", json={"name": "bob"}, headers={"idempotency-key": "k"})
    password = (await answer.json())["password"]
    async with house.hub.store._database._engine.connect() as connection:  # type: ignore[attr-defined]
        (row,) = (await connection.exec_driver_sql("SELECT * FROM kept_answers")).all()
    assert password not in str(row)
    assert "lhv1." in str(row)

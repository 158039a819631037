"""Set-up, signing in and out, sessions, cookies, throttling, requests from elsewhere: over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import re
import statistics
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from clusters import OpenHouse

from llmhub_core.admin import passwords, sessions, throttle
from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.sessions import digest_of
from llmhub_core.testing.house import House

SESSION = "/admin/api/session"


async def error(answer: aiohttp.ClientResponse) -> str:
    return str((await answer.json())["error"]["code"])


# --- passwords


@pytest.mark.parametrize("length", [8, 71, 72, 73, 100, 1024])
def test_every_character_of_a_password_counts(length: int) -> None:
    password = ("abcdefgh" * 128)[:length]
    verifier = passwords.verifier_of(password)
    assert passwords.matches(password, verifier)
    assert not passwords.matches(password[:-1] + "X", verifier)
    assert not passwords.matches(password + "x", verifier)
    assert re.fullmatch(r"bcrypt-hmac-sha384:\$2b\$04\$[./A-Za-z0-9]{53}", verifier)
    assert not passwords.matches(verifier, verifier)


def test_a_password_may_have_any_characters() -> None:
    verifier = passwords.verifier_of("n\0ul ü \ud800 🜚 x")
    assert passwords.matches("n\0ul u\u0308 \ud800 🜚 x", verifier), "an ü is an ü, however it is typed"
    assert not passwords.matches("n\0ul", verifier)
    assert not passwords.matches("anything", None)
    assert not passwords.matches("anything", "plain-text")


@pytest.mark.parametrize(
    "bad", ["", "short", "password", "Password1", "12345678", "87654321", "aaaaaaaaaa", "abcdefghij", "annanna1"[:7],
            "llm-hubllm-hub", "marianne", "MARIANNE", "x" * 1025],
)  # fmt: skip
def test_what_anybody_would_try_is_no_password(bad: str) -> None:
    assert passwords.complaint(bad, "marianne")


def test_good_passwords_have_no_rules() -> None:
    for good in ("four words in one", "zzzzzzzzzzzzyxw", "ünïcödé wörds", passwords.invented()):
        assert passwords.complaint(good, "marianne") == ""
    assert len({passwords.invented() for _ in range(100)}) == 100


def test_the_real_cost_is_as_high_as_it_has_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert passwords.COST >= 12


# --- set-up


async def test_the_link_makes_one_owner(open_house: OpenHouse) -> None:
    async with open_house(CONFIG) as house, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        accounts = Accounts(people_of(house))
        secret = await accounts.offer_setup()
        browser = Browser(house.url, client)
        asked = {"secret": secret, "name": "ann", "password": PASSWORD}
        assert (await (await browser.ask("GET", f"/admin/api/setup?secret={secret}")).json()) == {"open": True}
        assert (await (await browser.ask("GET", "/admin/api/setup?secret=x")).json()) == {"open": False}
        refused = await browser.ask("POST", "/admin/api/setup", json={**asked, "secret": "x" * 43})
        assert (refused.status, await error(refused)) == (403, "setup_closed")
        weak = await browser.ask("POST", "/admin/api/setup", json={**asked, "password": "password"})
        assert (weak.status, await error(weak)) == (400, "invalid_request")
        done = await browser.ask("POST", "/admin/api/setup", json=asked)
        assert (done.status, (await done.json())["user"]) == (200, {"name": "ann", "role": "owner"})
        assert (await browser.ask("GET", SESSION)).status == 200, "and is signed in"
        again = await browser.ask("POST", "/admin/api/setup", json={**asked, "name": "eve"}, headers={
            "x-csrf-token": (await done.json())["csrf"]})  # fmt: skip
        assert (again.status, await error(again)) == (403, "setup_closed")
        assert [user.name for user in await people_of(house).users()] == ["ann"]
        actions = [(entry.action, entry.result) for entry in await people_of(house).audit(10)]
        assert actions == [("setup", "refused"), ("setup", "done"), ("setup", "refused")]
        accounts.close()


async def test_two_at_the_link_make_one_owner(open_house: OpenHouse) -> None:
    async with open_house(CONFIG) as house, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        accounts = Accounts(people_of(house))
        secret = await accounts.offer_setup()
        asked = [{"secret": secret, "name": f"user{n}", "password": PASSWORD} for n in range(6)]
        answers = await asyncio.gather(
            *(Browser(house.url, client).ask("POST", "/admin/api/setup", json=each) for each in asked)
        )
        assert sorted(answer.status for answer in answers) == [200, 403, 403, 403, 403, 403]
        assert len(await people_of(house).users()) == 1
        accounts.close()


async def test_a_link_that_is_too_old(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(CONFIG) as house:
        accounts = Accounts(people_of(house))
        monkeypatch.setattr("llmhub_core.admin.accounts.SETUP_LASTS", -1.0)
        secret = await accounts.offer_setup()
        assert not await accounts.setup_open(secret)
        accounts.close()


async def test_the_secret_rests_as_a_digest(tmp_path: Path) -> None:
    async with House(CONFIG, folder=tmp_path) as house:
        accounts = Accounts(people_of(house))
        secret = await accounts.offer_setup()
        accounts.close()
    everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert secret.encode() not in everything
    assert digest_of(secret).encode() in everything


@pytest.mark.parametrize("by_file", [True, False])
async def test_the_owner_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_file: bool) -> None:
    monkeypatch.setenv("LLMHUB_OWNER", "ann")
    if by_file:
        (tmp_path / "secret").write_text(PASSWORD + "\n")
        monkeypatch.setenv("LLMHUB_OWNER_PASSWORD_FILE", str(tmp_path / "secret"))
    else:
        monkeypatch.setenv("LLMHUB_OWNER_PASSWORD", PASSWORD)
    async with House(CONFIG) as house:
        (user,) = await people_of(house).users()
        assert (user.name, user.role) == ("ann", "owner")
        assert passwords.matches(PASSWORD, user.verifier)


async def test_an_owner_with_a_bad_password_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMHUB_OWNER", "ann")
    monkeypatch.setenv("LLMHUB_OWNER_PASSWORD", "password")
    async with House(CONFIG) as house:
        assert [*await people_of(house).users()] == []


# --- signing in


@pytest.mark.everywhere
async def test_signing_in_and_out(house: House, browser: MakeBrowser) -> None:
    ann = await browser()
    assert (await ann.ask("GET", SESSION)).status == 401
    answer = await ann.sign_in("admin")
    said = await answer.json()
    assert said["user"] == {"name": "admin", "role": "admin"}
    assert re.fullmatch(r"llmhub=[A-Za-z0-9_-]{43}; HttpOnly; Path=/; SameSite=Lax", answer.headers["set-cookie"]), (
        answer.headers["set-cookie"]
    )
    mine = await (await ann.ask("GET", SESSION)).json()
    assert (mine["user"], mine["csrf"]) == (said["user"], said["csrf"])
    identity = next(iter(ann.session.cookie_jar)).value
    gone = await ann.ask("DELETE", SESSION)
    assert gone.status == 200
    assert gone.headers["set-cookie"].startswith('llmhub=""; ')
    assert "Max-Age=0" in gone.headers["set-cookie"]
    again = await ann.ask("GET", SESSION, headers={"cookie": f"llmhub={identity}"})
    assert again.status == 401, "the id is void, and not only forgotten by the browser"


@pytest.mark.alone
async def test_behind_https_the_cookie_belongs_to_this_host_alone(open_house: OpenHouse) -> None:
    async with open_house(CONFIG + '[server]\npublic_url = "https://hub.example.com"\n') as house:
        accounts = Accounts(people_of(house))
        await accounts.add("ann", "owner", PASSWORD)
        accounts.close()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
            browser = Browser(house.url, client)
            own = {"origin": "https://hub.example.com"}
            asked = {"name": "ann", "password": PASSWORD}
            foreign = await browser.ask("POST", SESSION, json=asked)
            assert (foreign.status, await error(foreign)) == (403, "foreign_request")
            answer = await browser.ask("POST", SESSION, json=asked, headers=own)
            cookie = answer.headers["set-cookie"]
            assert re.fullmatch(r"__Host-llmhub=[\w-]{43}; HttpOnly; Path=/; SameSite=Lax; Secure", cookie)
            pair = cookie.partition(";")[0]
            out = await browser.ask("DELETE", SESSION, headers={
                **own, "cookie": pair, "x-csrf-token": (await answer.json())["csrf"]})  # fmt: skip
            assert "Secure" in out.headers["set-cookie"]
            assert "Path=/" in out.headers["set-cookie"]


async def test_the_id_is_new_at_every_sign_in(house: House, browser: MakeBrowser) -> None:
    ann = await browser("viewer")
    first = next(iter(ann.session.cookie_jar)).value
    assert (await ann.sign_in("owner")).status == 200
    second = next(iter(ann.session.cookie_jar)).value
    assert first != second
    eve = await browser()
    assert (await eve.ask("GET", SESSION, headers={"cookie": f"llmhub={second}"})).status == 200
    assert (await eve.ask("GET", SESSION, headers={"cookie": f"llmhub={first}"})).status == 401
    # An id that somebody else chose is taken from nobody.
    planted = await eve.ask(
        "POST", SESSION, json={"name": "viewer", "password": PASSWORD}, headers={"cookie": "llmhub=" + "A" * 43}
    )
    assert "A" * 43 not in planted.headers["set-cookie"]


async def test_a_known_and_an_unknown_name_are_told_apart_by_nothing(house: House, browser: MakeBrowser) -> None:
    ann = await browser()
    known = await ann.sign_in("owner", "wrong wrong wrong")
    unknown = await ann.sign_in("nobody", "wrong wrong wrong")
    varied = {"date"}
    assert known.status == unknown.status == 401
    assert await known.read() == await unknown.read()
    assert {k.lower(): v for k, v in known.headers.items() if k.lower() not in varied} == {
        k.lower(): v for k, v in unknown.headers.items() if k.lower() not in varied
    }
    assert "set-cookie" not in known.headers
    disabled = await people_of(house).find_user("viewer")
    assert disabled is not None
    await people_of(house).change_user(replace(disabled, disabled=True))
    assert await (await ann.sign_in("viewer")).read() == await known.read()


async def test_nor_by_the_time_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", 7)
    verifier = passwords.verifier_of(PASSWORD)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for _ in range(25):
        for kind, stored in (("known", verifier), ("unknown", None)):
            began = time.process_time()
            assert not passwords.matches("wrong", stored)
            took[kind].append(time.process_time() - began)
    known, unknown = (min(took[kind]) for kind in ("known", "unknown"))
    assert 0.5 < known / unknown < 2, statistics.median(took["known"])


async def test_the_verifier_is_no_password(house: House, browser: MakeBrowser) -> None:
    owner = await people_of(house).find_user("owner")
    assert owner is not None
    assert (await (await browser()).sign_in("owner", owner.verifier)).status == 401


@pytest.mark.parametrize(
    "body", [{}, {"name": "owner"}, {"name": 1, "password": 2}, {"name": "a", "password": "b", "role": "owner"}, [1]]
)
async def test_a_body_that_is_not_what_it_should_be(browser: MakeBrowser, body: object) -> None:
    answer = await (await browser()).ask("POST", SESSION, json=body)
    assert (answer.status, await error(answer)) == (400, "invalid_request")


async def test_odd_names_and_passwords_are_refused_like_others(browser: MakeBrowser) -> None:
    ann = await browser()
    for name, password in (("a\0", "b\0"), ("\ud800", "\ud800"), ("x" * 5000, "y" * 5000), ("", ""), ("' OR 1=1", "")):
        assert (await ann.sign_in(name, password)).status == 401


# --- throttling


async def test_a_password_typed_as_a_name_cannot_be_guessed_from_the_database(
    house: House, browser: MakeBrowser
) -> None:
    await (await browser()).sign_in("hunter2", "owner")
    plain = hashlib.sha256(b"hunter2").hexdigest()
    assert (await people_of(house).failures(f"name:{plain}")).count == 0
    keyed = throttle.subjects("hunter2", "", throttle.key_of(house.hub.vault))[0].key
    assert (await people_of(house).failures(keyed)).count == 1


async def test_the_eleventh_failure_waits_and_so_does_the_owner(house: House, browser: MakeBrowser) -> None:
    eve = await browser()
    for name in ("owner", "nobody"):
        said = []
        for _ in range(11):
            said.append((await eve.sign_in(name, "wrong wrong wrong")).status)
        assert said == [401] * 10 + [429]
    refused = await eve.sign_in("owner")
    assert (refused.status, await error(refused)) == (429, "too_many_failures")
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    assert (await eve.sign_in("viewer")).status == 200, "others are let in"


async def test_the_throttle_survives_a_restart(open_house: OpenHouse, tmp_path: Path) -> None:
    async def tried(times: int) -> list[int]:
        async with open_house(CONFIG, folder=tmp_path) as house, aiohttp.ClientSession() as client:
            return [(await Browser(house.url, client).sign_in("ann", "wrong")).status for _ in range(times)]

    assert await tried(10) == [401] * 10
    assert await tried(1) == [429]


async def test_many_at_once_get_no_more_tries(house: House, browser: MakeBrowser) -> None:
    eve = await browser()
    answers = await asyncio.gather(*(eve.sign_in("owner", f"wrong{n}") for n in range(19)))
    assert sum(answer.status == 401 for answer in answers) <= 10
    assert {answer.status for answer in answers} <= {401, 429}


async def test_success_forgives(house: House, browser: MakeBrowser) -> None:
    ann = await browser()
    for _ in range(3):
        for _ in range(8):
            assert (await ann.sign_in("owner", "wrong")).status == 401
        assert (await ann.sign_in("owner")).status == 200
        await ann.ask("DELETE", SESSION)


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    from llmhub_core.contracts.people import Failures

    assert [throttle.pause(Failures(count, 0.0), 10) for count in (0, 9, 10, 11, 12, 15, 1000)] == [
        0, 0, 30, 60, 120, 900, 900
    ]  # fmt: skip


# --- sessions end


async def test_a_session_ends_when_idle_and_in_any_case(
    house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await browser("viewer")
    digest = digest_of(next(iter(ann.session.cookie_jar)).value)
    people = people_of(house)
    kept = await people.find_session(digest)
    assert kept is not None
    await people.keep_session(replace(kept[0], seen_at=time.time() - sessions.IDLE + 5))
    assert (await ann.ask("GET", "/admin/api/keys")).status == 200
    touched = await people.find_session(digest)
    assert touched is not None
    assert touched[0].seen_at > time.time() - 5, "being there puts the end off"
    await people.keep_session(replace(kept[0], seen_at=time.time() - sessions.IDLE - 1))
    assert (await ann.ask("GET", "/admin/api/keys")).status == 401
    await people.keep_session(replace(kept[0], created_at=time.time() - sessions.ABSOLUTE - 1, seen_at=time.time()))
    assert (await ann.ask("GET", "/admin/api/keys")).status == 401, "however busy"


async def test_a_session_ends_with_its_user(house: House, browser: MakeBrowser) -> None:
    ann, bob = await browser("viewer"), await browser("admin")
    accounts = Accounts(people_of(house))
    await accounts.reset("viewer", "another four words")
    assert (await ann.ask("GET", SESSION)).status == 401
    assert (await ann.sign_in("viewer")).status == 401
    assert (await ann.sign_in("viewer", "another four words")).status == 200
    admin = await people_of(house).find_user("admin")
    assert admin is not None
    await people_of(house).change_user(replace(admin, role="viewer"))
    assert (await bob.ask("GET", "/admin/api/audit")).status == 403, "rights are those of this moment"
    await people_of(house).change_user(replace(admin, disabled=True))
    assert (await bob.ask("GET", SESSION)).status == 401
    accounts.close()


async def test_no_usable_id_rests_anywhere(tmp_path: Path) -> None:
    async with House(CONFIG, folder=tmp_path) as house:
        accounts = Accounts(people_of(house))
        await accounts.add("ann", "owner", PASSWORD)
        accounts.close()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            browser = Browser(house.url, client)
            await browser.sign_in("ann")
            identity = next(iter(client.cookie_jar)).value
    everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert identity.encode() not in everything
    assert PASSWORD.encode() not in everything
    assert digest_of(identity).encode() in everything


# --- requests from elsewhere


RESET = "/admin/api/keys/echo/main/reset"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:1"},
        {"x-csrf-token": ""},
        {"x-csrf-token": "A" * 43},
        {"x-csrf-token": "ü"},
    ],
    ids=str,
)
async def test_a_page_of_a_stranger_can_do_nothing(browser: MakeBrowser, headers: dict[str, str]) -> None:
    ann = await browser("owner")
    for method, path in (("POST", RESET), ("DELETE", SESSION)):
        answer = await ann.ask(method, path, headers=headers)
        assert (answer.status, await error(answer)) == (403, "foreign_request")
    assert (await ann.ask("GET", SESSION)).status == 200


async def test_nor_sign_somebody_in(browser: MakeBrowser) -> None:
    eve = await browser()
    asked = {"name": "viewer", "password": PASSWORD}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert (await eve.ask("POST", SESSION, json=asked, headers=headers)).status == 403
    plain = await eve.ask("POST", SESSION, data=b'{"name":"viewer"}', headers={"content-type": "text/plain"})
    assert plain.status == 415


async def test_another_s_csrf_token_is_no_token(browser: MakeBrowser) -> None:
    ann, eve = await browser("owner"), await browser("viewer")
    assert (await ann.ask("POST", RESET, headers={"x-csrf-token": eve.csrf})).status == 403
    assert (await ann.ask("POST", RESET)).status == 200


async def test_a_strange_host_is_not_ours(house: House, browser: MakeBrowser) -> None:
    ann = await browser("owner")
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8080", "localhost.evil.example:80"):
        answer = await ann.ask("GET", SESSION, headers={"host": host})
        assert (answer.status, await error(answer)) == (421, "unknown_address")


async def test_nobody_else_s_page_may_read(browser: MakeBrowser) -> None:
    ann = await browser("owner")
    for method in ("GET", "OPTIONS"):
        answer = await ann.ask(method, SESSION, headers={"origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_a_body_without_end_is_cut(browser: MakeBrowser) -> None:
    eve = await browser()
    answer = await eve.ask("POST", SESSION, data=b" " * 70_000, headers={"content-type": "application/json"})
    assert (answer.status, await error(answer)) == (413, "request_too_large")

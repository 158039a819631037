"""The suite for the part of a metadata store that keeps users, sessions, failures to sign in and the audit.

class TestMine(PeopleSuite):
    @pytest.fixture
    async def people(self):
        store = Mine(Mine.Settings(url="mine://localhost"))
        await store.start()
        await store.migrate()
        yield store.people
        await store.stop()
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from llmhub_core.contracts import (
    GENESIS,
    AdminToken,
    AuditEntry,
    AuditFilter,
    Failures,
    KeptAnswer,
    LastOwner,
    PeopleStore,
    SignedIn,
    User,
)

NOW = 1_764_000_000.0


def a_user(name: str = "ann", **changes: object) -> User:
    return replace(User(f"u-{name}", name, "admin", "bcrypt:x", NOW), **changes)  # type: ignore[arg-type]


def a_session(digest: str = "d1", user: str = "u-ann", at: float = NOW) -> SignedIn:
    return SignedIn(digest, user, '{"csrf": "x"}', at, at)


def a_token(name: str = "ci", **changes: object) -> AdminToken:
    token = AdminToken(f"t-{name}", name, f"d-{name}", "wxyz", "admin", "u-ann", NOW)
    return replace(token, **changes)  # type: ignore[arg-type]


class PeopleSuite:
    """Subclass it, give it a fixture `people`, and pytest runs every test below against it."""

    @pytest.fixture
    async def people(self) -> PeopleStore:
        raise NotImplementedError

    # users

    async def test_a_user_comes_back_as_it_went_in(self, people: PeopleStore) -> None:
        ann, bob = a_user(), a_user("Bob ünï", role="owner", disabled=True)
        assert await people.add_user(bob)
        assert await people.add_user(ann)
        assert await people.find_user("ann") == ann
        assert await people.find_user("Bob ünï") == bob
        assert [*await people.users()] == [bob, ann]

    async def test_a_name_is_taken_once(self, people: PeopleStore) -> None:
        assert await people.add_user(a_user())
        assert not await people.add_user(a_user(id="other"))
        assert await people.add_user(a_user("bob"))
        assert not await people.change_user(a_user("ann", id="u-bob"))
        assert {user.id for user in await people.users()} == {"u-ann", "u-bob"}

    async def test_two_who_change_different_things_both_have_their_way(self, people: PeopleStore) -> None:
        was = a_user(role="admin")
        await people.add_user(a_user("boss", role="owner"))
        await people.add_user(was)
        wanted = [{"role": "viewer"}, {"verifier": "bcrypt:new"}, {"disabled": True}, {"name": "anne"}]
        await asyncio.gather(*(people.change_user(replace(was, **each), was) for each in wanted))  # type: ignore[arg-type]
        assert await people.find_user("anne") == replace(
            was, role="viewer", verifier="bcrypt:new", disabled=True, name="anne"
        )
        assert await people.change_user(replace(was, verifier="bcrypt:newer"), was) == await people.find_user("anne")

    async def test_a_password_takes_the_place_of_the_one_that_counts(self, people: PeopleStore) -> None:
        await people.add_user(a_user(verifier="bcrypt:x"))
        await people.add_user(a_user("bob", verifier="bcrypt:x"))
        for name in ("ann", "bob"):
            await people.keep_session(a_session(name, f"u-{name}"))
        assert not await people.replace_verifier("u-ann", "bcrypt:other", "bcrypt:y")
        assert not await people.replace_verifier("u-gone", "bcrypt:x", "bcrypt:y")
        assert await people.find_session("ann") is not None
        at_once = (people.replace_verifier("u-ann", "bcrypt:x", f"bcrypt:{n}") for n in range(4))
        assert sorted(await asyncio.gather(*at_once)) == [False] * 3 + [True]
        assert await people.find_session("ann") is None
        assert await people.find_session("bob") is not None
        await people.change_user(a_user("bob", disabled=True))
        assert not await people.replace_verifier("u-bob", "bcrypt:x", "bcrypt:y")

    async def test_a_user_may_change_but_not_come_from_nowhere(self, people: PeopleStore) -> None:
        await people.add_user(a_user())
        changed = a_user(role="viewer", verifier="bcrypt:y", disabled=True)
        assert await people.change_user(changed)
        assert await people.find_user("ann") == changed
        assert not await people.change_user(a_user("nobody"))
        assert await people.find_user("nobody") is None

    async def test_names_are_taken_by_the_letter(self, people: PeopleStore) -> None:
        await people.add_user(a_user())
        for name in ("Ann", "ann ", "", "a%", "' OR 1=1 --", "ann\0", "\ud800"):
            assert await people.find_user(name) is None

    async def test_the_first_user_is_made_once(self, people: PeopleStore) -> None:
        made = await asyncio.gather(*(people.add_user(a_user(f"u{n}"), first=True) for n in range(8)))
        assert sorted(made) == [False] * 7 + [True]
        assert len(await people.users()) == 1

    # setting up

    async def test_a_set_up_link_works_once(self, people: PeopleStore) -> None:
        await people.offer_setup("link", NOW + 60)
        assert await people.setup_open("link", NOW)
        assert not await people.setup_open("other", NOW)
        claims = (people.claim_setup("link", NOW, a_user(f"u{n}", role="owner")) for n in range(8))
        assert sorted(await asyncio.gather(*claims)) == [False] * 7 + [True]
        assert not await people.setup_open("link", NOW)
        assert len(await people.users()) == 1

    async def test_a_set_up_link_ends(self, people: PeopleStore) -> None:
        await people.offer_setup("link", NOW + 60)
        assert not await people.setup_open("link", NOW + 61)
        assert not await people.claim_setup("link", NOW + 61, a_user())
        await people.offer_setup("newer", NOW + 60)
        assert not await people.setup_open("link", NOW), "only the latest counts"
        await people.add_user(a_user())
        assert not await people.setup_open("newer", NOW), "somebody is there"
        assert not await people.claim_setup("newer", NOW, a_user("bob"))

    # sessions

    async def test_a_session_leads_to_its_user(self, people: PeopleStore) -> None:
        ann = a_user()
        await people.add_user(ann)
        await people.keep_session(a_session())
        assert await people.find_session("d1") == (a_session(), ann)
        later = replace(a_session(), data="{}", seen_at=NOW + 5)
        await people.keep_session(later)
        await people.change_user(replace(ann, disabled=True))
        assert await people.find_session("d1") == (later, replace(ann, disabled=True))
        assert await people.find_session("d2") is None

    async def test_using_a_session_keeps_it_and_revives_none(self, people: PeopleStore) -> None:
        await people.add_user(a_user())
        await people.keep_session(a_session())
        await people.touch_session("d1", NOW + 9)
        assert await people.find_session("d1") == (replace(a_session(), seen_at=NOW + 9), a_user())
        await people.end_session("d1")
        await people.touch_session("d1", NOW + 10)
        assert await people.find_session("d1") is None

    async def test_a_session_of_nobody_leads_nowhere(self, people: PeopleStore) -> None:
        await people.keep_session(a_session(user="u-gone"))
        assert await people.find_session("d1") is None

    async def test_sessions_end(self, people: PeopleStore) -> None:
        await people.add_user(a_user())
        await people.add_user(a_user("bob"))
        for number in range(3):
            await people.keep_session(a_session(f"a{number}"))
            await people.keep_session(a_session(f"b{number}", "u-bob"))
        await people.end_session("a0")
        await people.end_session("no such")
        assert await people.find_session("a0") is None
        assert await people.end_sessions("u-ann") == 2
        assert await people.find_session("a1") is None
        assert await people.find_session("b1") is not None

    async def test_old_sessions_are_forgotten(self, people: PeopleStore) -> None:
        await people.add_user(a_user())
        await people.keep_session(a_session("old", at=NOW - 100))
        await people.keep_session(replace(a_session("idle"), seen_at=NOW - 50))
        await people.keep_session(a_session("new"))
        await people.forget_sessions(created_before=NOW - 90, seen_before=NOW - 40)
        found = [digest for digest in ("old", "idle", "new") if await people.find_session(digest)]
        assert found == ["new"]

    # the last owner

    async def test_the_last_owner_stays(self, people: PeopleStore) -> None:
        ann, bob = a_user(role="owner"), a_user("bob", role="owner")
        await people.add_user(ann)
        await people.add_user(replace(bob, disabled=True))
        for less in (replace(ann, role="admin"), replace(ann, disabled=True)):
            with pytest.raises(LastOwner):
                await people.change_user(less)
        with pytest.raises(LastOwner):
            await people.remove_user(ann.id)
        assert await people.change_user(replace(ann, name="anna"))
        assert await people.change_user(bob)
        assert await people.change_user(replace(ann, role="admin"))
        with pytest.raises(LastOwner):
            await people.remove_user(bob.id)
        assert [(user.name, user.role) for user in await people.users()] == [("ann", "admin"), ("bob", "owner")]

    async def test_of_two_owners_who_remove_each_other_one_stays(self, people: PeopleStore) -> None:
        for name in ("ann", "bob", "eve"):
            await people.add_user(a_user(name, role="owner"))
        done = await asyncio.gather(
            people.remove_user("u-ann"),
            people.change_user(a_user("bob", role="viewer")),
            people.change_user(a_user("eve", role="owner", disabled=True)),
            return_exceptions=True,
        )
        assert [isinstance(each, LastOwner) for each in done].count(True) == 1, done
        assert all(done), "the other two were done"
        assert sum(user.role == "owner" and not user.disabled for user in await people.users()) == 1

    async def test_a_user_goes_with_everything(self, people: PeopleStore) -> None:
        await people.add_user(a_user())
        await people.keep_session(a_session())
        await people.add_admin_token(a_token())
        await people.add_admin_token(a_token("host", user_id=""))
        assert await people.remove_user("u-ann")
        assert not await people.remove_user("u-ann")
        assert await people.find_session("d1") is None
        assert [token.name for token in await people.admin_tokens()] == ["host"]

    # scripts

    async def test_an_admin_token_leads_to_its_user(self, people: PeopleStore) -> None:
        ann = a_user()
        await people.add_user(ann)
        mine, hosts, orphan = a_token(), a_token("host", user_id=""), a_token("orphan", user_id="u-gone")
        for token in (mine, hosts, orphan):
            assert await people.add_admin_token(token)
        assert not await people.add_admin_token(replace(mine, id="other", digest="other")), "the name is taken"
        assert await people.find_admin_token("d-ci") == (mine, ann)
        assert await people.find_admin_token("d-host") == (hosts, None)
        assert await people.find_admin_token("d-orphan") is None
        assert await people.find_admin_token("d-") is None
        await people.touch_admin_token(mine.id, NOW + 5)
        assert [*await people.admin_tokens()] == [replace(mine, used_at=NOW + 5), hosts, orphan]
        assert await people.remove_admin_token(mine.id)
        assert not await people.remove_admin_token(mine.id)
        assert await people.find_admin_token("d-ci") is None

    # acts that may be sent again

    async def test_an_act_is_done_once(self, people: PeopleStore) -> None:
        act = KeptAnswer("a", "r", NOW)
        claims = await asyncio.gather(*(people.claim_act(act, 0, 0) for _ in range(8)))
        assert sorted(map(str, claims)) == [*[str(act)] * 7, "None"]
        done = replace(act, answer="sealed")
        await people.keep_answer(done)
        assert await people.claim_act(replace(act, request="other", at=NOW + 9), 0, NOW + 9) == done
        await people.release_act("a")
        assert await people.claim_act(act, 0, 0) is None

    async def test_acts_are_forgotten(self, people: PeopleStore) -> None:
        for name in ("old", "lost", "new"):
            await people.claim_act(KeptAnswer(name, "r", NOW), 0, 0)
            if name != "lost":
                await people.keep_answer(KeptAnswer(name, "r", NOW, "x"))
        later = NOW + 100
        assert await people.claim_act(KeptAnswer("new", "r", later), NOW, NOW) is not None
        assert await people.claim_act(KeptAnswer("lost", "r", later), NOW, NOW + 1) is None, "who did it died"
        assert await people.claim_act(KeptAnswer("old", "r", later), NOW + 1, NOW) is None

    # guessing

    async def test_failures_add_up_also_at_once(self, people: PeopleStore) -> None:
        assert await people.failures("name:x") == Failures()
        await asyncio.gather(*(people.count_failure("name:x", NOW + n, NOW - 60) for n in range(10)))
        assert (await people.failures("name:x")).count == 10
        assert (await people.count_failure("name:x", NOW + 10, NOW - 60)) == Failures(11, NOW + 10)
        assert await people.failures("name:y") == Failures()

    async def test_failures_are_forgiven_or_forgotten(self, people: PeopleStore) -> None:
        await people.count_failure("a", NOW, 0)
        await people.count_failure("b", NOW, 0)
        await people.forgive("a")
        assert await people.failures("a") == Failures()
        assert await people.count_failure("c", NOW + 100, NOW + 50) == Failures(1, NOW + 100)
        assert await people.failures("b") == Failures()
        assert await people.count_failure("c", NOW + 200, NOW + 150) == Failures(1, NOW + 200)

    # audit

    async def test_the_audit_is_a_chain(self, people: PeopleStore) -> None:
        await asyncio.gather(*(people.note(AuditEntry(NOW + n, f"u{n}", "::1", "do", "x")) for n in range(7)))
        entries = [*await people.audit(100)]
        assert [entry.number for entry in entries] == [7, 6, 5, 4, 3, 2, 1]
        assert {entry.actor for entry in entries} == {f"u{n}" for n in range(7)}
        previous = GENESIS
        for entry in reversed(entries):
            assert entry.previous == previous
            assert entry.digest == entry.proof()
            previous = entry.digest
        assert replace(entries[3], actor="somebody else").proof() != entries[3].digest

    async def test_the_audit_comes_page_by_page(self, people: PeopleStore) -> None:
        for number in range(5):
            await people.note(AuditEntry(NOW, "ann", "", "do", str(number)))
        first = await people.audit(3)
        await people.note(AuditEntry(NOW, "ann", "", "do", "newer"))
        rest = await people.audit(3, before=first[-1].number)
        assert [entry.subject for entry in (*first, *rest)] == ["4", "3", "2", "1", "0"]

    async def test_the_audit_is_filtered(self, people: PeopleStore) -> None:
        for number in range(6):
            result: Any = "refused" if number % 3 else "done"
            await people.note(AuditEntry(NOW + number, f"u{number % 2}", "", f"do-{number % 3}", "x", result))
        await people.note(AuditEntry(NOW + 9, "u0", "", "do-0", "y"))

        async def numbers(**wanted: Any) -> list[int]:
            return [entry.number for entry in await people.audit(10, None, AuditFilter(**wanted))]

        assert await numbers() == [7, 6, 5, 4, 3, 2, 1]
        assert await numbers(actor="u1") == [6, 4, 2]
        assert await numbers(action="do-0", result="done") == [7, 4, 1]
        assert await numbers(subject="y", actor="u0") == [7]
        assert await numbers(since=NOW + 1, until=NOW + 4) == [4, 3, 2]
        assert await numbers(result="failed") == await numbers(actor="u%") == await numbers(actor="\0") == []
        assert [entry.number for entry in await people.audit(1, 6, AuditFilter(actor="u1"))] == [4]

    async def test_odd_characters_are_noted_too(self, people: PeopleStore) -> None:
        noted = await people.note(AuditEntry(NOW, "\ud800\0\r\n", "", "sign-in", "<script>", "refused"))
        assert [*await people.audit(1)] == [noted]
        assert noted.digest == noted.proof()

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

import pytest

from llmhub_core.contracts import GENESIS, AuditEntry, Failures, PeopleStore, SignedIn, User

NOW = 1_764_000_000.0


def a_user(name: str = "ann", **changes: object) -> User:
    return replace(User(f"u-{name}", name, "admin", "bcrypt:x", NOW), **changes)  # type: ignore[arg-type]


def a_session(digest: str = "d1", user: str = "u-ann", at: float = NOW) -> SignedIn:
    return SignedIn(digest, user, '{"csrf": "x"}', at, at)


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

    async def test_odd_characters_are_noted_too(self, people: PeopleStore) -> None:
        noted = await people.note(AuditEntry(NOW, "\ud800\0\r\n", "", "sign-in", "<script>", "refused"))
        assert [*await people.audit(1)] == [noted]
        assert noted.digest == noted.proof()

"""The suite for the part of a metadata store that keeps what was configured beside the file.

class TestMine(ConfigurationSuite):
    @pytest.fixture
    async def configuration(self):
        store = Mine(Mine.Settings(url="mine://localhost"))
        await store.start()
        await store.migrate()
        yield store.configuration
        await store.stop()
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from llmhub_core.contracts import ABSENT, ENTRY_KINDS, ConfigurationStore, Entry

NOW = 1_764_000_000.0

BODY = '{"name":"ünï \\u0000 \\" \' %","models":["*"]}'


def an_entry(name: str = "openai/main", **changes: object) -> Entry:
    entry = Entry("key", name, BODY, sealed="sealed:x", changed_at=NOW)
    return replace(entry, **changes)  # type: ignore[arg-type]


class ConfigurationSuite:
    """Subclass it, give it a fixture `configuration`, and pytest runs every test below against it."""

    @pytest.fixture
    async def configuration(self) -> ConfigurationStore:
        raise NotImplementedError

    # entries

    async def test_nothing_is_there_at_first(self, configuration: ConfigurationStore) -> None:
        assert await configuration.revision() == ABSENT
        revision, entries = await configuration.entries()
        assert (revision, [*entries]) == (ABSENT, [])

    async def test_an_entry_comes_back_as_it_went_in(self, configuration: ConfigurationStore) -> None:
        stored = await configuration.put(an_entry())
        assert stored is not None
        assert stored == an_entry(revision=stored.revision)
        assert stored.revision > ABSENT
        revision, entries = await configuration.entries()
        assert (revision, [*entries]) == (stored.revision, [stored])
        assert await configuration.revision() == revision

    async def test_an_entry_without_a_time_gets_one(self, configuration: ConfigurationStore) -> None:
        stored = await configuration.put(an_entry(changed_at=0.0))
        assert stored is not None
        assert stored.changed_at > NOW

    async def test_entries_come_by_kind_and_name(self, configuration: ConfigurationStore) -> None:
        for kind in reversed(ENTRY_KINDS):
            for name in ("b", "a", "B"):
                await configuration.put(an_entry(name, kind=kind))
        _, entries = await configuration.entries()
        assert [(entry.kind, entry.name) for entry in entries] == [
            (kind, name) for kind in ENTRY_KINDS for name in ("B", "a", "b")
        ]

    async def test_names_are_taken_by_the_letter(self, configuration: ConfigurationStore) -> None:
        await configuration.put(an_entry("Main"))
        for name in ("main", "Main ", "", "M%", "' OR 1=1 --", "Main\0", "\ud800"):
            assert not await configuration.remove("key", name)
        assert not await configuration.remove("token", "Main")
        assert len((await configuration.entries())[1]) == 1

    # revisions

    async def test_every_change_has_a_higher_revision(self, configuration: ConfigurationStore) -> None:
        seen = [await configuration.revision()]
        await configuration.put(an_entry("a"))
        seen.append(await configuration.revision())
        await configuration.put(an_entry("b"))
        seen.append(await configuration.revision())
        await configuration.put(an_entry("a", body="{}"))
        seen.append(await configuration.revision())
        assert await configuration.remove("key", "a")
        seen.append(await configuration.revision())
        assert await configuration.remove("key", "b")
        seen.append(await configuration.revision())
        assert seen == sorted(set(seen)), "each change is seen, also when the last entry went"
        revision, entries = await configuration.entries()
        assert (revision, [*entries]) == (seen[-1], [])

    async def test_what_changed_nothing_is_no_change(self, configuration: ConfigurationStore) -> None:
        stored = await configuration.put(an_entry())
        assert stored is not None
        assert await configuration.put(an_entry(), expected=stored.revision + 1) is None
        assert not await configuration.remove("key", "nobody")
        assert not await configuration.remove("key", stored.name, expected=stored.revision + 1)
        assert await configuration.revision() == stored.revision

    async def test_a_change_may_expect_what_it_changes(self, configuration: ConfigurationStore) -> None:
        first = await configuration.put(an_entry(), expected=ABSENT)
        assert first is not None
        assert await configuration.put(an_entry(body="other"), expected=ABSENT) is None
        second = await configuration.put(an_entry(body="{}"), expected=first.revision)
        assert second is not None
        assert await configuration.put(an_entry(body="other"), expected=first.revision) is None
        assert [*(await configuration.entries())[1]] == [second]
        assert not await configuration.remove("key", first.name, expected=first.revision)
        assert await configuration.remove("key", first.name, expected=second.revision)

    async def test_of_two_at_once_one_is_told(self, configuration: ConfigurationStore) -> None:
        made = await asyncio.gather(
            *(configuration.put(an_entry(body=str(n)), expected=ABSENT) for n in range(8)),
        )
        (winner,) = [stored for stored in made if stored is not None]
        assert [*(await configuration.entries())[1]] == [winner]
        changed = await asyncio.gather(
            *(configuration.put(an_entry(body=str(n)), expected=winner.revision) for n in range(8)),
        )
        assert sum(stored is not None for stored in changed) == 1

    async def test_many_at_once_have_a_revision_each(self, configuration: ConfigurationStore) -> None:
        made = await asyncio.gather(*(configuration.put(an_entry(f"k{n}")) for n in range(20)))
        revisions = {stored.revision for stored in made if stored is not None}
        assert len(revisions) == 20
        assert await configuration.revision() == max(revisions)

    # sealing anew

    async def test_sealing_anew_is_no_change(self, configuration: ConfigurationStore) -> None:
        stored = await configuration.put(an_entry())
        assert stored is not None
        assert await configuration.reseal("key", stored.name, "sealed:x", "sealed:y")
        revision, entries = await configuration.entries()
        assert (revision, [*entries]) == (stored.revision, [replace(stored, sealed="sealed:y")])

    async def test_sealing_anew_overwrites_nothing_newer(self, configuration: ConfigurationStore) -> None:
        await configuration.put(an_entry(sealed="sealed:new"))
        assert not await configuration.reseal("key", "openai/main", "sealed:x", "sealed:y")
        assert not await configuration.reseal("key", "nobody", "", "sealed:y")
        _, (entry,) = await configuration.entries()
        assert entry.sealed == "sealed:new"

    # facts

    async def test_facts(self, configuration: ConfigurationStore) -> None:
        assert await configuration.fact("canary") == ""
        assert await configuration.keep_fact("canary", "one")
        assert await configuration.keep_fact("canary", "two")
        assert await configuration.fact("canary") == "two"
        assert await configuration.fact("other") == ""
        assert await configuration.revision() == ABSENT

    async def test_a_fact_may_expect_what_it_replaces(self, configuration: ConfigurationStore) -> None:
        assert not await configuration.keep_fact("canary", "one", was="zero")
        assert await configuration.fact("canary") == ""
        kept = await asyncio.gather(*(configuration.keep_fact("canary", str(n), was="") for n in range(8)))
        assert sorted(kept) == [False] * 7 + [True]
        standing = await configuration.fact("canary")
        assert not await configuration.keep_fact("canary", "x", was="no")
        assert await configuration.keep_fact("canary", "x", was=standing)
        assert await configuration.fact("canary") == "x"

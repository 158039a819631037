"""Which hubs run on a database: each says so itself, in both databases."""

from __future__ import annotations

import asyncio
import time

import pytest
from databases import Store

from llmhub_core.contracts import ConfigurationStore
from llmhub_core.hub.vault import roster
from llmhub_core.hub.vault.roster import ROSTER, Present, Roster, present


def kept_by(store: Store) -> ConfigurationStore:
    assert store.configuration is not None
    return store.configuration


async def test_who_runs_is_seen_until_it_stops(store: Store) -> None:
    facts, told = kept_by(store), list[Present]()
    many = [Roster(facts, ["k1", f"k{number}"], "host:/quota.db", told.append) for number in range(8)]
    await asyncio.gather(*(each.join() for each in many))
    seen = await present(facts, time.time())
    assert sorted(each.keys[1] for each in seen.values()) == [f"k{number}" for number in range(8)]
    assert not told
    await asyncio.gather(*(each.leave() for each in many[1:]))
    assert [each.keys for each in (await present(facts, time.time())).values()] == [("k1", "k0")]
    assert not await present(facts, time.time() + roster.GONE_AFTER), "one that was killed is forgotten"
    await many[0].leave()
    assert not await present(facts, time.time())


async def test_each_of_two_that_count_apart_is_told_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "RENEW_EVERY", 0.02)
    facts = kept_by(store)
    told: dict[str, list[str]] = {"a": [], "b": []}
    heard = asyncio.Event()

    def tell(other: Present) -> None:
        told["a"].append(other.quota)
        heard.set()

    one = Roster(facts, [], "a", tell)
    other = Roster(facts, [], "b", lambda other: told["b"].append(other.quota))
    await one.join()
    await other.join()
    await asyncio.wait_for(heard.wait(), 10)
    for each in (one, other):
        await each.leave()
    assert told == {"a": ["b"], "b": ["a"]}


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"a": 1}', '{"a": [1]}', '{"a": ["x", "y", "z"]}'])
async def test_what_another_version_wrote_keeps_nobody_from_starting(store: Store, text: str) -> None:
    facts = kept_by(store)
    await facts.keep_fact(ROSTER, text)
    assert not await present(facts, 0.0)
    own = Roster(facts, ["k"], "a", lambda other: None)
    await own.join()
    assert len(await present(facts, time.time())) == 1
    await own.leave()

"""What the ledger knows and a counter has forgotten is counted again when a hub starts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, ask, provider, route

from llmhub_core.contracts import Level, Limit
from llmhub_core.gateway import meter
from llmhub_core.hub import leases
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer


async def used(house: House) -> dict[str, int]:
    """By the owner and the kind of the limit."""
    (place,) = house.hub.catalog.places.values()
    limits: list[Limit] = [*{limit for key in place.keys for limit in key.limits}]
    limits += [limit for caller in house.hub.tokens.callers for limit in caller.limits]
    levels: list[Level] = [*await house.hub.quota.levels(limits)]
    return {
        f"{level.limit.id.partition(':')[0]} {level.limit.kind} {level.limit.window}": level.used for level in levels
    }


@pytest.mark.parametrize(("quota", "file"), [("memory:", "quota.journal"), ("sqlite:///quota.db", "quota.db")])
async def test_what_was_used_today_counts_though_the_quota_store_lost_it(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path, quota: str, file: str
) -> None:
    upstream.on(lambda _: json_answer(COMPLETION))
    token = mint()
    headers = {"authorization": f"Bearer {token}"}
    keys = provider("main", upstream.url, 2, more='group = "g"\nlimits = { rpm = 100, rpd = 7, tpd = 100000 }') + route(
        "fast", "main/small"
    )
    caller = f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nlimits = {{ rpd = 5, budget = "1000 USD/day" }}\n'
    config = f'[storage]\nquota = "{quota}"\n[auth]\napi = "token"\n' + keys + caller
    async with House(config, folder=tmp_path) as house:
        for _ in range(4):
            assert (await ask(client, house.url, CHAT, headers=headers)).status == 200
        await house.hub.idle()
        await house.hub.settled()
        before = await used(house)
    for left in (tmp_path / "data").glob(f"{file}*"):
        left.unlink()
    async with House(config, folder=tmp_path) as house:
        after = await used(house)
        assert after == before | {name: 0 for name in before if name.endswith(" 60")}, "minutes are over by then"
        assert [after[name] for name in after if "requests 86400" in name] == [4, 4]
        assert (await ask(client, house.url, CHAT, headers=headers)).status == 200
        refused = await ask(client, house.url, CHAT, headers=headers)
        assert refused.status == 429
    async with House(config, folder=tmp_path) as house:
        assert {name: many for name, many in (await used(house)).items() if "requests 86400" in name} == {
            name: 5 for name in after if "requests 86400" in name
        }, "what is known already is not counted twice"


async def test_what_was_answered_but_killed_before_it_was_settled_counts(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease gives it back, and the ledger knows better."""
    monkeypatch.setattr(meter, "LEASE", 1.0)
    monkeypatch.setattr(leases, "LEASE", 1.0)
    monkeypatch.setattr(leases, "EVERY", 0.2)
    upstream.on(lambda _: json_answer(COMPLETION))
    config = '[storage]\nquota = "sqlite:///quota.db"\n' + provider("main", upstream.url, more="limits = { rpd = 9 }")
    async with House(config + route("fast", "main/small"), folder=tmp_path) as house:
        settle = house.hub.settle
        assert (await ask(client, house.url)).status == 200
        await house.hub.settled()
        house.hub.settle = lambda *what: None  # type: ignore[method-assign]
        assert (await ask(client, house.url)).status == 200
        await house.hub.ledger.flushed()
        house.hub.settle = settle  # type: ignore[method-assign]
    async with House(config + route("fast", "main/small"), folder=tmp_path) as house:
        (place,) = house.hub.catalog.places.values()
        seen = []
        deadline = time.monotonic() + 10
        while not seen or seen[-1] != (2, 0):
            (level,) = await house.hub.quota.levels(place.keys[0].limits)
            seen.append((level.used, level.reserved))
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.05)
        assert (2, 1) not in seen, "nothing is counted twice"

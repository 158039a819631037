"""Routes with very many keys: a decision looks at few of them, is nearly as good, and can be made again."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession
from houses import hub_of

from llmhub_core.contracts import (
    Candidate,
    CandidateStats,
    Choice,
    Decision,
    Equals,
    NoSettings,
    Strategy,
    UpstreamLimited,
    UpstreamOverloaded,
)
from llmhub_core.contracts.exchange import Plan
from llmhub_core.gateway import aside
from llmhub_core.gateway.decisions import LARGE, SHORT
from llmhub_core.gateway.replay import again
from llmhub_core.gateway.route import MOST_LEFT_OUT, plan_route
from llmhub_core.hub.catalog import of_catalog
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.pool import Mark
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House
from llmhub_core.testing.strategy import a_candidate

WEIGHING = ("weighted", "least_busy", "least_used")
STRATEGIES = (
    "priority", "round_robin", "weighted", "least_busy", "least_used", "lowest_latency", "cheapest", "most_quota_left",
)  # fmt: skip
KEYS = 100


def config(strategy: str, keys: int = KEYS, limits: str = "", more: str = "", fallbacks: str = "[]") -> str:
    named = ", ".join(f'{{ name = "k{n}", secret = "", weight = {n % 4}{limits} }}' for n in range(keys))
    return f"""
[[providers]]
name = "echo"
kind = "echo"
keys = [{named}]
[[providers]]
name = "other"
kind = "echo"
[[routes]]
model = "fast"
strategy = "{strategy}"
affinity = "session"
fallbacks = {fallbacks}
deployments = [{{ provider = "echo", model = "m" }}, {{ provider = "other", model = "last", priority = 2 }}]
[[routes]]
model = "slow"
deployments = [{{ provider = "other", model = "slow" }}]
{more}
"""


def planned(hub: Hub, affinity: str = "") -> Plan:
    return plan_route(hub.catalog.routes["fast"], hub, hub.dialects["openai_chat"], affinity=affinity)


def rest(hub: Hub, *stats: CandidateStats) -> None:
    for each in stats:
        hub.pool.note(each, UpstreamLimited("slow down", retry_after=60))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_decisions_among_many_are_made_again_the_same(strategy: str, registry: Registry, tmp_path: Path) -> None:
    text, chance = config(strategy), random.Random(5)
    hub = hub_of(text, tmp_path, registry)
    standing = hub.catalog.routes["fast"].standing
    for stats in standing:
        stats.price = chance.choice((None, 1.0, 2.0))
    logged: list[Decision] = []
    for number in range(400):
        if number % 10 == 0:
            for stats in standing:
                stats.in_flight, stats.failures = chance.randrange(4), chance.randrange(2)
                stats.first_token, stats.quota_left = (
                    chance.choice((None, chance.random())),
                    chance.choice((0.0, 0.3, 1.0)),
                )
        if number == 200:
            rest(hub, *chance.sample(list(standing), 70))
        made = planned(hub, chance.choice(("", "a", "b")))
        for _ in range(chance.randrange(3)):
            assert made.more is not None
            made.more(made)
        hub.affinity.note(made.affinity or "z", made.candidates[-1].candidate.label, None)
        logged += made.decisions
    later = hub_of(text, tmp_path, registry)
    for theirs, ours in zip(later.catalog.routes["fast"].standing, standing, strict=True):
        theirs.price = ours.price
    for decision in msgspec.json.decode(msgspec.json.encode(logged), type=list[Decision]):
        assert again(later.catalog, decision) == decision.order
    assert len(logged) > 400


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_are_tried_before_anybody_is_refused(strategy: str, registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config(strategy, fallbacks='["slow"]'), tmp_path, registry)
    made = planned(hub)
    assert 0 < len(made.candidates) <= SHORT
    while made.more is not None and made.more(made):
        pass
    labels = [stats.candidate.label for stats in made.candidates]
    assert len(labels) == len({*labels}) == KEYS + 2
    assert labels[-1] == "other/slow#none"
    if strategy != "round_robin":
        assert labels[-2] == "other/last#none", "the second priority comes after all of the first"


def test_keys_that_rest_are_passed_over_and_counted(registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config("priority"), tmp_path, registry)
    standing = hub.catalog.routes["fast"].standing
    rest(hub, *standing[:90])
    made = planned(hub)
    assert [stats.candidate.key.name for stats in made.candidates] == [f"k{n}" for n in range(90, 94)]
    assert len(made.left_out) == MOST_LEFT_OUT
    assert made.left_out[0][1].startswith("cooling")
    assert made.left_out[-1] == ("fast", f"others: {90 - MOST_LEFT_OUT + 1} more could not be used")
    rest(hub, *standing)
    made = planned(hub)
    assert made.candidates == []
    assert made.soonest == pytest.approx(60, abs=2)


def looked_at(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom decisions look at from now on."""
    looks: list[str] = []
    blocked = hub.pool.blocked

    def noted(candidate: Candidate, now: float) -> Mark | None:
        looks.append(candidate.label)
        return blocked(candidate, now)

    monkeypatch.setattr(hub.pool, "blocked", noted)
    return looks


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_nearly_all_rest_those_that_do_not_are_drawn_from(
    strategy: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_of(config(strategy, keys=1000), tmp_path, registry)
    standing = [stats for stats in hub.catalog.routes["fast"].standing if stats.candidate.deployment.provider == "echo"]
    awake = standing[3::50]
    rest(hub, *(stats for stats in standing if stats not in awake))
    first: Counter[str] = Counter()
    planned(hub)
    monkeypatch.setattr(aside, "KEPT", 1000.0)
    planned(hub)
    looks = looked_at(hub, monkeypatch)
    logged: list[Decision] = []
    for _ in range(2000):
        made = planned(hub)
        first[made.candidates[0].candidate.key.name] += 1
        assert made.left_out[0] == ("fast", "others: 980 more could not be used")
        logged += made.decisions
    assert len(looks) <= 2000 * SHORT
    del first["none"]  # round robin leaves priorities aside
    weightless = {
        stats.candidate.key.name for stats in awake if strategy in WEIGHING and not stats.candidate.key.weight
    }
    assert {*first} == {stats.candidate.key.name for stats in awake} - weightless, "all of them have their turn"
    assert max(first.values()) < 2000 / len(first) * 2.5
    for decision in logged[:50]:
        assert again(hub.catalog, decision) == decision.order


def test_nobody_is_refused_before_those_that_are_back_were_found(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_of(config("priority", keys=1000), tmp_path, registry)
    standing = hub.catalog.routes["fast"].standing
    rest(hub, *standing)
    monkeypatch.setattr(aside, "KEPT", 1000.0)
    monkeypatch.setattr(aside, "SHARE_OF_TIME", 1e-9)
    for _ in range(3):
        made = planned(hub)
        assert made.candidates == []
        assert made.soonest == pytest.approx(60, abs=2)
    looks = looked_at(hub, monkeypatch)
    planned(hub)
    assert len(looks) < 10, "who rests is known"
    hub.pool.marks[f"key:{standing[700].candidate.key.id}"].until = time.monotonic() + 0.02
    hub.pool.reset(standing[500].candidate.key)
    time.sleep(0.03)
    aside.aside_of(hub.catalog.routes["fast"].equals()[0])._again = 0.0
    assert {stats.candidate.key.name for stats in planned(hub).candidates} == {"k500", "k700"}


def test_when_all_fail_some_are_offered_all_the_same(registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config("priority", keys=1000), tmp_path, registry)
    one, *_, other = hub.catalog.routes["fast"].standing
    for stats in (one, other):
        for number in range(5):
            hub.health.begin(stats)
            hub.health.end(stats, UpstreamOverloaded("x"), None, b"%d" % number)
    for _ in range(3):
        made = planned(hub)
        assert [of_catalog(stats).place.name for stats in made.candidates[:SHORT]] == ["echo"] * SHORT
        assert len(made.candidates) <= 2 * SHORT
        assert made.soonest == pytest.approx(10, abs=1)


def test_spent_quotas_are_asked_last(registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config("priority"), tmp_path, registry)
    for stats in hub.catalog.routes["fast"].standing[:97]:
        stats.quota_left = 0.0
    assert [stats.candidate.key.name for stats in planned(hub).candidates] == ["k97", "k98", "k99"]


async def test_a_request_goes_through_all_limits_to_the_key_that_has_room(tmp_path: Path) -> None:
    """Each key takes one request a day; the hub learns of what is left only by asking."""
    text = config("priority", keys=40, limits=", limits = { rpd = 1 }")
    body = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
    async with House(text, folder=tmp_path) as house, ClientSession() as session:
        await house.hub.standings.stop()
        for _ in range(45):
            house.hub.catalog.routes["fast"].turn = 0
            async with session.post(house.url + "/v1/chat/completions", json=body) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
        served = Counter(f"{record.provider}/{record.key}" for record in await house.records())
        assert served == {**{f"echo/k{n}": 1 for n in range(40)}, "other/none": 5}


# what is drawn


def drawn(strategy: Strategy, equals: Equals, turn: int, draw: float) -> CandidateStats:
    source = strategy.shortlist(Choice("fast", turn, draw), equals)
    assert source is not None
    return next(source)


@pytest.mark.parametrize("name", STRATEGIES)
def test_many_share_the_requests_fairly(name: str, registry: Registry) -> None:
    strategy = registry.strategies.get(name)(NoSettings())
    members = [a_candidate(key=f"k{n}", key_weight=1 if n < 500 else 3) for n in range(1000)]
    equals, chance = Equals(members), random.Random(1)
    assert len(members) > LARGE
    found = Counter(id(drawn(strategy, equals, turn, chance.random())) for turn in range(40_000))
    first = sum(found[id(stats)] for stats in members[:500]) / 40_000
    weighs = name in WEIGHING
    assert first == pytest.approx(0.25 if weighs else 0.5, abs=0.01)
    assert len(found) > 990
    assert max(found.values()) < (60 if not weighs else 120) * 1.6

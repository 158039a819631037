"""Logged decisions made again: all of them under the same policy, and what another policy would have changed."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from click.testing import CliRunner, Result
from houses import hub_of

from llmhub_core.cli import main
from llmhub_core.contracts import Decision, Record, UpstreamLimited, UpstreamOverloaded
from llmhub_core.gateway.replay import Replay, again
from llmhub_core.gateway.route import plan_route
from llmhub_core.hub.catalog import Route
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.pricing import Pricing
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House
from llmhub_core.testing.records import a_record

STRATEGIES = (
    "priority", "round_robin", "weighted", "least_busy", "least_used", "lowest_latency", "cheapest", "most_quota_left",
)  # fmt: skip


def config(strategy: str, keys: int = 4, more: str = "") -> str:
    named = ", ".join(
        f'{{ name = "k{n}", secret = "", weight = {1 + n % 3}, priority = {n % 2} }}' for n in range(keys)
    )
    return f"""
[[providers]]
name = "echo"
kind = "echo"
keys = [{named}]
[[providers]]
name = "spare"
kind = "echo"
keys = [{named}]
[[routes]]
model = "fast"
strategy = "{strategy}"
fallbacks = ["slow"]
affinity = "session"
deployments = [
  {{ provider = "echo", model = "dear", input_price = 10, output_price = 30, weight = 2 }},
  {{ provider = "spare", model = "cheap", input_price = 1, output_price = 2 }},
]
[[routes]]
model = "slow"
strategy = "{strategy}"
deployments = [{{ provider = "spare", model = "big" }}, {{ provider = "spare", model = "cheap" }}]
{more}
"""


def stir(hub: Hub, chance: random.Random) -> None:
    """Other live numbers, other keys that rest, other breakers."""
    for route in hub.catalog.routes.values():
        for stats in route.standing:
            stats.in_flight, stats.picks, stats.failures = (
                chance.randrange(4),
                chance.randrange(99),
                chance.randrange(3),
            )
            stats.last_pick = time.monotonic() - chance.expovariate(0.1)
            stats.first_token = chance.choice((None, chance.uniform(0.1, 5.0)))
            stats.quota_left = chance.choice((0.0, 0.5, chance.random()))
            stats.price = chance.choice((None, 1.0, chance.uniform(0.5, 20.0)))
    marks = chance.randrange(4)
    for stats in chance.sample([*hub.catalog.routes["fast"].standing], marks):
        hub.pool.note(stats, UpstreamLimited("slow down", retry_after=chance.uniform(5, 500)))
    if not marks:
        for route in hub.catalog.routes.values():
            for stats in route.standing:
                hub.pool.reset(stats.candidate.key)
    for _ in range(chance.choice((0, 0, 5))):
        stats = chance.choice(hub.catalog.routes["fast"].standing)
        hub.health.begin(stats)
        hub.health.end(stats, UpstreamOverloaded("no"), None)
    if chance.random() < 0.3:
        hub.health.forget("echo", "dear")
        hub.health.forget("spare", "cheap")


def decisions(hub: Hub, count: int, seed: int) -> Iterator[Record]:
    """Records as a journal gives them back, of requests in changing situations."""
    chance = random.Random(seed)
    dialect = hub.dialects["openai_chat"]
    route = hub.catalog.routes["fast"]
    for number in range(count):
        if number % 5 == 0:
            stir(hub, chance)
        affinity = chance.choice(("", f"c{chance.randrange(9)}"))
        made = plan_route(route, hub, dialect, affinity=affinity)
        if affinity and made.candidates:
            hub.affinity.note(affinity, chance.choice(made.candidates).candidate.label, None)
        record = a_record(f"r{number}", route="fast", attempts=[], left_out=made.left_out)
        record.decisions = made.decisions
        yield msgspec.json.decode(msgspec.json.encode(record), type=Record)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_under_the_same_policy_every_decision_is_the_same(strategy: str, registry: Registry, tmp_path: Path) -> None:
    text = config(strategy)
    logged = [*decisions(hub_of(text, tmp_path, registry), 1000, seed=STRATEGIES.index(strategy))]
    later = hub_of(text, tmp_path, registry)
    replay = Replay(later.catalog, Pricing({}, {}))
    for record in logged:
        replay.add(record)
    assert sum(found.decisions for found in replay.routes.values()) > 1000, "fallbacks decide as well"
    for found in replay.routes.values():
        assert found.same == found.decisions, found.examples
    warm = [decision for record in logged for decision in record.decisions if decision.warm]
    assert any(decision.order[0] == decision.warm for decision in warm)


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each not in ("priority", "round_robin")])
def test_a_decision_depends_on_what_was_noted(strategy: str, registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config(strategy), tmp_path, registry)
    logged = [decision for record in decisions(hub, 300, seed=7) for decision in record.decisions]
    other = 0
    for decision in logged:
        for column in decision.numbers.values():
            column.reverse()
        decision.draw = 1.0 - decision.draw
        other += again(hub.catalog, decision) != decision.order
    assert other > len(logged) / 4


def test_another_policy_shows_where_requests_would_have_gone_and_what_that_costs(
    registry: Registry, tmp_path: Path
) -> None:
    hub = hub_of(config("cheapest", keys=1).replace('"cheapest"', '"priority"'), tmp_path, registry)
    for stats in hub.catalog.routes["fast"].standing:
        stats.price = 15.0 if stats.candidate.deployment.model == "dear" else 1.25
    pricing = hub.pricing
    logged = []
    for number in range(10):
        record = a_record(f"r{number}", route="fast", left_out=[], attempts=[], cost=None)
        made = plan_route(hub.catalog.routes["fast"], hub, hub.dialects["openai_chat"])
        first = made.candidates[0].candidate
        record.provider, record.served_model, record.key = (
            first.deployment.provider,
            first.deployment.model,
            first.key.name,
        )
        record.decisions = made.decisions
        record.cost = pricing.cost(record)
        logged.append(record)
    cheapest = hub_of(config("cheapest", keys=1), tmp_path, registry)
    for stats in cheapest.catalog.routes["fast"].standing:
        stats.price = 15.0 if stats.candidate.deployment.model == "dear" else 1.25
    replay = Replay(cheapest.catalog, cheapest.pricing, changed=True)
    for record in logged:
        replay.add(record)
    found = replay.routes["fast"]
    assert (found.decisions, found.same, found.other_first) == (10, 5, 5), "two took turns before"
    assert found.shifts == {("echo/dear#k0", "spare/cheap#k0"): 5}
    assert found.cost == 5 * (100 * 10 + 20 * 30) * 1000
    assert found.cost_now == 5 * (100 * 1 + 20 * 2) * 1000
    assert [example.request for example in found.examples] == ["r0", "r2", "r4"]


def test_a_key_that_is_gone_and_one_that_is_new(registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config("priority"), tmp_path, registry)
    (record,) = decisions(hub, 1, seed=3)
    smaller = hub_of(config("priority", keys=2), tmp_path, registry)
    now = again(smaller.catalog, record.decisions[0])
    assert set(now) == {label for label in record.decisions[0].order if label[-2:] in ("k0", "k1")}
    larger = hub_of(config("priority", keys=5), tmp_path, registry)
    assert {label for label in again(larger.catalog, record.decisions[0], set()) if label.endswith("k4")}
    del larger.catalog.routes["fast"]
    replay = Replay(larger.catalog, Pricing({}, {}))
    replay.add(record)
    assert replay.routes["fast"].gone == 1


def test_what_had_no_choice_may_have_one_under_another_policy(registry: Registry, tmp_path: Path) -> None:
    hub = hub_of(config("cheapest", keys=1), tmp_path, registry)
    for stats in hub.catalog.routes["fast"].standing:
        stats.price = 15.0 if stats.candidate.deployment.model == "dear" else 1.25
    record = a_record(route="fast", left_out=[], provider="echo", served_model="dear", key="k0")
    record.attempts = [msgspec.structs.replace(record.attempts[1], provider="echo", model="dear", key="k0")]
    replay = Replay(hub.catalog, hub.pricing, changed=True)
    replay.add(record)
    assert replay.routes["fast"].shifts == {("echo/dear#k0", "spare/cheap#k0"): 1}
    same = Replay(hub.catalog, hub.pricing)
    same.add(record)
    assert same.routes == {}


def test_an_order_longer_than_a_record_keeps_is_said_to_be_cut(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmhub_core.gateway.replay.MOST_NOTED", 2)
    hub = hub_of(config("priority"), tmp_path, registry)
    labels = [stats.candidate.label for stats in hub.catalog.routes["fast"].standing]
    record = a_record(route="fast", decisions=[Decision("fast", "other", 0, 0.5, labels[:2], of=8)])
    replay = Replay(hub.catalog, Pricing({}, {}))
    replay.add(record)
    assert (replay.routes["fast"].cut, replay.routes["fast"].same) == (1, 0)


# the command


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


async def asked(house: House, count: int) -> None:
    body: dict[str, Any] = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
    async with ClientSession() as session:
        for _ in range(count):
            async with session.post(house.url + "/v1/chat/completions", json=body) as answer:
                assert answer.status == 200, await answer.text()


async def test_the_command_reproduces_what_the_hub_decided(tmp_path: Path) -> None:
    async with House(config("lowest_latency"), folder=tmp_path) as house:
        await asked(house, 40)
        records = await house.records()
        assert len(records[0].decisions[0].order) == 8
    where = ("--config", str(tmp_path / "config.toml"), "--data-dir", str(tmp_path / "data"))
    result = await asyncio.to_thread(run, "replay", *where, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [(route["route"], route["decisions"], route["same"]) for route in told] == [
        ("fast", 40, 40),
        ("slow", 40, 40),
    ]
    result = await asyncio.to_thread(run, "replay", *where)
    assert result.stdout.splitlines()[-1] == "80 decisions, 80 the same (100.0%)"


async def test_the_command_shows_what_another_configuration_changes(tmp_path: Path) -> None:
    async with House(config("round_robin", keys=1), folder=tmp_path) as house:
        await asked(house, 10)
        await house.records()
    other = tmp_path / "new.toml"
    other.write_text(config("cheapest", keys=1))
    where = ("--config", str(other), "--data-dir", str(tmp_path / "data"))
    result = await asyncio.to_thread(run, "replay", *where)
    assert result.exit_code == 0, result.output
    assert "fast: 10 decisions, 5 the same" in result.stdout
    assert "5  echo/dear#k0 → spare/cheap#k0" in result.stdout
    assert "cost of those" in result.stdout
    nothing = await asyncio.to_thread(run, "replay", *where, "--model", "other")
    assert nothing.stdout == "No decision was logged in this time.\n"


def test_the_command_without_a_hub_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(config("priority"))
    result = run("replay", "--config", str(path), "--data-dir", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "has the hub run yet" in result.stderr


def test_keys_that_may_not_serve_the_model_are_told(registry: Registry, tmp_path: Path) -> None:
    text = config("priority").replace('name = "k3", secret = ""', 'name = "k3", secret = "", models = ["gpt-*"]')
    hub = hub_of(text, tmp_path, registry)
    route: Route = hub.catalog.routes["slow"]
    made = plan_route(route, hub, hub.dialects["openai_chat"])
    assert ("spare/big#k3", "not allowed: the key serves gpt-*") in made.left_out
    assert "spare/big#k3" not in [stats.candidate.label for stats in made.candidates]

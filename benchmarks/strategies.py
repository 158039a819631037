"""What one decision costs, by strategy and number of keys in a route: python benchmarks/strategies.py

Microseconds of a whole decision (who can be used, in which order, and what is noted of it), the best of several rounds;
in the second table a tenth of the keys rests, in the third all but one in a hundred (of fewer keys, all but one), in
the last all. Each hub has 1,000 routes beside the one that is asked.
"""

from __future__ import annotations

import gc
import logging
import random
import tempfile
import time
from pathlib import Path

from llmhub_core.cli.common import known
from llmhub_core.contracts import UpstreamLimited
from llmhub_core.gateway.route import plan_route
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load

NAMES = (
    "round_robin", "priority", "weighted", "least_busy", "least_used", "lowest_latency", "cheapest", "most_quota_left",
)  # fmt: skip
SIZES = (2, 10, 16, 17, 100, 1000, 10_000)
ROUTES = 1000
ROUNDS = 60
DECISIONS = 50


def hub_with(keys: int, registry: Registry, folder: Path) -> Hub:
    named = ",".join(f'{{ name = "k{n}", secret = "", weight = {1 + n % 3} }}' for n in range(keys))
    text = (
        f'[[providers]]\nname = "echo"\nkind = "echo"\nkeys = [{named}]\n[[providers]]\nname = "one"\nkind = "echo"\n'
    )
    for name in NAMES:
        text += f'[[routes]]\nmodel = "{name}"\nstrategy = "{name}"\n'
        text += 'deployments = [{ provider = "echo", model = "m" }]\n'
    for number in range(ROUTES):
        text += f'[[routes]]\nmodel = "r{number}"\ndeployments = [{{ provider = "one", model = "m{number}" }}]\n'
    path = folder / "config.toml"
    path.write_text(text)
    hub = Hub(load(path, {}, known(registry)).settings, registry, folder / "data", folder)
    chance = random.Random(keys)
    for stats in hub.catalog.routes[NAMES[0]].standing:
        stats.in_flight, stats.first_token = chance.randrange(5), chance.uniform(0.1, 3.0)
        stats.quota_left, stats.price = chance.random(), chance.choice([0.5, 1.0, 2.0, None])
        stats.last_pick = chance.uniform(0.0, 10.0)
    return hub


def microseconds(hub: Hub, name: str) -> float:
    route, dialect = hub.catalog.routes[name], hub.dialects["openai_chat"]
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(DECISIONS):
            plan_route(route, hub, dialect)
        rounds.append((time.thread_time() - began) / DECISIONS)
    return min(rounds) * 1e6


def table(hubs: list[Hub], title: str) -> None:
    print(f"{title:24}" + "".join(f"{size:>9,}" for size in SIZES))
    for name in NAMES:
        print(f"{name:24}" + "".join(f"{microseconds(hub, name):>9.1f}" for hub in hubs))


def rest(hubs: list[Hub], which: slice) -> None:
    for hub in hubs:
        for stats in hub.catalog.routes[NAMES[0]].standing[which]:
            hub.pool.note(stats, UpstreamLimited("slow down", retry_after=3600))


def main() -> None:
    logging.disable()
    registry = Registry().discover()
    with tempfile.TemporaryDirectory(prefix="llmhub-strategies-") as folder:
        hubs = [hub_with(size, registry, Path(folder)) for size in SIZES]
        gc.collect()
        gc.freeze()  # as `llm-hub serve` does
        table(hubs, "all can be used")
        rest(hubs, slice(1, None, 10))
        table(hubs, "a tenth rests")
        for left in range(1, 100):
            rest(hubs, slice(left, None, 100))
        table(hubs, "99 of 100 rest")
        rest(hubs, slice(None))
        table(hubs, "all rest")


if __name__ == "__main__":
    main()

"""What one decision costs, by strategy and number of candidates in a route: python benchmarks/strategies.py

Microseconds, the best of several rounds. All of a route's candidates are put in order, so the cost grows with them.
"""

from __future__ import annotations

import random
import time

from llmhub_core.contracts import CandidateStats, Choice, NoSettings, Strategy
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.strategy import a_candidate

NAMES = ("round_robin", "priority", "weighted", "least_busy", "lowest_latency", "cheapest", "most_quota_left")
SIZES = (2, 10, 100, 10_000)
ROUNDS = 7


def standing(size: int) -> list[CandidateStats]:
    chance = random.Random(size)
    found = [a_candidate(key=f"k{number}", key_weight=1 + number % 3) for number in range(size)]
    for stats in found:
        stats.in_flight, stats.first_token = chance.randrange(5), chance.uniform(0.1, 3.0)
        stats.quota_left, stats.price = chance.random(), chance.choice([0.5, 1.0, 2.0, None])
        stats.last_pick = chance.uniform(0.0, 10.0)
    return found


def microseconds(strategy: Strategy, candidates: list[CandidateStats]) -> float:
    choices = [Choice("fast", turn, turn / 1000) for turn in range(max(3, min(1000, 20_000 // len(candidates))))]
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for choice in choices:
            strategy.order(choice, candidates)
        rounds.append((time.perf_counter() - began) / len(choices))
    return min(rounds) * 1e6


def main() -> None:
    registry = Registry().discover()
    print(f"{'candidates':16}" + "".join(f"{size:>10,}" for size in SIZES))
    for name in NAMES:
        strategy = registry.strategies.get(name)(NoSettings())
        print(f"{name:16}" + "".join(f"{microseconds(strategy, standing(size)):>10,.1f}" for size in SIZES))


if __name__ == "__main__":
    main()

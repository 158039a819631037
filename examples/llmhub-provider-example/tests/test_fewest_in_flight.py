"""The strategy passes the suite of all strategies, and orders by what runs now."""

from __future__ import annotations

from llmhub_provider_example.fewest_in_flight import FewestInFlight

from llmhub_core.contracts import CandidateStats, Choice, NoSettings
from llmhub_core.testing.strategy import StrategySuite, a_candidate


class TestFewestInFlight(StrategySuite):
    strategy = FewestInFlight(NoSettings())

    def names(self, turn: int, *standing: CandidateStats) -> str:
        ordered = self.strategy.order(Choice("fast", turn, 0.5), standing)
        return "".join(stats.candidate.deployment.model for stats in ordered)

    def test_the_least_busy_comes_first(self) -> None:
        busy, idle, busiest = a_candidate("b"), a_candidate("a"), a_candidate("c")
        busy.in_flight, busiest.in_flight = 2, 9
        assert {self.names(turn, busy, idle, busiest) for turn in range(9)} == {"abc"}

    def test_equals_take_turns(self) -> None:
        standing = [a_candidate("a"), a_candidate("b"), a_candidate("c")]
        assert [self.names(turn, *standing) for turn in range(4)] == ["abc", "bca", "cab", "abc"]

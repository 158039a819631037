"""Attempts that nobody answered count at the provider that was asked; what a caller did wrong or gave up does not."""

from __future__ import annotations

import time

import pytest

from llmhub_core.contracts import Attempt
from llmhub_core.hub.unanswered import HOUR, Unanswered
from llmhub_core.testing.records import a_record


def test_only_what_came_to_nothing_by_a_providers_fault() -> None:
    now, counts = time.time(), Unanswered()
    tried = [
        Attempt("a", "m", "k", 1.0, "rate_limit_exceeded", 429),
        Attempt("a", "m", "k", 2.0, "upstream_unreachable"),
        Attempt("b", "m", "k", 3.0, "invalid_request", 400),
        Attempt("b", "m", "k", 4.0, "hedge_lost"),
        Attempt("b", "m", "k", 5.0, "client_closed"),
        Attempt("c", "m", "k", 6.0, "upstream_error", 502),
    ]
    counts.count([a_record("r-1", arrived_at=now, provider="c", outcome="failed", attempts=tried)])
    assert counts.told() == {"a": 2}, "c answered, so it is in the sums"
    counts.count([a_record("r-2", arrived_at=now, provider="", outcome="failed", attempts=tried)])
    assert counts.told() == {"a": 4, "c": 1}


def test_it_is_of_this_hour_and_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now, counts = time.time(), Unanswered()
    tried = [Attempt("a", "m", "k", 1.0, "upstream_error", 502)]
    for ago in (0, HOUR, 2 * HOUR):
        counts.count([a_record(f"r-{ago}", arrived_at=now - ago, provider="", outcome="failed", attempts=tried)])
    assert counts.told() == {"a": 2}
    monkeypatch.setattr(time, "time", lambda: now + HOUR)
    assert counts.told() == {"a": 1}

"""When a limit will be spent: right where it can be told, silent where it cannot."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhub_core.hub.forecast import HORIZON, LEAST, Trend

calmly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
rates = st.integers(1, 10**9)
steps = st.lists(st.floats(1.0, 60.0), min_size=3, max_size=40)


def trend(samples: list[tuple[float, int]]) -> Trend:
    made = Trend()
    for at, used in samples:
        made.note(at, used)
    return made


def times(steps: list[float]) -> list[float]:
    at, found = 1000.0, []
    for step in steps:
        at += step
        found.append(at)
    return found


@calmly
@given(rates, steps, st.integers(1, 10**15))
def test_steady_use_is_told_exactly(rate: int, steps: list[float], left: int) -> None:
    seen = times(steps)
    made = trend([(at, int(at * rate)) for at in seen])
    if seen[-1] - seen[0] < LEAST:
        assert made.spent_in(left) is None
    else:
        found = made.spent_in(left)
        assert found is not None
        assert abs(found - left / rate) <= 0.05 * (left / rate)


@calmly
@given(steps, st.lists(st.integers(0, 10**12), min_size=40, max_size=40), st.integers(0, 10**12))
def test_it_is_never_before_now_and_never_a_surprise(steps: list[float], used: list[int], left: int) -> None:
    made = trend(list(zip(times(steps), used, strict=False)))
    found = made.spent_in(left)
    assert found is None or found >= 0
    assert made.spent_in(0) == 0.0
    more = made.spent_in(left + 1)
    assert (found is None) == (more is None) or left == 0
    assert found is None or more is None or more >= found


@calmly
@given(steps, st.integers(0, 10**12))
def test_what_is_not_used_is_never_spent(steps: list[float], used: int) -> None:
    assert trend([(at, used) for at in times(steps)]).spent_in(5) is None


@calmly
@given(rates, steps)
def test_a_window_that_begins_anew_forgets_what_was(rate: int, steps: list[float]) -> None:
    before = [(at, 10**12 + int(at * rate * 1000)) for at in times(steps)]
    at = before[-1][0]
    after = [(at + 30.0 * number, number * 30 * rate) for number in range(4)]
    found = trend([*before, *after]).spent_in(rate * 100)
    assert found is not None
    assert abs(found - 100) < 1


def test_only_lately_counts() -> None:
    fast = [(float(at), at * 1000) for at in range(0, 600, 30)]
    slow = [(600.0 + at, 600_000 + at) for at in range(0, int(HORIZON) + 60, 30)]
    found = trend([*fast, *slow]).spent_in(3600)
    assert found is not None
    assert abs(found - 3600) < 100


def test_what_comes_back_counts_against_what_is_used() -> None:
    # A sliding window: 10 a second go, 10 a second come back, and 1 more is used.
    assert trend([(at, 50_000 + int(at) - (int(at) % 7)) for at in times([30.0] * 20)]).rate() < 2


def test_its_memory_is_bounded() -> None:
    made = trend([(at / 10, at) for at in range(100_000)])
    assert len(made._samples) <= HORIZON / 15

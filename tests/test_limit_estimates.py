"""What is learned of limits that are told in headers and bodies, and of those that are not told at all."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import pytest

from llmhub_core.contracts import SeenLimit
from llmhub_core.hub.limit_estimates import FORGOTTEN, TRUSTED, Counted, Hidden, Told, likely

MINUTE = 60.0


def told(*amounts: int, every: float = 5.0) -> Told:
    limit = Told("requests", 60, "header")
    for number, amount in enumerate(amounts):
        limit.tell(SeenLimit("requests", 60, amount), "header", 1000.0 + number * every)
    return limit


@pytest.mark.parametrize(
    ("amounts", "amount", "samples", "binds"),
    [
        ((500,), 500, 1, False),
        ((500, 500), 500, 2, False),
        ((500, 500, 500), 500, 3, True),
        ((500, 500, 500, 50), 500, 3, True),
        ((500, 500, 500, 50, 500, 50, 500, 50), 500, 5, True),
        ((500, 500, 500, 50, 50), 500, 3, True),
        ((500, 500, 500, 50, 50, 50), 50, 3, True),
        ((500, 500, 500, 900, 900, 900, 900), 900, 4, True),
    ],
)
def test_a_number_counts_when_it_was_told_often_enough(
    amounts: tuple[int, ...], amount: int, samples: int, binds: bool
) -> None:
    limit = told(*amounts)
    assert (limit.amount, limit.samples) == (amount, samples)
    assert limit.bound(1000.0 + len(amounts) * 5) == (amount if binds else None)


def test_refusals_at_the_same_moment_are_one() -> None:
    limit = told(500, 500, 500)
    for number in range(50):
        limit.tell(SeenLimit("requests", 60, 20), "body", 1020.0 + number / 100)
    assert limit.bound(1021.0) == 500
    assert limit.confidence < 1


def test_what_was_not_told_for_long_holds_nobody_back_until_it_is_told_again() -> None:
    limit = told(500, 500, 500)
    late = limit.last_seen + TRUSTED + 1
    assert limit.bound(late) is None
    limit.tell(SeenLimit("requests", 60, 500), "header", late)
    assert limit.bound(late) == 500


def test_where_it_stands_and_when_it_begins_anew_is_what_was_told_last() -> None:
    limit = Told("tokens", 60, "header")
    limit.tell(SeenLimit("tokens", 60, 1000, left=400, resets_in=30.0), "header", 1000.0)
    assert (limit.left, limit.resets_at, limit.last_reset) == (400, 1030.0, None)
    limit.tell(SeenLimit("tokens", 60, 1000, left=990, resets_in=50.0), "header", 1040.0)
    assert (limit.left, limit.resets_at, limit.last_reset) == (990, 1090.0, 1030.0)


def test_a_window_that_was_misread_once_is_no_limit_of_its_own() -> None:
    often, once = told(500, 500, 500), Told("requests", 86_400, "header")
    once.tell(SeenLimit("requests", 86_400, 500), "header", 1000.0)
    day = Told("requests", 86_400, "header")
    day.tell(SeenLimit("requests", 86_400, 10_000), "header", 1000.0)
    assert likely([often, once]) == [often]
    assert likely([often, day]) == [often, day]


def test_everything_can_be_kept_and_read_again() -> None:
    limit, hidden = told(500, 500, 90), Hidden()
    hidden.refused(60, 9000, 100.0)
    hidden.refused(61, 5000, 300.0)
    assert msgspec.json.decode(msgspec.json.encode(limit), type=Told) == limit
    assert msgspec.json.decode(msgspec.json.encode(hidden), type=Hidden) == hidden


# limits that nobody tells


def test_one_refusal_tightens_nothing_however_often_it_is_repeated() -> None:
    limit = Counted("requests")
    for second in range(50):
        limit.refused(60, 1000.0 + second)
    assert limit.bound(1100.0) is None


def test_two_refusals_at_the_same_count_make_a_limit_and_odd_ones_do_not() -> None:
    limit = Counted("requests")
    for minute, count in enumerate((300, 60, 150, 63)):
        assert limit.bound(minute * 2 * MINUTE) is None
        limit.refused(count, 1000.0 + minute * 2 * MINUTE)
    assert limit.bound(1500.0) == 60


def test_a_spent_day_teaches_nothing_about_minutes() -> None:
    limit = Counted("requests")
    limit.refused(40, 1000.0)
    for minute in range(1, 60):
        limit.refused(minute % 2, 1000.0 + minute * 2 * MINUTE)
    assert limit.bound(9000.0) is None


def test_what_goes_through_disproves_a_lower_limit_and_a_day_without_refusals_all() -> None:
    limit = Counted("requests")
    limit.refused(60, 1000.0)
    limit.refused(60, 1100.0)
    limit.looked(90, 1200.0)
    assert limit.refusals == []
    assert limit.bound(1200.0) == 90
    limit.looked(1, 1200.0 + FORGOTTEN + 1)
    assert limit.bound(1200.0) is None


Provider = Callable[[float, int], bool]


class Window:
    """What was admitted within the last minute."""

    def __init__(self) -> None:
        self.uses: deque[tuple[float, int]] = deque()
        self.tokens = 0

    def at(self, now: float) -> tuple[int, int]:
        while self.uses and self.uses[0][0] <= now - MINUTE:
            self.tokens -= self.uses.popleft()[1]
        return len(self.uses), self.tokens

    def add(self, now: float, size: int) -> None:
        self.uses.append((now, size))
        self.tokens += size


def sliding(limit: int) -> Provider:
    window = Window()

    def admits(now: float, size: int) -> bool:
        if window.at(now)[0] >= limit:
            return False
        window.add(now, size)
        return True

    return admits


def sliding_tokens(limit: int) -> Provider:
    window = Window()

    def admits(now: float, size: int) -> bool:
        if window.at(now)[1] + size > limit:
            return False
        window.add(now, size)
        return True

    return admits


def fixed(limit: int) -> Provider:
    used: dict[int, int] = {}

    def admits(now: float, size: int) -> bool:
        minute = int(now // MINUTE)
        if used.get(minute, 0) >= limit:
            return False
        used[minute] = used.get(minute, 0) + 1
        return True

    return admits


def bucket(limit: int) -> Provider:
    level, last = float(limit), 0.0

    def admits(now: float, size: int) -> bool:
        nonlocal level, last
        level, last = min(float(limit), level + (now - last) * limit / MINUTE), now
        if level < 1:
            return False
        level -= 1
        return True

    return admits


def busy(rate: float, seed: int, seconds: float = 30 * MINUTE) -> Iterable[tuple[float, int]]:
    """Callers who come at random, `rate` a minute, each with a size in tokens."""
    chance, now = random.Random(seed), 1000.0
    while now < 1000.0 + seconds:
        now += chance.expovariate(rate / MINUTE)
        yield now, chance.randint(200, 3000)


class Played:
    """A hub of one key: admits what is learned, and rests after a refusal as the pool does, longer after each."""

    def __init__(self, provider: Provider) -> None:
        self.provider, self.hidden = provider, Hidden()
        self.window = Window()
        self.sent = self.refused = 0
        self.rests_until = self.looks_at = self.rested = 0.0

    def come(self, now: float, size: int) -> None:
        requests, tokens = self.window.at(now)
        if now >= self.looks_at:
            self.looks_at = now + 5.0
            self.hidden.looked(requests, tokens, now)
        bound = self.hidden.bound(now)
        after = {"requests": requests + 1, "tokens": tokens + size}
        if now < self.rests_until or (bound is not None and after[bound[0]] > bound[1]):
            return
        self.sent += 1
        if self.provider(now, size):
            self.window.add(now, size)
            self.rested = 0.0
        else:
            self.refused += 1
            self.rests_until = now + max(10.0, self.rested)
            self.rested += max(10.0, self.rested)
            self.hidden.refused(requests, tokens, now)


@pytest.mark.parametrize("limit", [20, 60, 300])
@pytest.mark.parametrize("seed", range(4))
def test_a_hidden_limit_is_known_within_a_tenth_in_half_an_hour(limit: int, seed: int) -> None:
    hub = Played(sliding(limit))
    for now, size in busy(2.0 * limit, seed):
        hub.come(now, size)
    known = hub.hidden.limit
    assert known is not None
    assert known.kind == "requests"
    assert abs(known.amount - limit) <= 0.1 * limit
    assert hub.refused < 0.02 * hub.sent
    assert hub.sent - hub.refused > 0.9 * 30 * limit  # nobody waits here: what comes while there is no room is lost


@pytest.mark.parametrize("kind", [fixed, bucket])
@pytest.mark.parametrize("seed", range(4))
def test_windows_that_do_not_slide_are_met_as_well(kind: Callable[[int], Provider], seed: int) -> None:
    hub = Played(kind(200))
    for now, size in busy(400.0, seed):
        hub.come(now, size)
    assert abs(hub.hidden.requests.amount - 200) <= 20
    assert hub.refused < 0.02 * hub.sent


def test_limits_on_tokens_are_told_from_those_on_requests() -> None:
    kinds = []
    for seed in range(4):
        hub = Played(sliding_tokens(300_000))
        for now, size in busy(400.0, seed):
            hub.come(now, size)
        assert abs(hub.hidden.tokens.amount - 300_000) <= 30_000
        assert hub.refused < 0.02 * hub.sent
        assert hub.hidden.limit is not None
        kinds.append(hub.hidden.limit.kind)
    # Where 190 requests come to 300,000 tokens give or take a few, one of four may be taken for the other.
    assert kinds.count("tokens") >= 3


def test_a_limit_that_is_raised_is_used_before_long() -> None:
    hub, now = Played(sliding(60)), 1000.0
    for now, size in busy(120.0, 1):
        hub.come(now, size)
    hub.provider = sliding(240)
    admitted = 0
    for later, size in busy(480.0, 2, 60 * MINUTE):
        hub.come(now + later, size)
        admitted = hub.window.at(now + later)[0]
    assert admitted > 200

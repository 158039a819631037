"""What is guessed of an account after a refusal that tells nothing: held to, tried again, and let go where wrong."""

from __future__ import annotations

import pytest

from llmhub_core.hub.provisional import AT_ONCE, OVER, WINDOW, Guess, Provisional


def refused(requests: int = 30, at_once: int = 3, now: float = 100.0) -> Provisional:
    guess = Provisional()
    guess.refused(requests, at_once, picks=requests, now=now)
    return guess


def test_as_much_as_before_the_refusal_is_let_through() -> None:
    assert refused().amounts == (30, 3)
    assert refused(requests=0, at_once=0).amounts == (None, None), "with nothing there it was about something else"


def test_after_a_minute_more_is_tried_bit_by_bit_and_only_where_the_guess_holds_back() -> None:
    guess = refused()
    for second in range(1, int(WINDOW)):
        guess.looked(30, 3, picks=31, rests=False, now=100.0 + second)
        assert guess.requests.amount == 30
    guess.looked(29, 0, picks=31, rests=False, now=100.0 + WINDOW)
    assert guess.requests.amount == 30, "nobody wants more"
    tried = []
    for count in (30, 31, 33):
        guess.looked(count, 0, picks=31, rests=False, now=101.0 + WINDOW)
        tried.append(guess.requests.amount)
    assert tried == [31, 33, 37]
    guess.looked(37, 0, picks=31, rests=False, now=102.0 + WINDOW)
    assert guess.requests.amount is None, "plainly no limit"


def test_at_once_is_tried_again_soon_and_ever_more_rarely_while_it_is_refused_at_the_same_count() -> None:
    guess, now = Guess(AT_ONCE, 8 * AT_ONCE), 100.0
    pauses = []
    for _ in range(6):
        guess.refused(3, now)
        refused_at = now
        while guess.amount == 3:
            now += 1.0
            guess.looked(3, now)
        pauses.append(now - refused_at)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 16.0, 16.0]
    guess.refused(7, now)
    assert guess.pause == AT_ONCE


def test_what_was_disproved_has_to_be_seen_twice() -> None:
    guess = Guess(WINDOW, WINDOW)
    guess.refused(10, 100.0)
    guess.looked(20, 110.0)
    assert guess.amount is None
    guess.refused(15, 120.0)
    assert guess.amount is None
    guess.refused(15, 130.0)
    assert guess.amount == 15


def test_of_the_two_the_one_counts_whose_refusals_come_at_the_same_count() -> None:
    many_at_once, many_a_minute = refused(), refused()
    many_at_once.refused(50, 3, picks=50, now=130.0)
    many_a_minute.refused(30, 7, picks=50, now=130.0)
    assert many_at_once.amounts == (None, 3)
    assert many_a_minute.amounts == (30, None)


def test_a_pause_begins_when_the_rest_is_over() -> None:
    guess = refused()
    guess.looked(30, 3, picks=31, rests=True, now=110.0)
    for second, amount in ((111.0, 3), (112.0, 3), (113.0, 4)):
        guess.looked(29, 3, picks=31, rests=False, now=second)
        assert guess.at_once.amount == amount


@pytest.mark.parametrize(("picks", "amount"), [(30, 31), (31, 30)])
def test_when_a_rest_is_over_and_the_guess_lets_nobody_try_one_may(picks: int, amount: int) -> None:
    """Else those who waited have been let through, as the guess foretold."""
    guess = refused()
    for second in (1.0, 2.0, 3.0):
        guess.looked(30, 0, picks=30, rests=True, now=100.0 + second)
    for second in (4.0, 5.0, 6.0):
        guess.looked(30, 0, picks=picks, rests=False, now=100.0 + second)
        if second < 6.0:
            assert guess.requests.amount == 30
    assert guess.requests.amount == amount


def test_a_clock_that_is_set_back_holds_nobody_for_longer() -> None:
    guess = refused(now=10_000.0)
    guess.looked(30, 0, picks=31, rests=False, now=6_400.0)
    assert guess.requests.amount == 31
    assert guess.over(6_400.0)
    assert guess.over(10_000.0 + OVER)
    assert not guess.over(10_000.0 + OVER - 1.0)

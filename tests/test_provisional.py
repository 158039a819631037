"""What is guessed of an account after a refusal that tells nothing: held to, tried again, and let go where wrong."""

from __future__ import annotations

import pytest

from llmhub_core.hub.provisional import AT_ONCE, OVER, WINDOW, Guess, Provisional, Running


def refused(requests: int = 30, at_once: int = 3, now: float = 100.0) -> Provisional:
    guess = Provisional()
    guess.refused(requests, Running(at_once, 0, 0), now)
    return guess


def test_as_much_as_before_the_refusal_is_let_through() -> None:
    assert refused().amounts == (30, 3)
    assert refused(requests=0, at_once=0).amounts == (None, None), "with nothing there it was about something else"


def test_after_a_minute_more_is_tried_bit_by_bit_and_only_where_the_guess_holds_back() -> None:
    guess = refused()
    for second in range(1, int(WINDOW)):
        guess.looked(30, 3, rests=False, untried=False, now=100.0 + second)
        assert guess.requests.amount == 30
    guess.looked(29, 0, rests=False, untried=False, now=100.0 + WINDOW)
    assert guess.requests.amount == 30, "nobody wants more"
    tried = []
    for count in (30, 31, 33):
        guess.looked(count, 0, rests=False, untried=False, now=101.0 + WINDOW)
        tried.append(guess.requests.amount)
    assert tried == [31, 33, 37]
    guess.looked(37, 0, rests=False, untried=False, now=102.0 + WINDOW)
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
    many_at_once.refused(50, Running(3, 0, 3), 130.0)
    many_a_minute.refused(30, Running(7, 0, 7), 130.0)
    assert many_at_once.amounts == (None, 3)
    assert many_a_minute.amounts == (30, None)


def test_a_pause_begins_when_the_rest_is_over() -> None:
    guess = refused()
    guess.looked(30, 3, rests=True, untried=False, now=110.0)
    for second, amount in ((111.0, 3), (112.0, 3), (113.0, 4)):
        guess.looked(29, 3, rests=False, untried=False, now=second)
        assert guess.at_once.amount == amount


@pytest.mark.parametrize(("untried", "amount"), [(True, 31), (False, 30)])
def test_when_a_rest_is_over_and_the_guess_lets_nobody_try_one_may(untried: bool, amount: int) -> None:
    """Else those who waited have been let through, as the guess foretold."""
    guess = refused()
    for second in (1.0, 2.0, 3.0):
        guess.looked(30, 0, rests=True, untried=False, now=100.0 + second)
    for second in (4.0, 5.0, 6.0):
        guess.looked(30, 0, rests=False, untried=untried, now=100.0 + second)
        if second < 6.0:
            assert guess.requests.amount == 30
    assert guess.requests.amount == amount


def test_refusals_soon_after_each_other_tell_nothing_of_each_other() -> None:
    guess = Guess(WINDOW, WINDOW)
    for second in range(20):
        guess.refused(100 - second // 4, 100.0 + second)
    assert guess.times == 4


def test_one_refusal_at_another_count_does_not_outweigh_many() -> None:
    guess = refused(requests=200, at_once=5)
    for number in range(1, 9):
        guess.refused(200 + 30 * number, Running(5, 0, 5), 100.0 + 60 * number)
    guess.refused(440, Running(9, 0, 3), 700.0)
    assert guess.amounts == (None, 9)
    assert guess.is_about_at_once


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_what_several_processes_tell_of_the_same_moment_is_one_refusal(order: tuple[int, ...]) -> None:
    """Six of eleven were refused: two, three and one."""
    guess, seen = Provisional(), [(31, Running(11, 2, 4)), (30, Running(11, 3, 4)), (30, Running(12, 1, 3))]
    for later, place in enumerate(order):
        guess.refused(*seen[place], 100.0 + later / 10)
    assert guess.amounts == (30, 5)
    assert (guess.requests.times, guess.at_once.times) == (0, 0)
    guess.refused(*seen[0], 110.0)
    assert guess.at_once.times == 0, "nine this time"


def test_no_fewer_are_let_through_at_once_than_still_ran_afterwards() -> None:
    assert Running(6, 4, 5).amount == 5


def test_a_clock_that_is_set_back_holds_nobody_for_longer() -> None:
    guess = refused(now=10_000.0)
    guess.looked(30, 0, rests=False, untried=False, now=6_400.0)
    assert guess.requests.amount == 31
    assert guess.over(6_400.0)
    assert guess.over(10_000.0 + OVER)
    assert not guess.over(10_000.0 + OVER - 1.0)

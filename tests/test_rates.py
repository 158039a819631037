"""What headers and sentences tell of limits."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhub_core.contracts import (
    SeenLimit,
    duration,
    limits_in_words,
    resets_in,
    said_at,
    seen_limits,
    spent_until,
    wait_in_words,
)

NOW = 1_772_452_800.0  # 2026-03-02 12:00 UTC
DATE = {"date": "Mon, 02 Mar 2026 12:00:00 GMT"}


def limits(**headers: str) -> list[SeenLimit]:
    return seen_limits({**DATE, **{name.replace("_", "-"): value for name, value in headers.items()}})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12ms", 0.012), ("0s", 0), ("6m0s", 360), ("1h2m3.5s", 3723.5), ("59", 59), ("1772452860", 60),
        ("1772452860000", 60), ("2026-03-02T12:01:00Z", 60), ("2026-03-02T14:01:00+02:00", 60),
        ("Mon, 02 Mar 2026 12:01:00 GMT", 60), ("2026-03-02T11:00:00Z", 0), ("soon", None), ("", None),
        ("9999-01-01T00:00:00Z", None),
    ],
)  # fmt: skip
def test_resets_are_told_in_many_ways(value: str, seconds: float | None) -> None:
    assert resets_in(value, NOW) == (None if seconds is None else pytest.approx(seconds, abs=0.01))


def test_the_answer_s_own_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 3600)
    assert said_at(DATE) == NOW
    assert said_at({}) == said_at({"date": "yesterday"}) == NOW + 3600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 20s.", 20), ("Retry in 1.5 seconds", 1.5), ("retry after 2 hours, 3 minutes", 7380),
        ("Your limit resets in 3 days", 259_200), ("available again at 2026-03-03", 43_200),
        ("try again after 2026-03-02 12:30:00", 1800), ("try again later", None), ("wait for it", None),
        ("try again at 2026-99-99", None),
    ],
)  # fmt: skip
def test_sentences_name_waits(text: str, seconds: float | None) -> None:
    assert wait_in_words(text, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_openai_counts_by_the_minute_and_groq_by_the_day() -> None:
    openai = limits(x_ratelimit_limit_requests="10000", x_ratelimit_remaining_requests="9999",
                    x_ratelimit_reset_requests="6ms", x_ratelimit_limit_tokens="200000",
                    x_ratelimit_remaining_tokens="199000", x_ratelimit_reset_tokens="300ms")  # fmt: skip
    assert [(each.kind, each.window, each.amount, each.left) for each in openai] == [
        ("requests", 60, 10_000, 9999), ("tokens", 60, 200_000, 199_000),
    ]  # fmt: skip
    groq = limits(x_ratelimit_limit_requests="14400", x_ratelimit_remaining_requests="14370",
                  x_ratelimit_reset_requests="2m59.56s", x_ratelimit_limit_tokens="18000",
                  x_ratelimit_remaining_tokens="17997", x_ratelimit_reset_tokens="7.66ms")  # fmt: skip
    assert [(each.kind, each.window, each.amount) for each in groq] == [
        ("requests", 86_400, 14_400),
        ("tokens", 60, 18_000),
    ]


def test_windows_that_are_named_are_believed() -> None:
    seen = limits(x_ratelimit_limit_requests_day="1000", x_ratelimit_limit_tokens_minute="60000",
                  x_ratelimit_limit_req_minute="300", x_ratelimit_limit_tokens_month="9000000")  # fmt: skip
    assert [(each.kind, each.window, each.amount) for each in seen] == [
        ("requests", 86_400, 1000), ("tokens", 60, 60_000), ("requests", 60, 300),
    ]  # fmt: skip


def test_anthropic_tells_input_and_output_apart_and_they_are_left_aside() -> None:
    seen = limits(anthropic_ratelimit_requests_limit="50", anthropic_ratelimit_requests_remaining="49",
                  anthropic_ratelimit_requests_reset="2026-03-02T12:00:01Z",
                  anthropic_ratelimit_input_tokens_limit="30000",
                  anthropic_ratelimit_tokens_limit="38000")  # fmt: skip
    assert [(each.kind, each.window, each.amount, each.resets_in) for each in seen] == [
        ("requests", 60, 50, 1.0), ("tokens", 60, 38_000, None),
    ]  # fmt: skip


def test_limits_on_a_part_of_the_tokens_are_left_aside() -> None:
    seen = limits(x_ratelimit_limit_tokens_prompt="60000", x_ratelimit_limit_tokens_generated="6000",
                  x_ratelimit_limit_project_tokens="9000", x_ratelimit_limit_requests="600")  # fmt: skip
    assert [(each.kind, each.amount) for each in seen] == [("requests", 600)]


def test_the_last_of_what_is_spent_tells_the_wait() -> None:
    headers = {
        **DATE,
        "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s",
        "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s",
        "x-ratelimit-remaining-images": "4", "x-ratelimit-reset-images": "9h",
    }  # fmt: skip
    assert spent_until(headers) == 360
    assert spent_until(DATE) is None


def test_messages_name_limits() -> None:
    seen = limits_in_words("on tokens per day (TPD): Limit 100000, Used 5, and the limit of 1,000 requests per minute")
    assert [(each.kind, each.window, each.amount) for each in seen] == [
        ("tokens", 86_400, 100_000), ("requests", 60, 1000),
    ]  # fmt: skip


NAMES = (
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit",
    "anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-reset", "date",
)  # fmt: skip


@given(st.text(max_size=200), st.dictionaries(st.sampled_from(NAMES), st.text(max_size=40)))
def test_nothing_that_is_sent_breaks_the_reading(text: str, headers: dict[str, str]) -> None:
    for seconds in (duration(text), resets_in(text, NOW), wait_in_words(text, NOW), spent_until(headers)):
        assert seconds is None or seconds >= 0
    for limit in [*seen_limits(headers), *limits_in_words(text)]:
        assert 0 < limit.amount < 2**53

"""What a request cost: the operator's prices, the table's, or nobody knows."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhub_core.contracts import Deployment, Record
from llmhub_core.hub.pricing import NANO, Pricing
from llmhub_core.testing.records import a_record


def fresh(own: dict[tuple[str, str], Deployment] | None = None, kinds: dict[str, str] | None = None) -> Pricing:
    pricing = Pricing(own or {}, kinds or {"claude": "anthropic", "google": "gemini"})
    pricing._library = genai_prices
    return pricing


def used(provider: str, model: str, **counts: Any) -> Record:
    none: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}
    return a_record(provider=provider, served_model=model, cost=None, **{**none, **counts})


def test_the_operator_s_own_price_goes_before_the_table() -> None:
    own = Deployment("openai", "gpt-4o-mini", input_price=2.0, output_price=10.0)
    pricing = fresh({("openai", "gpt-4o-mini"): own})
    assert pricing.cost(used("openai", "gpt-4o-mini", input_tokens=1000, output_tokens=100)) == 3_000_000
    assert pricing.cost(used("openai", "gpt-4o", input_tokens=1000, output_tokens=100)) == 3_500_000


def test_a_price_of_nothing_is_a_price() -> None:
    own = Deployment("local", "llama", input_price=0.0, output_price=0.0)
    assert fresh({("local", "llama"): own}).cost(used("local", "llama", input_tokens=1000, output_tokens=5)) == 0


def test_half_an_own_price_is_none() -> None:
    own = Deployment("local", "llama", input_price=1.0)
    assert fresh({("local", "llama"): own}).cost(used("local", "llama", input_tokens=1000)) is None


PER_TOKEN = [
    # provider, model, counts, 10⁻⁹ USD
    ("openai", "gpt-4o-mini", {"input_tokens": 1000, "output_tokens": 100}, 150 * 1000 + 600 * 100),
    ("openai", "gpt-4o-mini", {"input_tokens": 1000, "cached_tokens": 400}, 150 * 600 + 75 * 400),
    ("claude", "claude-sonnet-4-5", {"input_tokens": 10, "output_tokens": 10}, 3000 * 10 + 15_000 * 10),
    (
        "claude",
        "claude-sonnet-4-5",
        {"input_tokens": 600, "cached_tokens": 100, "cache_write_tokens": 300, "cache_write_1h_tokens": 200},
        3000 * 200 + 300 * 100 + 3750 * 100 + 6000 * 200,
    ),
    ("google", "gemini-2.5-pro", {"input_tokens": 200_000, "output_tokens": 10}, 1250 * 200_000 + 10_000 * 10),
    ("google", "gemini-2.5-pro", {"input_tokens": 200_001, "output_tokens": 10}, 2500 * 200_001 + 15_000 * 10),
    ("openai", "gpt-4o-mini", {"input_tokens": 1}, 150),
]


@pytest.mark.parametrize(("provider", "model", "counts", "cost"), PER_TOKEN)
def test_prices_of_the_table(provider: str, model: str, counts: dict[str, int], cost: int) -> None:
    pricing, record = fresh(), used(provider, model, **counts)
    assert [pricing.cost(record) for _ in range(3)] == [cost] * 3


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("my-own", "gpt-4o-mini"), ("claude", ""), ("", "gpt-4o")]
)
def test_unknown_is_none_and_never_nothing(provider: str, model: str) -> None:
    pricing, record = fresh(), used(provider, model, input_tokens=10, output_tokens=10)
    assert [pricing.cost(record) for _ in range(2)] == [None, None]


def test_nothing_is_known_before_the_table_is_there() -> None:
    record = used("openai", "gpt-4o-mini", input_tokens=10)
    pricing = Pricing({}, {})
    assert pricing.cost(record) is None
    asyncio.run(pricing.load())
    assert pricing.cost(record) == 1500  # nothing was remembered as unknown in between


def test_no_tokens() -> None:
    pricing = fresh()
    assert pricing.cost(used("openai", "gpt-4o-mini", outcome="failed")) == 0
    assert pricing.cost(used("openai", "gpt-4o-mini", outcome="served")) is None


def test_what_nobody_counted_has_no_price_even_where_the_operator_has_one() -> None:
    own = Deployment("local", "llama", input_price=1.0, output_price=2.0)
    pricing = fresh(
        {("local", "llama"): own, ("local", "free"): Deployment("local", "free", input_price=0.0, output_price=0.0)}
    )
    assert pricing.cost(used("local", "llama", outcome="served")) is None
    assert pricing.cost(used("local", "llama", outcome="failed")) == 0
    assert pricing.cost(used("local", "llama", outcome="served", output_tokens=1)) == 2000
    assert pricing.cost(used("local", "free", outcome="served")) == 0


def test_searches_cost_by_the_piece() -> None:
    pricing = fresh()
    plain = pricing.cost(used("claude", "claude-sonnet-4-5", input_tokens=10))
    searched = pricing.cost(used("claude", "claude-sonnet-4-5", input_tokens=10, server_tool_calls=2))
    assert plain is not None
    assert searched == plain + 20 * NANO // 1000  # 10 USD for a thousand


def test_usage_that_contradicts_itself_has_no_price() -> None:
    pricing = fresh()
    for _ in range(2):
        assert pricing.cost(used("openai", "gpt-4o-mini", input_tokens=10, cached_tokens=20)) is None
        assert pricing.cost(used("openai", "gpt-4o-mini", input_tokens=10)) == 1500


def test_only_records_without_a_cost_are_priced() -> None:
    records = [
        used("openai", "gpt-4o-mini", input_tokens=10),
        a_record("r-2", provider="openai", served_model="gpt-4o-mini", cost=7),
        a_record("r-3", provider="", served_model="", cost=None),
    ]
    fresh().price(records)
    assert [record.cost for record in records] == [1500, 7, None]


# The quick way says what the table says.

ALL = [(place.id, model.id) for place in data_snapshot.get_snapshot().providers for model in place.models]
PARTS = st.integers(0, 400_000)


def by_the_table(record: Record) -> int | None:
    """The library's own answer, asked as plainly as possible."""
    usage = genai_prices.Usage(
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cache_read_tokens=record.cached_tokens,
        cache_write_tokens=record.cache_write_tokens,
        cache_write_1h_tokens=record.cache_write_1h_tokens,
        output_reasoning_tokens=record.reasoning_tokens,
    )
    try:
        price = genai_prices.calc_price(usage, model_ref=record.served_model, provider_id=record.provider)
    except (LookupError, ValueError):
        return None
    return int(price.total_price * NANO + Decimal("0.5"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ALL), st.tuples(PARTS, PARTS, PARTS, PARTS, PARTS, PARTS))
def test_the_quick_way_agrees_with_the_table(
    pair: tuple[str, str], counts: tuple[int, int, int, int, int, int]
) -> None:
    read, cached, short, long, said, thought = counts
    record = used(
        *pair,
        input_tokens=read + cached + short + long + 1,
        cached_tokens=cached,
        cache_write_tokens=short + long,
        cache_write_1h_tokens=long,
        output_tokens=said + thought,
        reasoning_tokens=thought,
    )
    pricing = fresh(kinds={})
    assert pricing.cost(used(*pair, input_tokens=5, output_tokens=5)) == by_the_table(
        used(*pair, input_tokens=5, output_tokens=5)
    )
    assert pricing.cost(record) == by_the_table(record)


def test_a_model_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pricing, record = fresh(), used("openai", "gpt-4o-mini", input_tokens=1000, output_tokens=100)
    unknown = used("openai", "no-such-model", input_tokens=1000)
    first = pricing.cost(record)
    assert pricing.cost(unknown) is None

    def slow(*_: object, **__: object) -> None:
        raise AssertionError("asked the table again")

    monkeypatch.setattr(genai_prices, "calc_price", slow)
    assert pricing.cost(record) == first
    assert pricing.cost(unknown) is None

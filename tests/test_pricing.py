"""What a request cost: the operator's prices, the table's, or nobody knows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhub_core.contracts import Deployment, Record
from llmhub_core.hub import price_lookup
from llmhub_core.hub.price_lookup import Name
from llmhub_core.hub.pricing import Pricing
from llmhub_core.hub.tariff import NANO, Tariff
from llmhub_core.testing.records import a_record


def fresh(own: dict[tuple[str, str], Deployment] | None = None, kinds: dict[str, str] | None = None) -> Pricing:
    return Pricing(own or {}, {"claude": "anthropic", "google": "gemini"} if kinds is None else kinds)


def cost(pricing: Pricing, record: Record) -> int | None:
    """Its cost, when the table was asked for its model."""
    asyncio.run(pricing.learn([(record.provider, record.served_model)]))
    return pricing.cost(record)


def used(provider: str, model: str, **counts: Any) -> Record:
    none: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}
    return a_record(provider=provider, served_model=model, cost=None, **{**none, **counts})


def test_the_operator_s_own_price_goes_before_the_table() -> None:
    own = Deployment("openai", "gpt-4o-mini", input_price=2.0, output_price=10.0)
    pricing = fresh({("openai", "gpt-4o-mini"): own})
    assert cost(pricing, used("openai", "gpt-4o-mini", input_tokens=1000, output_tokens=100)) == 3_000_000
    assert cost(pricing, used("openai", "gpt-4o", input_tokens=1000, output_tokens=100)) == 3_500_000


def test_a_price_of_nothing_is_a_price() -> None:
    own = Deployment("local", "llama", input_price=0.0, output_price=0.0)
    assert cost(fresh({("local", "llama"): own}), used("local", "llama", input_tokens=1000, output_tokens=5)) == 0


def test_half_an_own_price_is_none() -> None:
    own = Deployment("local", "llama", input_price=1.0)
    assert cost(fresh({("local", "llama"): own}), used("local", "llama", input_tokens=1000)) is None


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


@pytest.mark.parametrize(("provider", "model", "counts", "price"), PER_TOKEN)
def test_prices_of_the_table(provider: str, model: str, counts: dict[str, int], price: int) -> None:
    pricing, record = fresh(), used(provider, model, **counts)
    assert [cost(pricing, record) for _ in range(3)] == [price] * 3


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("my-own", "gpt-4o-mini"), ("claude", ""), ("", "gpt-4o")]
)
def test_unknown_is_none_and_never_nothing(provider: str, model: str) -> None:
    pricing, record = fresh(), used(provider, model, input_tokens=10, output_tokens=10)
    assert [cost(pricing, record) for _ in range(2)] == [None, None]


def test_nothing_is_known_before_the_table_was_asked() -> None:
    record = used("openai", "gpt-4o-mini", input_tokens=10)
    pricing = Pricing({}, {})
    assert pricing.cost(record) is None
    assert pricing.awaits(record)
    asyncio.run(pricing.complete([record]))
    assert record.cost == 1500  # nothing was remembered as unknown in between
    assert not pricing.awaits(record)


def test_no_tokens() -> None:
    pricing = fresh()
    assert cost(pricing, used("openai", "gpt-4o-mini", outcome="failed")) == 0
    assert cost(pricing, used("openai", "gpt-4o-mini", outcome="served")) is None


def test_what_nobody_counted_has_no_price_even_where_the_operator_has_one() -> None:
    own = Deployment("local", "llama", input_price=1.0, output_price=2.0)
    pricing = fresh(
        {("local", "llama"): own, ("local", "free"): Deployment("local", "free", input_price=0.0, output_price=0.0)}
    )
    assert cost(pricing, used("local", "llama", outcome="served")) is None
    assert cost(pricing, used("local", "llama", outcome="failed")) == 0
    assert cost(pricing, used("local", "llama", outcome="served", output_tokens=1)) == 2000
    assert cost(pricing, used("local", "free", outcome="served")) == 0


def test_searches_cost_by_the_piece() -> None:
    pricing = fresh()
    plain = cost(pricing, used("claude", "claude-sonnet-4-5", input_tokens=10))
    searched = cost(pricing, used("claude", "claude-sonnet-4-5", input_tokens=10, server_tool_calls=2))
    assert plain is not None
    assert searched == plain + 20 * NANO // 1000  # 10 USD for a thousand


def test_usage_that_contradicts_itself_has_no_price() -> None:
    pricing = fresh()
    for _ in range(2):
        assert cost(pricing, used("openai", "gpt-4o-mini", input_tokens=10, cached_tokens=20)) is None
        assert cost(pricing, used("openai", "gpt-4o-mini", input_tokens=10)) == 1500


def test_only_records_without_a_cost_are_priced() -> None:
    records = [
        used("openai", "gpt-4o-mini", input_tokens=10),
        a_record("r-2", provider="openai", served_model="gpt-4o-mini", cost=7),
        a_record("r-3", provider="", served_model="", cost=None),
    ]
    asyncio.run(fresh().complete(records))
    assert [record.cost for record in records] == [1500, 7, None]


# What the hub reckons is what the table says.

ALL = [(place.id, model.id) for place in data_snapshot.get_snapshot().providers for model in place.models]
CHANGING = [
    (place.id, model.id)
    for place in data_snapshot.get_snapshot().providers
    for model in place.models
    if isinstance(model.prices, list) and model.prices[-1].constraint is not None
]
PARTS = st.integers(0, 400_000)


@pytest.fixture(scope="module")
def knows_all() -> Pricing:
    pricing = fresh(kinds={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmhub_core.hub.pricing.REMEMBERED", len(ALL))
        asyncio.run(pricing.learn(ALL))
    return pricing


def by_the_table(record: Record, at: datetime | None = None) -> int | None:
    """The library's own answer, asked as plainly as possible."""
    usage = genai_prices.Usage(
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cache_read_tokens=record.cached_tokens,
        cache_write_tokens=record.cache_write_tokens,
        cache_write_1h_tokens=record.cache_write_1h_tokens,
        output_reasoning_tokens=record.reasoning_tokens,
        web_searches=record.server_tool_calls,
        input_audio_tokens=record.audio_input_tokens,
        output_audio_tokens=record.audio_output_tokens,
    )
    try:
        price = genai_prices.calc_price(
            usage, model_ref=record.served_model, provider_id=record.provider, genai_request_timestamp=at
        )
    except (LookupError, ValueError):
        return None
    return int(price.total_price * NANO + Decimal("0.5"))


def a_usage(chance: random.Random) -> dict[str, int]:
    """Counts as they come, long inputs and things with prices of their own among them, and now and then nonsense."""
    few = (0, 0, 0, 1, 17, 1000, 4000, 50_000, 210_000, 300_000)
    cached, short, long, heard = (chance.choice(few) for _ in range(4))
    thought, spoken = chance.choice(few), chance.choice(few)
    nonsense = chance.random() < 0.2
    return {
        "input_tokens": chance.choice(few) if nonsense else chance.choice(few) + cached + short + long + heard + 1,
        "cached_tokens": cached,
        "cache_write_tokens": short + long,
        "cache_write_1h_tokens": long,
        "output_tokens": chance.choice(few) + (0 if nonsense else thought + spoken),
        "reasoning_tokens": thought,
        "server_tool_calls": chance.choice((0, 0, 1, 3)),
        "audio_input_tokens": chance.choice((0, 0, heard)),
        "audio_output_tokens": chance.choice((0, 0, spoken)),
    }


def test_every_model_of_the_table_costs_what_the_table_says(knows_all: Pricing) -> None:
    chance = random.Random(11)
    known = 0
    for pair in ALL:
        for counts in ({"input_tokens": 5000, "output_tokens": 700}, a_usage(chance), a_usage(chance)):
            record = used(*pair, **counts, arrived_at=time.time())
            said = by_the_table(record)
            known += said is not None
            if record.input_tokens or record.output_tokens:
                assert knows_all.cost(record) == said, (pair, counts)
    assert known > 2 * len(ALL), "most have a price"


@pytest.mark.parametrize("hour", [0.0, 1.25, 8.5, 13.0, 16.5, 20.75])
@pytest.mark.parametrize("days", [0, 9, 60])
def test_prices_that_change_are_those_of_the_moment(hour: float, days: int, knows_all: Pricing) -> None:
    at = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days, hours=hour)
    for pair in CHANGING:
        record = used(*pair, input_tokens=1000, output_tokens=100, arrived_at=at.timestamp())
        assert knows_all.cost(record) == by_the_table(record, at), pair


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ALL), st.tuples(PARTS, PARTS, PARTS, PARTS, PARTS, PARTS))
def test_the_quick_way_agrees_with_the_table(
    knows_all: Pricing, pair: tuple[str, str], counts: tuple[int, int, int, int, int, int]
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
        arrived_at=time.time(),
    )
    assert [knows_all.cost(record) for _ in range(2)] == [by_the_table(record)] * 2


def test_most_models_are_reckoned_the_quick_way(knows_all: Pricing) -> None:
    for pair in ALL:
        knows_all.cost(used(*pair, input_tokens=1000, output_tokens=100))
    assert len(knows_all._rates) > 0.7 * len(ALL)


# asking the table


def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[Name]]:
    """Every question to the table from now on."""
    questions: list[list[Name]] = []
    real = price_lookup.look_up

    async def look_up(names: Sequence[Name]) -> list[Tariff | None]:
        questions.append([*names])
        return await real(names)

    monkeypatch.setattr(price_lookup, "look_up", look_up)
    return questions


def test_a_model_is_looked_up_once_whether_it_is_known_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(monkeypatch)
    pricing = fresh()
    for _ in range(2):
        records = [used("openai", model, input_tokens=1000) for model in ("gpt-4o-mini", "no-such", "gpt-4o-mini")]
        asyncio.run(pricing.complete(records))
        assert [record.cost for record in records] == [150_000, None, 150_000]
    assert len(questions) == 1
    assert sorted(questions[0]) == [("openai", "gpt-4o-mini"), ("openai", "no-such")]


async def test_many_that_want_to_know_at_once_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(monkeypatch)
    pricing = fresh()
    records = [used("openai", "gpt-4o-mini", input_tokens=1000) for _ in range(20)]
    await asyncio.gather(*(pricing.complete([record]) for record in records))
    assert {record.cost for record in records} == {150_000}
    assert len(questions) == 1


async def test_what_else_will_be_wanted_is_asked_along(monkeypatch: pytest.MonkeyPatch) -> None:
    questions, told = asked(monkeypatch), []
    pricing = fresh()
    pricing.along, pricing.learned = lambda: [("claude", "claude-sonnet-4-5")], lambda: told.append(True)
    await pricing.complete([used("openai", "gpt-4o-mini", input_tokens=1000)])
    await pricing.complete([used("claude", "claude-sonnet-4-5", input_tokens=1000)])
    assert questions == [[("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5")]]
    assert told == [True]


async def test_what_the_operator_prices_or_nobody_counted_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(monkeypatch)
    own = Deployment("local", "llama", input_price=1.0, output_price=2.0)
    pricing = fresh({("local", "llama"): own})
    records = [used("local", "llama", input_tokens=10), used("openai", "gpt-4o"), used("", "", input_tokens=3)]
    await pricing.complete(records)
    assert questions == []
    assert records[0].cost == 10_000


async def test_a_table_that_does_not_answer_is_told_of_once_and_asked_again_by_and_by(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, answers = price_lookup.look_up, False

    async def look_up(names: Sequence[Name]) -> list[Tariff | None]:
        if answers:
            return await real(names)
        raise price_lookup.NoAnswer("its process does not start: out of memory")

    monkeypatch.setattr(price_lookup, "look_up", look_up)
    pricing, record = fresh(), used("openai", "gpt-4o-mini", input_tokens=10)
    for _ in range(3):
        await pricing.complete([record])
    assert record.cost is None
    assert not pricing.awaits(record), "nothing waits for an answer that nobody asks for"
    assert [entry.message for entry in caplog.records] == [
        "prices are not known at the moment, for the table of prices does not answer: "
        "its process does not start: out of memory"
    ]
    answers = True
    pricing._ask_again -= 60
    await pricing.complete([record])
    assert record.cost == 1500


async def test_names_of_callers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmhub_core.hub.pricing.REMEMBERED", 3)
    pricing = fresh()
    for number in range(10):
        await pricing.learn([("openai", f"no-such-{number}")])
    assert len(pricing._tariffs) == 3
